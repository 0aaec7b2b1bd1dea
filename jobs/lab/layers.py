"""Which module does the harm: every metric against the measured effect of every module and every layer.

The effect is in the mean log odds of a refusal (cut off at ±10), which moves where attack success is still 0 or
already 1."""

from typing import Any, Sequence

import numpy as np

from lab.bench import Bench, Update, dense
from lab.evaluation import Evaluation
from lab.recipes import Recipe, one_of_each
from lab.scale import Scale
from lab.statistics import spearman

EFFECTS = ("left out", "alone", "layer left out", "layer alone")


def choose(recipes: Sequence[Recipe], facts: dict[str, dict[str, float]], count: int) -> list[Recipe]:
    """Trained adapters that do harm."""
    return one_of_each(
        [recipe for recipe in recipes if not recipe.made and facts[recipe.name]["attack_success"] > 0.2], count
    )


def layer_of(name: str) -> str:
    return name.split(".")[2]


def measure(bench: Bench, scale: Scale, recipe: Recipe) -> dict[str, Any]:
    """effect -> {module or layer: change of the refusal odds that it is to blame for}."""
    evaluation = Evaluation(scale, recipe, "layers", 128 if scale.name == "full" else 32)
    update = dense(bench.adapter(recipe.name))

    def margin(part: Update) -> float:
        return bench.evaluate(part, evaluation)["margin"]

    whole, nothing = margin(update), margin({})
    layers = sorted({layer_of(name) for name in update}, key=int)
    return {
        "left out": {
            name: margin({other: delta for other, delta in update.items() if other != name}) - whole for name in update
        },
        "alone": {name: nothing - margin({name: update[name]}) for name in update},
        "layer left out": {
            one: margin({name: delta for name, delta in update.items() if layer_of(name) != one}) - whole for one in layers
        },
        "layer alone": {
            one: nothing - margin({name: delta for name, delta in update.items() if layer_of(name) == one})
            for one in layers
        },
    }


def compare(
    effects: dict[str, dict[str, dict[str, float]]],
    modules: Sequence[str],
    adapters: Sequence[str],
    metrics: dict[str, list[list[float | None]]],
) -> dict[str, dict[str, float]]:
    """metric -> effect -> mean rank correlation over the adapters."""
    table: dict[str, dict[str, float]] = {}
    for metric, values in metrics.items():
        table[metric] = {}
        for effect in EFFECTS:
            found = []
            for adapter, measured in effects.items():
                row = dict(zip(modules, values[adapters.index(adapter)]))
                present = {name: value for name, value in row.items() if value is not None}
                if effect.startswith("layer"):
                    keys = list(measured[effect])
                    scores = [
                        np.mean([value for name, value in present.items() if layer_of(name) == key] or [np.nan])
                        for key in keys
                    ]
                else:
                    keys = [name for name in measured[effect] if name in present]
                    scores = [present[name] for name in keys]
                if len(keys) >= 3:
                    found.append(
                        spearman(np.array(scores, dtype=float), np.array([measured[effect][key] for key in keys]))
                    )
            finite = [value for value in found if np.isfinite(value)]
            table[metric][effect] = float(np.mean(finite)) if finite else float("nan")
    return table
