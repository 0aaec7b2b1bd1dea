"""The model families, programs and rows that the measurements share. Standard library only."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import checkpoints
import page_cache
from harness import BenchError, available_memory, number, run, run_json, say

HERE = Path(__file__).parent
# bytes of one model without its layers (embeddings and head), of one layer, and LoRA parameters of a layer per rank
SIZES = {"tiny": (1e5, 1e6, 3e3), "llama-2-7b": (5.3e8, 4.1e8, 8e4), "llama-3-70b": (4.3e9, 1.72e9, 1.62e5)}
A_CORE_EACH = ["--map-by", "core", "--bind-to", "core"]  # as Slurm gives it: a rank's reader shares the rank's core
SPARE_MEMORY = 4 << 30  # bytes that must stay free beside weights that are to be resident


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


class Workbench:
    def __init__(self, options, rows):
        self.options = options
        self.rows = {row.key: row for row in rows}
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

    def audit(self, directory, adapters, ranks=None, options=(), binding=()):
        """(Run, stages): `stages` are rows of the report's /run, `ranks` starts mpirun."""
        report = self.scratch / "report.h5"
        command = [self.options.winnow, "audit", "--base", directory / "base", "--aligned", directory / "aligned",
                   *adapters, "--report", report, "--progress", "none", *options]
        launcher = ["mpirun", *binding, "-n", ranks] if ranks else []
        result = run(launcher + command, self.scratch / "audit")
        return result, self.report_json()["run"]

    def planned_flops(self, directory, adapters, options=()):
        """Of the arithmetic over weights, as `winnow plan` counts it."""
        plan = run([self.options.winnow, "plan", "--base", directory / "base", "--aligned", directory / "aligned", *adapters,
                    *options], self.scratch / "plan").stdout
        return 1e12 * float(re.search(r"([0-9.e+-]+) TFLOP,", plan).group(1))

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
        if available_memory() < family.bytes + SPARE_MEMORY:
            raise BenchError(f"{(family.bytes + SPARE_MEMORY) / 1e9:.0f} GB of memory needed to keep the weights resident")
        page_cache.evict(family.files)  # also what an audit never reads: embeddings take as much room as some layers
        page_cache.load(family.ranges)

    def python(self, script, *arguments):
        if not self.options.python_with_torch:
            raise BenchError("no Python with torch; jobs/setup.sh --torch pip installs it")
        return run_json([self.options.python_with_torch, HERE / script, *arguments], self.scratch / script)
