"""Plots as inline SVG: no script, no dependency, the same bytes for the same data.

Colours are classes (`c0` … `c7`) that the page's style sheet sets for light, dark and print. The browser shows a value
when the pointer is over its point (`<title>`). Numbers are written with two decimals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from earwitness.harness.progress import printable
from earwitness.harness.report.page.timeline import Band, Line, Plot

WIDTH, HEIGHT = 860, 214
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 36, 26
NAME_MOST, LETTER = 32, 6.2
"""Longest name of a band in characters, and the width of a character in px."""
COLOURS = 8
STEPS = (1, 2, 5, 10)


def plot_svg(plot: Plot, seconds: float, bands: Sequence[Band]) -> str:
    """Return a plot as an SVG element. `seconds`: length of the time axis; `bands`: spans to shade, such as faults."""
    scale = _Scale(plot, seconds)
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.title, quote=True)}">'
    ]
    parts += _bands(bands, scale)
    parts += [_level(value, scale, plot.unit) for value in scale.levels]
    parts += [_second(at, scale) for at in _ticks(0.0, seconds, 8)]
    parts += [_line(line, number, scale, plot.unit) for number, line in enumerate(plot.lines)]
    return "".join([*parts, "</svg>"])


class _Scale:
    """Conversion of seconds and values to coordinates (px) of one plot."""

    def __init__(self, plot: Plot, seconds: float) -> None:
        finite = [v for line in plot.lines for v in line.values if math.isfinite(v) and (v > 0 or not plot.log)]
        self.seconds, self.log = max(seconds, 0.1), plot.log
        highest = max(finite, default=1.0) or 1.0
        if plot.log:
            self.low = 10.0 ** math.floor(math.log10(min(finite, default=1.0)))
            self.high = max(self.low * 10, 10.0 ** math.ceil(math.log10(highest)))
            exponents = range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)
            self.levels = [10.0**n for n in exponents]
        else:
            self.low, self.high = 0.0, highest * 1.05
            self.levels = _ticks(0.0, highest, 4)

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / self.seconds, 0.0), 1.0)

    def y(self, value: float) -> float:
        if self.log:
            share = math.log10(max(value, self.low) / self.low) / math.log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0.0), 1.0)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from `low` to `high` for the marks of an axis, `most` of them or a few more or less."""
    raw = max((high - low) / most, 1e-9)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * n for n in STEPS if power * n >= raw * 0.999)
    return [round(n * step, 9) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _bands(bands: Sequence[Band], scale: _Scale) -> list[str]:
    """Return the shaded spans with their names above; a name that does not fit is only in the tooltip.

    The name of a single moment (`kind` "error") is always shown beside its mark.
    """
    parts, free = [], 0.0
    for band in sorted(bands, key=lambda band: (band.start_s, band.name)):
        x = scale.x(band.start_s)
        width = max(2.0, scale.x(band.end_s) - x)
        when = f"{band.start_s:.1f} s to {band.end_s:.1f} s" if band.kind != "error" else f"at {band.start_s:.2f} s"
        parts.append(
            f'<rect class="{band.kind}" x="{x:.2f}" y="{TOP}" width="{width:.2f}" height="{HEIGHT - TOP - BOTTOM}">'
            f"<title>{escape(printable(f'{band.name}: {when}'))}</title></rect>"
        )
        name = printable(band.name)[:NAME_MOST]
        if band.kind == "error":  # it has a line of its own above, on the side of its mark with more room
            end = x > (LEFT + WIDTH - RIGHT) / 2
            anchor = ' text-anchor="end"' if end else ""
            at = f'x="{x + (-4 if end else 6):.2f}" y="{TOP - 18}"'
            parts.append(f'<text class="tick errorname" {at}{anchor}>{escape(name)}</text>')
            continue
        room = len(name) * LETTER
        left = min(x, WIDTH - RIGHT - room)
        if left >= free:
            parts.append(f'<text class="tick {band.kind}name" x="{left:.2f}" y="{TOP - 4}">{escape(name)}</text>')
            free = left + room + LETTER
    return parts


def _level(value: float, scale: _Scale, unit: str) -> str:
    y = scale.y(value)
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.2f}" text-anchor="end">{value:g}</text>'
        + (f'<text class="tick" x="2" y="{TOP - 8}">{escape(unit)}</text>' if value == scale.levels[-1] else "")
    )


def _second(at: float, scale: _Scale) -> str:
    x = scale.x(at)
    return f'<text class="tick" x="{x:.2f}" y="{HEIGHT - 8}" text-anchor="middle">{at:g} s</text>'


def _line(line: Line, number: int, scale: _Scale, unit: str) -> str:
    pieces: list[list[str]] = [[]]
    for at, value in zip(line.seconds, line.values, strict=True):
        if math.isfinite(value):
            pieces[-1].append(f"{scale.x(at):.2f},{scale.y(value):.2f}")
        elif pieces[-1]:
            pieces.append([])
    colour = _colour("c", number)
    drawn = [
        f'<polyline class="{colour}" points="{" ".join(piece)}"/>'
        if len(piece) > 1
        else f'<circle class="{colour}" r="1.6" cx="{piece[0].split(",")[0]}" cy="{piece[0].split(",")[1]}"/>'
        for piece in pieces
        if piece
    ]
    known = [(value, at) for at, value in zip(line.seconds, line.values, strict=True) if math.isfinite(value)]
    if not known:
        return ""
    highest, at = max(known)
    title = f"{line.name}: at most {highest:g} {unit} at {at:g} s, last {known[-1][0]:g} {unit}".replace("  ", " ")
    return f"<g><title>{escape(printable(title))}</title>{''.join(drawn)}</g>"


def _colour(letter: str, number: int) -> str:
    """Return the classes for the colour of line `number`; after COLOURS lines the colours repeat, with dashes.

    `letter`: prefix of the class, such as "c" for a line and "k" for the legend.
    """
    return f"{letter}{number % COLOURS}" + (" dash" if number // COLOURS % 2 else "")


def legend(plot: Plot) -> str:
    """Return the HTML of a plot's legend: the names of its lines in their colours."""
    names = [
        f'<span class="key {_colour("k", n)}">{escape(printable(line.name))}</span>'
        for n, line in enumerate(plot.lines)
    ]
    return f'<p class="legend">{" ".join(names)}</p>'
