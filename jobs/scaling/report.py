#!/usr/bin/env python3
"""The page of a scaling study: report.py scaling.json scaling.html. Standard library only."""

import json
import re
import sys
from html import escape
from pathlib import Path

from figures import Plot, bars, figure, median

# The style sheet of winnow's own report page, so that the two never differ.
STYLE_SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "report" / "html" / "style.hpp"
EXTRA_STYLE = """
.plot{width:400px}.plot .legend{margin:2px 0 0;gap:2px 14px}
.grid{stroke:var(--line);stroke-width:1;fill:none}.ideal{stroke:var(--soft);stroke-width:1.4;stroke-dasharray:5 4;fill:none}
.model{stroke:var(--accent);stroke-width:1.8;fill:none}.second{stroke:var(--hot);stroke-width:1.8;fill:none}
.dot{fill:var(--hot);stroke:var(--card);stroke-width:1}.whisker{stroke:var(--hot);stroke-width:1.6;fill:none}
.band{fill:var(--bar);fill-opacity:.45;stroke:none}
"""
STAGES = {"headers": "m", "factors": "l1", "read": "l2", "pass1": "h2", "pass2": "h3", "statistics": "h4", "gather": "l3"}


def style():
    return re.search(r'R"css\((.*)\)css"', STYLE_SOURCE.read_text(), re.DOTALL).group(1) + EXTRA_STYLE


def plural(count, what):
    return f"{count} {what}{'' if count == 1 else 's'}"


def gigabytes(run):
    return run["predicted"]["weight_bytes"] / run["seconds"] / 1e9


def residual(run):
    """Measured over predicted."""
    return run["seconds"] / run["predicted"]["total_seconds"]


def by(runs, study, key):
    """{value of key: runs} of one study, rising."""
    groups = {}
    for run in runs:
        if run["study"] == study:
            groups.setdefault(run[key], []).append(run)
    return dict(sorted(groups.items()))


def distinct(runs):
    """A run that is part of two studies counts once."""
    seen = {}
    for run in runs:
        seen[(run["repeat"], run["ranks"], run["layers"], run["adapters"])] = run
    return list(seen.values())


class Band:
    """How far measured runs are from the model: none was used to calibrate it."""

    def __init__(self, runs):
        ratios = sorted(residual(run) for run in distinct(runs))
        self.count, self.low, self.middle, self.high = len(ratios), ratios[0], median(ratios), ratios[-1]

    def text(self):
        return f"{100 * (self.low - 1):+.0f} to {100 * (self.high - 1):+.0f} %"


def ranks_plot(result, study, title):
    groups = by(result["runs"], study, "ranks")
    measured = [(ranks, [gigabytes(run) for run in runs]) for ranks, runs in groups.items()]
    model = [(ranks, median([run["predicted"]["bytes_per_second"] for run in runs]) / 1e9) for ranks, runs in groups.items()]
    first = measured[0]
    ideal = [(ranks, median(first[1]) * ranks / first[0]) for ranks in groups]
    values = [value for _, samples in measured for value in samples] + [y for _, y in model + ideal]
    last = measured[-1]
    efficiency = median(last[1]) / ideal[-1][1]
    plot = Plot(title, f"{title}: {figure(median(first[1]))} GB/s on {plural(first[0], 'rank')}, {figure(median(last[1]))} on "
                f"{last[0]}, {efficiency:.0%} of the ideal line", list(groups), values, "ranks", "GB/s of weights")
    plot.line(ideal, "ideal", "ideal")
    plot.line(model, "model", "model")
    plot.dots(measured, "measured")
    return plot.html(), efficiency


