"""A training set from ROOT files and tables: rows filtered, shuffled, split and written as shards, with code that reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, files_field
from portal.jobs.results import Result

if TYPE_CHECKING:
    from mlcore.batches.conversion.joining import Layout, Manifest, Shard
    from mlcore.batches.conversion.recipe import Recipe
    from mlcore.batches.exploration.exploring import Exploration

KINDS = ("root", "parquet", "hdf5")
SAMPLE_ROWS = 200_000
"""Rows that plots and statistics are of, about."""
UNPACKED = 3
"""How much larger than its file a table is in memory, about."""
BUCKET_BYTES = 32e6
WORKING_BYTES = 250e6
"""Of rows that are sorted at a time; several copies of them are in memory."""
FILTER_HELP = """Written as in ROOT or in Python:

- `pt > 20 && abs(eta) < 2.4`
- `njet >= 2 and met > 50`
- `Sum(jet_pt > 30) >= 2`

What it keeps is counted beside the form while you type."""


class RowsParams(Params):
    """Which rows of which files; shared with the preview of a filter."""

    files: list[str] = files_field(title="Files", description="One or several files with the same columns", kinds=KINDS)
    background: list[str] = files_field(
        title="Background files",
        description="Where the files above are signal: rows get the label 1, or 0 for these",
        kinds=KINDS,
        optional=True,
    )
    tree: str = Field(
        "", max_length=300, title="Tree", description="TTree, RNTuple or HDF5 group; empty where each file has but one"
    )
    filter: str = Field(
        "",
        max_length=2000,
        title="Filter",
        description="Which rows are kept; empty for all",
        json_schema_extra={"x-help": FILTER_HELP},
    )
    define: str = Field(
        "", max_length=4000, title="New columns", description="One a line: m = sqrt(2 * pt1 * pt2 * (cosh(eta1 - eta2) - 1))"
    )

    @field_validator("filter")
    @classmethod
    def _filter(cls, text: str) -> str:
        text = text.strip()
        if text:
            checked_expression(text)
        return text

    @field_validator("define")
    @classmethod
    def _define(cls, text: str) -> str:
        for expression in definitions(text).values():
            checked_expression(expression)
        return text


class TrainingSetParams(RowsParams):
    """What is written of them."""

    columns: list[str] = Field(
        default_factory=list, max_length=2000, title="Features", description="Columns, in order; empty for all that are numbers"
    )
    target: str = Field("", max_length=300, title="Target", description="The column to be learnt, such as a label")
    weight: str = Field("", max_length=300, title="Weight", description="The column of weights")
    pad: str = Field(
        "", max_length=2000, title="Padding", description="Jagged columns and how many values a row gets, one a line: jet_pt = 4"
    )
    validation: float = Field(0.2, ge=0, lt=1, title="Validation", description="Share of the rows")
    test: float = Field(0.0, ge=0, lt=1, title="Test", description="Share of the rows")
    split_by: str = Field(
        "", max_length=300, title="Keep together", description="A column, such as the event number: equal rows land on one side"
    )
    format: Literal["parquet", "hdf5", "numpy", "tfrecord", "webdataset"] = Field(
        "parquet",
        title="Format",
        description="Of the shards",
        json_schema_extra={
            "x-titles": {
                "parquet": "Parquet",
                "hdf5": "HDF5",
                "numpy": "NumPy (.npz)",
                "tfrecord": "TFRecord",
                "webdataset": "WebDataset (.tar)",
            }
        },
    )
    rows_per_shard: int = Field(
        250_000,
        ge=1000,
        le=10_000_000,
        title="Rows of a file",
        description="Of each but the last",
        json_schema_extra={"x-unit": "rows"},
    )
    batch_size: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        title="Rows of a batch",
        description="In the code that goes with it",
        json_schema_extra={"x-unit": "rows"},
    )
    shuffle: bool = Field(True, title="Shuffle", description="Over all files; else rows keep their order")
    seed: int = Field(1, ge=0, le=2**63, title="Seed", description="The same one gives the same files")
    skip_damaged: bool = Field(
        False, title="Skip what is damaged", description="Rows and files that cannot be read are left out and counted"
    )

    @field_validator("pad")
    @classmethod
    def _pad(cls, text: str) -> str:
        paddings(text)
        return text

    @model_validator(mode="after")
    def _shares(self) -> TrainingSetParams:
        if self.validation + self.test >= 1:
            raise ValueError("Validation and test leave nothing to train on.")
        if self.background and self.target:
            raise ValueError("Give either background files, which make the target, or a column as target.")
        return self


class TrainingSet(JobType[TrainingSetParams]):
    slug = "training-set"
    title = "Training set from ROOT files"
    summary = (
        "Rows of ROOT files, Parquet or HDF5, filtered, shuffled and split, as files that PyTorch, TensorFlow and NumPy read"
    )
    duration = "about a minute for a GB"
    gives = (
        ("shards", "the rows of each split"),
        ("training_set.json", "what is in them"),
        ("train_torch.py", "code that trains on them"),
    )
    phrases = (
        "training set",
        "training data root",
        "root files to pytorch",
        "root files to tensorflow",
        "convert root parquet",
        "convert root hdf5",
        "convert root numpy",
        "convert root tfrecord",
        "shuffle root file",
    )
    versions = ("uproot", "pyarrow", "h5py", "numpy")
    limits = Limits(memory_bytes=4 * GIB, cpu_seconds=7200, wall_seconds=3600)
    part_type = "training-set-part"
    preview_type = "filter-preview"
    Params = TrainingSetParams

    def name_run(self, params: TrainingSetParams, files: Mapping[str, str]) -> str:
        names = list(files.values())
        return f"Training set of {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}" if names else self.title

    def parts(self, params: TrainingSetParams, sizes: Mapping[str, int]) -> Sequence[Mapping[str, Any]]:
        labelled = labels(params)
        if len(labelled) < 2:
            return ()
        from mlcore.batches.conversion.recipe import buckets_for

        buckets = buckets_for(UNPACKED * sum(sizes.values()), BUCKET_BYTES)
        plain = params.model_dump(mode="json")
        return [
            plain | {"files": [file], "background": [], "label": label, "number": number, "buckets": buckets}
            for number, (file, label) in enumerate(labelled)
        ]

    def run(self, context: JobContext, params: TrainingSetParams) -> Result:
        from mlcore.batches.exploration.exploring import explore
        from portal.jobs.training_pages import summary

        layout = _scattered(context, params)
        context.progress(0.7, "Looking at the features")
        explored = explore(layout.sample(SAMPLE_ROWS), layout.groups, layout.rows)
        manifest = _joined(context, layout)
        _hand_out(context, params, manifest, explored)
        return summary(manifest, explored)


def _scattered(context: JobContext, params: TrainingSetParams) -> Layout:
    """The rows in pieces: those that the parts made, or made here."""
    from mlcore.batches.conversion.joining import Layout
    from mlcore.batches.conversion.pieces import Piece
    from mlcore.batches.conversion.recipe import MOST_BUCKETS
    from mlcore.errors import InputError

    if context.parts:
        if len(context.parts) != len(labels(params)):
            raise InputError("parts of this job are missing", hint="Run it again.", code="batches.piece")
        found = [Piece.open(path) for paths in context.parts for path in paths]
        # The parts were told how finely to sort when the sizes of all files were known.
        recipes = (recipe_of(params, 1 << power) for power in range(MOST_BUCKETS.bit_length()))
        return Layout(found, next((one for one in recipes if one.mark == found[0].recipe), recipe_of(params, 1)))
    buckets = _buckets(context, params)
    pieces: list[Piece] = []
    labelled = labels(params)
    for number, (file, label) in enumerate(labelled):
        share = 0.65 / len(labelled)
        pieces += scattered_file(
            context, recipe_of(params, buckets), file, params.tree, label, number=number, begin=0.02 + share * number, share=share
        )
    return Layout(pieces, recipe_of(params, buckets))


def labels(params: RowsParams) -> list[tuple[str, int | None]]:
    """All files with the label of their rows, which is None where a column is the target."""
    signal = 1 if params.background else None
    return [*((file, signal) for file in params.files), *((file, 0) for file in params.background)]


def _buckets(context: JobContext, params: TrainingSetParams) -> int:
    from mlcore.batches.conversion.recipe import buckets_for

    return buckets_for(UNPACKED * sum(context.file(file).stat().st_size for file, _ in labels(params)), BUCKET_BYTES)


def scattered_file(
    context: JobContext, recipe: Recipe, file: str, tree: str, label: int | None, *, number: int, begin: float, share: float
) -> list[Any]:
    """The pieces of one file, in the run's folder; the progress goes from ``begin`` on by ``share``."""
    from mlcore.batches.conversion.pieces import write_refused
    from mlcore.batches.conversion.scattering import BLOCK_ROWS, cut_part, scatter
    from mlcore.batches.samples import LABEL, open_samples
    from mlcore.batches.skipping import Skipped
    from mlcore.errors import DataError, InputError

    name, path = context.name(file), context.file(file)
    context.progress(begin, f"Reading {name}")
    try:
        (part,) = open_samples(sample_of(path, tree, label)).parts
    except (InputError, DataError) as error:
        if not recipe.skips:
            raise
        reason, place = error.message.replace(str(path), name), context.folder / f"{number:05d}-{0:012d}.piece"
        return [write_refused(place, reason, recipe=recipe.mark, name=name, number=number)]
    selection = recipe.selection(part.schema, hidden=(LABEL,), skipped=Skipped({}) if recipe.skips else None)
    tasks = list(cut_part(part, selection, number, max(BLOCK_ROWS, int(WORKING_BYTES // recipe.row_bytes(selection)))))
    pieces = []
    for task in tasks:

        def progress(done: int, total: int, start: int = task.start) -> None:
            context.progress(begin + share * (start + done) / max(1, part.rows), f"Reading {name}")

        place = context.folder / f"{number:05d}-{task.start:012d}.piece"
        pieces.append(scatter(part, recipe, task, place, name=f"{name}:{part.table}" if part.table else name, progress=progress))
    return pieces


def _joined(context: JobContext, layout: Layout) -> Manifest:
    shards: list[Shard] = []
    for number, plan in enumerate(layout.shards):
        context.progress(0.75 + 0.2 * number / len(layout.shards), f"Writing {plan.name}")
        shards.append(layout.join(number, context.folder))
    return layout.manifest(shards)


def _hand_out(context: JobContext, params: TrainingSetParams, manifest: Manifest, explored: Exploration) -> None:
    """The code first, since the page shows the first text; then the shards, and what is in them."""
    from mlcore.batches.conversion.snippets import frameworks, snippet

    titles = {"torch": "Code for PyTorch", "tensorflow": "Code for TensorFlow", "numpy": "Code for NumPy"}
    for framework in frameworks(manifest):
        path = context.folder / f"train_{framework}.py"
        path.write_text(snippet(manifest, framework, batch_size=params.batch_size), encoding="utf-8")
        context.artifact(path, kind="code", title=titles[framework])
    for shard in manifest.shards:
        context.artifact(context.folder / shard.name, kind="shard", title=f"{shard.rows:,} rows".replace(",", "\u2009"))
    for name, data, title in (
        ("training_set.json", manifest.to_json(), "Columns, rows, seeds and hashes of the shards"),
        ("features.json", explored.to_json(), "Statistics of the features"),
    ):
        path = context.folder / name
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        context.artifact(path, kind="report", title=title)


# --- what was typed -------------------------------------------------------------------------------------------------------------


def sample_of(path: Path, tree: str, label: int | None) -> Any:
    """A file, with the label of its rows."""
    from mlcore.batches.samples import Sample

    return Sample(str(path), label=label, tree=tree or None)


def recipe_of(params: TrainingSetParams, buckets: int) -> Recipe:
    """The recipe that parameters mean."""
    from mlcore.batches.conversion.recipe import Recipe
    from mlcore.batches.samples import LABEL

    labelled = bool(params.background) or getattr(params, "label", None) is not None
    shares = {"train": 1 - params.validation - params.test, "validation": params.validation, "test": params.test}
    return Recipe(
        format=params.format,
        columns=tuple(params.columns) or None,
        target=LABEL if labelled else params.target or (),
        weight=params.weight or (),
        filter=params.filter or None,
        define=definitions(params.define),
        pad=paddings(params.pad),
        rows_per_shard=params.rows_per_shard,
        shuffle=params.shuffle,
        seed=params.seed,
        split={name: round(share, 12) for name, share in shares.items() if share > 0},
        split_by=(params.split_by,) if params.split_by else (),
        on_error="skip" if params.skip_damaged else "raise",
        buckets=buckets,
    )


def checked_expression(text: str) -> None:
    """Refuse what is no expression; the message shows where."""
    from mlcore.batches.expressions import parse
    from mlcore.errors import InputError

    try:
        parse(text)
    except InputError as error:
        raise ValueError(f"{error.message}\n{error.hint}".rstrip()) from error


def definitions(text: str) -> dict[str, str]:
    """Names and expressions, one ``name = expression`` a line."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, expression = (part.strip() for part in line.partition("="))
        if not equals or not name.isidentifier() or not expression or expression.startswith("="):
            raise ValueError(f"“{line[:60]}” is not of the form name = expression")
        if name in found:
            raise ValueError(f"{name} is defined twice")
        found[name] = expression
    return found


def paddings(text: str) -> dict[str, int]:
    """Jagged columns and their widths, one ``column = number`` a line."""
    found: dict[str, int] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, width = (part.strip() for part in line.rpartition("="))
        if not equals or not name or not (width.isascii() and width.isdigit() and 1 <= int(width[:9]) <= 10_000):
            raise ValueError(f"“{line[:60]}” is not of the form column = number, from 1 to 10 000")
        found[name] = int(width)
    return found


def source_of(context: JobContext, params: RowsParams) -> Any:
    """The rows of all files."""
    from mlcore.batches.samples import open_samples

    return open_samples([sample_of(context.file(file), params.tree, label) for file, label in labels(params)])
