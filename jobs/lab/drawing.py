"""Figures as inline SVG, in the colours of winnow's report page. No script, nothing loaded."""

import math
from dataclasses import dataclass
from html import escape
from typing import Sequence

WIDTH = 520
STYLES = tuple(f"f{index}" for index in range(12))  # of points, in the order in which series come
PLAIN = "fp"  # of what others are compared with
_COLOURS = (
    "var(--hot)",
    "var(--accent)",
    "var(--l2)",
    "var(--h2)",
    "#7b5aa6",
    "#2f8f4e",
    "var(--h5)",
    "#c2528b",
    "#00808a",
    "var(--h3)",
    "#8a7a00",
    "var(--l3)",
)
STYLE = "".join(
    f"circle.{style}{{fill:{colour};stroke:var(--card)}}path.{style}{{stroke:{colour};stroke-width:1.6;fill:none}}"
    for style, colour in zip((*STYLES, PLAIN), (*_COLOURS, "var(--bar)"))
)


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def framed(
    title: str, label: str, height: float, parts: str, keys: Sequence[tuple[str, str]] = (), width: int = WIDTH
) -> str:
    legend = "".join(
        f'<span><svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true"><circle class="{style}" cx="7" cy="7" r="5"/></svg>'
        f"{escape(key)}</span>"
        for style, key in keys
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg width="{width}" height="{height:.0f}" viewBox="0 0 {width} {height:.0f}" '
        f'role="img" aria-label="{escape(label)}">{parts}</svg><div class="legend">{legend}</div></figure>\n'
    )


class Axis:
    """Linear between two pixels, with a little room at both ends unless told to be exact."""

    def __init__(self, low: float, high: float, first: float, last: float, room: float = 0.04) -> None:
        if high - low < 1e-12:
            low, high = low - 0.5, high + 0.5
        margin = room * (high - low)
        self.low, self.high, self.first, self.last = low - margin, high + margin, first, last

    def __call__(self, value: float) -> float:
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self, count: int = 5) -> list[float]:
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = min((factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999), default=raw)
        start = math.ceil(self.low / step - 1e-9)
        found = []
        while start * step <= self.high + 1e-9 * step:
            found.append(round(start * step, 12))
            start += 1
        return found


@dataclass(frozen=True)
class Row:
    label: str
    values: tuple[tuple[float | None, float | None, float | None], ...]  # (value, low, high) of each series


def forest(title: str, rows: Sequence[Row], series: Sequence[str], reference: float = 0.5) -> str:
    """A value and its interval for every row and series; the dashed line is guessing."""
    left, thick = 252, 20
    across = Axis(0.0, 1.0, left, WIDTH - 12, room=0.0)
    height = thick * len(rows) + 34
    parts = [f'<path class="cut" d="M{across(reference):.1f} 4V{height - 28}"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(
            f'<path class="grid" d="M{across(tick):.1f} 4V{height - 28}"/><text class="c" x="{across(tick):.1f}" y="{height - 14}">{tick:g}</text>'
        )
    for index, row in enumerate(rows):
        middle = 4 + thick * (index + 0.5)
        parts.append(f'<text class="e" x="{left - 8}" y="{middle + 4:.1f}">{escape(row.label[:46])}</text>')
        for place, (value, low, high) in enumerate(row.values):
            if value is None:
                continue
            y = middle + (place - (len(row.values) - 1) / 2) * min(5, 14 / max(1, len(row.values)))
            style = STYLES[place % len(STYLES)]
            if low is not None and high is not None:
                parts.append(f'<path class="ax" d="M{across(low):.1f} {y:.1f}H{across(high):.1f}"/>')
            parts.append(
                f'<circle class="{style}" cx="{across(value):.1f}" cy="{y:.1f}" r="3.6"><title>{escape(row.label)}, {escape(series[place])}: '
                f"{number(value)}{'' if low is None else f' ({number(low)} to {number(high)})'}</title></circle>"
            )
    return framed(
        title, title, height, "".join(parts), [(STYLES[place % len(STYLES)], name) for place, name in enumerate(series)]
    )


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    series: str
    hover: str
    plain: bool = False  # drawn in the colour of what others are compared with


