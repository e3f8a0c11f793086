"""Histogram of a branch of an uploaded ROOT file. Started from the file's page in the library."""

from __future__ import annotations

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import plots
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Plot, Result


class BranchHistogramParams(Params):
    """Which branch of which tree of which file."""

    file: str = file_field(title="File", description="A ROOT file of the library", kinds=("root",))
    tree: str = Field(title="Tree", description="Its name in the file", min_length=1, max_length=500)
    branch: str = Field(title="Branch", description="A branch of numbers", min_length=1, max_length=500)


class BranchHistogram(JobType[BranchHistogramParams]):
    slug = "branch-histogram"
    title = "Histogram of a branch"
    summary = "The distribution of one branch of a ROOT file"
    duration = "a few seconds"
    limits = Limits(memory_bytes=3 * GIB, cpu_seconds=120, wall_seconds=180)
    versions = ("uproot",)
    listed = False
    Params = BranchHistogramParams

    def run(self, context: JobContext, params: BranchHistogramParams) -> Result:
        from mlcore.inspection import histogram

        context.progress(0.1, "Reading the branch")
        found = histogram(context.file(params.file), params.tree, params.branch)
        counted = f"{found.entries_read:,}".replace(",", "\u2009")
        svg = plots.histogram(
            found.edges,
            found.counts,
            x_title=params.branch,
            y_title="Values",
            label=f"Histogram of {params.branch} from {plots.number(found.edges[0])} to {plots.number(found.edges[-1])}",
        )
        return Result(plots=(Plot(params.branch, svg, f"{counted} entries of {params.tree} read."),))
