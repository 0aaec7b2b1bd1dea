"""What is measured. Each function fills rows of the table or raises BenchError, which says why it could not."""

import hashlib
import json
import statistics

import checkpoints
import page_cache
from harness import BenchError, run, say
from workbench import A_CORE_EACH

GIB = 2**30
AUDITS_A_ROUND = 5  # of the one that takes milliseconds
SKETCH_COLUMNS = 24  # of winnow's default --subspace-rank 6 (compute::sketch_columns)
ONE_ADAPTER = 16 + SKETCH_COLUMNS


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
    figures = [bench.kernel(ONE_ADAPTER) for _ in range(bench.repeats)]
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
            of_kernel.append(2 * family.bytes / (bench.kernel(ONE_ADAPTER)["GB/s"] * 1e9) / audit.seconds)
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
        bench.record("warm_of_kernel", of_kernel, f"those of 8192x8192, R = {ONE_ADAPTER}")
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
            runs[ranks] = bench.audit(family.directory, one_adapter(family), ranks, ["--threads", 1], A_CORE_EACH)
        ratios.append(runs[1][0].seconds / runs[2][0].seconds)
        inner.append(seconds_in(runs[1][1]) / seconds_in(runs[2][1]))
        say(f"  ranks: {runs[1][0].seconds:.2f} s on 1, {runs[2][0].seconds:.2f} s on 2")
    bench.record("ranks", ratios, f"whole processes with mpirun, a core for each rank; inside the stages {span(inner)}x")


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
            figure = bench.kernel(1600 + SKETCH_COLUMNS)
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


def measure_methods(bench):
    """All methods beside the default ones: the same bytes, and seconds beside the flops that `plan` counts."""
    family = bench.main_family()
    ways = ("default", "all")
    flops = {way: bench.planned_flops(family.directory, one_adapter(family), ["--methods", way]) for way in ways}
    expected = flops["all"] / flops["default"]
    warm, cold, read = [], [], []
    for _ in range(bench.repeats):
        for figures, prepare in ((warm, bench.need_warm), (cold, lambda family: page_cache.evict(family.files))):
            runs = {}
            for way in ways:
                prepare(family)
                runs[way] = bench.audit(family.directory, one_adapter(family), options=["--methods", way])
            figures.append(runs["all"][0].seconds / runs["default"][0].seconds)
            bytes_read = {way: sum(stage["bytes_read"] for stage in runs[way][1]) for way in ways}
            read.append(bytes_read["all"] / bytes_read["default"])
        say(f"  methods: all {warm[-1]:.2f} times as long as default warm, {cold[-1]:.2f} cold")
    bench.record("methods_bytes", read)
    bench.record("methods_warm", [ratio / expected for ratio in warm],
                 f"{span(warm)} of {expected:.2f} times the flops, one adapter")
    bench.record("methods_cold", cold)


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
    """Share of what is equal: each metric to 1e-6 of its largest value, the selection altogether.

    But for pass_discrepancy: what it measures is rounding, which another order of sums is free to change.
    """
    def flat(report, metric):
        return [value for row in report["metrics"][metric]["values"] for value in row]

    equal = [one["selection"] == other["selection"]]
    for metric in set(one["metrics"]) - {"pass_discrepancy"}:
        pairs = list(zip(flat(one, metric), flat(other, metric), strict=True))
        # An error of a share, itself a difference of nearly equal numbers: it is compared as a share.
        scale = 1 if metric == "subspace_error" else max((abs(value) for value, _ in pairs if value is not None), default=0)
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
        # The median of a few: of milliseconds, and the first after seconds of another program runs on slower clocks.
        runs = [bench.audit(family.directory, ["--adapter", adapter]) for _ in range(AUDITS_A_ROUND)]
        stages = statistics.median(seconds_in(stages) for _, stages in runs)
        process = statistics.median(audit.seconds for audit, _ in runs)
        _, published = bench.python("published_functions.py", "--published", bench.options.published, "--base", base,
                                    "--aligned", aligned, "--adapter", adapter, "--module", module)
        functions.append(published["seconds"])
        audits.append(stages)
        of_stages.append(published["seconds"] / stages)
        of_process.append(published["seconds"] / process)
        say(f"  published {published['seconds']:.1f} s; audit {process:.2f} s, its stages {stages:.3f} s")
    bench.record("published", of_stages, f"functions alone, in memory: {span(functions)} s; "
                 f"audit, reading included, median of {AUDITS_A_ROUND} a round: "
                 f"{span([1000 * seconds for seconds in audits])} ms")
    bench.record("published_process", of_process, "functions alone against a process with its start-up")


SECTIONS = {"cold": measure_cold, "kernel": measure_kernel, "warm": measure_warm, "ranks": measure_ranks,
            "adapters": measure_adapters, "methods": measure_methods, "memory": measure_memory, "identity": measure_identity,
            "published": measure_published}
