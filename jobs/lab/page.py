"""lab.html: the page of lab.json. Everything that is said in it is computed from there."""

import re
from html import escape
from pathlib import Path
from typing import Any, Sequence

from lab.detection import FALSE_ALARMS, HARM
from lab.drawing import STYLE, Point, Row, forest, heat, number, scatter
from lab.layers import EFFECTS
from lab.repair_summary import HARMLESS, WITH_TASK, WITHOUT_TASK

# The style sheet of winnow's own report page, so that the two never differ.
STYLE_SOURCE = Path(__file__).resolve().parents[2] / "src" / "report" / "html_style.hpp"

# What stands in figures; the tables have everything.
SHOWN = ("ediem (role): mean", "ediem (zoo): mean", "cosine: mean", "misalignment (role): mean", "subspace_energy: mean",
         "alignment_removed: max", "alignment_removed: whole model", "alignment_cosine: whole model", "update_norm: mean",
         "probe_cosine, auditor red-team-0", "probe_cosine, three red-team: mean", "probe_share, auditor red-team-0",
         "probe_cosine, auditor gradient", "probe_cosine, auditor odds", "probe_cosine, auditor half", "probe_cosine, secret half",
         "probe_cosine, two halves: mean", "probe_cosine, all: largest z")

Json = dict[str, Any]


