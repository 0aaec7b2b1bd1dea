"""The commands of jobs/*.sh as tests run them: in this process, for to load torch, transformers and peft takes each
process of its own ten seconds."""

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

PACKAGES = Path(__file__).resolve().parents[2] / "jobs"


@dataclass
class Done:
    stdout: str
    stderr: str


def run(main: Callable[[Sequence[str]], int], folder: Path, arguments: Sequence[str], expect: int = 0) -> Done:
    """What a command wrote that was to end with `expect`, started in `folder`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:  # argparse
            code = ended.code
    if code != expect:
        raise AssertionError(f"ended with {code} instead of {expect}: {err.getvalue()}")
    return Done(out.getvalue(), err.getvalue())


def run_alone(module: str, folder: Path, arguments: Sequence[str]) -> Done:
    """The same in a process of its own, as users start it; it is to end with 0."""
    ended = subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, text=True,
                           env={**os.environ, "PYTHONPATH": str(PACKAGES)}, check=False)
    if ended.returncode != 0:
        raise AssertionError(f"ended with {ended.returncode}: {ended.stderr}")
    return Done(ended.stdout, ended.stderr)
