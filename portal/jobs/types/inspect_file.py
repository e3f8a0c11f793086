"""Inspect a file: what is in an uploaded ROOT file, model or table. The library starts it for every upload of a known kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcore.filetypes import FOREST_HOLDERS, FORESTS
from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import plots
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Plot, Result, Series, Table

if TYPE_CHECKING:
    from mlcore.inspection import Bars, Distribution, Drawing, Inspection

KINDS = (*FOREST_HOLDERS, *FORESTS, "hdf5", "parquet")
MOST_FIGURES = 5  # of a forest, whose further facts make a table


class InspectFileParams(Params):
    """Which file."""

    file: str = file_field(title="File", description="A file of the library", kinds=KINDS)


class InspectFile(JobType[InspectFileParams]):
    slug = "inspect-file"
    title = "Inspect a file"
    summary = "What is in a ROOT file, an ONNX model, a forest, an HDF5 or a Parquet file"
    duration = "a few seconds"
    limits = Limits(memory_bytes=3 * GIB, cpu_seconds=120, wall_seconds=180)
    versions = ("uproot", "onnx", "h5py", "pyarrow")
    listed = False
    Params = InspectFileParams

    def run(self, context: JobContext, params: InspectFileParams) -> Result:
        from mlcore import filetypes, inspection

        path = context.file(params.file)
        context.progress(0.1, "Reading")
        found = inspection.inspect(path, filetypes.detect(path).kind)
        return summary(found)


def summary(found: Inspection) -> Result:
    """What the job shows, and the command line."""
    # The size stands on the file's page already.
    facts = [(label, _text(value)) for label, value in found.facts if label != "Size"]
    most = MOST_FIGURES if found.n_drawings else len(facts)
    return Result(
        figures=tuple(Figure(label, text) for label, text in facts[:most]),
        plots=(
            *((Plot("Graph", found.graph),) if found.graph else ()),
            *(chart_plot(chart) for chart in found.charts),
        ),
        series=(tree_series(found.drawings, 0, found.n_drawings),) if found.n_drawings else (),
        tables=(*_tables(found), *((Table("Model", ("What", "Is"), tuple(facts[most:])),) if facts[most:] else ())),
    )


def _tables(found: Inspection) -> tuple[Table, ...]:
    return tuple(
        Table(
            table.title,
            table.columns,
            tuple(tuple(_text(value) for value in row) for row in table.rows),
            numeric=_numeric(table.rows),
            note=table.note,
        )
        for table in found.tables
    )


def chart_plot(chart: Bars | Distribution) -> Plot:
    """A chart of an inspection as the house draws it."""
    from mlcore.inspection import Bars

    if isinstance(chart, Bars):
        label = f"{chart.title}: {', '.join(chart.labels[:3])} come first"
        svg = plots.bars(chart.labels, chart.series, x_title=chart.x_title, label=label)
    else:
        low, high = plots.number(chart.edges[0]), plots.number(chart.edges[-1])
        label = f"{chart.title}: a histogram from {low} to {high}"
        svg = plots.histogram(chart.edges, chart.counts, x_title=chart.x_title, y_title=chart.y_title, label=label)
    return Plot(chart.title, svg, chart.note)


def tree_series(drawings: tuple[Drawing, ...], first: int, total: int) -> Series:
    """Drawn trees, to be looked at one by one."""
    return Series("Trees", tuple(Plot(one.title, one.svg, one.note) for one in drawings), first, total)


def _text(value: str | int | float | bool | None) -> str:
    """A value as people read it: thin spaces in thousands, a dash for what does not apply."""
    match value:
        case None:
            return "—"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}".replace(",", "\u2009")
        case float():
            return f"{value:.6g}"
        case _:
            return value


def _numeric(rows: tuple[tuple[str | int | float | bool | None, ...], ...]) -> tuple[int, ...]:
    """The columns of numbers."""
    columns = range(len(rows[0]) if rows else 0)
    return tuple(i for i in columns if all(type(row[i]) in (int, float) for row in rows))