def stage_bars(result, study, key, what):
    rows = []
    for value, runs in by(result["runs"], study, key).items():
        # The run in the middle, whole: medians of single stages would be of different runs.
        run = sorted(runs, key=lambda one: one["seconds"])[len(runs) // 2]
        name = plural(value, what)
        for stages in (run["stages"], run["predicted"]["stages"]):
            rows.append((name, [(stage, stages.get(stage, 0)) for stage in STAGES]))
    title = f"Seconds of each stage over {key}: measured above, model below"
    return bars(title, title, rows, STAGES)


def crossover_plot(result):
    groups = by(result["runs"], "adapters", "adapters")
    middle = {adapters: runs[0]["predicted"] for adapters, runs in groups.items()}
    measured = [(adapters, [run["seconds"] for run in runs]) for adapters, runs in groups.items()]
    storage = [(adapters, plan["storage_seconds"]) for adapters, plan in middle.items()]
    arithmetic = [(adapters, plan["arithmetic_seconds"]) for adapters, plan in middle.items()]
    crossing = next(iter(middle.values()))["crossover_adapters"]
    values = [value for _, samples in measured for value in samples] + [y for _, y in storage + arithmetic]
    plot = Plot("From storage to arithmetic", "Seconds over adapters: measured, and what storage and arithmetic alone would take",
                list(groups), values, "adapters", "seconds")
    plot.line(storage, "model", "storage alone (model)")
    plot.line(arithmetic, "second", "arithmetic alone (model)")
    plot.dots(measured, "measured, all stages")
    if crossing:
        plot.cut(crossing, f"from {plural(crossing, 'adapter')} on")
    return plot.html(), crossing


def projection_plot(result, band):
    points = result["projection"]["points"]
    model = [(point["ranks"], point["total_seconds"]) for point in points]
    spread = [(ranks, seconds * band.low, seconds * band.high) for ranks, seconds in model]
    ideal = [(ranks, model[0][1] * model[0][0] / ranks) for ranks, _ in model]
    values = [y for _, y in model + ideal] + [y for _, low, high in spread for y in (low, high)]
    plot = Plot(f"{result['projection']['preset']}, one adapter", "Projected seconds over ranks, with the error band",
                [ranks for ranks, _ in model], values, "ranks", "seconds")
    plot.band(spread, f"model x measured/model of {plural(band.count, 'run')} here")
    plot.line(ideal, "ideal", "ideal")
    plot.line(model, "model", "model")
    limited = [point["ranks"] for point in points if point["file_system_limits"]]
    if limited:
        plot.cut(limited[0], "file system full")
    return plot.html()


def table(caption, headings, rows):
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) +
                   "</tr>\n" for row in rows)
    tall = " tall" if len(rows) > 24 else ""
    return (f'<div class="scroll{tall}" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
            f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n")


def runs_table(result):
    rows = [(run["study"], str(run["ranks"]), str(run["layers"]), str(run["adapters"]), f"{run['seconds']:.3f}",
             f"{run['predicted']['total_seconds']:.3f}", f"{100 * (residual(run) - 1):+.0f} %", figure(gigabytes(run)),
             f"{run['wall_seconds']:.2f}", run["predicted"]["bottleneck"]) for run in result["runs"]]
    return table("Every run. Points of two studies were run once and are listed in both",
                 ("study", "ranks", "layers", "adapters", "seconds", "model", "measured against model", "GB/s",
                  "whole command, s", "bottleneck of the model"), rows)


def projection_table(result, band):
    rows = []
    for point in result["projection"]["points"]:
        seconds = point["total_seconds"]
        rows.append((str(point["ranks"]), str(point["nodes"]), figure(seconds), f"{figure(seconds * band.low)} to {figure(seconds * band.high)}",
                     figure(point["bytes_per_second"] / 1e9), point["bottleneck"] + (" (file system)" if point["file_system_limits"] else ""),
                     str(point["crossover_adapters"] or "-"), str(point["team"])))
    return table("Projected", ("ranks", "nodes", "seconds", "with its band", "GB/s", "bottleneck", "arithmetic from adapters", "team"), rows)


def tiles(entries):
    return '<dl class="tiles">' + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
                                          for name, value in entries) + "</dl>\n"


def facts(result):
    entries = {"program": result["version"], "made": result["created_utc"], **result["machine"],
               "ranks": f"{result['launcher']}, up to {result['ranks_per_node']} a node, {plural(result['threads'], 'thread')} each",
               "calibrated": f"{result['constants']['created_utc']}, {result['constants']['machine']}, "
                             f"{plural(result['constants']['cores'], 'core')}"}
    return '<dl class="facts">' + "".join(f'<dt>{escape(name.replace("_", " "))}</dt><dd class="mono">{escape(str(value))}</dd>'
                                          for name, value in entries.items()) + "</dl>\n"


