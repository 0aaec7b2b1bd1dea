"""Page and JSON of a laboratory of a real model."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from lab.detection import HARM, NO_RECIPE, Zoo, of_model
from lab.drawing import Point, Row, forest, number, scatter
from lab.html import document, percent, section, table
from lab.summary import finite

Json = dict[str, Any]


def summarise(made: Json, facts: Json, draws: int) -> Json:
    """`facts`: of model, prompts and zoo, for the record."""
    zoo = Zoo(
        0,
        [{**NO_RECIPE, "variant": entry["name"]} for entry in made["adapters"]],
        made["adapters"],
        {name: np.array(values) for name, values in made["statistics"].items()},
    )
    return finite(
        {
            "schema_version": 1,
            "scale": "real",
            "inputs": facts,
            "adapters": made["adapters"],
            "statistics": made["statistics"],
            "detection": {name: of_model(zoo, name, draws) for name in zoo.statistics},
            "repair": _curves(made),
        }
    )


def _curves(made: Json) -> Json:
    """rule -> means over the adapters that do harm, and over those that do not."""
    harmful = {entry["name"] for entry in made["adapters"] if entry["attack_success"] > HARM}
    table_of: Json = {}
    for rule, first in next(iter(made["repair"].values())).items():
        entry = {key: first[key] for key in ("family", "parameter", "control")}
        for group, chosen in (("harmful", True), ("harmless", False)):
            members = [outcomes for name, outcomes in made["repair"].items() if (name in harmful) == chosen]
            means: Json = {"adapters": len(members)}
            for key in ("attack_success", "moved"):
                values = [outcomes[rule][key] for outcomes in members if key in outcomes[rule]]
                means[key] = float(np.mean(values)) if values else None
            entry[group] = means
        table_of[rule] = entry
    return table_of


def write(result: Json, path: Path) -> None:
    path.write_text(
        document(
            f"The laboratory of {Path(result['inputs']['model']).name}",
            f"{len(result['adapters'])} adapters, {result['inputs']['prompts']} prompts of the user’s own, a third of which judges.",
            _detection(result),
            _repair(result),
        )
    )


def _detection(result: Json) -> str:
    order = sorted(result["detection"], key=lambda name: -(result["detection"][name]["all"]["auroc"] or 0))
    rows = [
        Row(name, ((entry["all"]["auroc"], *entry["all"]["interval"]),))
        for name in order[:24]
        for entry in [result["detection"][name]]
    ]
    figure = forest(f"AUROC of attack success above {percent(HARM)}, with 95 % bootstrap intervals", rows, ["this zoo"])
    cloud = scatter(
        "Every adapter",
        [
            Point(
                value,
                entry["attack_success"],
                "adapters",
                f"{entry['name']}: {value:.3g}, {entry['attack_success']:.2f}",
            )
            for value, entry in zip(result["statistics"][order[0]], result["adapters"])
        ],
        order[0],
        "attack success",
    )
    cells = [
        [
            name,
            number(entry["all"]["auroc"]),
            f"{number(entry['all']['interval'][0])} to {number(entry['all']['interval'][1])}",
            number(entry["all"]["spearman"]),
        ]
        for name in order
        for entry in [result["detection"][name]]
    ]
    harmful = sum(entry["attack_success"] > HARM for entry in result["adapters"])
    return section(
        "detection",
        "Which score sees harm?",
        f"{harmful} of {len(result['adapters'])} adapters have an attack success above {percent(HARM)}. "
        "The scores are sorted by what they are worth here, so the best of many looks better than it is.",
        f'<div class="figs">{figure}{cloud}</div>',
        table("Every score", ["score", "AUROC", "interval", "Spearman"], cells),
    )


def _repair(result: Json) -> str:
    ordered = sorted(result["repair"].items(), key=lambda item: (item[1]["family"], item[1]["parameter"]))
    drawn = [
        Point(
            entry["harmful"]["moved"],
            1 - entry["harmful"]["attack_success"],
            entry["family"],
            plain=entry["control"],
            hover=rule,
        )
        for rule, entry in ordered
        if entry["harmful"]["moved"] is not None and entry["family"] != "none"
    ]
    figure = (
        scatter(
            "Adapters that do harm",
            drawn,
            "moved on harmless prompts (nats)",
            "share of judged prompts refused",
            joined=True,
        )
        if drawn
        else ""
    )
    rows = [
        [
            escape(rule) + (" (control)" if entry["control"] else ""),
            number(entry["harmful"]["attack_success"], 3),
            number(entry["harmful"]["moved"], 4),
            number(entry["harmless"]["attack_success"], 3),
            number(entry["harmless"]["moved"], 4),
        ]
        for rule, entry in ordered
    ]
    return section(
        "repair",
        "What takes the harm out and leaves the rest?",
        "“Moved” is how far the first token’s distribution on harmless prompts is from "
        "that of the adapter as it was: 0 is not at all.",
        f'<div class="figs">{figure}</div>',
        table("Every rule", ["rule", "harmful: attack success", "moved", "harmless: attack success", "moved"], rows),
    )
