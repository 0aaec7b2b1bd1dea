"""The section of the page about modules and layers."""

from typing import Any, Mapping

from lab.drawing import heat, number
from lab.html import section, table
from lab.layers import EFFECTS
from lab.view import View


def layers(view: View) -> str:
    rows = []
    names = list(view.result["layers"][view.seeds[0]]["spearman"])

    def value(seed: str, name: str, effect: str) -> float | None:
        return view.result["layers"][seed]["spearman"].get(name, {}).get(effect)

    def order(name: str) -> float:
        return -sum(value(seed, name, effect) or 0 for seed in view.seeds for effect in EFFECTS)

    names.sort(key=order)
    for name in names:
        rows.append([name] + [number(value(seed, name, effect)) for seed in view.seeds for effect in EFFECTS])
    headings = ["metric"] + [f"{effect}, model {seed}" for seed in view.seeds for effect in EFFECTS]
    shown = names[:8] + [
        name for name in ("ediem (role)", "cosine", "misalignment (role)", "alignment_removed") if name not in names[:8]
    ]
    # Rank correlations run from −1 to 1; the map's middle is none.
    columns = [f"{effect} ({seed})" for seed in view.seeds for effect in EFFECTS]
    cells = [
        [
            None if (found := value(seed, name, effect)) is None else (found + 1) / 2
            for seed in view.seeds
            for effect in EFFECTS
        ]
        for name in shown
    ]
    picture = heat(
        "Rank correlation with the true effect, drawn from 0 (−1, the wrong way round) over 0.5 (none) to 1 (exact)",
        [name[:30] for name in shown],
        columns,
        cells,
    )
    count = ", ".join(str(len(view.result["layers"][seed]["adapters"])) for seed in view.seeds)
    heads = [
        table(
            f"{view.labels[seed]}: by attention head, {len(entry['adapters'])} adapters" + _agreement(entry),
            ["product with", "left out", "alone", "finds the head that does most", "among its first three"],
            [
                [name, *(number(found[what]) for what in ("left out", "alone", "first", "among three"))]
                for name, found in entry["probes"].items()
            ]
            + [["chance", "0.00", "0.00", "", number(entry["chance"])]],
        )
        for seed, entry in view.result["heads"].items()
    ]
    return section(
        "layers",
        "Which module does it?",
        "The change of the refusal odds when a module or layer is left out, or is all that is left, "
        f"measured on {count} adapters, against what each metric says of it (Spearman).",
        f'<div class="figs">{picture}</div>',
        table("Every metric", headings, rows),
        *heads,
    )


def _agreement(entry: Mapping[str, Any]) -> str:
    """What winnow audit --heads says of the same heads, if it was asked."""
    told = entry.get("winnow", {"compared": 0})
    if told["compared"] == 0:
        return ""
    return f"; winnow's {told['compared']} products differ from these by {told['differs by']:.0e} of their factors at most"