def projection_notes(projection, band):
    bandwidth = f"{projection['node_bandwidth'] / 1e9:.3g} GB/s a node, " + (
        "as measured here" if projection["node_bandwidth_measured"] else "as given")
    limit = projection["file_system_bandwidth"]
    shared = (f"The file system gives {limit / 1e9:.3g} GB/s to all nodes together, as given." if limit else
              "No limit is set to what the file system gives all nodes together; a real one has one (--file-system-bandwidth).")
    return (f"<p>{plural(projection['ranks_per_node'], 'rank')} a node of this machine's kind, storage {bandwidth}. {shared}</p>"
            f"<p>The band is what the {plural(band.count, 'run')} of this page took against the model ({band.text()}), carried over. None "
            "of them was used to calibrate it; none was of this size either, so the band says how good the model is here, and not what "
            "it has no part for: other users of network and file system, and what teams add up where ranks outnumber modules.</p>")


def render(result):
    band = Band(result["runs"])
    strong, strong_efficiency = ranks_plot(result, "strong", "Strong: one model, more ranks")
    weak, weak_efficiency = ranks_plot(result, "weak", "Weak: as many layers for each rank")
    crossing_figure, crossing = crossover_plot(result)
    most = max(run["ranks"] for run in result["runs"])
    warning = ("<p><strong>A quick round: tiny shapes, one run of each. It shows that everything works; its figures mean nothing."
               "</strong></p>" if result["quick"] else "")
    last = result["projection"]["points"][-1]
    cache = "in the page cache" if result["warm"] else "from storage"
    return "".join((
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        # Whatever a name held, nothing is loaded and nothing runs.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>How winnow scales</title>\n<style>{style()}</style>\n</head>\n<body>\n<header>\n<h1>How winnow scales</h1>\n",
        f'<p class="soft">{escape(result["preset"])} shapes, adapters of rank {result["rank"]}, weights {cache}; '
        f'{plural(result["repeats"], "run")} of every point, dots are medians, whiskers all of them</p>\n', warning,
        tiles((("of ideal, strong", f"{strong_efficiency:.0%} on {most}"), ("of ideal, weak", f"{weak_efficiency:.0%} on {most}"),
               ("arithmetic from adapters", str(crossing or "-")), ("measured against model", band.text()),
               (f"{result['projection']['preset']}, {last['ranks']} ranks", f"{figure(last['total_seconds'])} s"))),
        '</header>\n<main>\n<section aria-labelledby="ranks"><h2 id="ranks">Throughput</h2>\n'
        "<p>GB of weights a second, start of the program not included. The ideal line goes through the first point.</p>\n"
        f'<div class="card"><div class="figs">{strong}{weak}</div></div></section>\n',
        '<section aria-labelledby="stages"><h2 id="stages">Where the time goes</h2>\n'
        "<p>Mean over ranks. <code>read</code> is waiting for weights that have not come yet, <code>gather</code> waiting for the "
        "slowest rank and its messages.</p>\n"
        f'<div class="card"><div class="figs">{stage_bars(result, "strong", "ranks", "rank")}'
        f'{stage_bars(result, "adapters", "adapters", "adapter")}</div></div></section>\n',
        '<section aria-labelledby="crossover"><h2 id="crossover">Adapters</h2>\n'
        f'<p>The weights are read once however many adapters there are; arithmetic grows with them. On {plural(most, "rank")}.</p>\n'
        f'<div class="card"><div class="figs">{crossing_figure}</div></div></section>\n',
        f'<section aria-labelledby="projection"><h2 id="projection">Projection</h2>\n'
        f'{projection_notes(result["projection"], band)}<div class="card"><div class="figs">{projection_plot(result, band)}</div>'
        f"{projection_table(result, band)}</div></section>\n",
        f'<section aria-labelledby="runs"><h2 id="runs">The runs</h2>\n<div class="card">{runs_table(result)}</div>\n'
        f'<div class="card">{facts(result)}</div></section>\n</main>\n<footer>{escape(result["version"])}</footer>\n</body>\n</html>\n',
    ))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    Path(sys.argv[2]).write_text(render(json.loads(Path(sys.argv[1]).read_text())))