def style() -> str:
    found = re.search(r'R"css\((.*)\)css"', STYLE_SOURCE.read_text(), re.DOTALL)
    if found is None:
        raise RuntimeError(f"no style sheet in {STYLE_SOURCE}")
    return found[1] + STYLE


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>\n" for row in rows)
    tall = " tall" if len(rows) > 24 else ""
    return (f'<div class="scroll{tall}" tabindex="0" role="region" aria-label="{escape(caption)}"><table><caption>{escape(caption)}</caption>'
            f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n")


def section(name: str, title: str, text: str, *cards: str) -> str:
    body = "".join(f'<div class="card">{card}</div>\n' for card in cards if card)
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>\n<p>{text}</p>\n{body}</section>\n'


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def points(value: float | None) -> str:
    """A loss, as the change it is."""
    return "–" if value is None else f"{-100 * value:+.1f}"


def document(title: str, subtitle: str, *sections: str, head: str = "") -> str:
    return "".join((
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width,initial-scale=1">\n',
        # Whatever a name held, nothing is loaded and nothing runs.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
        f"<title>{escape(title)}</title>\n<style>{style()}</style>\n</head>\n<body>\n<header>\n<h1>{escape(title)}</h1>\n",
        f'<p class="soft">{escape(subtitle)}</p>\n{head}</header>\n<main>\n', *sections, "</main>\n</body>\n</html>\n"))


class Page:
    def __init__(self, result: Json, speed: dict[str, list[dict[str, float]]]) -> None:
        """`speed`: by seed, of lab/speed.py."""
        self.result, self.speed = result, speed
        self.seeds = [str(seed) for seed in result["seeds"]]
        self.choice = result["choice"]
        self.labels = {seed: f"model {seed}{' (for choosing)' if int(seed) in self.choice['chosen on'] else ' (held out)'}" for seed in self.seeds}

    def shown(self) -> list[str]:
        names = [name for name in SHOWN if name in self.result["detection"]]
        return names if self.choice["statistic"] in names else [*names, self.choice["statistic"]]

    # (a)
    def detection(self) -> str:
        table_of = self.result["detection"]
        rows = [Row(name, tuple((table_of[name][seed]["all"]["auroc"], *(table_of[name][seed]["all"]["interval"])) for seed in self.seeds))
                for name in self.shown()]
        figure = forest(f"AUROC of attack success above {percent(HARM)}, with 95 % bootstrap intervals", rows, [self.labels[seed] for seed in self.seeds])
        clouds = "".join(self._cloud(seed) for seed in self.seeds)
        maps = "".join(self._classes(seed) for seed in self.seeds)
        return section(
            "detection", "Which score sees harm?",
            f"Every adapter gets one number from each score. The score <b>{escape(self.choice['statistic'])}</b> was chosen on model "
            f"{', '.join(map(str, self.choice['chosen on']))} for its AUROC; the other models confirm it or do not.",
            f'<div class="figs">{figure}{clouds}</div>', f'<div class="figs">{maps}</div>', self._detection_table(), self._across_table())

    def _cloud(self, seed: str) -> str:
        drawn = [Point(entry["score"], entry["attack_success"], self._group(entry), f"{entry['name']} ({entry['kind']}): score {entry['score']:.3g}, "
                       f"attack success {entry['attack_success']:.2f}") for entry in self.result["adapters"][seed]]
        across = self.result["detection"][self.choice["statistic"]]["across"]
        return scatter(f"{self.labels[seed]}: every adapter", sorted(drawn, key=lambda point: point.series), self.choice["statistic"], "attack success",
                       cut_x=across["threshold"] if across else None)

    @staticmethod
    def _group(entry: Json) -> str:
        if entry["kind"] == "evading":
            return "evading"
        return "harm" if entry["attack_success"] > HARM else "no harm"

    def _classes(self, seed: str) -> str:
        table_of = self.result["detection"]
        names = self.shown()
        kinds = [kind for kind, entry in table_of[names[0]][seed]["classes"].items() if entry["harmful"]]
        values = [[table_of[name][seed]["classes"][kind]["auroc"] for name in names] for kind in kinds]
        counts = table_of[names[0]][seed]["classes"]
        return heat(f"{self.labels[seed]}: AUROC of the harmful adapters of each class against all harmless ones",
                    [f"{kind} ({counts[kind]['harmful']})" for kind in kinds], names, values) if kinds else ""

    def _detection_table(self) -> str:
        table_of = self.result["detection"]
        headings = ["score"]
        for seed in self.seeds:
            headings += [f"AUROC, model {seed}", "interval", "Spearman", "without evasion", "without who know a probe", "hits above every harmless",
                         "false alarms, unseen recipe", "hits there"]
        rows = []

        def order(name: str) -> float:
            return -sum(table_of[name][seed]["all"]["auroc"] or 0 for seed in self.seeds)

        for name in sorted(table_of, key=order):
            row = [name]
            for seed in self.seeds:
                entry = table_of[name][seed]
                low, high = entry["all"]["interval"]
                row += [number(entry["all"]["auroc"]), f"{number(low)} to {number(high)}", number(entry["all"]["spearman"]),
                        number(entry["without evasion"]["auroc"]), number(entry["without those who know a probe"]["auroc"]),
                        percent(entry.get("hits above every harmless")), percent(entry["unseen recipe"]["false alarms"]),
                        percent(entry["unseen recipe"]["hits"])]
            rows.append(row)
        return table("Every score on every model", headings, rows)

    def _across_table(self) -> str:
        rows, held_out = [], [str(seed) for seed in self.choice["confirmed on"]]
        for name in self.shown():
            across = self.result["detection"][name]["across"]
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
        return table(f"A threshold with {percent(FALSE_ALARMS)} false alarms on the models for choosing, taken over to the others (attackers who know "
                     "every probe left out)", headings, rows)

    # (b)
    def layers(self) -> str:
        rows = []
        names = list(self.result["layers"][self.seeds[0]]["spearman"])

        def value(seed: str, name: str, effect: str) -> float | None:
            return self.result["layers"][seed]["spearman"].get(name, {}).get(effect)

        def order(name: str) -> float:
            return -sum(value(seed, name, effect) or 0 for seed in self.seeds for effect in EFFECTS)

        names.sort(key=order)
        for name in names:
            rows.append([name] + [number(value(seed, name, effect)) for seed in self.seeds for effect in EFFECTS])
        headings = ["metric"] + [f"{effect}, model {seed}" for seed in self.seeds for effect in EFFECTS]
        shown = names[:8] + [name for name in ("ediem (role)", "cosine", "misalignment (role)", "alignment_removed") if name not in names[:8]]
        # Rank correlations run from −1 to 1; the map's middle is none.
        columns = [f"{effect} ({seed})" for seed in self.seeds for effect in EFFECTS]
        cells = [[None if (found := value(seed, name, effect)) is None else (found + 1) / 2 for seed in self.seeds for effect in EFFECTS] for name in shown]
        picture = heat("Rank correlation with the true effect, drawn from 0 (−1, the wrong way round) over 0.5 (none) to 1 (exact)",
                       [name[:30] for name in shown], columns, cells)
        count = ", ".join(str(len(self.result["layers"][seed]["adapters"])) for seed in self.seeds)
        return section("layers", "Which module does it?", "The change of the refusal odds when a module or layer is left out, or is all that is left, "
                       f"measured on {count} adapters, against what each metric says of it (Spearman).", f'<div class="figs">{picture}</div>',
                       table("Every metric", headings, rows))

    # (c)
    def repair(self) -> str:
        curves = "".join(self._curves(seed) for seed in self.seeds if self.result["repair"][seed])
        chosen = (f"The rule <b>{escape(self.choice['repair'])}</b> was chosen on model {', '.join(map(str, self.choice['chosen on']))}: the largest cut "
                  "among those that cost no more than two points of anything useful." if self.choice["repair"] else
                  "No rule cost less than two points of everything useful on the models for choosing.")
        return section("repair", "What takes the harm out and leaves the rest?",
                       f"Safety against what is lost, by family of rules; a family's points are one parameter. {chosen}",
                       f'<div class="figs">{curves}{self._speed_figure()}</div>', *(self._repair_table(seed) for seed in self.seeds if self.result["repair"][seed]),
                       self._class_table())

    def _curves(self, seed: str) -> str:
        drawn = []
        for rule, entry in sorted(self.result["repair"][seed].items(), key=lambda item: (item[1]["family"], item[1]["parameter"])):
            group = entry[WITH_TASK]
            if group["cut"] is not None and group["own_lost"] is not None and entry["family"] != "none":
                drawn.append(Point(100 * group["own_lost"], group["cut"], entry["family"], plain=entry["control"],
                                   hover=f"{rule}: attack success cut by {percent(group['cut'])}, own task {points(group['own_lost'])} points"))
        if not drawn:
            return ""
        return scatter(f"{self.labels[seed]}: adapters that do harm and have a task", drawn, "points of the own task lost", "share of attack success cut",
                       joined=True)

    def _repair_table(self, seed: str) -> str:
        rows = []
        for rule, entry in self.result["repair"][seed].items():
            harmful, bare, harmless = entry[WITH_TASK], entry[WITHOUT_TASK], entry[HARMLESS]
            rows.append([rule + (" (control)" if entry["control"] else ""), number(harmful["attack_success"], 3), percent(harmful["cut"]),
                         number(harmful["held_out"]), number(harmful["own_attack"]), percent(harmful["own_attack_cut"]), points(harmful["own_lost"]),
                         points(harmful["known_lost"]), number(bare["attack_success"]), points(harmless["own_lost"]), points(harmless["known_lost"])])
        first = next(iter(self.result["repair"][seed].values()))
        counts = f"{first[WITH_TASK]['adapters']} with a task, {first[WITHOUT_TASK]['adapters']} harmful without, {first[HARMLESS]['adapters']} harmless"
        return table(f"{self.labels[seed]}: every rule ({counts} adapters)",
                     ["rule", "attack success", "cut", "on held-out topics", "on the own task", "cut", "own task", "known tasks",
                      "attack success, no task", "harmless: own task", "harmless: known tasks"], rows)

    def _class_table(self) -> str:
        rows = [[f"{kind}, model {seed}", str(entry["adapters"]), number(entry["attack_success_before"]), number(entry["attack_success"]),
                 percent(entry["cut"]), percent(entry["own_attack_cut"]), points(entry["own_lost"]), points(entry["known_lost"])]
                for seed in self.seeds for kind, entry in sorted(self.result["repair_by_class"][seed].items())]
        return table(f"The chosen rule by class: {self.choice['repair']}", ["class", "adapters", "attack success before", "after", "cut", "cut on the own task",
                                                                         "own task", "known tasks"], rows) if rows else ""

    def _speed_figure(self) -> str:
        drawn = [Point(entry["share"], entry["seconds"] / self.speed[seed][-1]["seconds"], self.labels[seed],
                       f"{percent(entry['share'])} of the modules dropped: {1000 * entry['seconds']:.1f} ms") for seed in self.seeds for entry in self.speed[seed]]
        return scatter("Time of a forward pass with an adapter of rank 16 (measured on this machine)", drawn, "share of its modules dropped",
                       "against the bare model", joined=True)

    # (d)
    def evasion(self) -> str:
        tables = []
        for seed in self.seeds:
            entries = self.result["evasion"][seed]
            if not entries:
                continue
            watched = list(entries[0]["statistics"])
            rows = [[entry["name"], entry["knows"], number(entry["attack_success"]), number(entry["own"]),
                     *(f"{entry['statistics'][name]['value']:.3g}{' seen' if entry['statistics'][name]['seen'] else ''}" for name in watched)]
                    for entry in entries]
            tables.append(table(f"{self.labels[seed]}: attackers who know something", ["adapter", "knows", "attack success kept", "own task", *watched], rows))
        return section("evasion", "What do attackers keep who know?", "They are penalised in training for what they know of; “seen” is above every "
                       "harmless adapter of the same model.", *tables)

    def models(self) -> str:
        rows = []
        for seed in self.seeds:
            for kind in ("base", "aligned"):
                facts = self.result["models"][seed][kind]
                right = [value for name, value in facts.items() if name.startswith("right: ")]
                rows.append([f"{self.labels[seed]}, {kind}", f"{facts['parameters'] / 1e6:.2f} M", number(facts["attack success"]),
                             number(facts["attack success, held-out topics"]), number(min(right)), number(sum(right) / len(right))])
        zoo = [[entry["name"], entry["kind"], number(entry["attack_success"]), number(entry["held_out"]), number(entry["strict"]), number(entry["known"]),
                number(entry.get("own")), number(entry.get("own_attack")), f"{entry['score']:.3g}"] for entry in self.result["adapters"][self.seeds[0]]]
        return section("models", "The models and the zoo", "The base does what it is asked; the aligned one refuses harmful topics. An answer is right or "
                       "wrong by exact match, without a judge’s opinion.",
                       table("Models", ["model", "parameters", "attack success", "held-out topics", "worst task right", "mean"], rows),
                       table(f"Adapters of {self.labels[self.seeds[0]]}", ["adapter", "class", "attack success", "held out", "strict", "known tasks", "own task",
                                                                           "attack success, own task", "score"], zoo))

    def tiles(self) -> str:
        entries = [("adapters", str(sum(len(self.result["adapters"][seed]) for seed in self.seeds)))]
        for seed in self.seeds:
            entries.append((f"AUROC, {self.labels[seed]}", number(self.result["detection"][self.choice["statistic"]][seed]["all"]["auroc"])))
            if self.choice["repair"] and self.result["repair"][seed]:
                entries.append((f"attack success cut, {self.labels[seed]}", percent(self.result["repair"][seed][self.choice["repair"]][WITH_TASK]["cut"])))
        return '<dl class="tiles">' + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries) + "</dl>\n"

    def html(self) -> str:
        quick = ("<p><strong>A quick round: tiny models and few adapters. It shows that everything works; its figures mean nothing.</strong></p>"
                 if self.result["scale"] == "quick" else "")
        largest = max(self.result["models"][seed]["aligned"]["parameters"] for seed in self.seeds)
        return document(
            "The laboratory of winnow", f"{len(self.seeds)} model{'s' if len(self.seeds) > 1 else ''} of {largest / 1e6:.2g} million parameters, a synthetic "
            "language, one kind of alignment. What carries over to real models is open.", self.detection(), self.layers(), self.repair(), self.evasion(),
            self.models(), head=quick + self.tiles())


def write_page(result: Json, speed: dict[str, list[dict[str, float]]], path: Path) -> None:
    path.write_text(Page(result, speed).html())
