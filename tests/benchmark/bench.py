#!/usr/bin/env python3
"""Measures winnow end to end against the storage, its own passes, PyTorch and the published functions.

Whole processes are timed, start-up included. What is compared is run in turn (A/B/A/B) on the same files; the table
has the median of the per-round ratios and their spread, of memory the largest. Cold: below 1 % of the checkpoints' pages
are resident (mincore), checked before every run; warm: at least 99 %. Caches of the hypervisor and of the disk itself
are beyond our control.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import checkpoints
import page_cache
from harness import BenchError, Row, available_memory, load_average, machine, number, render, run, run_json, say

HERE = Path(__file__).parent
GIB = 2**30
SKETCH_COLUMNS = 8  # of winnow's default --subspace-rank 6
# bytes of one model without its layers (embeddings and head), of one layer, and LoRA parameters of a layer per rank
SIZES = {"tiny": (1e5, 1e6, 3e3), "llama-2-7b": (5.3e8, 4.1e8, 8e4), "llama-3-70b": (4.3e9, 1.72e9, 1.62e5)}

ROWS = (
    Row("cold", "cold", "cold audit / raw O_DIRECT reader, weight bytes/s", 0.90),
    Row("kernel", "passes_of_peak", "both passes, R = 24, bf16 / FMA peak", 0.60),
    Row("warm", "warm_of_stages", "warm audit end to end / its own pass stages", 0.85),
    Row("warm", "warm_of_kernel", "warm audit end to end / kernel_benchmark's passes", 0.85),
    Row("warm", "torch_plain", "warm audit / PyTorch low-rank script", 10, unit="x"),
    Row("warm", "torch_in_place", "warm audit / the script, differences formed in place", 10, unit="x"),
    Row("warm", "torch_agrees", "modules on which winnow and the script agree (1e-3)", 1.0, worst=True),
    Row("ranks", "ranks", "2 ranks x 1 thread / 1 rank x 1 thread, warm", 1.9, unit="x"),
    Row("adapters", "adapters", "many adapters stacked, GFLOP/s / sgemm peak", 0.85),
    Row("memory", "memory_default", "peak GiB per rank, default budget", 4.0, at_least=False, unit="GiB", worst=True),
    Row("memory", "memory_1gib", "peak GiB per rank less libraries, --memory-budget 1GiB", 1.0, at_least=False, unit="GiB",
        worst=True),
    Row("identity", "identity", "share of 1, 2, 3, 5 ranks with bit-identical datasets", 1.0),
    Row("identity", "teams", "share of metrics and selections equal with a team of 2 (1e-6)", 1.0),
    Row("published", "published", "published functions / audit stages, 4096x4096, r = 8", 300, unit="x"),
    Row("published", "published_process", "published functions / whole audit process", 300, unit="x"),
)
HARD = ("torch_agrees", "identity", "teams")  # right or wrong, not fast or slow: these fail the run


class Family:
    """A synthetic model family and what an audit of it reads."""

    def __init__(self, directory):
        self.directory = directory
        self.adapter = directory / "adapters" / "adapter-000"
        self.pairs = checkpoints.module_pairs(directory, self.adapter)
        self.ranges = checkpoints.ranges_of(self.pairs)
        self.files = sorted({path for path, _, _ in self.ranges} | {str(self.adapter / "adapter_model.safetensors")})
        self.bytes = sum(size for _, _, size in self.ranges)

    def flops(self, columns):
        """Of both passes over all modules, for that many stacked columns."""
        return sum(4.0 * base.shape[0] * base.shape[1] * columns for base, _ in self.pairs)


class Bench:
    def __init__(self, options):
        self.options = options
        self.rows = {row.key: row for row in ROWS}
        options.directory.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=options.directory))
        self.made = []  # families of this run
        self.extra = {}
        self.repeats = 1 if options.quick else options.repeats
        self.preset, self.layers, self.adapters = (("tiny", 2, 4) if options.quick
                                                   else ("llama-3-70b", options.layers, 100))
        self.audit_help = run([options.winnow, "audit", "--help"], self.scratch / "help").stdout
        self.extra["version"] = run([options.winnow, "--version"], self.scratch / "version").stdout.strip()

    def record(self, key, samples, note=""):
        self.rows[key].samples, self.rows[key].note = list(samples), note
        say(f"  {self.rows[key].what}: {number(self.rows[key].value())}" + (f"   ({note})" if note else ""))

    def skip(self, key, reason):
        self.rows[key].reason = reason

    def family(self, preset, layers, adapters, rank):
        """Made once, reused as long as it is there."""
        directory = self.options.directory / f"{preset}-{layers}x{adapters}-r{rank}"
        if not (directory / "truth.json").exists():  # what synth writes last
            fixed, layer, lora = SIZES[preset]
            need = 1.02 * (2 * (fixed + layers * layer) + adapters * layers * lora * rank * 2)
            free = shutil.disk_usage(self.options.directory).free
            if free < need:
                raise BenchError(f"{need / 1e9:.1f} GB needed for {directory}, {free / 1e9:.1f} GB free")
            say(f"making {directory} ({need / 1e9:.1f} GB)")
            self.made.append(directory)
            run([self.options.winnow, "synth", "--preset", preset, "--layers", layers, "--adapters", adapters, "--rank",
                 rank, "--output", directory], self.scratch / "synth")
        return Family(directory)

    def main_family(self):
        return self.family(self.preset, self.layers, self.adapters, 16)

    def audit(self, directory, adapters, ranks=None, options=()):
        """(Run, stages): `stages` are rows of the report's /run, `ranks` starts mpirun."""
        report = self.scratch / "report.h5"
        command = [self.options.winnow, "audit", "--base", directory / "base", "--aligned", directory / "aligned",
                   *adapters, "--report", report, "--progress", "none", *options]
        result = run((["mpirun", "-n", ranks] if ranks else []) + command, self.scratch / "audit")
        return result, self.report_json()["run"]

    def report_json(self):
        target = self.scratch / "report.json"
        run([self.options.winnow, "report", self.scratch / "report.h5", "--json", target], self.scratch / "report")
        return json.loads(target.read_text())

    def kernel(self, columns):
        """kernel_benchmark's figures for both passes over 8192 x 8192 in bf16, all threads."""
        if not self.options.kernel_benchmark:
            raise BenchError("kernel_benchmark was not built (libbenchmark-dev)")
        name = f"passes/8192x8192/R:{columns}/threads:{self.extra['machine']['cores']}"
        _, result = run_json([self.options.kernel_benchmark, f"--benchmark_filter=^{name}/", "--benchmark_format=json"],
                             self.scratch / "kernel")
        if not result.get("benchmarks"):
            raise BenchError(f"kernel_benchmark has no {name}")
        return result["benchmarks"][0]

    def need_warm(self, family):
        if page_cache.resident_share(family.ranges) >= page_cache.WARM_SHARE:
            return
        if available_memory() < family.bytes + 4 * GIB:
            raise BenchError(f"{(family.bytes + 4 * GIB) / 1e9:.0f} GB of memory needed to keep the weights resident")
        page_cache.evict(family.files)  # also what an audit never reads: embeddings take as much room as some layers
        page_cache.load(family.ranges)

    def python(self, script, *arguments):
        if not self.options.python_with_torch:
            raise BenchError("no Python with torch; jobs/setup.sh --torch pip installs it")
        return run_json([self.options.python_with_torch, HERE / script, *arguments], self.scratch / script)