def scatter(
    title: str, points: Sequence[Point], x_name: str, y_name: str, cut_x: float | None = None, joined: bool = False
) -> str:
    """Points of several series; `joined` draws a line through each, `cut_x` a dashed one across."""
    left, right, top, bottom = 44, WIDTH - 10, 16, 270
    x = Axis(min(point.x for point in points), max(point.x for point in points), left, right)
    y = Axis(min(0.0, *(point.y for point in points)), max(1.0, *(point.y for point in points)), bottom, top)
    parts = [
        f'<path class="ax" d="M{left} {bottom}H{right}"/><text class="c" x="{(left + right) / 2}" y="{bottom + 32}">{escape(x_name)}</text>'
        f'<text x="2" y="{top - 5}">{escape(y_name)}</text>'
    ]
    for tick in x.ticks():
        parts.append(f'<text class="c" x="{x(tick):.1f}" y="{bottom + 15}">{tick:g}</text>')
    for tick in y.ticks():
        parts.append(
            f'<path class="grid" d="M{left} {y(tick):.1f}H{right}"/><text class="e" x="{left - 5}" y="{y(tick) + 4:.1f}">{tick:g}</text>'
        )
    if cut_x is not None and x.low < cut_x < x.high:
        parts.append(f'<path class="cut" d="M{x(cut_x):.1f} {top}V{bottom}"/>')
    plain = {point.series for point in points if point.plain}
    names = [name for name in dict.fromkeys(point.series for point in points) if name not in plain]
    styles = {
        **dict.fromkeys(sorted(plain), PLAIN),
        **{name: STYLES[index % len(STYLES)] for index, name in enumerate(names)},
    }
    for name, style in styles.items():
        own = [point for point in points if point.series == name]
        if joined and len(own) > 1:
            parts.append(
                f'<path class="{style}" d="M{" ".join(f"{x(point.x):.1f} {y(point.y):.1f}" for point in own)}"/>'
            )
        for point in own:
            parts.append(
                f'<circle class="{style}" cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="4"><title>{escape(point.hover)}</title></circle>'
            )
    keys = [(styles[name], name) for name in names] + (
        [(PLAIN, f"controls: {', '.join(sorted(plain))}")] if plain else []
    )
    return framed(title, title, bottom + 40, "".join(parts), keys)


def heat(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]]) -> str:
    """0.5 is pale, 1 strong in one colour and 0 in the other: a score that is wrong looks different from one that
    guesses."""
    left, top, wide, thick = 190, 132, 46, 20
    width = left + wide * len(columns) + 130
    parts = [
        f'<text transform="translate({left + wide * (index + 0.5):.0f} {top - 6}) rotate(-38)">{escape(name[:36])}</text>'
        for index, name in enumerate(columns)
    ]
    scale = ("l3", "l2", "l1", "m", "h1", "h2", "h3")
    for line, name in enumerate(rows):
        y = top + thick * line
        parts.append(f'<text class="e" x="{left - 8}" y="{y + 14}">{escape(name)}</text>')
        for index, value in enumerate(values[line]):
            if value is None:
                parts.append(f'<text class="c" x="{left + wide * (index + 0.5):.0f}" y="{y + 14}">–</text>')
                continue
            style = scale[min(len(scale) - 1, int(value * len(scale)))]
            parts.append(
                f'<rect class="{style}" x="{left + wide * index}" y="{y}" width="{wide - 1}" height="{thick - 1}">'
                f"<title>{escape(name)}, {escape(columns[index])}: {value:.2f}</title></rect>"
                f'<text class="c t" x="{left + wide * (index + 0.5) - 0.5:.0f}" y="{y + 14}">{value:.2f}</text>'
            )
    return framed(title, title, top + thick * len(rows) + 6, "".join(parts), width=width)
