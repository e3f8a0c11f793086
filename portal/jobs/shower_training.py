"""What the job types have in common that make a model of showers: their parameters, a training that is watched, its result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.results import Figure, Note, Result
from portal.jobs.shower_inputs import GridParams, calorimeter_of, dataset_field, origin_of, records_of, simulation_ms

if TYPE_CHECKING:
    from mlcore.showers.dataset import Records
    from mlcore.showers.geometry import Calorimeter
    from mlcore.showers.training import TrainingConfig, TrainingResult

SHOWN_EVERY = 1.0
"""Seconds between two drawings of the curves."""
KEPT_EVERY = 5.0
"""Seconds between two copies of the checkpoint that are kept, at least."""
PREVIEW_EVERY = 30.0
"""Seconds between two looks at what a model makes that is still being trained, at least."""
PREVIEW_SHOWERS = 100
CHECKPOINTS = 20
MARGIN = 1.1
"""A sample's extreme energies lie a little within the range that it was drawn from."""
MOST_COMPARED = 5000


class DataParams(GridParams):
    """Which showers a model is made from."""

    files: list[str] = dataset_field("Showers", "Of the full simulation, HDF5; several files are joined")
    test: float = Field(
        0.2, ge=0, le=0.9, title="Test", description="Share of the showers that the model never sees, for its evaluation"
    )
    most: int = Field(0, ge=0, le=1_000_000, title="Showers at most", description="Of the files' first ones; 0 for all")
    seed: int = Field(1, ge=0, lt=2**62, title="Seed", description="The same one gives the same model")


