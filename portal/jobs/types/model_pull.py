"""Model pull: fetch a language model into the model store."""

from __future__ import annotations

import time

from pydantic import Field

from mlcore.toolchain.sandbox import Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params
from portal.jobs.results import Figure, Result


class ModelPullParams(Params):
    """Which model."""

    model: str = Field(
        title="Model", description="Name in the model store, see `ml4ep models list`", min_length=1, max_length=100
    )


class ModelPull(JobType[ModelPullParams]):
    slug = "model-pull"
    title = "Fetch a language model"
    summary = "Download a language model, check its sha256 and put it into the model store; a broken download is continued"
    duration = "some minutes, by the network"
    limits = Limits(memory_bytes=2**30, cpu_seconds=3600, wall_seconds=7200, file_bytes=64 * 2**30, network=True)
    writable = ("models",)
    queue = "system"  # so that people's jobs need not wait behind it
    staff_only = True
    listed = False
    Params = ModelPullParams

    def name_run(self, params: ModelPullParams, files: object) -> str:
        return f"{self.title}: {params.model}"

    def run(self, context: JobContext, params: ModelPullParams) -> Result:
        from assistant.models import ModelStore

        store = ModelStore(context.place("models"))
        model = store.manifest.model(params.model)
        start = time.monotonic()
        path = store.pull(params.model, context.progress)
        seconds = time.monotonic() - start
        return Result(
            figures=(
                Figure("Model", model.title, model.licence),
                Figure("Size", f"{path.stat().st_size / 1e6:,.0f} MB", f"in {seconds:.0f} s"),
                Figure("sha256", model.sha256[:12] + "…", "as in the manifest"),
            )
        )