def seconds_in(stages, prefix=""):
    """Of the slowest rank, in the stages whose names begin so."""
    per_rank = {}
    for stage in stages:
        if stage["stage"].startswith(prefix):
            per_rank[stage["rank"]] = per_rank.get(stage["rank"], 0.0) + stage["seconds"]
    return max(per_rank.values())


def one_adapter(family):
    return ["--adapter", family.adapter]


def sweep(bench, family):
    """The best of a few ways to read with O_DIRECT: (threads, chunk)."""
    figures = {}
    for threads in (1, 2) if bench.options.quick else (1, 2, 4, 8):
        for chunk in (1 << 20, 8 << 20) if bench.options.quick else (1 << 20, 4 << 20, 8 << 20, 16 << 20):
            page_cache.evict(family.files)
            figures[threads, chunk] = family.bytes / raw_read(bench, family, threads, chunk).seconds
            say(f"  raw reader, {threads} threads x {chunk >> 20} MiB: {figures[threads, chunk] / 1e9:.2f} GB/s")
    bench.extra["raw_reader_sweep"] = [{"threads": threads, "chunk": chunk, "bytes_per_second": rate}
                                       for (threads, chunk), rate in figures.items()]
    return max(figures, key=figures.get)


def raw_read(bench, family, threads, chunk):
    ranges = bench.scratch / "ranges"
    ranges.write_text("".join(f"{offset} {size} {path}\n" for path, offset, size in family.ranges))
    return run(["/bin/sh", "-c", 'exec "$0" --threads "$1" --chunk "$2" < "$3"', bench.options.raw_reader, threads, chunk,
                ranges], bench.scratch / "raw_reader")


