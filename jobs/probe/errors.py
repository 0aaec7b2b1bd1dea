"""What the user can mend: said in one line, without a traceback."""


class UserError(Exception):
    pass
