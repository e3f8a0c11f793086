"""Draw some trees of a forest. Started from the model's page in the library, for trees that its inspection did not draw."""

from __future__ import annotations

from pydantic import Field

from mlcore.filetypes import FOREST_HOLDERS, FORESTS
from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Result
from portal.jobs.types.inspect_file import tree_series


class ForestTreesParams(Params):
    """Which trees of which model."""

    file: str = file_field(title="Model", description="A forest of the library", kinds=(*FORESTS, *FOREST_HOLDERS))
    first: int = Field(0, ge=0, le=10**7, title="First tree", description="The number of the first tree to draw, from 0")
    count: int = Field(16, ge=1, le=64, title="Trees", description="How many to draw")


class ForestTrees(JobType[ForestTreesParams]):
    slug = "forest-trees"
    title = "Trees of a forest"
    summary = "Drawings of some trees of a model: splits, ways of missing values, values of the leaves"
    duration = "a few seconds"
    limits = Limits(memory_bytes=3 * GIB, cpu_seconds=120, wall_seconds=180)
    listed = False
    Params = ForestTreesParams

    def run(self, context: JobContext, params: ForestTreesParams) -> Result:
        from mlcore import inspection

        context.progress(0.1, "Drawing")
        drawn = inspection.drawings(context.file(params.file), params.first, params.count)
        return Result(series=(tree_series(drawn, params.first, params.first + len(drawn)),))
