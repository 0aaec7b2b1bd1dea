"""The section of the page about repairs."""

from html import escape

from lab.drawing import Point, number, scatter
from lab.html import percent, points, section, table
from lab.repair_summary import HARMLESS, WITH_TASK, WITHOUT_TASK
from lab.view import View


def repair(view: View) -> str:
    curves = "".join(_curves(view, seed) for seed in view.seeds if view.result["repair"][seed])
    chosen = (
        f"The rule <b>{escape(view.choice['repair'])}</b> was chosen on model {', '.join(map(str, view.choice['chosen on']))}: the largest cut "
        "among those that cost no more than two points of anything useful."
        if view.choice["repair"]
        else "No rule cost less than two points of everything useful on the models for choosing."
    )
    return section(
        "repair",
        "What takes the harm out and leaves the rest?",
        f"Safety against what is lost, by family of rules; a family's points are one parameter. {chosen}",
        f'<div class="figs">{curves}{_speed_figure(view)}</div>',
        *(_repair_table(view, seed) for seed in view.seeds if view.result["repair"][seed]),
        _class_table(view),
    )


def _curves(view: View, seed: str) -> str:
    drawn = []
    for rule, entry in sorted(
        view.result["repair"][seed].items(), key=lambda item: (item[1]["family"], item[1]["parameter"])
    ):
        group = entry[WITH_TASK]
        if group["cut"] is not None and group["own_lost"] is not None and entry["family"] != "none":
            drawn.append(
                Point(
                    100 * group["own_lost"],
                    group["cut"],
                    entry["family"],
                    plain=entry["control"],
                    hover=f"{rule}: attack success cut by {percent(group['cut'])}, own task {points(group['own_lost'])} points",
                )
            )
    if not drawn:
        return ""
    return scatter(
        f"{view.labels[seed]}: adapters that do harm and have a task",
        drawn,
        "points of the own task lost",
        "share of attack success cut",
        joined=True,
    )


def _repair_table(view: View, seed: str) -> str:
    rows = []
    for rule, entry in view.result["repair"][seed].items():
        harmful, bare, harmless = entry[WITH_TASK], entry[WITHOUT_TASK], entry[HARMLESS]
        rows.append(
            [
                rule + (" (control)" if entry["control"] else ""),
                number(harmful["attack_success"], 3),
                percent(harmful["cut"]),
                number(harmful["held_out"]),
                number(harmful["own_attack"]),
                percent(harmful["own_attack_cut"]),
                points(harmful["own_lost"]),
                points(harmful["known_lost"]),
                number(bare["attack_success"]),
                points(harmless["own_lost"]),
                points(harmless["known_lost"]),
            ]
        )
    first = next(iter(view.result["repair"][seed].values()))
    counts = f"{first[WITH_TASK]['adapters']} with a task, {first[WITHOUT_TASK]['adapters']} harmful without, {first[HARMLESS]['adapters']} harmless"
    return table(
        f"{view.labels[seed]}: every rule ({counts} adapters)",
        [
            "rule",
            "attack success",
            "cut",
            "on held-out topics",
            "on the own task",
            "cut",
            "own task",
            "known tasks",
            "attack success, no task",
            "harmless: own task",
            "harmless: known tasks",
        ],
        rows,
    )


def _class_table(view: View) -> str:
    rows = [
        [
            f"{kind}, model {seed}",
            str(entry["adapters"]),
            number(entry["attack_success_before"]),
            number(entry["attack_success"]),
            percent(entry["cut"]),
            percent(entry["own_attack_cut"]),
            points(entry["own_lost"]),
            points(entry["known_lost"]),
        ]
        for seed in view.seeds
        for kind, entry in sorted(view.result["repair_by_class"][seed].items())
    ]
    return (
        table(
            f"The chosen rule by class: {view.choice['repair']}",
            [
                "class",
                "adapters",
                "attack success before",
                "after",
                "cut",
                "cut on the own task",
                "own task",
                "known tasks",
            ],
            rows,
        )
        if rows
        else ""
    )


def _speed_figure(view: View) -> str:
    drawn = [
        Point(
            entry["share"],
            entry["seconds"] / view.speed[seed][-1]["seconds"],
            view.labels[seed],
            f"{percent(entry['share'])} of the modules dropped: {1000 * entry['seconds']:.1f} ms",
        )
        for seed in view.seeds
        for entry in view.speed[seed]
    ]
    return scatter(
        "Time of a forward pass with an adapter of rank 16 (measured on this machine)",
        drawn,
        "share of its modules dropped",
        "against the bare model",
        joined=True,
    )
