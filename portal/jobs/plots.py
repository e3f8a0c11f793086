"""Plots as inline SVG, made by the server: colour by class only, so that both themes and the content policy are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT = 520, 236
LEFT, RIGHT, TOP, BOTTOM = 54, 512, 20, 204


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values that cover ``low`` to ``high``, about ``count`` of them."""
    span = high - low
    if span < 1e-300 or not math.isfinite(span):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def number(value: float) -> str:
    """A tick's label: short, thin spaces in thousands."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.3g}"
    text = f"{value:,.6g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return text.replace(",", "\u2009")


def histogram(edges: Sequence[float], counts: Sequence[float], *, x_title: str, y_title: str, label: str) -> str:
    """A histogram as a filled step line.

    Parameters
    ----------
    edges
        Bin edges, ascending, one more than ``counts``.
    counts
        Contents of the bins, not negative.
    x_title, y_title
        Axis titles, with the unit in brackets where there is one.
    label
        One sentence that says what the plot shows, for those who cannot see it.
    """
    low, high = float(edges[0]), float(edges[-1])
    top = max(max(counts, default=0.0), 1.0) * 1.08

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (RIGHT - LEFT), 1)

    def y(value: float) -> float:
        return round(BOTTOM - value / top * (BOTTOM - TOP), 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}"><g class="m1">']
    for tick in ticks(0, top):
        parts.append(f'<path class="gr" d="M{LEFT} {y(tick)}L{RIGHT} {y(tick)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 3.5}" class="a-e">{number(tick)}</text>')
    for tick in ticks(low, high):
        parts.append(f'<path class="ax" d="M{x(tick)} {BOTTOM}v4"/>')
        parts.append(f'<text x="{x(tick)}" y="{BOTTOM + 16}" class="a-m">{number(tick)}</text>')
    steps = "".join(f"V{y(count)}H{x(edge)}" for count, edge in zip(counts, edges[1:], strict=True))
    parts.append(f'<path class="tint fl" d="M{x(low)} {BOTTOM}{steps}V{BOTTOM}Z"/>')
    parts.append(f'<path class="ln" d="M{x(low)} {BOTTOM}{steps}V{BOTTOM}"/>')
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
    parts.append(f'<text x="{LEFT}" y="11" class="lb">{escape(y_title)}</text>')
    parts.append(f'<text x="{RIGHT}" y="{HEIGHT - 1}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</g></svg>"])


MOST_NAME = 24  # letters of a name beside a bar
ROW_HEIGHT = 26


def bars(
    labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], *, x_title: str, label: str, unit: str = ""
) -> str:
    """Horizontal bars from zero, one row a label, one or two bars in it, with their numbers.

    Parameters
    ----------
    labels
        Names of the rows, from above to below; long ones are shortened, whole in a tooltip.
    series
        One or two of (name, a value for each label), not negative.
    x_title
        Title of the axis.
    label
        One sentence that says what the plot shows.
    unit
        Behind the numbers.
    """
    left, right, top = 168, RIGHT - 40, 24 if len(series) > 1 else 6
    bottom = top + ROW_HEIGHT * len(labels)
    height = bottom + 34
    most = max((value for _, values in series for value in values), default=0.0)
    most = most if most > 1e-300 else 1.0
    thick = 9 if len(series) > 1 else 14

    def x(value: float) -> float:
        return round(left + value / most * (right - left), 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    if len(series) > 1:
        for number_of, (name, _) in enumerate(series):
            at = left + 150 * number_of
            parts.append(f'<rect class="m{number_of + 1} fl" x="{at}" y="5" width="9" height="9"/>')
            parts.append(f'<text x="{at + 14}" y="13" class="lb">{escape(name)}</text>')
    for tick in ticks(0, most):
        parts.append(f'<path class="gr" d="M{x(tick)} {top}V{bottom}"/>')
        parts.append(f'<text x="{x(tick)}" y="{bottom + 15}" class="a-m">{number(tick)}</text>')
    for row, text in enumerate(labels):
        middle = top + ROW_HEIGHT * (row + 0.5)
        shown = text if len(text) <= MOST_NAME else f"{text[: MOST_NAME // 3]}…{text[MOST_NAME // 3 + 1 - MOST_NAME :]}"
        parts.append(f"<g><title>{escape(text, quote=False)}</title>")
        parts.append(f'<text x="{left - 8}" y="{middle + 3.5}" class="code-t a-e">{escape(shown, quote=False)}</text></g>')
        for number_of, (name, values) in enumerate(series):
            value = values[row]
            y = middle - thick * len(series) / 2 + thick * number_of
            parts.append(
                f'<g class="m{number_of + 1}"><title>{escape(f"{text}, {name}: {value:.3g}{unit}", quote=False)}</title>'
            )
            parts.append(f'<rect class="fl" x="{left}" y="{y}" width="{max(x(value) - left, 0):.1f}" height="{thick - 1}"/></g>')
        longest = max(values[row] for _, values in series)
        told = " / ".join(f"{values[row]:.3g}" for _, values in series)
        parts.append(f'<text x="{x(longest) + 5}" y="{middle + 3.5}" class="val halo">{told}{escape(unit)}</text>')
    parts.append(f'<path class="ax" d="M{left} {top}V{bottom}"/>')
    parts.append(f'<text x="{RIGHT}" y="{height - 3}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</svg>"])


def columns(
    labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], *, x_title: str, y_title: str, label: str
) -> str:
    """Columns from zero, one or two series stacked in each, with a label under as many as there is room for.

    Parameters
    ----------
    labels
        Names of the columns, from left to right.
    series
        One or two of (name, a value for each label), not negative; the first is the lowest.
    x_title, y_title
        Axis titles, with the unit in brackets where there is one.
    label
        One sentence that says what the plot shows.
    """
    sums = [sum(values) for values in zip(*(values for _, values in series), strict=True)]
    top = max(max(sums, default=0.0), 1.0) * 1.08
    step = (RIGHT - LEFT) / max(len(labels), 1)
    every = max(1, math.ceil(52 / step))

    def y(value: float) -> float:
        return round(BOTTOM - value / top * (BOTTOM - TOP), 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in ticks(0, top):
        parts.append(f'<path class="gr" d="M{LEFT} {y(tick)}L{RIGHT} {y(tick)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 3.5}" class="a-e">{number(tick)}</text>')
    for place, text in enumerate(labels):
        left = LEFT + step * place
        base = 0.0
        for number_of, (name, values) in enumerate(series):
            value = values[place]
            if value > 0:
                told = escape(f"{text}, {name}: {number(value)}", quote=False)
                parts.append(
                    f'<g class="m{number_of + 1}"><title>{told}</title><rect class="fl" x="{left + step * 0.1:.1f}" '
                    f'y="{y(base + value)}" width="{step * 0.8:.1f}" height="{y(base) - y(base + value):.1f}"/></g>'
                )
            base += value
        if place % every == 0:
            parts.append(f'<text x="{left + step / 2:.1f}" y="{BOTTOM + 16}" class="a-m">{escape(text, quote=False)}</text>')
    if len(series) > 1:
        for number_of, (name, _) in enumerate(series):
            at = RIGHT - 110 * (len(series) - number_of)
            parts.append(f'<rect class="m{number_of + 1} fl" x="{at}" y="3" width="9" height="9"/>')
            parts.append(f'<text x="{at + 14}" y="11" class="lb">{escape(name)}</text>')
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
    parts.append(f'<text x="{LEFT}" y="11" class="lb">{escape(y_title)}</text>')
    parts.append(f'<text x="{RIGHT}" y="{HEIGHT - 1}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</svg>"])


# --- engines compared -----------------------------------------------------------------------------------------------------------

MARKS = {
    "e-own": lambda x, y: f'<circle class="pt" cx="{x}" cy="{y}" r="4.6"/>',
    "e-ort": lambda x, y: f'<rect class="pt" x="{x - 4.2:.1f}" y="{y - 4.2:.1f}" width="8.4" height="8.4"/>',
    "e-xgb": lambda x, y: f'<path class="pt" d="M{x} {y + 5.4:.1f}l5-9h-10Z"/>',
    "e-tree": lambda x, y: f'<path class="pt" d="M{x - 1.7:.1f} {y - 5}h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3Z"/>',
    "e-lgbm": lambda x, y: f'<path class="pt" d="M{x} {y - 5.2:.1f}l5 3.6l-1.9 5.9h-6.2l-1.9 -5.9Z"/>',
    "e-skl": lambda x, y: f'<path class="pt" d="M{x} {y - 5.8:.1f}l1.6 4.2 4.2 1.6-4.2 1.6-1.6 4.2-1.6-4.2-4.2-1.6 4.2-1.6Z"/>',
    "e-dal": lambda x, y: f'<rect class="pt" x="{x - 2.4:.1f}" y="{y - 5.4:.1f}" width="4.8" height="10.8"/>',
    "e-gtil": lambda x, y: f'<rect class="pt" x="{x - 5.4:.1f}" y="{y - 2.4:.1f}" width="10.8" height="4.8"/>',
    "e-cat": lambda x, y: (
        f'<path class="pt" d="M{x} {y - 1.8:.1f}l3-3 1.8 1.8-3 3 3 3-1.8 1.8-3-3-3 3-1.8-1.8 3-3-3-3 1.8-1.8Z"/>'
    ),
    "e-torch": lambda x, y: f'<path class="pt" d="M{x} {y - 5.4:.1f}l5 9h-10Z"/>',
    "e-tf": lambda x, y: f'<path class="pt" d="M{x} {y - 5}l5 5-5 5-5-5Z"/>',
    "e-sofie": lambda x, y: f'<path class="pt" d="M{x} {y - 5.2:.1f}l4.5 2.6v5.2l-4.5 2.6-4.5-2.6v-5.2Z"/>',
    "e-llv": lambda x, y: f'<path class="pt" d="M{x} {y - 6}l3 6-3 6-3-6Z"/>',
    "truth": lambda x, y: f'<path class="pt" d="M{x} {y - 5}l5 5-5 5-5-5Z"/>',
}
"""The marker of each engine, beside its colour; the same on every page."""


def ratios(groups: Sequence[tuple[str, Sequence[tuple[str, str, float, float, float, str]]]], *, x_title: str, label: str) -> str:
    """Logarithmic bars that start at 1: what is faster than the reference goes left, what is slower goes right.

    Parameters
    ----------
    groups
        Of (heading, rows), a row being (name, class of the engine, ratio, lower and upper quartile, text at the right).
    x_title
        Title of the axis.
    label
        One sentence that says what the plot shows.
    """
    width, left, right = 640, 122, 492
    rows = [row for _, members in groups for row in members]
    low = min([0.5, *(row[3] for row in rows)])
    high = max([2.0, *(row[4] for row in rows)])
    # A little air, so that marks at the ends stay inside.
    first, last = math.log10(low) - 0.06, math.log10(high) + 0.06

    def x(value: float) -> float:
        return round(left + (math.log10(value) - first) / (last - first) * (right - left), 1)

    heading, row_height = 26, 20
    bottom = 6 + sum(heading + row_height * len(members) for _, members in groups)
    height = bottom + 36
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">']
    for tick in _log_ticks(first, last):
        parts.append(f'<path class="gr" d="M{x(tick)} 6V{bottom}"/>')
        parts.append(f'<text x="{x(tick)}" y="{bottom + 15}" class="a-m">{number(tick)}</text>')
    y = 6.0
    for title, members in groups:
        parts.append(f'<text x="0" y="{y + 18}" class="hd halo">{escape(title)}</text>')
        y += heading
        for name, engine, ratio, lower, upper, text in members:
            middle = y + row_height / 2
            a, b = sorted((x(1.0), x(ratio)))
            parts.append(f'<g class="{engine}"><title>{escape(f"{name}, {title}: {ratio:.3g}, {text}", quote=False)}</title>')
            parts.append(f'<rect class="span" x="{a}" y="{middle - 5}" width="{b - a:.1f}" height="10"/>')
            parts.append(f'<path class="eb" d="M{x(lower)} {middle}H{x(upper)}"/>{MARKS[engine](x(ratio), middle)}</g>')
            parts.append(f'<text x="{left - 12}" y="{middle + 3.5}" class="val a-e">{escape(name)}</text>')
            parts.append(f'<text x="{right + 12}" y="{middle + 3.5}" class="val">{ratio:.3g} ×</text>')
            parts.append(f'<text x="{width}" y="{middle + 3.5}" class="lb a-e">{escape(text)}</text>')
            y += row_height
    parts.append(f'<path class="ref-l" d="M{x(1.0)} 6V{bottom}"/><path class="ax" d="M{left} {bottom}H{right}"/>')
    parts.append(f'<text x="{left}" y="{height - 4}" class="lb">← faster</text>')
    parts.append(f'<text x="{right}" y="{height - 4}" class="lb a-e">{escape(x_title)}, slower →</text>')
    return "".join([*parts, "</svg>"])


def _log_ticks(first: float, last: float) -> list[float]:
    """Round values between two powers of ten: decades, and 2 and 5 of each where there is room."""
    steps = (1, 2, 5) if last - first < 2.2 else (1,)
    found = [step * 10.0**power for power in range(math.floor(first), math.ceil(last) + 1) for step in steps]
    return [value for value in found if first <= math.log10(value) <= last]


# --- classes of rows compared ---------------------------------------------------------------------------------------------------

CLASSES = ("m1", "m2", "truth", "e-ort", "e-xgb", "e-tree", "e-lgbm", "e-skl")
"""The colours of classes, signal first."""
RATIO_TOP, RATIO_BOTTOM = 232, 286
RATIO_MOST = 2.0


def overlay(
    edges: Sequence[float], series: Sequence[tuple[str, Sequence[float]]], *, x_title: str, y_title: str, label: str
) -> str:
    """Histograms of several classes on one axis, each as shares of its own sum; below, the ratio of the first two.

    Parameters
    ----------
    edges
        Bin edges, ascending.
    series
        Of (name, contents of the bins).
    x_title, y_title
        Axis titles.
    label
        One sentence that says what the plot shows.
    """
    low, high = float(edges[0]), float(edges[-1])
    shares = [[count / (sum(counts) or 1.0) for count in counts] for _, counts in series]
    top = max((share for of_class in shares for share in of_class), default=0.0) * 1.12 or 1.0
    with_ratio = len(series) > 1
    height = RATIO_BOTTOM + 32 if with_ratio else HEIGHT

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (RIGHT - LEFT), 1)

    def y(value: float) -> float:
        return round(BOTTOM - value / top * (BOTTOM - TOP), 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for tick in ticks(0, top):
        parts.append(f'<path class="gr" d="M{LEFT} {y(tick)}L{RIGHT} {y(tick)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 3.5}" class="a-e">{number(tick)}</text>')
    for index, of_class in enumerate(shares):
        steps = "".join(f"V{y(share)}H{x(edge)}" for share, edge in zip(of_class, edges[1:], strict=True))
        parts.append(
            f'<g class="{CLASSES[index % len(CLASSES)]}"><path class="tint fl" d="M{x(low)} {BOTTOM}{steps}V{BOTTOM}Z"/>'
        )
        parts.append(f'<path class="ln" d="M{x(low)} {BOTTOM}{steps}V{BOTTOM}"/></g>')
    at = RIGHT
    for index, (name, _) in reversed(list(enumerate(series))):
        shown = name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…"
        at -= round(6.3 * len(shown)) + 22
        parts.append(f'<rect class="{CLASSES[index % len(CLASSES)]} fl" x="{at}" y="3" width="9" height="9"/>')
        parts.append(f'<text x="{at + 13}" y="11" class="lb">{escape(shown)}</text>')
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text x="{LEFT}" y="11" class="lb">{escape(y_title)}</text>')
    bottom = RATIO_BOTTOM if with_ratio else BOTTOM
    for tick in ticks(low, high):
        parts.append(f'<path class="ax" d="M{x(tick)} {bottom}v4"/>')
        parts.append(f'<text x="{x(tick)}" y="{bottom + 16}" class="a-m">{number(tick)}</text>')
    if with_ratio:
        parts += _ratio_panel(edges, series, x)
    parts.append(f'<text x="{RIGHT}" y="{height - 1}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</svg>"])


def _ratio_panel(edges: Sequence[float], series: Sequence[tuple[str, Sequence[float]]], x: Callable[[float], float]) -> list[str]:
    """Shares of the first class over those of the second, with the error that counting has; the band is the second's alone."""

    def y(value: float) -> float:
        return round(RATIO_BOTTOM - value / RATIO_MOST * (RATIO_BOTTOM - RATIO_TOP), 1)

    (first_name, first), (second_name, second) = series[:2]
    scale = (sum(second) or 1.0) / (sum(first) or 1.0)
    parts = [
        f'<text x="{LEFT}" y="{RATIO_TOP - 5}" class="lb">{escape(f"{first_name} / {second_name}"[:60])}</text><g class="m2">'
    ]
    for low, high, b in zip(edges, edges[1:], second, strict=False):
        if b > 0:
            error = min(1 / math.sqrt(b), 1.0)
            box = f'x="{x(low)}" y="{y(1 + error)}" width="{x(high) - x(low):.1f}" height="{y(1 - error) - y(1 + error):.1f}"'
            parts.append(f'<rect class="tint fl" {box}/>')
    parts.append('</g><g class="m1">')
    parts += [f'<text x="{LEFT - 6}" y="{y(tick) + 3.5}" class="a-e">{number(tick)}</text>' for tick in (0.0, 1.0, 2.0)]
    parts.append(f'<path class="ref-l" d="M{LEFT} {y(1)}H{RIGHT}"/>')
    for low, high, a, b in zip(edges, edges[1:], first, second, strict=False):
        if a <= 0 or b <= 0:
            continue
        middle, ratio = round((x(low) + x(high)) / 2, 1), a / b * scale
        if ratio > RATIO_MOST:
            parts.append(f'<path class="pt" d="M{middle} {RATIO_TOP}l3.5 6h-7Z"/>')
            continue
        error = ratio / math.sqrt(a)
        parts.append(f'<path class="eb" d="M{middle} {y(max(ratio - error, 0.0))}V{y(min(ratio + error, RATIO_MOST))}"/>')
        parts.append(f'<circle class="pt" cx="{middle}" cy="{y(ratio)}" r="1.8"/>')
    parts.append(f'</g><path class="ax" d="M{LEFT} {RATIO_BOTTOM}H{RIGHT}"/>')
    return parts


