"""What a benchmark shows on its job's page: advice in words, the matrix as tables, plots, and why a figure is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.jobs import benchmark_plots
from portal.jobs.benchmark_plots import Mark
from portal.jobs.results import Figure, Note, Plot, Result, Table

if TYPE_CHECKING:
    from mlcore.benchmarks.cells import Cell
    from mlcore.benchmarks.report import Report

MOST_TABLES = 8
MOST_SCALING = 6
MOST_ADVICE = 12


def result(report: Report) -> Result:
    """The whole result of a run."""
    return Result(
        notes=_notes(report),
        figures=_figures(report),
        plots=(*memory_plots(report), *scaling_plots(report)),
        tables=(*_matrices(report), *_reasons(report), _machine(report)),
        facts={"cells": len(report.cells), "measured": len(report.measured)},
    )


def _notes(report: Report) -> tuple[Note, ...]:
    from mlcore.benchmarks.advice import advice

    wrong = [cell for cell in report.cells if cell.status == "wrong"]
    noisy = sum(cell.noisy for cell in report.measured)
    notes = []
    if wrong:
        names = ", ".join(dict.fromkeys(report.engine_title(cell.key.engine) for cell in wrong))
        text = f"{names}: a wrong answer has no time. The table of reasons says how far off it is."
        notes.append(Note("warn", f"{len(wrong)} cells with a wrong answer.", text))
    if noisy:
        text = "Their samples lay too far apart, or the machine changed meanwhile, also when they were repeated. They carry a ~."
        notes.append(Note("act", f"{noisy} of {len(report.measured)} figures are noisy.", text))
    for sentence in advice(report)[:MOST_ADVICE]:
        head, _, rest = sentence.partition(": ")
        notes.append(Note("ok" if "no engine" not in rest else "warn", f"{head}.", rest))
    return tuple(notes)


def _figures(report: Report) -> tuple[Figure, ...]:
    from mlcore.benchmarks.report import seconds

    here = [engine for engine in report.engines if not engine.absent]
    figures = [
        Figure("Cells", f"{len(report.measured)} of {len(report.cells)}", "have a figure; the others have a reason"),
        Figure("Engines", f"{len(here)} of {len(report.engines)}", "are installed here"),
    ]
    quickest = min(report.measured, key=lambda cell: cell.per_event or 1e9, default=None)
    if quickest is not None:
        key = quickest.key
        where = f"for an event: {report.model_title(key.model)}, {report.engine_title(key.engine)}, batch {key.batch}"
        figures.append(Figure("Shortest", seconds(quickest.per_event), where))
    return tuple(figures)


def titles_of(report: Report, cells: list[Cell]) -> dict[str, str]:
    """The engines of some cells with their titles, in the report's order."""
    used = {cell.key.engine for cell in cells}
    return {engine.name: engine.title for engine in report.engines if engine.name in used}


def told(report: Report, cell: Cell) -> str:
    """A cell in a line, for a tooltip."""
    from mlcore.benchmarks.report import bytes_, seconds

    memory = f", {bytes_(cell.memory.peak)}" if cell.memory else ""
    where = f"{report.model_title(cell.key.model)}, {report.engine_title(cell.key.engine)}, batch {cell.key.batch}"
    return f"{where}: {seconds(cell.per_event)} for an event{memory}"


def memory_plots(report: Report, batch: int = 0, threads: int = 0) -> tuple[Plot, ...]:
    """Time against memory at one size; at the smallest, where none is given."""
    if not report.measured:
        return ()
    batch, threads = batch or min(report.batches), threads or min(report.threads)
    cells = [
        cell
        for cell in report.measured
        if (cell.key.batch, cell.key.threads) == (batch, threads) and cell.memory is not None and cell.memory.peak > 0
    ]
    if not cells:
        return ()
    marks = [
        Mark(cell.key.engine, cell.memory.peak / 1e6, (cell.per_event or 0) * 1e6, told(report, cell))
        for cell in cells
        if cell.memory is not None
    ]
    svg = benchmark_plots.cloud(
        marks,
        titles_of(report, cells),
        x_title="peak memory above the empty process [MB]",
        y_title=f"time for an event, batch {batch} [µs]",
        label=f"Time for an event against memory, batch {batch}, one mark for each model and engine",
    )
    caption = f"One mark for each model and engine; {_threads(threads)}. Lower and further left is better."
    return (Plot("Time and memory", svg, caption),)


def scaling_plots(report: Report, threads: int = 0, models: int = MOST_SCALING) -> tuple[Plot, ...]:
    """Time for an event against the batch, of the first models."""
    if len(report.batches) < 2 or not report.measured:
        return ()
    threads = threads or min(report.threads)
    plots = []
    for model in report.models[:models]:
        cells = [cell for cell in report.measured if (cell.key.model, cell.key.threads) == (model.name, threads)]
        series = {
            engine: [
                Mark(engine, cell.key.batch, (cell.per_event or 0) * 1e6, told(report, cell))
                for cell in sorted(cells, key=lambda cell: cell.key.batch)
                if cell.key.engine == engine
            ]
            for engine in titles_of(report, cells)
        }
        if series:
            svg = benchmark_plots.lines(
                dict(series),
                titles_of(report, cells),
                x_title="events of a batch",
                y_title="time for an event [µs]",
                label=f"{model.title}: time for an event against the size of the batch, a line for each engine",
            )
            plots.append(Plot(f"Scaling: {model.title}", svg, f"{_threads(threads)}."))
    return tuple(plots)


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def _matrices(report: Report) -> tuple[Table, ...]:
    from mlcore.benchmarks.report import matrix_rows, reference_of

    against = reference_of(report)
    engines = [engine.title for engine in report.engines]
    note = f"Time for an event; in brackets relative to {report.engine_title(against)}, below 1 is faster." if against else ""
    sizes = [(batch, threads) for threads in report.threads for batch in report.batches]
    tables = [
        Table(
            f"Batch {batch}, {_threads(threads)}",
            ("Model", *engines),
            tuple((title, *texts) for title, texts in matrix_rows(report, batch, threads, against)),
            numeric=tuple(range(1, len(engines) + 1)),
            note=note,
        )
        for batch, threads in sizes[:MOST_TABLES]
    ]
    return tuple(tables)


def _reasons(report: Report) -> tuple[Table, ...]:
    from mlcore.benchmarks.report import reasons

    rows = tuple(reasons(report))
    return (Table("Without a figure", ("Engine", "Models", "Why"), rows),) if rows else ()


def _machine(report: Report) -> Table:
    versions = [(engine.title, engine.version or engine.absent, engine.note) for engine in report.engines]
    rows = [(name, value, "") for name, value in report.machine.items()]
    return Table("Measured with", ("What", "Is", "Note"), (*rows, *versions))
