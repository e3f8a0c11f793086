"""A part of a training set: the rows of one file, read and sorted into pieces. The portal starts it for each file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Result
from portal.jobs.types.training_set import TrainingSetParams, recipe_of, scattered_file


class TrainingSetPartParams(TrainingSetParams):
    """Which file, of which set."""

    label: int | None = Field(None, title="Label", description="Of its rows")
    number: int = Field(ge=0, lt=2**24, title="Number", description="Of the file in the set")
    buckets: int = Field(ge=1, le=4096, title="Buckets", description="How finely rows are sorted")


class TrainingSetPart(JobType[TrainingSetPartParams]):
    slug = "training-set-part"
    title = "Part of a training set"
    summary = "The rows of one file of a training set"
    duration = "about a minute for a GB"
    versions = ("uproot", "pyarrow", "numpy")
    limits = Limits(memory_bytes=4 * GIB, cpu_seconds=7200, wall_seconds=3600)
    listed = False
    Params = TrainingSetPartParams

    def name_run(self, params: TrainingSetPartParams, files: Mapping[str, str]) -> str:
        return f"Rows of {next(iter(files.values()), 'a file')}"

    def run(self, context: JobContext, params: TrainingSetPartParams) -> Result:
        pieces = scattered_file(
            context,
            recipe_of(params, params.buckets),
            params.files[0],
            params.tree,
            params.label,
            number=params.number,
            begin=0.02,
            share=0.96,
        )
        for piece in pieces:
            context.artifact(piece.path, kind="piece", title="Rows, sorted by a hash")
        kept = sum(blob.rows for piece in pieces for blob in piece.blobs)
        return Result(figures=(Figure("Rows kept", f"{kept:,}".replace(",", "\u2009"), context.name(params.files[0])),))
