"""What commands print beside their results."""

import sys

from transformers import logging


def quiet_unless_terminal() -> None:
    """Bars of transformers are for people who watch; in a log they are noise."""
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
