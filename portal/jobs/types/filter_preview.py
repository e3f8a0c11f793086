"""What a filter keeps, with a histogram, while it is typed. Started by the form of a training set."""

from __future__ import annotations

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import plots
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Note, Plot, Result
from portal.jobs.types.training_set import RowsParams, definitions, source_of

SECONDS = 3.0


class FilterPreviewParams(RowsParams):
    """And what is drawn."""

    target: str = Field("", max_length=300, title="Target", description="Drawn where the filter names no column")


class FilterPreview(JobType[FilterPreviewParams]):
    slug = "filter-preview"
    title = "Preview of a filter"
    summary = "How many rows a filter keeps, and what that does to one column"
    duration = "a few seconds"
    limits = Limits(memory_bytes=3 * GIB, cpu_seconds=60, wall_seconds=60)
    versions = ("uproot",)
    listed = False
    Params = FilterPreviewParams

    def run(self, context: JobContext, params: FilterPreviewParams) -> Result:
        from mlcore.batches.exploration.previewing import preview

        context.progress(0.1, "Counting")
        source = source_of(context, params)
        found = preview(
            source,
            keep=params.filter or None,
            define=definitions(params.define),
            column="" if params.filter else params.target,
            seconds=SECONDS,
        )
        rows = _count(found.rows)
        if found.complete:
            figure = Figure("Rows kept", _count(found.kept), f"of {rows}, {100 * found.share:.3g} %")
        else:
            about = f"about {_count(round(found.share * found.rows, -2))}"
            figure = Figure(
                "Rows kept", about, f"of {rows}, {100 * found.share:.3g} % of the {_count(found.looked_at)} looked at"
            )
        notes = (Note("warn", "The filter keeps no row.", "Look at the numbers that it compares."),) if not found.kept else ()
        svg = plots.before_and_after(
            found.edges,
            found.before,
            found.after,
            x_title=found.column,
            label=f"Histogram of {found.column}: all rows, and kept ones",
        )
        return Result(notes=notes, figures=(figure,), plots=(Plot(found.column, svg),))


def _count(number: float) -> str:
    return f"{number:,.0f}".replace(",", "\u2009")
