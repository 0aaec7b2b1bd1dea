"""What winnow says of the zoo: every metric of its reports, by adapter and module."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import h5py
import numpy as np

from lab.statistics import Floats

POPULATIONS = ("role", "adapter", "zoo")
METHODS = "methods.json"  # what winnow says of its own metrics: which end is worse, which need peers


@dataclass(frozen=True)
class Audit:
    adapters: list[str]
    modules: list[str]
    metrics: dict[str, Floats]  # [adapters, modules], high = worse, NaN where there is no LoRA


def run(program: str, base: Path, aligned: Path, adapters: Sequence[Path], report_folder: Path) -> None:
    """Writes report_folder/POPULATION.h5."""
    listed = report_folder / "zoo.txt"
    listed.write_text("".join(f"{path.resolve()}\n" for path in adapters))
    methods = subprocess.run([program, "methods", "--json"], capture_output=True, text=True, check=True)
    (report_folder / METHODS).write_text(methods.stdout)
    for population in POPULATIONS:
        command = [
            program,
            "audit",
            "--base",
            str(base),
            "--aligned",
            str(aligned),
            "--zoo",
            str(listed),
            "--report",
            str(report_folder / f"{population}.h5"),
            "--population",
            population,
            "--methods",
            "all",
            "--strict",
            "--threads",
            "1",
            "--progress",
            "none",
        ]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    listed.unlink()


def read(report_folder: Path, adapters: list[str], modules: list[str]) -> Audit:
    """`adapters`: the last parts of their paths. `modules`: in the order in which they are wanted."""
    metrics: dict[str, Floats] = {}
    methods = json.loads((report_folder / METHODS).read_text())
    sense = {dataset["name"]: dataset["worse"] for method in methods for dataset in method["datasets"]}
    of_peers = {dataset["name"] for method in methods if method["over_population"] for dataset in method["datasets"]}
    for population in POPULATIONS:
        with h5py.File(report_folder / f"{population}.h5") as report:
            paths = [Path(text).parts for text in report["adapters/path"].asstr()[:]]
            columns = list(report["modules/name"].asstr()[:])
            rows = [
                next(row for row, parts in enumerate(paths) if parts[-len(Path(name).parts) :] == Path(name).parts)
                for name in adapters
            ]
            places = [columns.index(name) for name in modules]
            for metric, dataset in report["metrics"].items():
                if sense.get(metric) is None or (population != "role" and metric not in of_peers):
                    continue
                values = dataset[:].astype(np.float64)[rows][:, places]
                label = f"{metric} ({population})" if metric in of_peers else metric
                metrics[label] = -values if sense[metric] == "low" else values
    return Audit(adapters, modules, metrics)