def before_and_after(edges: Sequence[float], before: Sequence[float], after: Sequence[float], *, x_title: str, label: str) -> str:
    """The histogram of all rows as a line, that of those that are kept filled below it."""
    low, high = float(edges[0]), float(edges[-1])
    top = max(max(before, default=0.0), 1.0) * 1.08

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (RIGHT - LEFT), 1)

    def steps(counts: Sequence[float]) -> str:
        middle = "".join(
            f"V{round(BOTTOM - count / top * (BOTTOM - TOP), 1)}H{x(edge)}" for count, edge in zip(counts, edges[1:], strict=True)
        )
        return f"M{x(low)} {BOTTOM}{middle}V{BOTTOM}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in ticks(0, top):
        height = round(BOTTOM - tick / top * (BOTTOM - TOP), 1)
        parts.append(f'<path class="gr" d="M{LEFT} {height}L{RIGHT} {height}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 3.5}" class="a-e">{number(tick)}</text>')
    for tick in ticks(low, high):
        parts.append(f'<path class="ax" d="M{x(tick)} {BOTTOM}v4"/>')
        parts.append(f'<text x="{x(tick)}" y="{BOTTOM + 16}" class="a-m">{number(tick)}</text>')
    parts.append(f'<path class="truth ln" d="{steps(before)}"/>')
    parts.append(f'<g class="m1"><path class="tint fl" d="{steps(after)}Z"/><path class="ln" d="{steps(after)}"/></g>')
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text x="{LEFT}" y="11" class="lb">Values</text>')
    parts.append(f'<rect class="truth fl" x="{RIGHT - 118}" y="3" width="9" height="9"/>')
    parts.append(
        f'<text x="{RIGHT - 105}" y="11" class="lb">all</text><rect class="m1 fl" x="{RIGHT - 62}" y="3" width="9" height="9"/>'
    )
    parts.append(f'<text x="{RIGHT - 49}" y="11" class="lb">kept</text>')
    parts.append(f'<text x="{RIGHT}" y="{HEIGHT - 1}" class="lb a-e">{escape(x_title)}</text>')
    return "".join([*parts, "</svg>"])


