"""Work that is done once. What a stage makes is a folder that exists whole or not at all, so an interrupted
laboratory goes on with the first stage that is not there."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Callable

RESULT = "result.json"


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def stage(folder: Path, make: Callable[[Path], Any]) -> Any:
    """The result of `make`, which may also leave files in the folder it is given; or, if `folder` is there, what it
    once returned."""
    if folder.is_dir():
        return json.loads((folder / RESULT).read_text())
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    started = time.monotonic()
    result = make(partial)
    write_json(partial / RESULT, result)
    os.replace(partial, folder)
    say(f"[{'/'.join(folder.parts[-2:])}: {time.monotonic() - started:.1f} s]")
    return json.loads((folder / RESULT).read_text())
