"""Distil a transformer of showers to a student that takes one to four evaluations for a shower instead of dozens."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_training as making
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Result
from portal.jobs.shower_inputs import ModelParams, name_of, network_of
from portal.jobs.shower_training import NetworkParams, Showers


class ShowerDistillParams(ModelParams, NetworkParams):
    """Which teacher, to how many evaluations."""

    first = ("model", "shipped", "files", "parts")

    parts: int = Field(1, ge=1, le=4, title="Evaluations", description="Of the student's network for a shower")
    noises: int = Field(1, ge=1, le=100, title="Paths", description="Of the teacher for each particle of the showers")


class ShowerDistill(JobType[ShowerDistillParams]):
    slug = "shower-distill"
    title = "Distil a shower model"
    summary = "A transformer of showers made fast: a student that learns its paths from noise to shower in one to four steps"
    duration = "minutes to an hour"
    gives = (
        ("distilled.safetensors", "the student"),
        ("test.h5", "the showers that it has not seen"),
        ("curves.csv", "loss by step"),
    )
    phrases = ("distil shower", "distill shower", "distil transformer", "distill transformer", "faster shower model")
    versions = ("torch", "numpy", "h5py")
    limits = Limits(memory_bytes=8 * GIB, cpu_seconds=400_000, wall_seconds=86_400)
    events = True
    Params = ShowerDistillParams

    def name_run(self, params: ShowerDistillParams, files: Mapping[str, str]) -> str:
        return f"{params.model_name(files)} distilled to {params.parts} evaluation{'s' if params.parts > 1 else ''}"

    def run(self, context: JobContext, params: ShowerDistillParams) -> Result:
        from mlcore.errors import InputError
        from mlcore.showers.models.distilled import Distilled
        from mlcore.showers.models.transformer import Transformer
        from mlcore.showers.training import train

        showers = Showers.of(context, params)
        found, teacher = network_of(context, params)
        if type(teacher) is not Transformer:
            raise InputError(
                f"{name_of(context, params)} is a model {found.slug}, and only a transformer can be distilled",
                hint="Train a transformer first, or give its file.",
                code="showers.model",
            )
        context.progress(0.03, "Following the teacher")
        student = Distilled.of(teacher, parts=params.parts, noises=params.noises)
        records = showers.training
        made = making.trained(
            context,
            "distilled",
            params,
            None,
            lambda folder, config, progress: train(student, records, folder, config, progress=progress),
        )
        return making.handed_out(context, params, showers, made, "distilled", threshold=teacher.config.threshold)
