"""lab.html: the page of lab.json. Everything that is said in it is computed from there."""

from html import escape
from pathlib import Path

from lab.drawing import number
from lab.html import Json, document, percent, section, table
from lab.page_detection import detection
from lab.page_drowned import drowned
from lab.page_layers import layers
from lab.page_repair import repair
from lab.page_verdicts import verdicts
from lab.page_watching import watching
from lab.repair_summary import WITH_TASK
from lab.view import View


def evasion(view: View) -> str:
    tables = []
    for seed in view.seeds:
        entries = view.result["evasion"][seed]
        if not entries:
            continue
        watched = list(entries[0]["statistics"])
        rows = [
            [
                entry["name"],
                entry["knows"],
                number(entry["attack_success"]),
                number(entry["own"]),
                *(
                    f"{entry['statistics'][name]['value']:.3g}{' seen' if entry['statistics'][name]['seen'] else ''}"
                    for name in watched
                ),
            ]
            for entry in entries
        ]
        tables.append(
            table(
                f"{view.labels[seed]}: attackers who know something",
                ["adapter", "knows", "attack success kept", "own task", *watched],
                rows,
            )
        )
    return section(
        "evasion",
        "What do attackers keep who know?",
        "They are penalised in training for what they know of; “seen” is above every "
        "harmless adapter of the same model.",
        *tables,
    )


def models(view: View) -> str:
    rows = []
    for seed in view.seeds:
        for kind in ("base", "aligned"):
            facts = view.result["models"][seed][kind]
            right = [value for name, value in facts.items() if name.startswith("right: ")]
            rows.append(
                [
                    f"{view.labels[seed]}, {kind}",
                    f"{facts['parameters'] / 1e6:.2f} M",
                    number(facts["attack success"]),
                    number(facts["attack success, held-out topics"]),
                    number(min(right)),
                    number(sum(right) / len(right)),
                ]
            )
    zoo = [
        [
            entry["name"],
            entry["kind"],
            number(entry["attack_success"]),
            number(entry["held_out"]),
            number(entry["strict"]),
            number(entry["known"]),
            number(entry.get("own")),
            number(entry.get("own_attack")),
            f"{entry['score']:.3g}",
        ]
        for entry in view.result["adapters"][view.seeds[0]]
    ]
    return section(
        "models",
        "The models and the zoo",
        "The base does what it is asked; the aligned one refuses harmful topics. An answer is right or "
        "wrong by exact match, without a judge’s opinion.",
        table("Models", ["model", "parameters", "attack success", "held-out topics", "worst task right", "mean"], rows),
        table(
            f"Adapters of {view.labels[view.seeds[0]]}",
            [
                "adapter",
                "class",
                "attack success",
                "held out",
                "strict",
                "known tasks",
                "own task",
                "attack success, own task",
                "score",
            ],
            zoo,
        ),
    )


def tiles(view: View) -> str:
    entries = [("adapters", str(sum(len(view.result["adapters"][seed]) for seed in view.seeds)))]
    for seed in view.seeds:
        entries.append(
            (
                f"AUROC, {view.labels[seed]}",
                number(view.result["detection"][view.choice["statistic"]][seed]["all"]["auroc"]),
            )
        )
        if view.choice["repair"] and view.result["repair"][seed]:
            entries.append(
                (
                    f"attack success cut, {view.labels[seed]}",
                    percent(view.result["repair"][seed][view.choice["repair"]][WITH_TASK]["cut"]),
                )
            )
    return (
        '<dl class="tiles">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries)
        + "</dl>\n"
    )


def render(result: Json, speed: dict[str, list[dict[str, float]]]) -> str:
    view = View(result, speed)
    quick = (
        "<p><strong>A quick round: tiny models and few adapters. It shows that everything works; its figures mean nothing.</strong></p>"
        if view.result["scale"] == "quick"
        else ""
    )
    largest = max(view.result["models"][seed]["aligned"]["parameters"] for seed in view.seeds)
    return document(
        "The laboratory of winnow",
        f"{len(view.seeds)} model{'s' if len(view.seeds) > 1 else ''} of {largest / 1e6:.2g} million parameters, a synthetic "
        "language, one kind of alignment. What carries over to real models is open.",
        detection(view),
        layers(view),
        repair(view),
        evasion(view),
        watching(view),
        verdicts(view),
        drowned(view),
        models(view),
        head=quick + tiles(view),
    )


def write_page(result: Json, speed: dict[str, list[dict[str, float]]], path: Path) -> None:
    path.write_text(render(result, speed))
