"""One run of the program, disturbed or not: started, watched, ended."""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field

PARTIAL = re.compile(r"\d+-\d+(?=\.partial)")


@dataclass
class Outcome:
    code: int = None  # of the launcher, or of the program where there was none
    out: str = ""
    err: str = ""
    hung: bool = False           # not done within the limit
    launcher_hung: bool = False  # ranks had ended, mpirun had not: no fault of theirs, and no exit code
    hits: list = field(default_factory=list)    # what rules were hit: text of the call
    events: dict = field(default_factory=dict)  # rank -> calls in order, as (call, pattern)


class Machine:
    """`limit`: seconds after which a run has failed; a last resort, far above what any takes on a busy machine."""

    def __init__(self, winnow, disturb, launch, folder, limit):
        self.winnow, self.disturb, self.launch, self.folder, self.limit = winnow, disturb, launch, folder, limit

    def run(self, arguments, ranks=0, rules=(), log=False, when_hit=None):
        """On `ranks` of mpirun; 0: without it. `when_hit(process, pids)` is called once, when a rule has been hit."""
        notes = self.folder / "notes"
        self.remove(notes)
        notes.mkdir()
        environment = dict(os.environ, WINNOW_DISTURB=";".join(rules), WINNOW_DISTURB_ROOT=str(self.folder),
                           WINNOW_DISTURB_NOTES=str(notes), OMP_NUM_THREADS="1", XDG_CACHE_HOME=str(self.folder / "cache"))
        # An address sanitizer would be the first library itself.
        environment["ASAN_OPTIONS"] = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
        if log:
            environment["WINNOW_DISTURB_LOG"] = "1"
        preload = os.environ.get("LD_PRELOAD", "")
        command = ["env", f"LD_PRELOAD={self.disturb} {preload}".strip(), self.winnow, *arguments]
        if ranks:
            command = [self.launch, str(ranks), *command]
        outcome = Outcome()
        with open(notes / "out", "wb") as out, open(notes / "err", "wb") as err:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=err, start_new_session=True)
            try:
                self.watch(process, notes, outcome, when_hit)
            finally:
                self.end(process, notes)
        outcome.out, outcome.err = ((notes / name).read_text(errors="replace") for name in ("out", "err"))
        outcome.hits = [path.read_text() for path in sorted(notes.glob("hit.*"))]
        for path in notes.glob("log.*"):
            outcome.events[int(path.suffix[1:])] = [event(line) for line in path.read_text().splitlines()]
        return outcome

    def watch(self, process, notes, outcome, when_hit):
        end = time.monotonic() + self.limit
        ranks_gone = None
        while process.poll() is None:
            if when_hit and any(notes.glob("hit.*")):
                when_hit(process, self.pids(notes), notes)
                when_hit = None
            time.sleep(0.02)
            if time.monotonic() > end:
                outcome.hung = True
                return
            # Where a rank was killed, mpirun itself may lock up in its clean-up when all have ended (Open MPI 4.1 with PMIx
            # 4.2: PMIx_server_finalize waits for a lock for ever).
            pids = self.pids(notes)
            if not pids or any(lives(pid) for pid in pids.values()):
                ranks_gone = None
            elif ranks_gone is None:
                ranks_gone = time.monotonic()
            elif time.monotonic() - ranks_gone > 30 and process.pid not in pids.values():
                outcome.launcher_hung = True
                return
        outcome.code = process.returncode
        # mpirun ends ranks that are left, at once or a little after its own end.
        while any(lives(pid) for pid in self.pids(notes).values()):
            if time.monotonic() > end:
                outcome.hung = True
                return
            time.sleep(0.02)

    def end(self, process, notes):
        for pid in [process.pid, *self.pids(notes).values()]:
            if process.poll() is None or lives(pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        process.wait()

    @staticmethod
    def pids(notes):
        return {int(path.suffix[1:]): int(path.read_text()) for path in notes.glob("pid.*")}

    @staticmethod
    def remove(path):
        subprocess.run(["rm", "-rf", str(path)], check=True)


def state(pid):
    """One letter as in ps; Z where the process has ended or is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def lives(pid):
    return state(pid) not in "ZX"


def event(line):
    call, _, path = line.partition(" ")
    return (call, "*") if call == "memory" else (call, PARTIAL.sub("*", path))
