"""Plots as inline SVG, in the colours of winnow's report page. No script, nothing loaded."""

import math
from html import escape

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 388, 14, 208


def figure(number):
    """Three digits at most: 0.012, 3.4, 120, 1.2k."""
    if number == 0:
        return "0"
    if number >= 9999.5:
        return f"{number / 1000:.3g}k"
    return f"{number:.3g}" if number < 999.5 else f"{number:.0f}"


class LogAxis:
    """Places values between two pixels; ticks at powers of ten, or of two where `base` says so."""

    def __init__(self, values, first, last, base=10):
        values = [value for value in values if value and value > 0] or [1]
        self.base, self.first, self.last = base, first, last
        low, high = math.log(min(values), base), math.log(max(values), base)
        margin = 0.05 * (high - low)
        if high - low < (0.3 if base == 10 else 1):  # one value, or nearly: room for it and for a tick
            margin = 0.5 if base == 10 else 1
        self.low, self.high = low - margin, high + margin

    def __call__(self, value):
        share = (math.log(value, self.base) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self):
        powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
        if self.base == 2:
            step = max(1, math.ceil(len(powers) / 6))
            return [2.0**power for power in powers if power % step == 0]
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            found = [step * 10.0**power for power in range(math.floor(self.low), math.floor(self.high) + 1)
                     for step in steps if self.low <= math.log10(step * 10.0**power) <= self.high]
            if len(found) >= 3:
                step = math.ceil(len(found) / 7)
                return found[::step]
        return found


class Plot:
    """A frame with two logarithmic axes; what is drawn later lies on top."""

    def __init__(self, title, label, xs, ys, x_name, y_name):
        self.title, self.label = title, label
        self.x, self.y = LogAxis(xs, LEFT, RIGHT, base=2), LogAxis(ys, BOTTOM, TOP)
        self.parts, self.keys = [], []
        for value in self.x.ticks():
            self.parts.append(f'<text class="c" x="{self.x(value):.1f}" y="{BOTTOM + 15}">{figure(value)}</text>')
        for value in self.y.ticks():
            self.parts.append(f'<path class="grid" d="M{LEFT} {self.y(value):.1f}H{RIGHT}"/>'
                              f'<text class="e" x="{LEFT - 5}" y="{self.y(value) + 4:.1f}">{figure(value)}</text>')
        self.parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/>'
                          f'<text class="c" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 31}">{escape(x_name)}</text>'
                          f'<text x="2" y="{TOP - 4}">{escape(y_name)}</text>')

    def line(self, points, style, key=None, title=""):
        place = " ".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        hover = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(f'<path class="{style}" d="M{place}">{hover}</path>')
        if key:
            self.keys.append((f'<path class="{style}" d="M1 8H21"/>', key))

    def band(self, points, key=None):
        """Of (x, low, high)."""
        edge = [(x, low) for x, low, _ in points] + [(x, high) for x, _, high in reversed(points)]
        place = " ".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in edge)
        self.parts.append(f'<path class="band" d="M{place}Z"/>')
        if key:
            self.keys.append(('<rect class="band" x="1" y="3" width="20" height="10"/>', key))

    def dots(self, points, key=None, style="dot"):
        """Of (x, [samples]): the median, and a whisker over all of them."""
        for x, samples in points:
            samples = sorted(samples)
            middle = median(samples)
            across = self.x(x)
            self.parts.append(f'<path class="whisker" d="M{across:.1f} {self.y(samples[0]):.1f}V{self.y(samples[-1]):.1f}"/>')
            self.parts.append(f'<circle class="{style}" cx="{across:.1f}" cy="{self.y(middle):.1f}" r="4">'
                              f"<title>{figure(x)}: {figure(middle)} ({figure(samples[0])} to {figure(samples[-1])})</title></circle>")
        if key:
            self.keys.append((f'<circle class="{style}" cx="11" cy="8" r="4"/>', key))

    def cut(self, x, text):
        if not LEFT < self.x(x) < RIGHT:
            return
        right_half = self.x(x) > (LEFT + RIGHT) / 2
        self.parts.append(f'<path class="cut" d="M{self.x(x):.1f} {TOP}V{BOTTOM}"/>'
                          f'<text class="s{" e" if right_half else ""}" x="{self.x(x) + (-5 if right_half else 5):.1f}" '
                          f'y="{BOTTOM - 6}">{escape(text)}</text>')

    def html(self):
        return framed(self.title, self.label, HEIGHT, "".join(self.parts), self.keys)


def framed(title, label, height, parts, keys):
    legend = "".join(f'<span><svg width="22" height="16" viewBox="0 0 22 16" aria-hidden="true">{shape}</svg>{escape(key)}</span>'
                     for shape, key in keys)
    return (f'<figure class="plot"><figcaption>{escape(title)}</figcaption>'
            f'<svg width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
            f'{parts}</svg><div class="legend">{legend}</div></figure>\n')


def bars(title, label, rows, classes):
    """Stacked horizontal bars. rows: (name, [(stage, seconds)]); two with the same name, measured above predicted, belong
    together. classes: stage -> style."""
    longest = max(sum(seconds for _, seconds in stages) for _, stages in rows) or 1
    left, right, thick = 80, WIDTH - 96, 11
    parts, at, previous = [], 4, None
    for name, stages in rows:
        if name != previous:
            at += 7 if previous is not None else 0
            parts.append(f'<text class="e" x="{left - 6}" y="{at + 15}">{escape(name)}</text>')
        place = left
        for stage, seconds in stages:
            width = seconds / longest * (right - left)
            if width >= 0.05:
                hover = f"{name}, {stage}: {figure(seconds)} s"
                parts.append(f'<rect class="{classes[stage]}" x="{place:.1f}" y="{at}" width="{width:.1f}" height="{thick}">'
                             f"<title>{escape(hover)}</title></rect>")
            place += width
        total = sum(seconds for _, seconds in stages)
        note = "" if name != previous else " (model)"
        parts.append(f'<text x="{place + 4:.1f}" y="{at + 9}">{figure(total)} s{note}</text>')
        at += thick + 1
        previous = name
    keys = [(f'<rect class="{style}" x="3" y="2" width="12" height="12"/>', stage) for stage, style in classes.items()]
    return framed(title, label, at + 6, "".join(parts), keys)


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