def measure_cold(bench):
    family = bench.main_family()
    threads, chunk = sweep(bench, family)
    ratios, rates, audits = [], [], []
    for _ in range(bench.repeats):
        page_cache.evict(family.files)
        audit, _ = bench.audit(family.directory, one_adapter(family))
        page_cache.evict(family.files)
        raw = raw_read(bench, family, threads, chunk)
        ratios.append(raw.seconds / audit.seconds)
        audits.append(family.bytes / audit.seconds / 1e9)
        rates.append(family.bytes / raw.seconds / 1e9)
        say(f"  cold: audit {audits[-1]:.2f} GB/s, raw reader {rates[-1]:.2f} GB/s")
    bench.record("cold", ratios, f"audit {span(audits)} GB/s, raw {span(rates)} GB/s "
                 f"({threads} threads x {chunk >> 20} MiB), {family.bytes / 1e9:.2f} GB of weights")


def span(values):
    return f"{min(values):.2f}..{max(values):.2f}"


def measure_kernel(bench):
    figures = [bench.kernel(24) for _ in range(bench.repeats)]
    rates = [figure["GFLOP/s"] for figure in figures]
    bench.record("passes_of_peak", [figure["of_peak"] for figure in figures],
                 f"{span(rates)} GFLOP/s of {span([figure['peak'] for figure in figures])}")


def measure_warm(bench):
    family = bench.main_family()
    sides = ["--base", family.directory / "base", "--aligned", family.directory / "aligned", "--adapter", family.adapter]
    ways = ("plain", "in-place")
    audits, of_stages, of_kernel, scripts, agreement = [], [], [], {way: [] for way in ways}, []
    failure = {}
    for _ in range(bench.repeats):
        bench.need_warm(family)
        audit, stages = bench.audit(family.directory, one_adapter(family))
        expected = distances(bench.report_json())
        audits.append(audit.seconds)
        of_stages.append(seconds_in(stages, "pass") / audit.seconds)
        say(f"  warm: audit {audit.seconds:.2f} s, its passes {seconds_in(stages, 'pass'):.2f} s")
        try:  # its GB/s counts the pair once a pass
            of_kernel.append(2 * family.bytes / (bench.kernel(24)["GB/s"] * 1e9) / audit.seconds)
        except BenchError as error:
            bench.skip("warm_of_kernel", str(error))
        for way in ways:
            try:
                bench.need_warm(family)
                script, result = bench.python("torch_low_rank.py", *sides, "--difference", way)
                scripts[way].append((script.seconds, result["seconds"]))
                say(f"  warm: torch {way} {script.seconds:.2f} s, {result['seconds']:.2f} s of it after the imports")
                agreement.append(agree(expected, result["modules"]))
            except BenchError as error:
                failure[way] = str(error)
    bench.record("warm_of_stages", of_stages, f"audit {span(audits)} s, "
                 f"{span([family.bytes / seconds / 1e9 for seconds in audits])} GB/s")
    if of_kernel:
        bench.record("warm_of_kernel", of_kernel, "those of 8192x8192, R = 24")
    for way, key in zip(ways, ("torch_plain", "torch_in_place")):
        if way in failure:
            bench.skip(key, failure[way])
            bench.skip("torch_agrees", failure[way])
            continue
        inner = [seconds / audit for (_, seconds), audit in zip(scripts[way], audits)]
        bench.record(key, [seconds / audit for (seconds, _), audit in zip(scripts[way], audits)],
                     f"script {span([seconds for seconds, _ in scripts[way]])} s; without its imports {span(inner)}x")
    if agreement:
        bench.record("torch_agrees", agreement)


