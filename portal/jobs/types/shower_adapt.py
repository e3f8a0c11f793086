"""Adapt a trained network to another calorimeter, with fewer showers and steps than a training from scratch takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_pages as pages
from portal.jobs import shower_training as making
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Result
from portal.jobs.shower_inputs import ModelParams, network_of
from portal.jobs.shower_training import NetworkParams, Showers

if TYPE_CHECKING:
    from mlcore.showers.training import TrainingConfig, TrainingResult

METHOD_HELP = """- **Everything**: all weights; the best where there are a thousand showers or more.
- **Biases**: vectors alone; few numbers, for few showers.
- **Low rank**: to each matrix a change of low rank is added.
"""


class ShowerAdaptParams(ModelParams, NetworkParams):
    """Which model, to which showers, how."""

    first = ("model", "shipped", "files", "method", "rank")

    method: Literal["full", "bias", "low-rank"] = Field(
        "full",
        title="Method",
        description="What is trained",
        json_schema_extra={
            "x-titles": {"full": "everything", "bias": "biases alone", "low-rank": "changes of low rank"},
            "x-help": METHOD_HELP,
        },
    )
    rank: int = Field(8, ge=1, le=256, title="Rank", description="Of the changes of low rank")
    steps: int = Field(
        2000, ge=1, le=2_000_000, title="Steps", description="Of the training", json_schema_extra={"x-unit": "steps"}
    )


class ShowerAdapt(JobType[ShowerAdaptParams]):
    slug = "shower-adapt"
    title = "Adapt a shower model"
    summary = "A trained network made to know another calorimeter, from few showers of it"
    duration = "minutes to an hour"
    gives = (("model file", "the adapted model"), ("test.h5", "the showers that it has not seen"), ("curves.csv", "loss by step"))
    phrases = (
        "adapt shower",
        "adapt model calorimeter",
        "fine-tune shower",
        "finetune shower",
        "adapt geometry",
        "transfer shower model",
    )
    versions = ("torch", "numpy", "h5py")
    limits = Limits(memory_bytes=8 * GIB, cpu_seconds=400_000, wall_seconds=86_400)
    events = True
    Params = ShowerAdaptParams

    def name_run(self, params: ShowerAdaptParams, files: Mapping[str, str]) -> str:
        return making.title(f"{params.model_name(files)} adapted to showers", params, files)

    def run(self, context: JobContext, params: ShowerAdaptParams) -> Result:
        from dataclasses import replace

        from mlcore.showers.adaptation import adapt

        showers = Showers.of(context, params)
        found, model = network_of(context, params)
        trained = 0

        def run(folder: Path, config: TrainingConfig, progress: Callable[[int, dict[str, float]], None]) -> TrainingResult:
            nonlocal trained
            done = adapt(
                model, showers.training, folder, config, method=params.method, rank=params.rank, progress=progress
            )  # fmt: skip
            trained = done.trained
            return done.result

        name = f"{found.slug}-adapted"
        made = making.trained(context, name, params, None, run)
        threshold: Any = model.config.threshold
        result = making.handed_out(context, params, showers, made, name, threshold=float(threshold))
        words = {"full": "everything", "bias": "biases alone", "low-rank": f"changes of rank {params.rank}"}
        own = Figure("Trained", pages.count(trained), f"numbers of {pages.count(found.parameters)}, {words[params.method]}")
        return replace(result, figures=(result.figures[0], own, *result.figures[2:]))
