"""Plots as inline SVG, made by the server: colour by class only, so that both themes and the content policy are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 520, 236
LEFT, RIGHT, TOP, BOTTOM = 54, 512, 20, 204


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values that cover ``low`` to ``high``, about ``count`` of them."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
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
    left, right, top = 150, RIGHT - 40, 24 if len(series) > 1 else 6
    bottom = top + ROW_HEIGHT * len(labels)
    height = bottom + 34
    most = max((value for _, values in series for value in values), default=0.0) or 1.0
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
        shown = text if len(text) <= MOST_NAME else text[: MOST_NAME - 1] + "…"
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
