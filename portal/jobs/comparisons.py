"""Plots of models against a reference, with the ratio below; curves of a training; quality against time.

Inline SVG as in `portal.jobs.plots`: coloured by class alone, the reference neutral, each model with a colour and a mark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from portal.jobs.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, number
from portal.jobs.scales import Axis, axis_of

REFERENCE = "truth"
COLOURS = ("m1", "m2", "e-torch", "e-tf", "e-xgb", "e-tree", "e-sofie", "e-skl")
"""Of models, in the order of a plot."""
RATIO_TOP, RATIO_BOTTOM = 236, 290
RATIO_LOW, RATIO_HIGH = 0.5, 1.5
LEGEND_LETTER = 6.3
Numbers = Sequence[float] | Any
"""A sequence, or an array of one axis."""
MOST_LETTERS = 26


@dataclass(frozen=True)
class Line:
    """One series: contents of bins with their errors, which may be empty."""

    name: str
    values: Numbers
    errors: Numbers = ()

    def error(self, place: int) -> float:
        """Of a bin; 0 where none is known."""
        return float(self.errors[place]) if len(self.errors) else 0.0


def against(
    edges: Numbers,
    reference: Line,
    models: Sequence[Line] = (),
    *,
    x_title: str,
    y_title: str,
    label: str,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Binned values of models on those of a reference, and below the ratios, with the reference's own error as a band.

    Parameters
    ----------
    edges
        Of the bins, ascending, one more than values; above 0 where ``log_x``.
    reference, models
        Drawn neutral and filled; drawn as lines, in the order of `COLOURS`. A value that is NaN is left out.
    x_title, y_title
        Titles of the axes, with the unit in brackets.
    label
        One sentence that says what the plot shows.
    """
    x = Axis(float(edges[0]), float(edges[-1]), LEFT, RIGHT, log_x)
    y = axis_of([v for line in (reference, *models) for v in line.values], BOTTOM, TOP, log=log_y, zero=True)
    height = RATIO_BOTTOM + 32 if models else HEIGHT
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">', *_grid(y)]
    line_of = _steps(edges, reference.values, x, y)
    parts.append(f'<g class="{REFERENCE}"><path class="tint fl" d="{_steps(edges, reference.values, x, y, closed=True)}"/>')
    parts.append(f'<path class="ln" d="{line_of}"/></g>')
    for colour, line in zip(COLOURS, models, strict=False):
        parts.append(f'<g class="{colour}"><path class="ln" d="{_steps(edges, line.values, x, y)}"/></g>')
    parts += _legend([(REFERENCE, reference.name), *((c, line.name) for c, line in zip(COLOURS, models, strict=False))])
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text x="{LEFT}" y="11" class="lb">{escape(y_title)}</text>')
    parts += _x_ticks(x, RATIO_BOTTOM if models else BOTTOM)
    if models:
        parts += _ratios(edges, reference, models, x)
    parts.append(f'<text x="{RIGHT}" y="{height - 1}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</svg>"])


def _grid(y: Axis) -> list[str]:
    parts = []
    for tick in y.ticks():
        parts.append(f'<path class="gr" d="M{LEFT} {y.at(tick)}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y.at(tick) + 3.5:.1f}" class="a-e">{number(tick)}</text>')
    return parts


def _x_ticks(x: Axis, bottom: float) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(f'<path class="ax" d="M{x.at(tick)} {bottom}v4"/>')
        parts.append(f'<text x="{x.at(tick)}" y="{bottom + 16}" class="a-m">{number(tick)}</text>')
    return parts


def _steps(edges: Sequence[float], values: Sequence[float], x: Axis, y: Axis, *, closed: bool = False) -> str:
    """A step line; it is broken where a value is not finite."""
    path, drawing = "", False
    for low, high, value in zip(edges, edges[1:], values, strict=False):
        if not math.isfinite(value):
            path += f"V{BOTTOM}" if closed and drawing else ""
            drawing = False
            continue
        if not drawing:
            path += f"M{x.at(low)} {BOTTOM}V{y.at(value)}" if closed else f"M{x.at(low)} {y.at(value)}"
        path += f"V{y.at(value)}H{x.at(high)}"
        drawing = True
    return path + (f"V{BOTTOM}" if closed and drawing else "")


def _legend(names: Sequence[tuple[str, str]]) -> list[str]:
    """At the top right, in the order of the plot."""
    parts: list[str] = []
    at = float(RIGHT)
    for colour, name in reversed(names):
        shown = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
        at -= round(LEGEND_LETTER * len(shown)) + 22
        parts.append(f'<rect class="{colour} fl" x="{at}" y="3" width="9" height="9"/>')
        parts.append(f'<text x="{at + 13}" y="11" class="lb">{escape(shown, quote=False)}</text>')
    return parts


def _ratios(edges: Sequence[float], reference: Line, models: Sequence[Line], x: Axis) -> list[str]:
    """The panel below: a line at 1, the reference's error as a band, triangles at the edge for what lies outside."""
    y = Axis(RATIO_LOW, RATIO_HIGH, RATIO_BOTTOM, RATIO_TOP)
    parts = [f'<text x="{LEFT}" y="{RATIO_TOP - 6}" class="lb">model / {escape(reference.name, quote=False)}</text>']
    parts += [
        f'<text x="{LEFT - 6}" y="{y.at(tick) + 3.5:.1f}" class="a-e">{number(tick)}</text>'
        for tick in (RATIO_LOW, 1, RATIO_HIGH)
    ]
    parts.append(f'<g class="{REFERENCE}">')
    for place, (low, high, value) in enumerate(zip(edges, edges[1:], reference.values, strict=False)):
        if value > 0:
            share = reference.error(place) / value
            top, bottom = y.at(1 + share), y.at(1 - share)
            box = f'x="{x.at(low)}" y="{top}" width="{x.at(high) - x.at(low):.1f}" height="{bottom - top:.1f}"'
            parts.append(f'<rect class="tint fl" {box}/>')
    parts.append(f'</g><path class="ref-l" d="M{LEFT} {y.at(1)}H{RIGHT}"/>')
    for index, (colour, line) in enumerate(zip(COLOURS, models, strict=False)):
        parts.append(f'<g class="{colour}">')
        for place, (low, high, value) in enumerate(zip(edges, edges[1:], line.values, strict=False)):
            usual = reference.values[place]
            if not (math.isfinite(value) and usual > 0):
                continue
            middle = round((x.at(low) + x.at(high)) / 2 + 1.5 * (index - (len(models) - 1) / 2), 1)
            ratio, error = value / usual, line.error(place) / usual
            if ratio > RATIO_HIGH:
                parts.append(f'<path class="pt" d="M{middle} {RATIO_TOP}l3.5 6h-7Z"/>')
            elif ratio < RATIO_LOW:
                parts.append(f'<path class="pt" d="M{middle} {RATIO_BOTTOM}l3.5 -6h-7Z"/>')
            else:
                if error > 0:
                    parts.append(f'<path class="eb" d="M{middle} {y.at(ratio - error)}V{y.at(ratio + error)}"/>')
                parts.append(f'<circle class="pt" cx="{middle}" cy="{y.at(ratio)}" r="1.9"/>')
        parts.append("</g>")
    parts.append(f'<path class="ax" d="M{LEFT} {RATIO_BOTTOM}H{RIGHT}"/>')
    return parts


MOST_POINTS = 260


def curves(steps: Sequence[float], series: Sequence[Line], *, x_title: str, y_title: str, label: str) -> str:
    """Lines over the steps of a training; the y axis is logarithmic where all values are above 0 and span a decade or more."""
    kept = range(0, len(steps), max(1, math.ceil(len(steps) / MOST_POINTS)))
    rows = [*kept, *([len(steps) - 1] if steps and kept[-1] != len(steps) - 1 else [])]
    values = [value for line in series for value in line.values if math.isfinite(value)]
    log = bool(values) and min(values) > 0 and max(values) > 10 * min(values)
    x = axis_of(list(steps) or [0.0], LEFT, RIGHT, log=False, zero=True)
    y = axis_of(values, BOTTOM, TOP, log=log, zero=False)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">', *_grid(y)]
    for colour, line in zip(COLOURS, series, strict=False):
        points = [(x.at(steps[row]), y.at(line.values[row])) for row in rows if math.isfinite(line.values[row])]
        if len(points) == 1:
            parts.append(f'<g class="{colour}"><circle class="pt" cx="{points[0][0]}" cy="{points[0][1]}" r="2.5"/></g>')
        elif points:
            path = "L".join(f"{a} {b}" for a, b in points)
            parts.append(f'<g class="{colour}"><path class="ln" d="M{path}"/></g>')
    parts += _legend([(colour, line.name) for colour, line in zip(COLOURS, series, strict=False)])
    parts += _x_ticks(x, BOTTOM)
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text x="{LEFT}" y="11" class="lb">{escape(y_title)}</text>')
    parts.append(f'<text x="{RIGHT}" y="{HEIGHT - 1}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class Point:
    """A model in the plane of time and quality: ``number`` is that of its row in the table beside the plot."""

    number: int
    name: str
    x: float
    y: float
    error: float = 0.0


def scatter(points: Sequence[Point], *, floor: float | None, x_title: str, y_title: str, label: str, log_y: bool = False) -> str:
    """Points with their numbers, time to the right on a logarithmic axis; a line at the floor, which is as good as can be."""
    x = axis_of([point.x for point in points], LEFT, RIGHT, log=True, zero=False)
    x = Axis(x.low / 1.4, x.high * 1.4, LEFT, RIGHT, True)
    heights = [value for point in points for value in (point.y - point.error, point.y + point.error)]
    y = axis_of([*heights, *([floor] if floor is not None else [])], BOTTOM, TOP, log=log_y, zero=False)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">', *_grid(y)]
    parts += [f'<path class="gr" d="M{x.at(tick)} {TOP}V{BOTTOM}"/>' for tick in x.ticks()]
    parts += _x_ticks(x, BOTTOM)
    if floor is not None:
        parts.append(f'<path class="ref-l" d="M{LEFT} {y.at(floor)}H{RIGHT}"/>')
        parts.append(
            f'<text x="{RIGHT}" y="{y.at(floor) - 4:.1f}" class="lb a-e halo">floor: the simulation against itself</text>'
        )
    for place, point in enumerate(points):
        colour = COLOURS[place % len(COLOURS)]
        told = escape(f"{point.number}: {point.name}, {number(point.x)} ms, {point.y:.3g}", quote=False)
        left, top = x.at(point.x), y.at(point.y)
        parts.append(f'<g class="{colour}"><title>{told}</title>')
        parts.append(f'<path class="eb" d="M{left} {y.at(point.y - point.error)}V{y.at(point.y + point.error)}"/>')
        parts.append(f'<circle class="pt" cx="{left}" cy="{top}" r="5"/></g>')
        parts.append(f'<text x="{left + 8:.1f}" y="{top + 3.5:.1f}" class="val halo">{point.number}</text>')
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text x="{LEFT}" y="11" class="lb">{escape(y_title)}</text>')
    parts.append(f'<text x="{RIGHT}" y="{HEIGHT - 1}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</svg>"])
