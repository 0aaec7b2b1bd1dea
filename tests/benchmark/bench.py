#!/usr/bin/env python3
"""Measures winnow end to end against the storage, its own passes, PyTorch and the published functions.

Whole processes are timed, start-up included. What is compared is run in turn (A/B/A/B) on the same files; the table
has the median of the per-round ratios and their spread, of memory the largest. Cold: below 1 % of the checkpoints' pages
are resident (mincore), checked before every run; warm: at least 99 %. Caches of the hypervisor and of the disk itself
are beyond our control.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from harness import BenchError, Row, load_average, machine, render, say
from measurements import SECTIONS
from page_cache import CacheError
from workbench import Workbench

ROWS = (
    Row("cold", "cold", "cold audit / raw O_DIRECT reader, weight bytes/s", 0.90),
    Row("kernel", "passes_of_peak", "both passes, R = 40, bf16 / FMA peak", 0.60),
    Row("warm", "warm_of_stages", "warm audit end to end / its own pass stages", 0.85),
    Row("warm", "warm_of_kernel", "warm audit end to end / kernel_benchmark's passes", 0.85),
    Row("warm", "torch_plain", "warm audit / PyTorch low-rank script", 10, unit="x"),
    Row("warm", "torch_in_place", "warm audit / the script, differences formed in place", 10, unit="x"),
    Row("warm", "torch_agrees", "modules on which winnow and the script agree (1e-3)", 1.0, worst=True),
    Row("ranks", "ranks", "2 ranks x 1 thread / 1 rank x 1 thread, warm", 1.9, unit="x"),
    Row("adapters", "adapters", "many adapters stacked, GFLOP/s / sgemm peak", 0.85),
    Row("methods", "methods_bytes", "bytes read with --methods all / default", 1.0, at_least=False, worst=True),
    Row("methods", "methods_warm", "warm seconds of all / default, over their ratio of flops", 1.0, at_least=False),
    Row("methods", "methods_cold", "cold seconds of all / default", 1.05, at_least=False),
    Row("memory", "memory_default", "peak GiB per rank, default budget", 4.0, at_least=False, unit="GiB", worst=True),
    Row("memory", "memory_1gib", "peak GiB per rank less libraries, --memory-budget 1GiB", 1.0, at_least=False, unit="GiB",
        worst=True),
    Row("identity", "identity", "share of 1, 2, 3, 5 ranks with bit-identical datasets", 1.0),
    Row("identity", "teams", "share of metrics and selections equal with a team of 2 (1e-6)", 1.0),
    Row("published", "published", "published functions / audit stages, 4096x4096, r = 8", 300, unit="x"),
    Row("published", "published_process", "published functions / whole audit process", 300, unit="x"),
)
HARD = ("torch_agrees", "methods_bytes", "identity", "teams")  # right or wrong, not fast or slow: these fail the run


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench.sh", usage="jobs/bench.sh [options]", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, metavar="L", default=4,
                        help="of the 70B-shaped pair, 3.4 GB each (default 4)")
    parser.add_argument("--repeats", type=int, metavar="N", default=5, help="rounds of every comparison (default 5)")
    parser.add_argument("--directory", type=Path, metavar="DIR", required=True,
                        help="where the families go, 30 GB (default out/bench)")
    parser.add_argument("--published", metavar="DIR", help="a checkout of the code published with SPLoRA")
    parser.add_argument("--only", metavar="NAMES", help="some of " + ", ".join(SECTIONS) + "; separated by commas")
    parser.add_argument("--quick", action="store_true",
                        help="tiny shapes, one round: shows that everything runs, no figures")
    parser.add_argument("--keep", action="store_true", help="keep the families; those that were there before always are")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table, all samples and the machine")
    for program in ("winnow", "raw-reader", "kernel-benchmark", "python-with-torch"):  # set by jobs/bench.sh
        parser.add_argument("--" + program, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(SECTIONS)}")
    if options.layers < 1 or options.repeats < 1:
        parser.error("--layers and --repeats are 1 or more")
    options.only = chosen
    return options


def main(arguments):
    options = parse(arguments)
    bench = Workbench(options, ROWS)
    bench.extra["machine"] = machine(options.directory)
    say(", ".join(f"{key} {value}" for key, value in bench.extra["machine"].items()))
    try:
        for name, section in SECTIONS.items():
            reason = "not asked for (--only)"
            if name in options.only:
                say(name)
                try:
                    section(bench)
                    reason = ""
                except (BenchError, CacheError, OSError) as error:
                    reason = str(error)
                    say(f"  not measured: {reason}")
            for row in bench.rows.values():
                if row.section == name and not row.samples and not row.reason:
                    row.reason = reason
    finally:
        shutil.rmtree(bench.scratch)
        if not options.keep:
            for directory in bench.made:
                shutil.rmtree(directory)
    bench.extra["machine"]["load_average_at_end"] = load_average()
    rows = list(bench.rows.values())
    print(render(rows, judged=not options.quick))
    print("\n" + "\n".join(f"{key}: {value}" for key, value in bench.extra["machine"].items()))
    if options.json:
        options.json.write_text(json.dumps({
            "created_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "quick": options.quick,
            "preset": bench.preset, "layers": bench.layers, "repeats": bench.repeats,
            **bench.extra, "rows": [row.json(judged=not options.quick) for row in rows]}, indent=2) + "\n")
    wrong = [bench.rows[key].what for key in HARD if bench.rows[key].samples and not bench.rows[key].met()]
    if wrong:
        print(f"bench.sh: wrong results: {'; '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BenchError, OSError) as error:
        print(f"bench.sh: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
