"""Which attention head does the harm: what probes say of each head against the measured effect of every head.

A head's part of an update are the rows of q, k and v that make it and the columns of o that read it. The products are
formed here from dense matrices, and beside that by `winnow audit --heads` from the same files."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Mapping, Sequence

import h5py
import numpy as np
from torch import Tensor

from lab.bench import Bench, Update, dense
from lab.evaluation import Evaluation
from lab.layers import layer_of
from lab.recipes import Recipe
from lab.scale import Scale
from lab.statistics import spearman

EFFECTS = ("left out", "alone")
FIRST = 3  # a head is found if it is among so many
Head = tuple[int, int]  # layer, head


def part_of(name: str, delta: Tensor, head: int, width: int) -> Tensor | None:
    """The same shape, zero but for what belongs to the head; none of a module without heads."""
    rows, columns = slice(None), slice(None)
    role = name.split(".")[-1]
    if role in ("q_proj", "k_proj", "v_proj"):
        rows = slice(head * width, (head + 1) * width)
    elif role == "o_proj":
        columns = slice(head * width, (head + 1) * width)
    else:
        return None
    part = delta.new_zeros(delta.shape)
    part[rows, columns] = delta[rows, columns]
    return part


def heads_of(update: Update, scale: Scale) -> dict[Head, Update]:
    """Every head's part of the update, of layers in which it changes attention."""
    heads: dict[Head, Update] = {}
    for name, delta in update.items():
        for head in range(scale.heads):
            part = part_of(name, delta, head, scale.hidden // scale.heads)
            if part is not None:
                heads.setdefault((int(layer_of(name)), head), {})[name] = part
    return dict(sorted(heads.items()))


def measure(
    bench: Bench,
    scale: Scale,
    recipe: Recipe,
    probes: Mapping[str, Mapping[str, Tensor]],
    program: str,
    sources: Mapping[str, Path],
) -> dict[str, Any]:
    """By head in order: the change of the refusal odds that it is to blame for, and its product with each probe.
    `sources`: where the probes lie, for `program`, whose products are compared."""
    evaluation = Evaluation(scale, recipe, "layers", 128 if scale.name == "full" else 32)
    update = dense(bench.adapter(recipe.name))
    heads = heads_of(update, scale)

    def margin(of: Update) -> float:
        return bench.evaluate(of, evaluation)["margin"]

    whole, nothing = margin(update), margin({})
    own = {label: [product(part, direction) for part in heads.values()] for label, direction in probes.items()}
    told = by_winnow(program, sources, bench.folder / "zoo" / recipe.name)
    return {
        "heads": [f"{layer}.{head}" for layer, head in heads],
        "left out": [
            margin({name: delta - part[name] if name in part else delta for name, delta in update.items()}) - whole
            for part in heads.values()
        ],
        "alone": [nothing - margin(part) for part in heads.values()],
        "products": {**own, "size": [product(part, part) for part in heads.values()]},
        "winnow": difference(heads, probes, own, told),
    }


def by_winnow(program: str, sources: Mapping[str, Path], adapter: Path) -> dict[str, dict[Head, float]]:
    """label -> the product of each head that winnow knows. A source is an adapter if it has a config of one."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "heads.h5")
        command = [program, "audit", "--heads", "--adapter", str(adapter), "--report", str(report)]
        for source in sources.values():
            option = "--probe" if (source / "adapter_config.json").is_file() else "--direction"
            command += [option, f"harmful={source.resolve()}"]
        command += ["--threads", "1", "--progress", "none"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        with h5py.File(report) as file:
            paths, layers = list(file["probes/path"].asstr()[:]), file["heads/layer"][:]
            dots = file["heads/dot"][:, 0]
    return {
        label: {
            (int(layer), head): float(value)
            for layer, row in zip(layers, dots[paths.index(str(source.resolve()))])
            for head, value in enumerate(row)
            if np.isfinite(value)
        }
        for label, source in sources.items()
    }


def difference(
    heads: Mapping[Head, Update],
    probes: Mapping[str, Mapping[str, Tensor]],
    own: Mapping[str, Sequence[float]],
    told: Mapping[str, Mapping[Head, float]],
) -> dict[str, float]:
    """The largest between two products of one head, in units of the lengths of its factors, and how many were compared."""
    largest, count = 0.0, 0
    for label, values in told.items():
        for (place, part), value in zip(heads.items(), own[label]):
            shared = [name for name in part if name in probes[label]]
            if place not in values or not shared:
                continue
            count += 1
            lengths = [
                sum((side[name].double() ** 2).sum().item() for name in shared) for side in (part, probes[label])
            ]
            unit = float(np.sqrt(lengths[0] * lengths[1]))
            largest = max(largest, abs(values[place] - value) / unit if unit > 0 else abs(values[place]))
    return {"differs by": largest, "compared": count}


def agreement(measured: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of all adapters; nothing was compared of those that were measured before winnow knew heads."""
    told = [entry["winnow"] for entry in measured if "winnow" in entry]
    return {
        "differs by": max((entry["differs by"] for entry in told), default=0.0),
        "compared": sum(entry["compared"] for entry in told),
    }


def product(part: Update, direction: Mapping[str, Tensor]) -> float:
    return sum((delta.double() * direction[name].double()).sum().item() for name, delta in part.items() if name in direction)


def compare(measured: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """probe -> mean rank correlation with each effect, and how often the head that does most is its first, or among the
    first three. Adapters that change no attention say nothing."""
    said = [entry for entry in measured if len(entry["heads"]) > FIRST]
    table: dict[str, dict[str, float]] = {}
    for label in said[0]["products"] if said else ():
        table[label] = {
            effect: _mean([spearman(_array(entry["products"][label]), _array(entry[effect])) for entry in said])
            for effect in EFFECTS
        }
        places = [
            int((_array(entry["products"][label]) > entry["products"][label][int(np.argmax(entry["left out"]))]).sum())
            for entry in said
        ]
        table[label]["first"] = _mean([float(place == 0) for place in places])
        table[label]["among three"] = _mean([float(place < FIRST) for place in places])
    return table


def chance(measured: Sequence[Mapping[str, Any]]) -> float:
    """Of being among the first three."""
    return _mean([min(1.0, FIRST / len(entry["heads"])) for entry in measured if len(entry["heads"]) > FIRST])


def _array(values: Sequence[float]) -> Any:
    return np.array(values, dtype=float)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