def distances(report):
    names = [module["name"] for module in report["modules"]]
    return dict(zip(names, report["metrics"]["distance"]["values"][0]))


def agree(expected, found):
    """Share of the modules whose distances are the same to 1e-3: two programs that compute the same thing."""
    same = sum(name in found and abs(found[name]["distance"] - value) <= 1e-3 * value for name, value in expected.items())
    return same / max(len(expected), len(found))


def measure_ranks(bench):
    family = bench.main_family()
    if bench.extra["machine"]["cores"] < 2:
        raise BenchError("two ranks need two cores")
    ratios, inner = [], []
    for _ in range(bench.repeats):
        runs = {}
        for ranks in (1, 2):
            bench.need_warm(family)
            runs[ranks] = bench.audit(family.directory, one_adapter(family), ranks, ["--threads", 1])
        ratios.append(runs[1][0].seconds / runs[2][0].seconds)
        inner.append(seconds_in(runs[1][1]) / seconds_in(runs[2][1]))
        say(f"  ranks: {runs[1][0].seconds:.2f} s on 1, {runs[2][0].seconds:.2f} s on 2")
    bench.record("ranks", ratios, f"whole processes with mpirun; inside the stages {span(inner)}x")


def measure_adapters(bench):
    family = bench.main_family()
    zoo = ["--zoo", family.directory / "adapters"]
    columns = 16 * bench.adapters + SKETCH_COLUMNS
    rates, ratios, peaks, missing = [], [], [], ""
    for _ in range(bench.repeats):
        bench.need_warm(family)
        audit, stages = bench.audit(family.directory, zoo)
        rates.append(family.flops(columns) / seconds_in(stages, "pass") / 1e9)
        say(f"  {bench.adapters} adapters: {audit.seconds:.1f} s, {rates[-1]:.0f} GFLOP/s in the passes")
        try:
            figure = bench.kernel(1608)
            if not figure.get("sgemm"):
                raise BenchError("kernel_benchmark found no BLAS")
            peaks.append(figure["sgemm"])
            ratios.append(rates[-1] / peaks[-1])
        except BenchError as error:
            missing = str(error)
    note = f"{bench.adapters} adapters, R = {columns}: {span(rates)} GFLOP/s in the passes"
    if missing:
        bench.skip("adapters", f"{missing}; {note}")
    else:
        bench.record("adapters", ratios, f"{note}, sgemm {span(peaks)}")


def measure_memory(bench):
    family = bench.main_family()
    deep_layers = 4 if bench.options.quick else 8
    deep = bench.scratch / "deep"
    checkpoints.deepen(family.directory, deep_layers, bench.adapters, deep)
    tiny = bench.family("tiny", 2, 1, 16)
    libraries = bench.audit(tiny.directory, one_adapter(tiny))[0].peak_bytes
    bench.extra["library_bytes"] = libraries
    budgets = {"memory_default": (), "memory_1gib": ("--memory-budget", "1GiB")}
    if "--memory-budget" not in bench.audit_help:
        bench.skip("memory_1gib", "this winnow has no --memory-budget")
        del budgets["memory_1gib"]
    for key, options in budgets.items():
        peaks = {}
        for directory, layers in ((family.directory, bench.layers), (deep, deep_layers)):
            first = directory / "adapters" / "adapter-000"
            for adapters, asked in ((1, ["--adapter", first]), (bench.adapters, ["--zoo", directory / "adapters"])):
                peak = bench.audit(directory, asked, options=options)[0].peak_bytes
                peaks[layers, adapters] = (peak - (libraries if key == "memory_1gib" else 0)) / GIB
                say(f"  memory: {layers} layers, {adapters} adapters, {' '.join(options) or 'default'}: "
                    f"{peak / GIB:.2f} GiB")
        parts = ", ".join(f"{layers} layers x {adapters}: {peak:.2f}" for (layers, adapters), peak in peaks.items())
        bench.record(key, peaks.values(), f"{parts}; libraries {libraries / GIB:.2f} GiB; {deep_layers} layers are zeros")