def matrix(labels: Sequence[str], values: Sequence[Sequence[float | None]], *, label: str) -> str:
    """A square of numbers from -1 to 1: blue above zero, orange below, the number in each cell where there is room.

    Parameters
    ----------
    labels
        Of rows and columns.
    values
        One list for each row; None where there is no number.
    label
        One sentence that says what the plot shows.
    """
    count = len(labels)
    left = 150
    cell = max(14.0, min(44.0, (640 - left) / max(1, count)))
    width, height = left + cell * count, cell * count + 96
    parts = [f'<svg viewBox="0 0 {max(width, 320):.0f} {height:.0f}" role="img" aria-label="{escape(label)}">']
    for row, name in enumerate(labels):
        shown = name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…"
        y = cell * row
        parts.append(f'<text x="{left - 6}" y="{y + cell / 2 + 3.5:.1f}" class="code-t a-e">{escape(shown, quote=False)}</text>')
        x = left + cell * (row + 0.5)
        below = cell * count + 10
        turned = f'transform="rotate(-50 {x:.1f} {below:.1f})"'
        short = shown if len(shown) <= 14 else f"{shown[:13]}…"
        parts.append(f'<text x="{x:.1f}" y="{below:.1f}" class="code-t a-e" {turned}>{escape(short, quote=False)}</text>')
        for column, value in enumerate(values[row]):
            at = left + cell * column
            told = "—" if value is None else f"{value:.2f}"
            words = escape(f"{name}, {labels[column]}: {told}", quote=False)
            parts.append(f'<g class="{_shade(value)}"><title>{words}</title>')
            parts.append(f'<rect class="fl" x="{at:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"/></g>')
            if cell >= 26:
                parts.append(f'<text x="{at + cell / 2:.1f}" y="{y + cell / 2 + 3.5:.1f}" class="val a-m">{told}</text>')
    return "".join([*parts, "</svg>"])


def _shade(value: float | None) -> str:
    if value is None or abs(value) < 0.1:
        return "q-0"
    step = 3 if abs(value) >= 0.7 else 2 if abs(value) >= 0.35 else 1
    return f"q-f{step}" if value > 0 else f"q-l{step}"
