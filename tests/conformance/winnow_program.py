"""Runs the winnow program and reads its reports, for the conformance tests."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import h5py
import numpy

REAL = Path(__file__).resolve().parent.parent / "data" / "real"
PROGRAM = os.environ.get("WINNOW")



def backends():
    """Those that this winnow has."""
    built = subprocess.run([PROGRAM, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return ("reference", "cpu") if "libtorch none" in built else ("reference", "cpu", "torch")


needs_winnow = unittest.skipUnless(PROGRAM, "WINNOW, the path of the program, is not set")


def run(arguments, ranks=1, expect=0):
    """Runs winnow, under mpirun where `ranks` is given, and returns the finished process. Fails on another exit code."""
    command = [PROGRAM, *map(str, arguments)]
    if ranks > 1:
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                   "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1800, env=environment,
                          text=True)
    if done.returncode != expect:
        raise AssertionError(f"exit {done.returncode}, expected {expect}: {' '.join(command)}\n{done.stderr}")
    return done


def audit(model, report, *options, backend="reference", ranks=1, adapters=None, expect=0, pair=True):
    """Audits a fixture model with all its adapters, or those named; without `pair` by the aligned weights alone."""
    directories = sorted((model / "adapters").iterdir())
    chosen = [path for path in directories if adapters is None or path.name in adapters]
    arguments = ["audit", *(["--base", model / "base"] if pair else []), "--aligned", model / "aligned", "--report",
                 report, "--backend", backend, "--threads", 1, "--subspace-rank", 6]
    for path in chosen:
        arguments += ["--adapter", path]
    return run([*arguments, *options], ranks, expect)


class Report:
    """A report in memory: plain strings and numpy arrays."""

    def __init__(self, path):
        with h5py.File(path, "r") as file:
            self.attributes = dict(file.attrs)
            self.datasets = {}
            file.visititems(lambda name, item: self.datasets.update({name: item[()]})
                            if isinstance(item, h5py.Dataset) else None)
        self.modules = self.texts("modules/name")
        self.adapters = self.texts("adapters/name")
        self.status = dict(zip(self.adapters, self.texts("adapters/status")))
        self.reason = dict(zip(self.adapters, self.texts("adapters/reason")))

    def texts(self, name):
        return [text.decode() if isinstance(text, bytes) else str(text) for text in self.datasets[name]]

    def metric(self, metric, adapter):
        """{module: value} of one adapter, NaN included."""
        return dict(zip(self.modules, self.datasets[f"metrics/{metric}"][self.adapters.index(adapter)]))

    def present(self, adapter):
        """{module: 0 nothing | 1 LoRA | 2 a dense update}"""
        return dict(zip(self.modules, self.datasets["selection/present"][self.adapters.index(adapter)]))

    def action(self, adapter):
        """{module: 0 none | 1 keep | 2 prune}"""
        return dict(zip(self.modules, self.datasets["selection/action"][self.adapters.index(adapter)]))

    def name_of(self, module):
        """The report's name of a module that PEFT names `module`: the checkpoint's, which may lack the outer model,
        and for a tied lm_head may be that of the embeddings."""
        names = [module, module.removeprefix("transformer.")]
        names += ["model.embed_tokens"] if module == "lm_head" else []
        found = [name for name in names if name in self.modules]
        if not found:
            raise AssertionError(f"{module} is in no row of /modules: {self.modules}")
        return found[0]

    def same_datasets(self, other):
        """Names of datasets that differ in any bit, except those that hold times, memory and ranks."""
        names = {name for name in self.datasets if not name.startswith("run/")}
        others = {name for name in other.datasets if not name.startswith("run/")}
        differing = sorted(names ^ others)
        for name in sorted(names & others):
            a, b = numpy.asarray(self.datasets[name]), numpy.asarray(other.datasets[name])
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                if a.dtype != object or list(a.flat) != list(b.flat):
                    differing.append(name)
        return differing


class TemporaryDirectoryCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = Path(tempfile.mkdtemp(prefix="winnow-conformance-"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory, ignore_errors=True)
