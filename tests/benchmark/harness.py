"""What jobs/bench.sh is made of: timed processes, rows of the table, facts of the machine. Standard library only."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path

Run = namedtuple("Run", "seconds peak_bytes stdout")


class BenchError(Exception):
    """Something could not be measured; the message says why, in one line."""


STARTED = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", file=sys.stderr, flush=True)


def run(command, log):
    """Runs to the end; wall seconds and peak resident bytes of this one process. Its messages go to `log`."""
    command = [str(part) for part in command]
    with open(log, "w+") as errors, open(str(log) + ".out", "w+") as output:
        started = time.perf_counter()
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        except OSError as error:
            raise BenchError(f"{command[0]}: {error.strerror}") from None
        _, status, usage = os.wait4(process.pid, 0)  # unlike wait(), it says how much memory was used
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        output.seek(0)
        if process.returncode != 0:
            lines = [line for line in errors.read().splitlines() if line.strip()]
            raise BenchError(f"{Path(command[0]).name} ended with {process.returncode}: "
                             f"{lines[-1] if lines else 'no message'}")
        return Run(seconds, usage.ru_maxrss * 1024, output.read())


def run_json(command, log):
    result = run(command, log)
    return result, json.loads(result.stdout[result.stdout.index("{"):])


@dataclass
class Row:
    """One line of the table. `samples` in the order they were taken; none: `reason` says why."""

    section: str
    key: str
    what: str
    target: float
    at_least: bool = True
    unit: str = ""
    worst: bool = False  # judged by its worst sample instead of the median
    samples: list = field(default_factory=list)
    note: str = ""
    reason: str = ""

    def value(self):
        if not self.worst:
            return statistics.median(self.samples)
        return min(self.samples) if self.at_least else max(self.samples)

    def met(self):
        return self.value() >= self.target if self.at_least else self.value() <= self.target

    def json(self, judged):
        result = {"key": self.key, "what": self.what, "unit": self.unit, "target": self.target,
                  "sense": "at least" if self.at_least else "at most", "note": self.note}
        if not self.samples:
            return {**result, "not_measured": self.reason}
        return {**result, "value": self.value(), "min": min(self.samples), "max": max(self.samples),
                "met": self.met() if judged else None, "samples": self.samples}


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def render(rows, judged):
    """The table as text; without `judged` (shapes too small to mean anything) targets are shown and not held against."""
    lines = [f"{'':62} {'value':>9} {'(min .. max)':>18} {'target':>10}  met"]
    for row in rows:
        target = f"{'>=' if row.at_least else '<='} {number(row.target)}"
        if not row.samples:
            lines.append(f"{row.what:62} {'-':>9} {'':>18} {target:>10}  not measured: {row.reason}")
            continue
        spread = f"({number(min(row.samples))} .. {number(max(row.samples))})"
        met = ("yes" if row.met() else "NO") if judged else "-"
        lines.append(f"{row.what:62} {number(row.value()):>9} {spread:>18} {target:>10}  {met}")
        if row.note:
            lines.append(f"    {row.note}")
    return "\n".join(lines)


def load_average():
    return round(os.getloadavg()[0], 1)  # of the last minute; figures of a busy machine mean little


def machine(directory):
    """CPU, cores, memory, file system of `directory`, kernel, load."""
    def first(path, prefix):
        with open(path) as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(prefix)), "unknown")

    mount = max((line.split() for line in Path("/proc/mounts").read_text().splitlines()
                 if os.path.commonpath([line.split()[1], directory.resolve()]) == line.split()[1]),
                key=lambda parts: len(parts[1]))
    flags = first("/proc/cpuinfo", "flags").split()
    vectors = " ".join(name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags)
    return {"cpu": f"{first('/proc/cpuinfo', 'model name')} ({vectors})", "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(int(first("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
            "file_system": f"{mount[2]} on {mount[0]}", "kernel": platform.release(),
            "load_average_at_start": load_average()}


def available_memory():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
