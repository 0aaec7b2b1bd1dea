"""The command line of jobs/lab.sh."""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Sequence

import torch
from probe.console import quiet_unless_terminal
from probe.errors import UserError

from lab import real_command
from lab.bank_study import LEAST_BANK
from lab.laboratory import Laboratory
from lab.page import write_page
from lab.scale import SCALES
from lab.stage import say, write_json
from lab.summary import speed, summary

SETTINGS = "settings.json"
LOCK = ".lock"
CHOOSING = (0, 1)  # the seeds on which anything is chosen; all others confirm
QUICK_SEEDS = (0, 2)  # one of each


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lab.sh",
        description="Trains, aligns, attacks, audits and repairs small models, and says how well "
        "every score and every repair did. Seeds 0 and 1 are for choosing, all others confirm.",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="default: out/lab")
    parser.add_argument(
        "--models", type=int, default=None, metavar="N", help="seeds 0 to N − 1 (default 2; with --quick seeds 0 and 2)"
    )
    parser.add_argument(
        "--seeds", type=_numbers, default=None, metavar="LIST", help="instead: which seeds, such as 0,1,2,3"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny models: shows that all parts run; its figures mean nothing"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="models at a time, one thread each (default: processors)"
    )
    parser.add_argument(
        "--bank",
        type=int,
        default=None,
        metavar="N",
        help="also train N harmless adapters for a bank and N / 2 to be judged by it beside the zoo, and count false alarms (default 0; with --quick 8)",
    )
    parser.add_argument("--only-model", type=int, default=None, metavar="SEED", help=argparse.SUPPRESS)
    real_command.add_options(parser)
    options = parser.parse_args(arguments)
    if options.models is not None and options.seeds is not None:
        parser.error("--models or --seeds, not both")
    if options.models is not None and options.models < 1 or options.jobs < 1:
        parser.error("--models and --jobs are at least 1")
    if options.bank is None:
        options.bank = LEAST_BANK if options.quick else 0
    if options.bank != 0 and options.bank < LEAST_BANK:
        parser.error(f"--bank is 0, or at least {LEAST_BANK}")
    if options.seeds is None:
        options.seeds = QUICK_SEEDS if options.quick and options.models is None else tuple(range(options.models or 2))
    return options


def _numbers(text: str) -> tuple[int, ...]:
    found = sorted({int(part) for part in text.split(",")})
    if found[0] < 0:
        raise ValueError("a seed is at least 0")
    return tuple(found)


def check_settings(folder: Path, wanted: dict[str, Any]) -> None:
    """A folder holds one kind of laboratory; more seeds may be added."""
    note = folder / SETTINGS
    if note.is_file():
        found = json.loads(note.read_text())
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                raise UserError(
                    f"{folder} holds a laboratory of {name} {found.get(name)}, not {wanted.get(name)}; choose another --output"
                )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files; expected a new or empty folder, or that of an earlier laboratory")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(note, wanted)


def run_models(options: argparse.Namespace) -> None:
    """A process each, so that models share no state and no thread."""
    waiting, running = list(options.seeds), dict[int, subprocess.Popen[bytes]]()
    failed: list[int] = []
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # so that the models' processes are ended as well
    try:
        while (waiting and not failed) or running:
            while waiting and len(running) < options.jobs and not failed:
                seed = waiting.pop(0)
                command = [sys.executable, "-m", "lab", "--output", str(options.output), "--only-model", str(seed)]
                command += ["--bank", str(options.bank)]
                running[seed] = subprocess.Popen(
                    command + (["--quick"] if options.quick else []), env={**os.environ, "OMP_NUM_THREADS": "1"}
                )
            time.sleep(0.2)
            for seed, process in list(running.items()):
                if process.poll() is not None:
                    failed += [seed] if running.pop(seed).returncode != 0 else []
    finally:
        for process in running.values():
            process.terminate()
    if failed:
        sys.exit(
            f"lab.sh: the model of seed {', '.join(map(str, failed))} failed; the same command goes on where it stopped"
        )


def main(arguments: Sequence[str]) -> int:
    quiet_unless_terminal()
    try:
        run(parse(arguments))
    except UserError as error:
        print(f"lab.sh: {error}", file=sys.stderr)
        return 3
    return 0


def run(options: argparse.Namespace) -> None:
    real = real_command.is_wanted(options)
    scale = SCALES["quick" if options.quick else "full"]
    check_settings(options.output, real_command.settings(options) if real else {"scale": scale.name})
    if options.only_model is not None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        folder = options.output / f"seed-{options.only_model}"
        Laboratory(scale, options.only_model, folder, os.environ["WINNOW"], options.bank).run()
        return
    lock = (options.output / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"lab.sh: another laboratory is at work in {options.output}")
    if real:
        real_command.run(options, os.environ["WINNOW"])
        return
    run_models(options)
    result = summary(scale, options.output, options.seeds, CHOOSING, options.bank)
    write_json(options.output / "lab.json", result)
    write_page(result, speed(options.output, options.seeds), options.output / "lab.html")
    say(f"{options.output / 'lab.html'} and lab.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
