"""Plots of benchmarks as inline SVG: time against memory, and time against the size of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from portal.jobs.plots import BOTTOM, HEIGHT, LEFT, MARKS, RIGHT, TOP, WIDTH, number
from portal.jobs.scales import Axis, axis_of

ENGINES = {
    "own_avx512": "e-own", "own_avx2": "e-llv", "own_portable": "e-gtil", "own_forest": "e-own", "onnxruntime_c": "e-ort",
    "onnxruntime_python": "e-cat", "torch_eager": "e-torch", "torch_compile": "e-tree", "torch_script": "e-lgbm", "xla": "e-tf",
    "sofie": "e-sofie", "emx": "e-skl", "openvino": "e-dal", "root": "e-xgb", "xgboost": "e-torch", "xgboost_c": "e-xgb",
    "lightgbm": "e-tf", "lightgbm_c": "e-lgbm",
    "sklearn": "e-skl", "onedal": "e-dal", "tl2cgen": "e-tree", "treelite": "e-gtil", "lleaves": "e-llv", "catboost": "e-cat",
}  # fmt: skip
"""Colour and marker of each engine; engines of networks and of forests, which never meet, share some."""

LEGEND_ROW = 16
LEGEND_TOP = 12
LEGEND_COLUMNS = 3


def look(engine: str) -> str:
    """The class of an engine."""
    return ENGINES.get(engine, "truth")


@dataclass(frozen=True)
class Mark:
    """A point: of an engine, at a place, with what is told of it."""

    engine: str
    x: float
    y: float
    told: str


def cloud(marks: Sequence[Mark], titles: dict[str, str], *, x_title: str, y_title: str, label: str) -> str:
    """Marks on two logarithmic axes, the engines' names below."""
    x, y = _axes([mark.x for mark in marks], [mark.y for mark in marks])
    parts = [*_frame(x, y, titles, x_title=x_title, y_title=y_title, label=label)]
    parts += [_mark(mark, x, y) for mark in marks]
    return "".join([*parts, "</svg>"])


def lines(series: dict[str, Sequence[Mark]], titles: dict[str, str], *, x_title: str, y_title: str, label: str) -> str:
    """A line for each engine on two logarithmic axes, its points marked, the engines' names below."""
    marks = [mark for each in series.values() for mark in each]
    x, y = _axes([mark.x for mark in marks], [mark.y for mark in marks])
    parts = [*_frame(x, y, titles, x_title=x_title, y_title=y_title, label=label)]
    for engine, points in series.items():
        path = "L".join(f"{x.at(mark.x)} {y.at(mark.y)}" for mark in points)
        parts.append(f'<g class="{look(engine)}"><path class="ln" d="M{path}"/></g>')
        parts += [_mark(mark, x, y) for mark in points]
    return "".join([*parts, "</svg>"])


def _axes(across: Sequence[float], up: Sequence[float]) -> tuple[Axis, Axis]:
    x = axis_of(across, LEFT, RIGHT, log=True, zero=False)
    return Axis(x.low / 1.2, x.high * 1.2, LEFT, RIGHT, True), axis_of(up, BOTTOM, TOP, log=True, zero=False)


def _frame(x: Axis, y: Axis, titles: dict[str, str], *, x_title: str, y_title: str, label: str) -> list[str]:
    height = HEIGHT + LEGEND_TOP + LEGEND_ROW * -(-len(titles) // LEGEND_COLUMNS)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for tick in y.ticks():
        parts.append(f'<path class="gr" d="M{LEFT} {y.at(tick)}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y.at(tick) + 3.5:.1f}" class="a-e">{number(tick)}</text>')
    for tick in x.ticks():
        parts.append(f'<path class="gr" d="M{x.at(tick)} {TOP}V{BOTTOM}"/>')
        parts.append(f'<text x="{x.at(tick)}" y="{BOTTOM + 16}" class="a-m">{number(tick)}</text>')
    parts.append(f'<path class="ax" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text x="{LEFT}" y="11" class="lb">{escape(y_title)}</text>')
    parts.append(f'<text x="{RIGHT}" y="{HEIGHT - 1}" class="lb a-e">{escape(x_title)}</text>')
    for place, (engine, title) in enumerate(titles.items()):
        left = LEFT + (RIGHT - LEFT) / LEGEND_COLUMNS * (place % LEGEND_COLUMNS)
        top = HEIGHT + LEGEND_TOP + LEGEND_ROW * (place // LEGEND_COLUMNS)
        parts.append(f'<g class="{look(engine)}">{MARKS[look(engine)](left + 6, top)}</g>')
        parts.append(f'<text x="{left + 16:.1f}" y="{top + 3.5}" class="lb">{escape(title, quote=False)}</text>')
    return parts


def _mark(mark: Mark, x: Axis, y: Axis) -> str:
    shape = MARKS[look(mark.engine)](x.at(mark.x), y.at(mark.y))
    return f'<g class="{look(mark.engine)}"><title>{escape(mark.told, quote=False)}</title>{shape}</g>'
