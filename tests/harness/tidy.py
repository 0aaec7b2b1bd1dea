#!/usr/bin/env python3
"""tidy.py BUILD FILE...: clang-tidy over sources, with the compile commands of a build folder, as many at once as there are
cores. Exit code 1 if there is a finding.

What was found clean is noted below $XDG_CACHE_HOME/winnow/clang-tidy, by what clang-tidy sees of it: the preprocessed source
with its comments, the configuration, the version. It takes minutes otherwise, of which a change needs a few seconds.
"""

import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

TIDY = "clang-tidy-14"
ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winnow" / "clang-tidy"


def key_of(command, folder, fixed):
    """None if the source does not get through the preprocessor: then clang-tidy shall say why."""
    words = shlex.split(command)
    if Path(words[0]).name == "ccache":
        words = words[1:]
    if "-o" in words:
        at = words.index("-o")
        del words[at:at + 2]
    seen = subprocess.run([*words, "-E", "-C"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if seen.returncode != 0:
        return None
    text = seen.stdout.replace(str(ROOT).encode(), b".")  # a checkout elsewhere is the same
    flags = " ".join(words).replace(str(ROOT), ".")
    return hashlib.sha256(b"\0".join([fixed, flags.encode(), text])).hexdigest()


def check(build, entry, fixed):
    """The findings as text; empty: none."""
    key = key_of(entry["command"], entry["directory"], fixed) if "command" in entry else None
    note = CACHE / key if key else None
    if note and note.exists():
        note.touch()
        return ""
    ran = subprocess.run([TIDY, "-p", build, "--quiet", "--extra-arg=-Wno-unknown-warning-option", entry["file"]],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ran.returncode == 0:
        if note:
            note.touch()
        return ""
    lines = ran.stdout.splitlines()
    shown = [n for n, line in enumerate(lines) if re.search(r"(warning|error): ", line)]
    wanted = sorted({k for n in shown for k in range(n, min(n + 4, len(lines)))})
    return "\n".join(lines[k] for k in wanted) or ran.stdout + ran.stderr


def main(build, files):
    commands = {Path(entry["file"]).resolve(): entry
                for entry in json.loads((Path(build) / "compile_commands.json").read_text())}
    # Of what this build does not compile (a backend that is not there) clang-tidy guesses the command.
    entries = [commands.get(Path(file).resolve(), {"file": file}) for file in files]
    CACHE.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([TIDY, "--version"], check=True, stdout=subprocess.PIPE).stdout
    fixed = version + (ROOT / ".clang-tidy").read_bytes()
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for findings in pool.map(lambda entry: check(build, entry, fixed), entries):
            if findings:
                print(findings, flush=True)
                bad += 1
    print(f"{len(entries)} sources, {bad} with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
