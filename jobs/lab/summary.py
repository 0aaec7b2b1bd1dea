"""lab.json: everything that the page shows, from the stages of all models. No times in it: the same seeds give the
same file."""

import json
import math
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from lab import detection, repair_summary, watching
from lab.detection import Zoo
from lab.scale import Scale
from lab.stage import RESULT

SCHEMA = 1


def _result(folder: Path) -> Any:
    return json.loads((folder / RESULT).read_text())


def _adapters(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    return [_result(folder / "zoo" / name) for name in names]


def read_zoo(folder: Path, seed: int) -> Zoo:
    names = _result(folder / "audit")["adapters"]
    made = _adapters(folder, names)
    statistics = _result(folder / "scores")["statistics"]
    return Zoo(
        seed,
        [entry["recipe"] for entry in made],
        [entry["facts"] for entry in made],
        {name: np.array(values) for name, values in statistics.items()},
    )


def speed(output: Path, seeds: Sequence[int]) -> dict[str, list[dict[str, float]]]:
    return {str(seed): _result(output / f"seed-{seed}" / "speed") for seed in seeds}


def summary(scale: Scale, output: Path, seeds: Sequence[int], choosing: Sequence[int], bank: int = 0) -> dict[str, Any]:
    folders = {seed: output / f"seed-{seed}" for seed in seeds}
    zoos = [read_zoo(folder, seed) for seed, folder in folders.items()]
    chosen_on = [seed for seed in seeds if seed in choosing] or list(seeds[:1])
    repairs = {str(seed): _repairs(folder) for seed, folder in folders.items()}
    table = {
        statistic: {
            **{str(zoo.seed): detection.of_model(zoo, statistic, scale.bootstrap) for zoo in zoos},
            "across": detection.across(zoos, statistic, chosen_on),
        }
        for statistic in zoos[0].statistics
    }
    choice: dict[str, Any] = {
        "chosen on": chosen_on,
        "confirmed on": [seed for seed in seeds if seed not in chosen_on],
        "statistic": detection.best(table, chosen_on),
        "repair": repair_summary.best(repairs, chosen_on),
    }
    return finite(
        {
            "schema_version": SCHEMA,
            "scale": scale.name,
            "seeds": list(seeds),
            "choice": choice,
            "models": {
                str(seed): {"base": _result(folder / "base"), "aligned": _result(folder / "aligned")}
                for seed, folder in folders.items()
            },
            "adapters": {
                str(zoo.seed): [_adapter(zoo, row, choice["statistic"]) for row in range(len(zoo.recipes))]
                for zoo in zoos
            },
            "detection": table,
            "layers": {str(seed): _result(folder / "layers") for seed, folder in folders.items()},
            "heads": {str(seed): _result(folder / "heads") for seed, folder in folders.items()},
            "repair": repairs,
            "repair_by_class": {
                str(seed): _repairs_by_class(folder, choice["repair"]) for seed, folder in folders.items()
            },
            "watch": {str(seed): _watch(folder) for seed, folder in folders.items()},
            "verdicts": {str(seed): _result(folder / f"verdicts-{bank}") for seed, folder in folders.items()} if bank else {},
            "drowned": {str(seed): _result(folder / "drowned") for seed, folder in folders.items()},
            "evasion": {str(zoo.seed): _evasion(zoo, table, choice) for zoo in zoos},
        }
    )


def _adapter(zoo: Zoo, row: int, statistic: str) -> dict[str, Any]:
    recipe = zoo.recipes[row]
    return {
        "name": recipe["name"],
        "kind": recipe["kind"],
        "variant": recipe["variant"],
        "knows": recipe["knows"],
        **zoo.facts[row],
        "score": float(zoo.statistics[statistic][row]),
    }


def _repairs(folder: Path) -> dict[str, dict[str, Any]]:
    return repair_summary.of_model(
        {path.parent.name: json.loads(path.read_text()) for path in sorted((folder / "repair").glob(f"[!.]*/{RESULT}"))}
    )


def _watch(folder: Path) -> dict[str, Any]:
    """Without times."""
    results = sorted((folder / "watch").glob(f"[!.]*/{RESULT}"))
    runs = {path.parent.name: json.loads(path.read_text()) for path in results}
    kept = {
        name: {key: value for key, value in run.items() if key not in watching.TIMES} for name, run in runs.items()
    }
    return {"runs": kept, "summary": watching.summary(kept)}


def _repairs_by_class(folder: Path, rule: str | None) -> dict[str, Any]:
    """What the chosen repair does to each class."""
    by_class: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "repair").glob(f"[!.]*/{RESULT}")):
        entry = json.loads(path.read_text())
        if rule is not None and entry["group"] != repair_summary.HARMLESS:
            kind = _result(folder / "zoo" / path.parent.name)["recipe"]["kind"]
            by_class.setdefault(kind, {})[path.parent.name] = {**entry, "group": repair_summary.WITH_TASK}
    return {
        kind: repair_summary.of_model(adapters)[rule][repair_summary.WITH_TASK] for kind, adapters in by_class.items()
    }


def _evasion(zoo: Zoo, table: dict[str, Any], choice: dict[str, Any]) -> list[dict[str, Any]]:
    """What attackers keep who know something, and which probes still see them: above every harmless adapter of the
    model."""
    rows = []
    bank = zoo.bank()
    watched = [
        choice["statistic"],
        "probe_cosine, auditor red-team-0",
        "probe_cosine, auditor gradient",
        "probe_cosine, auditor half",
        "probe_cosine, secret half",
        "alignment_removed: whole model",
        "ediem (role): mean",
    ]
    for row, recipe in enumerate(zoo.recipes):
        if recipe["kind"] != "evading":
            continue
        facts = zoo.facts[row]
        seen = {
            name: {
                "value": float(zoo.statistics[name][row]),
                "seen": bool(bank.any() and zoo.statistics[name][row] > zoo.statistics[name][bank].max()),
            }
            for name in dict.fromkeys(watched)
        }
        rows.append(
            {
                "name": recipe["name"],
                "knows": recipe["knows"],
                "attack_success": facts["attack_success"],
                "own": facts.get("own"),
                "statistics": seen,
            }
        )
    return rows


def finite(value: Any) -> Any:
    """JSON has no NaN: null says that there is no number."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
