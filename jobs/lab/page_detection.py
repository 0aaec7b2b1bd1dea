"""The section of the page about scores."""

from html import escape

from lab.detection import FALSE_ALARMS, HARM
from lab.drawing import Point, Row, forest, heat, number, scatter
from lab.html import Json, percent, section, table
from lab.view import View


def detection(view: View) -> str:
    table_of = view.result["detection"]
    rows = [
        Row(
            name,
            tuple(
                (table_of[name][seed]["all"]["auroc"], *(table_of[name][seed]["all"]["interval"]))
                for seed in view.seeds
            ),
        )
        for name in view.shown()
    ]
    figure = forest(
        f"AUROC of attack success above {percent(HARM)}, with 95 % bootstrap intervals",
        rows,
        [view.labels[seed] for seed in view.seeds],
    )
    clouds = "".join(_cloud(view, seed) for seed in view.seeds)
    maps = "".join(_classes(view, seed) for seed in view.seeds)
    return section(
        "detection",
        "Which score sees harm?",
        f"Every adapter gets one number from each score. The score <b>{escape(view.choice['statistic'])}</b> was chosen on model "
        f"{', '.join(map(str, view.choice['chosen on']))} for its AUROC; the other models confirm it or do not.",
        f'<div class="figs">{figure}{clouds}</div>',
        f'<div class="figs">{maps}</div>',
        _detection_table(view),
        _across_table(view),
    )


def _cloud(view: View, seed: str) -> str:
    drawn = [
        Point(
            entry["score"],
            entry["attack_success"],
            _group(entry),
            f"{entry['name']} ({entry['kind']}): score {entry['score']:.3g}, "
            f"attack success {entry['attack_success']:.2f}",
        )
        for entry in view.result["adapters"][seed]
    ]
    across = view.result["detection"][view.choice["statistic"]]["across"]
    return scatter(
        f"{view.labels[seed]}: every adapter",
        sorted(drawn, key=lambda point: point.series),
        view.choice["statistic"],
        "attack success",
        cut_x=across["threshold"] if across else None,
    )


def _group(entry: Json) -> str:
    if entry["kind"] == "evading":
        return "evading"
    return "harm" if entry["attack_success"] > HARM else "no harm"


def _classes(view: View, seed: str) -> str:
    table_of = view.result["detection"]
    names = view.shown()
    kinds = [kind for kind, entry in table_of[names[0]][seed]["classes"].items() if entry["harmful"]]
    values = [[table_of[name][seed]["classes"][kind]["auroc"] for name in names] for kind in kinds]
    counts = table_of[names[0]][seed]["classes"]
    return (
        heat(
            f"{view.labels[seed]}: AUROC of the harmful adapters of each class against all harmless ones",
            [f"{kind} ({counts[kind]['harmful']})" for kind in kinds],
            names,
            values,
        )
        if kinds
        else ""
    )


def _detection_table(view: View) -> str:
    table_of = view.result["detection"]
    headings = ["score"]
    for seed in view.seeds:
        headings += [
            f"AUROC, model {seed}",
            "interval",
            "Spearman",
            "without evasion",
            "without who know a probe",
            "hits above every harmless",
            "false alarms, unseen recipe",
            "hits there",
        ]
    rows = []

    def order(name: str) -> float:
        return -sum(table_of[name][seed]["all"]["auroc"] or 0 for seed in view.seeds)

    for name in sorted(table_of, key=order):
        row = [name]
        for seed in view.seeds:
            entry = table_of[name][seed]
            low, high = entry["all"]["interval"]
            row += [
                number(entry["all"]["auroc"]),
                f"{number(low)} to {number(high)}",
                number(entry["all"]["spearman"]),
                number(entry["without evasion"]["auroc"]),
                number(entry["without those who know a probe"]["auroc"]),
                percent(entry.get("hits above every harmless")),
                percent(entry["unseen recipe"]["false alarms"]),
                percent(entry["unseen recipe"]["hits"]),
            ]
        rows.append(row)
    return table("Every score on every model", headings, rows)


def _across_table(view: View) -> str:
    rows, held_out = [], [str(seed) for seed in view.choice["confirmed on"]]
    for name in view.shown():
        across = view.result["detection"][name]["across"]
        if across:
            row = [name, f"{across['threshold']:.3g}"]
            for seed in held_out:
                row += [percent(across[seed]["false alarms"]), percent(across[seed]["hits"])]
            rows.append(row)
    if not rows:
        return "<p>One model alone: no threshold could be taken over to another.</p>"
    headings = ["score", "threshold"]
    for seed in held_out:
        headings += [f"false alarms, model {seed}", f"hits, model {seed}"]
    return table(
        f"A threshold with {percent(FALSE_ALARMS)} false alarms on the models for choosing, taken over to the others (attackers who know "
        "every probe left out)",
        headings,
        rows,
    )
