"""Figures of a report as SVG files: the matrix of ratios, time against memory, and how engines scale with the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlcore.benchmarks.cells import Cell
from mlcore.benchmarks.report import Report, seconds

MOST_MODELS = 9
"""Of the panels for single models."""


def draw(report: Report, folder: Path, *, against: str = "") -> tuple[Path, ...]:
    """Draw what the report has figures for; returns the files."""
    if not report.measured:
        return ()
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "benchmarks", "font.size": 8, "svg.fonttype": "none"}):
        figures = {"matrix": _matrix(report, against), "memory": _memory(report), "scaling": _scaling(report)}
        found = []
        for name, figure in figures.items():
            if figure is not None:
                path = folder / f"{name}.svg"
                figure.savefig(path, format="svg", metadata={"Date": None})
                found.append(path)
    return tuple(found)


def _new(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A sheet with panels, without a window."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(sheet)
    return sheet, sheet.subplots(rows, columns, squeeze=False)


def _matrix(report: Report, against: str) -> Any:
    """One panel for each number of threads and batch: the ratio as colour, the time as text."""
    import numpy as np
    from matplotlib.colors import LogNorm

    panels = [(threads, batch) for threads in report.threads for batch in report.batches]
    engines = [each for each in report.engines if any(cell.key.engine == each.name for cell in report.measured)]
    height = 0.35 * len(report.models) + 1.4
    sheet, axes = _new(len(panels), 1, 2.2 + 1.0 * len(engines), height * len(panels))
    for axis, (threads, batch) in zip(axes[:, 0], panels, strict=True):
        values = np.full((len(report.models), len(engines)), np.nan)
        for row, model in enumerate(report.models):
            for column, engine in enumerate(engines):
                cell = report.cell(model.name, engine.name, batch, threads)
                ratio = report.ratio(cell, against) if cell is not None and against else None
                if ratio is not None:
                    values[row, column] = ratio
                text = seconds(cell.per_event) if cell is not None and cell.wall is not None else "–"
                axis.text(column, row, text + (" ~" if cell is not None and cell.noisy else ""), ha="center", va="center")
        axis.imshow(values, cmap="PuOr_r", norm=LogNorm(0.1, 10), aspect="auto")
        axis.set_xticks(range(len(engines)), [each.title.replace(", ", "\n") for each in engines], rotation=30, ha="right")
        axis.set_yticks(range(len(report.models)), [each.title for each in report.models])
        relative = f", colour: relative to {report.engine_title(against)}" if against else ""
        axis.set_title(f"Time for an event, batch {batch}, {threads} thread{'s' if threads > 1 else ''}{relative}", loc="left")
    return sheet


def _engines(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.key.engine for cell in cells))


def _memory(report: Report) -> Any:
    """Time against memory at the smallest batch and number of threads: a mark for each model, a colour for each engine."""
    batch, threads = report.batches[0], report.threads[0]
    cells = [cell for cell in report.measured if (cell.key.batch, cell.key.threads) == (batch, threads) and cell.memory]
    if not cells:
        return None
    sheet, axes = _new(1, 1, 7, 5)
    axis = axes[0, 0]
    for engine in _engines(cells):
        mine = [cell for cell in cells if cell.key.engine == engine]
        peaks = [max(cell.memory.peak, 1) / 1e6 for cell in mine if cell.memory]
        axis.plot(peaks, [(cell.per_event or 0) * 1e6 for cell in mine], "o", label=report.engine_title(engine))
    axis.set(xscale="log", yscale="log", xlabel="peak memory above the empty process [MB]")
    axis.set_ylabel(f"time for an event, batch {batch} [µs]")
    axis.legend(frameon=False)
    return sheet


def _scaling(report: Report) -> Any:
    """Time for an event against the batch, a panel for each of the first models."""
    if len(report.batches) < 2:
        return None
    models = [model for model in report.models if any(cell.key.model == model.name for cell in report.measured)][:MOST_MODELS]
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    sheet, axes = _new(rows, columns, 4.2 * columns, 3.2 * rows + 0.6)
    threads = report.threads[0]
    for axis, model in zip(axes.flat, models, strict=False):
        cells = [cell for cell in report.measured if (cell.key.model, cell.key.threads) == (model.name, threads)]
        for engine in _engines(cells):
            mine = sorted((cell for cell in cells if cell.key.engine == engine), key=lambda cell: cell.key.batch)
            times = [(cell.per_event or 0) * 1e6 for cell in mine]
            axis.plot([cell.key.batch for cell in mine], times, "o-", label=report.engine_title(engine))
        axis.set(xscale="log", yscale="log", xlabel="batch", ylabel="time for an event [µs]")
        axis.set_title(model.title, loc="left")
        axis.legend(frameon=False, fontsize=6)
    for axis in list(axes.flat)[len(models) :]:
        axis.set_visible(False)
    return sheet
