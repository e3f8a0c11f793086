"""The matrix of a report as a page shows it: a number in each cell, its ratio to an engine, a reason where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcore.benchmarks.cells import Cell
    from mlcore.benchmarks.report import Report

BETTER = ((1 / 1.1, ""), (1 / 1.5, "f1"), (1 / 3, "f2"), (0.0, "f3"))
"""From which ratio on a cell is coloured how, where less is better; the inverse ratios are ``l1`` to ``l3``."""


@dataclass(frozen=True)
class Quantity:
    """What the cells show: a name for the address, a title, the number of a cell, and how it is written."""

    name: str
    title: str
    of: Callable[[Cell], float | None]
    written: Callable[[float | None], str]
    less_is_better: bool = True


@dataclass(frozen=True)
class Shown:
    """A cell on the page. ``value`` is what columns are sorted by, ``""`` where there is none."""

    text: str
    ratio: str
    colour: str
    value: str
    told: str
    noisy: bool = False


@dataclass(frozen=True)
class Row:
    """A model with its cells."""

    name: str
    title: str
    about: str
    cells: tuple[Shown, ...]


def quantities() -> dict[str, Quantity]:
    """All that the matrix can show, by name."""
    from mlcore.benchmarks.report import bytes_, rate, seconds

    found = (
        Quantity("time", "Time for an event", lambda cell: cell.per_event, seconds),
        Quantity("latency", "Time of an inference", lambda cell: cell.wall.median if cell.wall else None, seconds),
        Quantity("cpu", "CPU time of an inference", lambda cell: cell.cpu.median if cell.cpu else None, seconds),
        Quantity("rate", "Events in a second", lambda cell: cell.throughput, rate, less_is_better=False),
        Quantity("memory", "Peak memory", lambda cell: cell.memory.peak if cell.memory else None, bytes_),
        Quantity("growth", "Memory lost in an inference", lambda cell: cell.memory.growth if cell.memory else None, bytes_),
        Quantity("allocated", "Heap taken in an inference", _allocated, bytes_),
        Quantity("first", "First inference", lambda cell: cell.first, seconds),
        Quantity("load", "Time to load", lambda cell: cell.load, seconds),
        Quantity("convert", "Time to convert and compile", lambda cell: cell.convert, seconds),
        Quantity(
            "artefact", "Size of the artefact", lambda cell: None if cell.artefact is None else float(cell.artefact), bytes_
        ),
    )
    return {each.name: each for each in found}


def _allocated(cell: Cell) -> float | None:
    return None if cell.memory is None else cell.memory.allocated


def rows(report: Report, batch: int, threads: int, quantity: Quantity, against: str) -> list[Row]:
    """The matrix at one size."""
    from mlcore.benchmarks.report import bytes_

    found = []
    for model in report.models:
        cells = [report.cell(model.name, engine.name, batch, threads) for engine in report.engines]
        other = report.cell(model.name, against, batch, threads)
        reference = quantity.of(other) if other is not None and other.status == "measured" else None
        shown = tuple(_shown(cell, quantity, reference, is_reference=cell is not None and cell is other) for cell in cells)
        about = f"{bytes_(model.weights)} of weights" if model.weights else ""
        found.append(Row(model.name, model.title, about, shown))
    return found


def _shown(cell: Cell | None, quantity: Quantity, reference: float | None, *, is_reference: bool) -> Shown:
    if cell is None:
        return Shown("–", "", "na", "", "not measured yet")
    if cell.status != "measured":
        words = {"absent": "not here", "refused": "refused", "wrong": "wrong answer", "failed": "failed"}[cell.status]
        return Shown("–" if cell.reason.endswith(" only") else words, "", "na", "", cell.reason)
    value = quantity.of(cell)
    if value is None:
        return Shown("–", "", "na", "", "nothing to tell")
    noise = f"noisy: {', '.join(cell.notes)}" if cell.noisy else ""
    ratio, colour = "", ""
    if reference is not None and reference > 0:
        ratio = f"{value / reference:.2f}" if value < 100 * reference else f"{value / reference:.0f}"
        colour = "ref" if is_reference else shade(value / reference, less_is_better=quantity.less_is_better)
    return Shown(quantity.written(value), ratio, colour, f"{value:.9g}", noise, cell.noisy)


def shade(ratio: float, *, less_is_better: bool = True) -> str:
    """The colour of a ratio: better in three steps, worse in three, nothing around 1."""
    good = ratio if less_is_better else (1 / ratio if ratio > 0 else float("inf"))
    if good <= 0:
        return "f3"
    better = next(name for least, name in BETTER if good > least) if good < 1 else ""
    worse = next(name for least, name in BETTER if 1 / good > least).replace("f", "l") if good > 1 else ""
    return better or worse