class NetworkParams(DataParams):
    """How a network is trained."""

    steps: int = Field(
        5000, ge=1, le=2_000_000, title="Steps", description="Of a network's training", json_schema_extra={"x-unit": "steps"}
    )
    batch: int = Field(
        128,
        ge=1,
        le=8192,
        title="Batch",
        description="Showers in a step of a network's training",
        json_schema_extra={"x-unit": "showers"},
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, title="Learning rate", description="Of a network, at its highest")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", title="Precision", description="Of a network's training; bfloat16 is mixed precision"
    )

    def config(self) -> TrainingConfig:
        """As the training wants it; a function of the parameters alone, so that another run can go on."""
        from mlcore.showers.training import TrainingConfig

        every = max(1, min(100, self.steps // 100))
        return TrainingConfig(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup=min(500, self.steps // 10),
            report_every=every,
            save_every=max(every, min(1000, self.steps // CHECKPOINTS)),
            seed=self.seed,
            precision=self.precision,
        )


@dataclass(frozen=True)
class Showers:
    """The showers of a form: to make the model from, and those that it never sees."""

    training: Records
    unseen: Records
    calorimeter: Calorimeter | None

    @classmethod
    def of(cls, context: JobContext, params: DataParams) -> Showers:
        """Read them.

        Raises
        ------
        InputError
            The files hold none, or the test share leaves none.
        """
        from mlcore.errors import InputError

        context.progress(0.01, "Reading the showers")
        records = records_of(context, params.files, params, most=params.most)
        held = int(len(records) * params.test)
        if held >= len(records):
            raise InputError("the test share leaves no showers to train on", hint="Lower it.", code="showers.few")
        return cls(records[: len(records) - held], records[len(records) - held :], _calorimeter(context, params, records))

    @property
    def threshold(self) -> float:
        """The calorimeter's, MeV."""
        return self.calorimeter.threshold if self.calorimeter else 0.0


def _calorimeter(context: JobContext, params: GridParams, records: Records) -> Calorimeter | None:
    """The one that the form names, else the one that the files do, where it is a shipped one."""
    from mlcore.errors import MLCoreError
    from mlcore.showers.geometry import CALORIMETERS

    try:
        named = calorimeter_of(context, params.calorimeter, params.geometry)
    except MLCoreError:  # a binning in XML, which has no materials
        named = None
    return named or CALORIMETERS.get(records.geometries[0])


@dataclass(frozen=True)
class Made:
    """A model that was made: its file, what it cost, and what else there is to say in a few words."""

    path: Path
    condition: str
    size: str = ""
    loss: str = ""
    validation: str = ""


def trained(
    context: JobContext,
    name: str,
    params: NetworkParams,
    preview: Callable[[Path], Any] | None,
    run: Callable[[Path, TrainingConfig, Callable[[int, Mapping[str, float]], None]], TrainingResult],
) -> Made:
    """Run a training in a folder that goes on with what an earlier run kept, watched; hand out model and curves.

    Parameters
    ----------
    name
        Of the model's file, without its ending.
    preview
        Loads the model as it is so far and gives plots of it; None for no previews.
    run
        Does it: gets the folder, the configuration and the callback of the training.
    """
    from mlcore.showers.training import BEST, CHECKPOINT, CURVES

    folder = context.folder / "training"
    folder.mkdir(exist_ok=True)
    for kept in (CHECKPOINT, CURVES):
        if kept in context.kept:
            shutil.copyfile(context.kept[kept], folder / kept)
    begun = CHECKPOINT in context.kept
    if begun:
        context.log("Going on with the training that was kept.")
    context.progress(0.05, "Training")
    started = time.monotonic()
    done = run(folder, params.config(), Watched(context, folder, params.steps, preview))
    seconds = time.monotonic() - started
    path = context.folder / f"{name}.safetensors"
    shutil.copyfile(folder / BEST, path)
    curves = context.folder / CURVES
    shutil.copyfile(folder / CURVES, curves)
    context.artifact(curves, kind="report", title="Loss, its parts, gradient and learning rate by step")
    return Made(
        path,
        condition=f"{pages.count(done.step)} steps of {params.batch} showers{', gone on with' if begun else ''}, "
        f"{pages.short(seconds)} s",
        size="weights",
        loss=pages.short(done.loss, 5),
        validation="" if done.validation_loss is None else f"{pages.short(done.validation_loss, 5)} of showers kept aside",
    )


class Watched:
    """What a training says of itself: shown on the page, logged, and kept at each checkpoint so that another run can go on."""

    def __init__(self, context: JobContext, folder: Path, steps: int, preview: Callable[[Path], Any] | None) -> None:
        from mlcore.showers.training import BEST, CHECKPOINT, CURVES

        self.context, self.total, self.preview = context, steps, preview
        self.checkpoint, self.curves, self.best = folder / CHECKPOINT, folder / CURVES, folder / BEST
        self.saved = self._age()
        self.shown = self.kept = 0.0
        self.previewed = time.monotonic()

    def __call__(self, step: int, line: Mapping[str, float]) -> None:
        context, now = self.context, time.monotonic()
        context.progress(0.05 + 0.85 * step / self.total, "Training")
        context.log(f"step {step}: " + ", ".join(f"{name} {value:.5g}" for name, value in line.items()))
        if now - self.shown > SHOWN_EVERY:
            self.shown = now
            context.show(*pages.training_plots(*pages.read_curves(self.curves)))
        if (age := self._age()) != self.saved and now - self.kept > KEPT_EVERY:
            # The curves first: what they have beyond the checkpoint is dropped when it is gone on from.
            self.saved, self.kept = age, now
            note = f"up to step {pages.count(step)} of {pages.count(self.total)}"
            context.keep(self.curves, note=note)
            context.keep(self.checkpoint, note=note)
        if self.preview is not None and self.best.exists() and now - self.previewed > PREVIEW_EVERY:
            context.show(*self.preview(self.best))
            self.previewed = time.monotonic()

    def _age(self) -> int:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0


def previewed(context: JobContext, records: Records, seed: int) -> Callable[[Path], Any]:
    """Plots of what a model makes that is still being trained, beside a few showers of the simulation."""
    from mlcore.showers.overview import Overview, spread

    some = records[spread(records.energy, PREVIEW_SHOWERS)]
    overview = Overview.of([some])

    def look(path: Path) -> Any:
        from mlcore.showers.catalogue import load
        from mlcore.showers.dataset import Records

        made = Records.of(
            load(path).like(some, seed=seed), some.energy, some.voxels, theta=some.theta, phi=some.phi, particle=some.particle,
            geometry=some.geometry, geometries=some.geometries,
        )  # fmt: skip
        return pages.overview_plots(("simulation", overview), ("model so far", Overview.of([made])))[:3]

    return look


def handed_out(
    context: JobContext,
    params: DataParams,
    showers: Showers,
    made: Made,
    name: str,
    *,
    threshold: float,
    notes: tuple[Note, ...] = (),
) -> Result:
    """Hand out a model and the showers that it has not seen, and show the one beside the others."""
    from mlcore.showers import dataset
    from mlcore.showers.catalogue import load
    from mlcore.showers.overview import Overview, spread

    context.artifact(made.path, kind="shower-model", title=f"The model, {name}")
    unseen = showers.unseen
    if len(unseen):
        context.progress(0.93, "Writing the showers that it has not seen")
        test = context.folder / "test.h5"
        dataset.write(test, unseen, metadata={"part": "test"} | _origin(context, params, len(unseen)))
        context.artifact(test, kind="showers", title=f"{pages.count(len(unseen))} showers that the model has not seen")
    context.progress(0.96, "Comparing")
    model = load(made.path)
    truth = (unseen if len(unseen) else showers.training).above(threshold)
    truth = truth[spread(truth.energy, MOST_COMPARED)]
    own_showers = dataset.Records.of(
        model.like(truth, seed=params.seed), truth.energy, truth.voxels, theta=truth.theta, phi=truth.phi,
        particle=truth.particle, geometry=truth.geometry, geometries=truth.geometries,
    )  # fmt: skip
    rows = spread(truth.energy, pages.EVENTS_SHOWN)
    view = pages.write_events(context, [("Simulation", truth[rows]), (name, own_showers[rows])], "Model beside simulation")
    overview, own = Overview.of([truth]), Overview.of([own_showers])
    bias = float(own.response.mean() / overview.response.mean() - 1) if overview.response.mean() > 0 else 0.0
    few = (
        ()
        if len(unseen)
        else (Note("warn", "The plots show showers that the model was made from.", "Keep a test share instead."),)
    )
    kept = f"of {pages.energy_range(overview)}, {pages.count(len(unseen))} kept for the test"
    curves = pages.read_curves(context.folder / "curves.csv")
    return Result(
        notes=(*few, *notes, *pages.sample_notes(overview)),
        figures=(
            Figure("Showers", pages.count(len(showers.training)), kept),
            Figure("Parameters", pages.count(model.parameters), made.size),
            Figure("Response", f"{100 * bias:+.2f} %", "of the model beside the simulation"),
            *((Figure("Loss", made.loss, made.validation),) if made.loss else ()),
            Figure("Made by", name, made.condition),
        ),
        events=(view,),
        plots=(*pages.training_plots(*curves), *pages.overview_plots(("simulation", overview), (name, own))),
        tables=(pages.layers_table(overview),),
        facts={"model": name, "showers": len(showers.training), "parameters": model.parameters},
    )


def _origin(context: JobContext, params: DataParams, count: int) -> dict[str, Any]:
    """What test showers say of themselves: as the files, with their part of the CPU time."""
    origin = origin_of(context, params.files)
    spent = simulation_ms(context, params.files)
    origin.pop("cpu_seconds", None)
    return origin | ({} if spent is None else {"cpu_seconds": round(spent * count / 1e3, 3)})


def title(kind: str, params: DataParams, files: Mapping[str, str]) -> str:
    """Of a job that makes a model."""
    names = [files[file] for file in params.files if file in files]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{kind} of {names[0]}{more}" if names else kind
