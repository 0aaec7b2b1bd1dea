#!/usr/bin/env python3
"""Measures how winnow scales and writes it as JSON and as a page.

    strong      one model over 1 ... N ranks
    weak        as many layers for each rank, over 1 ... N ranks
    adapters    one model on N ranks, over numbers of adapters
    projection  what the calibrated model says of another model and of more ranks (nothing is run)

Seconds are those the program records in its report (/run, mean over ranks), without its start, which is part of
wall_seconds. Each run has its prediction beside it. Runs of all points take turns, so that a busy spell does not hit one
point alone. Cold: the weights are put out of the page cache of every node before each run, and that is checked.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARK = HERE.parent.parent / "tests" / "benchmark"
sys.path.insert(0, str(BENCHMARK))

from harness import BenchError, machine, run, run_json, say  # noqa: E402
from launcher import make_launcher  # noqa: E402
from report import render  # noqa: E402

QUICK = {"preset": "tiny", "layers_per_rank": 2, "ranks": [1, 2], "adapters": [1, 4], "repeats": 1, "rank": 8,
         "project_ranks": [1, 32, 1024]}


def numbers(text):
    values = sorted({int(part) for part in text.split(",")})
    if not values or values[0] < 1:
        raise argparse.ArgumentTypeError("expected numbers from 1, separated by commas")
    return values


def rate(text):
    """7GB/s in bytes a second."""
    units = {"MB": 1e6, "GB": 1e9, "TB": 1e12}
    number, unit = text.removesuffix("/s")[:-2], text.removesuffix("/s")[-2:]
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError):
        value = 0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("expected a rate such as 7GB/s")
    return value


def powers_of_two(most):
    return sorted({2**n for n in range(most.bit_length()) if 2**n <= most} | {most})


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scaling.sh", usage="jobs/scaling.sh [options]", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--preset", default="llama-2-7b", help="shapes of the models (default llama-2-7b)")
    parser.add_argument("--layers-per-rank", type=int, metavar="L", default=1,
                        help="of the weak study; the strong one has as many as that makes on all ranks (default 1)")
    parser.add_argument("--ranks", type=numbers, metavar="LIST", help="default: 1, 2, 4, ... and all there are")
    parser.add_argument("--adapters", type=numbers, metavar="LIST", default=[1, 4, 16, 64],
                        help="of the sweep over adapters (default 1,4,16,64)")
    parser.add_argument("--rank", type=int, metavar="R", default=16, help="of every LoRA module (default 16)")
    parser.add_argument("--repeats", type=int, metavar="N", default=3, help="runs of every point (default 3)")
    parser.add_argument("--warm", action="store_true", help="measure with the weights in the page cache")
    parser.add_argument("--project", metavar="PRESET", default="llama-3-405b", help="the model to project to")
    parser.add_argument("--project-ranks", type=numbers, metavar="LIST", default=powers_of_two(1024),
                        help="default 1, 2, 4, ... 1024")
    parser.add_argument("--project-ranks-per-node", type=int, metavar="N", help="default: as measured here")
    parser.add_argument("--node-bandwidth", type=rate, metavar="SIZE/s",
                        help="what storage gives one node of the projection (default: as measured here)")
    parser.add_argument("--file-system-bandwidth", type=rate, metavar="SIZE/s",
                        help="what it gives all nodes together (default: no limit, which no file system has)")
    parser.add_argument("--output", type=Path, metavar="DIR", required=True,
                        help="scaling.json, scaling.html and, while it runs, the models (default out/scaling)")
    parser.add_argument("--keep", action="store_true", help="keep the models")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, one run of each: shows that everything works")
    parser.add_argument("--winnow", type=Path, required=True, help=argparse.SUPPRESS)
    if "--quick" in arguments:
        parser.set_defaults(**QUICK)
    options = parser.parse_args(arguments)
    if min(options.layers_per_rank, options.rank, options.repeats) < 1:
        parser.error("--layers-per-rank, --rank and --repeats are 1 or more")
    return options


class Family:
    """A synthetic model and its adapters."""

    def __init__(self, directory):
        self.directory = directory
        self.adapters = sorted((directory / "adapters").iterdir())
        self.files = sorted(str(file) for side in ("base", "aligned") for file in (directory / side).glob("*.safetensors"))

    def inputs(self, adapters):
        options = ["--base", self.directory / "base", "--aligned", self.directory / "aligned"]
        for adapter in self.adapters[:adapters]:
            options += ["--adapter", adapter]
        return options


class Study:
    def __init__(self, options):
        self.options = options
        self.launcher = make_launcher(max(options.ranks) if options.ranks else None)
        self.ranks = options.ranks or powers_of_two(self.launcher.ranks)
        if self.ranks[-1] > self.launcher.ranks:
            raise BenchError(f"{self.ranks[-1]} ranks asked for, and the job has {self.launcher.ranks} tasks")
        self.output = options.output.resolve()
        self.output.mkdir(parents=True, exist_ok=True)
        self.scratch = self.output / "scaling-scratch"  # removed at the end: a name that nobody has a folder of
        self.scratch.mkdir(exist_ok=True)
        self.constants = self.output / "constants.json"
        self.families = {}

    def family(self, preset, layers, adapters, headers_only=False):
        key = f"{preset}-{layers or 'all'}x{adapters}-r{self.options.rank}" + ("-headers" if headers_only else "")
        if key not in self.families:
            directory = self.scratch / key
            say(f"making {key}")
            command = [self.options.winnow, "synth", "--preset", preset, "--adapters", adapters, "--rank",
                       self.options.rank, "--output", directory]
            command += ["--layers", layers] if layers else []
            command += ["--headers-only"] if headers_only else []
            run(command if headers_only else self.launcher.start(self.launcher.ranks, command), self.scratch / "synth")
            self.families[key] = Family(directory)
        return self.families[key]

    def points(self):
        """(study, ranks, layers, adapters), each once."""
        per_rank, most = self.options.layers_per_rank, self.ranks[-1]
        found = [("strong", ranks, per_rank * most, 1) for ranks in self.ranks]
        found += [("weak", ranks, per_rank * ranks, 1) for ranks in self.ranks]
        found += [("adapters", most, per_rank * most, adapters) for adapters in self.options.adapters]
        return found

    def family_of(self, layers):
        most = self.options.layers_per_rank * self.ranks[-1]
        return self.family(self.options.preset, layers, max(self.options.adapters) if layers == most else 1)

    def plan(self, family, adapters, ranks, per_node, *more):
        return run_json([self.options.winnow, "plan", *family.inputs(adapters), "--ranks", ranks, "--ranks-per-node",
                         per_node, "--constants", self.constants, "--json", "-", *more], self.scratch / "plan")[1]

    def calibrate(self):
        say("calibrating")
        family = self.family_of(self.options.layers_per_rank * self.ranks[-1])
        run(self.launcher.on_one_whole_node([self.options.winnow, "plan", *family.inputs(1), "--calibrate", "--constants",
                                             self.constants]), self.scratch / "calibrate")

    def page_cache(self, family, ranks):
        command = [sys.executable, BENCHMARK / "page_cache.py", "load" if self.options.warm else "evict", *family.files]
        run(self.launcher.on_every_node(ranks, command), self.scratch / "page_cache")

    def measure(self, ranks, layers, adapters):
        family = self.family_of(layers)
        self.page_cache(family, ranks)
        report = self.scratch / "report.h5"
        threads = ("--threads", self.launcher.threads)
        timed = run(self.launcher.start(ranks, [self.options.winnow, "audit", *family.inputs(adapters), *threads,
                                                "--report", report, "--progress", "none"]), self.scratch / "audit")
        _, recorded = run_json([self.options.winnow, "report", report, "--json", "-"], self.scratch / "report")
        stages = {}
        for row in recorded["run"]:
            stages[row["stage"]] = stages.get(row["stage"], 0) + row["seconds"] / ranks
        warm = ("--warm",) if self.options.warm else ()
        predicted = self.plan(family, adapters, ranks, self.launcher.per_node, *threads, *warm)
        return {"ranks": ranks, "nodes": self.launcher.nodes(ranks), "layers": layers, "adapters": adapters,
                "wall_seconds": timed.seconds, "seconds": sum(stages.values()), "stages": stages, "predicted": predicted}

    def runs(self):
        points, measured = self.points(), {}
        for repeat in range(self.options.repeats):
            for study, *point in points:
                # The largest of the weak study and the first of the adapters are points of the strong one: run once.
                key = (repeat, *point)
                if key not in measured:
                    measured[key] = self.measure(*point)
                    one = measured[key]
                    say(f"  {study:8} {point[0]:4} ranks {point[1]:4} layers {point[2]:4} adapters  {one['seconds']:8.3f} s, "
                        f"predicted {one['predicted']['total_seconds']:8.3f} s")
                yield {"study": study, "repeat": repeat, **measured[key]}

    def projection(self):
        say(f"projecting to {self.options.project}")
        family = self.family(self.options.project, None, 1, headers_only=True)
        per_node = self.options.project_ranks_per_node or self.launcher.per_node
        node_bandwidth = self.options.node_bandwidth
        measured = json.loads(self.constants.read_text())["cold"]["node_bytes_per_second"]
        points = []
        for ranks in self.options.project_ranks:
            here, nodes = node_bandwidth or measured, -(-ranks // per_node)
            limited = bool(self.options.file_system_bandwidth) and here * nodes > self.options.file_system_bandwidth
            more = ()
            if limited:
                more = ("--storage-bandwidth", f"{max(1, round(self.options.file_system_bandwidth / nodes / 1e6))}MB/s")
            elif node_bandwidth:
                more = ("--storage-bandwidth", f"{round(node_bandwidth / 1e6)}MB/s")
            points.append({"nodes": nodes, "file_system_limits": limited,
                           **self.plan(family, 1, ranks, per_node, *more)})
        return {"preset": self.options.project, "adapters": 1, "rank": self.options.rank, "ranks_per_node": per_node,
                "node_bandwidth": node_bandwidth or measured, "node_bandwidth_measured": not node_bandwidth,
                "file_system_bandwidth": self.options.file_system_bandwidth, "points": points}

    def write(self, name, text):
        partial = self.output / (name + ".partial")
        partial.write_text(text)
        os.replace(partial, self.output / name)
        print(self.output / name)

    def carry_out(self):
        try:
            options = self.options
            result = {"schema_version": 1, "created_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                      "version": run([options.winnow, "--version"], self.scratch / "version").stdout.split("\n")[0],
                      "machine": machine(self.scratch), "launcher": self.launcher.name, "quick": options.quick,
                      "preset": options.preset, "rank": options.rank, "warm": options.warm,
                      "ranks_per_node": self.launcher.per_node, "threads": self.launcher.threads,
                      "repeats": options.repeats}
            self.calibrate()
            result["constants"] = json.loads(self.constants.read_text())
            result["runs"] = list(self.runs())
            result["projection"] = self.projection()
            self.write("scaling.json", json.dumps(result, indent=1) + "\n")
            self.write("scaling.html", render(result))
        finally:
            if not self.options.keep:
                shutil.rmtree(self.scratch)


if __name__ == "__main__":
    try:
        Study(parse(sys.argv[1:])).carry_out()
    except (BenchError, OSError) as error:
        print(f"scaling.sh: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