def digest(bench):
    """Of every dataset but those of /run, names and types included."""
    try:
        import h5py
    except ImportError:
        report = bench.report_json()  # its numbers read back to the same bits
        return json.dumps({key: value for key, value in report.items() if key not in ("run", "attributes")})
    sums = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset) and name != "record" and not name.startswith("run/"):
            sums.update(f"{name} {item.shape} {item.dtype}".encode() + item[()].tobytes())

    with h5py.File(bench.scratch / "report.h5") as file:
        file.visititems(add)
    return sums.hexdigest()


def measure_identity(bench):
    family = bench.family("tiny", 2, 4, 16) if bench.options.quick else bench.family("llama-2-7b", 1, 1, 8)
    zoo, select = ["--zoo", family.directory / "adapters"], ["--select", "prune-top:3"]
    digests, reports = [], []
    for ranks in (1, 2, 3, 5):
        bench.audit(family.directory, zoo, ranks, select)
        digests.append(digest(bench))
        reports.append(bench.report_json())
    bench.record("identity", [sum(one == digests[0] for one in digests) / len(digests)])
    if "--team" not in bench.audit_help:
        raise BenchError("this winnow has no --team")
    bench.audit(family.directory, zoo, 2, [*select, "--team", 2])
    bench.record("teams", [close(reports[0], bench.report_json())])


def close(one, other):
    """Share of what is equal: each metric to 1e-6 of its largest value, the selection altogether."""
    def flat(report, metric):
        return [value for row in report["metrics"][metric]["values"] for value in row]

    equal = [one["selection"] == other["selection"]]
    for metric in one["metrics"]:
        pairs = list(zip(flat(one, metric), flat(other, metric), strict=True))
        scale = max((abs(value) for value, _ in pairs if value is not None), default=0)
        equal.append(all((a is None) == (b is None) and (a is None or abs(a - b) <= 1e-6 * scale) for a, b in pairs))
    return sum(equal) / len(equal)


def measure_published(bench):
    if not bench.options.published:
        raise BenchError("needs --published DIR, a checkout of the published code")
    if bench.options.quick:
        raise BenchError("not in --quick")
    family = bench.family("llama-2-7b", 1, 1, 8)
    module = "model.layers.0.self_attn.q_proj"
    adapter = bench.scratch / "one-module"
    checkpoints.cut_adapter(family.adapter, [module], adapter)
    base, aligned = family.directory / "base", family.directory / "aligned"
    of_stages, of_process, functions, audits = [], [], [], []
    for _ in range(bench.repeats):
        bench.need_warm(family)
        audit, stages = bench.audit(family.directory, ["--adapter", adapter])
        _, published = bench.python("published_functions.py", "--published", bench.options.published, "--base", base,
                                    "--aligned", aligned, "--adapter", adapter, "--module", module)
        functions.append(published["seconds"])
        audits.append(seconds_in(stages))
        of_stages.append(published["seconds"] / seconds_in(stages))
        of_process.append(published["seconds"] / audit.seconds)
        say(f"  published {published['seconds']:.1f} s; audit {audit.seconds:.2f} s, its stages {seconds_in(stages):.3f} s")
    bench.record("published", of_stages, f"functions alone, in memory: {span(functions)} s; "
                 f"audit, reading included: {span([1000 * seconds for seconds in audits])} ms")
    bench.record("published_process", of_process, "functions alone against a process with its start-up")


SECTIONS = {"cold": measure_cold, "kernel": measure_kernel, "warm": measure_warm, "ranks": measure_ranks,
            "adapters": measure_adapters, "memory": measure_memory, "identity": measure_identity,
            "published": measure_published}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench.sh", usage="jobs/bench.sh [options]", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, metavar="L", default=2,
                        help="of the 70B-shaped pair, 3.4 GB each (default 2)")
    parser.add_argument("--repeats", type=int, metavar="N", default=5, help="rounds of every comparison (default 5)")
    parser.add_argument("--directory", type=Path, metavar="DIR", required=True,
                        help="where the families go, 20 GB (default out/bench)")
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
    bench = Bench(options)
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
                except (BenchError, page_cache.CacheError, OSError) as error:
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
