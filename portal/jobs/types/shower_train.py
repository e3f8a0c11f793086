"""Train or fit a model of showers. A network's training shows its curves while it runs and goes on after a cancel or a kill."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Note, Result
from portal.jobs.shower_inputs import GridParams, calorimeter_of, dataset_field, records_of

if TYPE_CHECKING:
    from mlcore.showers.dataset import Records
    from mlcore.showers.geometry import Calorimeter

SHOWN_EVERY = 1.0
"""Seconds between two drawings of the curves."""
MARGIN = 1.1
KEPT_EVERY = 5.0
"""Seconds between two copies of the checkpoint that are kept, at least."""
CHECKPOINTS = 20
"""Of a training, at least."""
PREVIEW_SHOWERS = 400
MOST_ROWS_PROFILED = 5000
MODEL_HELP = """- **Parametrised**: histograms of layers and shapes, fitted in seconds; one particle, direction and calorimeter.
- **GFlash**: formulas; the response and the resolution come from the showers.
- **VAE**: a network; takes energy, angles, particle and calorimeter as conditions.
"""


class ShowerTrainParams(GridParams):
    """Which model, on which showers, for how long."""

    files: list[str] = dataset_field("Showers", "Of the full simulation, HDF5; several files are joined")
    model: Literal["parametrised", "gflash", "vae"] = Field(
        "parametrised",
        title="Model",
        description="What is fitted or trained",
        json_schema_extra={
            "x-titles": {"parametrised": "Parametrised, fitted", "gflash": "GFlash, formulas", "vae": "VAE, a network"},
            "x-help": MODEL_HELP,
        },
    )
    test: float = Field(
        0.2, ge=0, le=0.9, title="Test", description="Share of the showers that the model never sees, for its evaluation"
    )
    most: int = Field(0, ge=0, le=1_000_000, title="Showers at most", description="Of the files' first ones; 0 for all")
    threshold: float | None = Field(
        None, ge=0, le=1e4, title="Threshold", description="Voxels below are empty; the calorimeter's own where left out",
        json_schema_extra={"x-unit": "MeV"},
    )  # fmt: skip
    steps: int = Field(
        5000, ge=1, le=2_000_000, title="Steps", description="Of a network's training", json_schema_extra={"x-unit": "steps"}
    )
    batch: int = Field(
        128, ge=1, le=8192, title="Batch", description="Showers in a step of a network's training", json_schema_extra={"x-unit": "showers"}
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, title="Learning rate", description="Of a network, at its highest")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", title="Precision", description="Of a network's training; bfloat16 is mixed precision"
    )
    seed: int = Field(1, ge=0, lt=2**62, title="Seed", description="The same one gives the same model")


class ShowerTrain(JobType[ShowerTrainParams]):
    slug = "shower-train"
    title = "Train a shower model"
    summary = "A fast model of showers fitted to or trained on the full simulation, compared with showers that it has not seen"
    duration = "seconds for a fit, minutes to an hour for a network"
    gives = (
        ("model file", "the model: .npz, .json or .safetensors, without code in it"),
        ("test.h5", "the showers that it has not seen"),
        ("curves.csv", "loss by step, of a network"),
    )
    phrases = (
        "train shower",
        "fit shower",
        "train vae",
        "train calorimeter",
        "fast simulation model",
        "parametrised shower",
        "gflash",
        "fit gflash",
        "train generative model",
    )
    versions = ("torch", "numpy", "h5py")
    limits = Limits(memory_bytes=8 * GIB, cpu_seconds=400_000, wall_seconds=86_400)
    events = True
    Params = ShowerTrainParams

    def name_run(self, params: ShowerTrainParams, files: Mapping[str, str]) -> str:
        titles = {"parametrised": "Parametrised model", "gflash": "GFlash", "vae": "VAE"}
        names = list(files.values())
        return f"{titles[params.model]} of {names[0] if names else 'showers'}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"

    def run(self, context: JobContext, params: ShowerTrainParams) -> Result:
        from mlcore.errors import InputError
        from mlcore.showers import dataset
        from mlcore.showers.catalogue import load
        from mlcore.showers.overview import Overview, spread

        context.progress(0.01, "Reading the showers")
        records = records_of(context, params.files, params, most=params.most)
        held = int(len(records) * params.test)
        training, unseen = records[: len(records) - held], records[len(records) - held :]
        if not len(training):
            raise InputError("the test share leaves no showers to train on", hint="Lower it.", code="showers.few")
        calorimeter = _calorimeter(context, params, records)
        threshold = params.threshold if params.threshold is not None else calorimeter.threshold if calorimeter else 0.0
        started = time.monotonic()
        fit: Callable[..., tuple[Path, dict[str, str]]] = {"parametrised": _parametrised, "gflash": _gflash}.get(params.model, _network)
        path, facts = fit(context, params, training, calorimeter, threshold)
        seconds = time.monotonic() - started
        context.artifact(path, kind="shower-model", title=f"The model, {params.model}")
        if held:
            context.progress(0.93, "Writing the showers that it has not seen")
            test = context.folder / "test.h5"
            dataset.write(test, unseen, metadata={"part": "test", "of": context.name(params.files[0])} | _origin(context, params, held))
            context.artifact(test, kind="showers", title=f"{pages.count(held)} showers that the model has not seen")
        context.progress(0.96, "Comparing")
        model = load(path)
        truth = (unseen if held else training).above(threshold)
        truth = truth[spread(truth.energy, MOST_ROWS_PROFILED)]
        made = dataset.Records.of(
            model.like(truth, seed=params.seed), truth.energy, truth.voxels, theta=truth.theta, phi=truth.phi,
            particle=truth.particle, geometry=truth.geometry, geometries=truth.geometries,
        )  # fmt: skip
        rows = spread(truth.energy, pages.EVENTS_SHOWN)
        view = pages.write_events(context, [("Simulation", truth[rows]), (params.model, made[rows])], "Model beside simulation")
        overview, own = Overview.of([truth]), Overview.of([made])
        steps, curves = pages.read_curves(context.folder / "curves.csv")
        bias = float(own.response.mean() / overview.response.mean() - 1) if overview.response.mean() > 0 else 0.0
        few = () if held else (Note("warn", "The plots show showers that the model was made from.", "Keep a test share to see how good it is."),)
        return Result(
            notes=(*few, *pages.sample_notes(overview)),
            figures=(
                Figure("Showers", pages.count(len(training)), f"of {pages.energy_range(overview)}, {pages.count(held)} kept for the test"),
                Figure("Made in", f"{pages.short(seconds)} s", facts.get("condition", "")),
                Figure("Parameters", pages.count(model.parameters), facts.get("size", "")),
                Figure("Response", f"{100 * bias:+.2f} %", "of the model beside the simulation"),
                *((Figure("Loss", facts["loss"], facts.get("validation", "")),) if "loss" in facts else ()),
            ),
            events=(view,),
            plots=(*pages.training_plots(steps, curves), *pages.overview_plots(("simulation", overview), (params.model, own))),
            tables=(pages.layers_table(overview),),
            facts={"model": params.model, "showers": len(training), "parameters": model.parameters},
        )


def _origin(context: JobContext, params: ShowerTrainParams, held: int) -> dict[str, Any]:
    """What test showers say of themselves: as the files, with their part of the CPU time."""
    from portal.jobs.shower_inputs import origin_of, simulation_ms

    origin = origin_of(context, params.files)
    spent = simulation_ms(context, params.files)
    origin.pop("cpu_seconds", None)
    return origin | ({} if spent is None else {"cpu_seconds": round(spent * held / 1e3, 3)})


def _calorimeter(context: JobContext, params: ShowerTrainParams, records: Records) -> Calorimeter | None:
    """The one that the form names, else the one that the files do, where it is a shipped one."""
    from mlcore.showers.geometry import CALORIMETERS

    try:
        named = calorimeter_of(context, params.calorimeter, params.geometry)
    except Exception:  # a binning in XML has no materials
        named = None
    return named or CALORIMETERS.get(records.geometries[0])


def _parametrised(
    context: JobContext, params: ShowerTrainParams, records: Records, calorimeter: Calorimeter | None, threshold: float
) -> tuple[Path, dict[str, str]]:
    from mlcore.showers.models.parametrised import Parametrised

    context.progress(0.1, "Fitting")
    model = Parametrised.fit(
        records.above(threshold), seed=params.seed, progress=lambda part: context.progress(0.1 + 0.8 * part, "Fitting")
    )
    path = context.folder / "parametrised.npz"
    model.save(path)
    bins, classes = model.arrays["nodes"].shape
    return path, {"condition": f"{bins} bins of energy, {classes} of depth", "size": "numbers in its tables"}


def _gflash(
    context: JobContext, params: ShowerTrainParams, records: Records, calorimeter: Calorimeter | None, threshold: float
) -> tuple[Path, dict[str, str]]:
    from mlcore.errors import InputError
    from mlcore.showers.dataset import PHOTON
    from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
    from mlcore.showers.overview import Overview

    if calorimeter is None:
        raise InputError(
            "GFlash needs the calorimeter's materials, and the files do not say which one it is",
            hint="Choose the calorimeter in the form, or give its geometry file.", code="showers.geometry",
        )  # fmt: skip
    context.progress(0.2, "Fitting response and resolution")
    overview = Overview.of([records])
    medium = Medium.of(calorimeter, resolution=None if calorimeter.homogeneous else max(overview.stochastic, 1e-3))
    photons = bool((records.particle == PHOTON).all())
    config = GFlashConfig(medium, records.voxels, particle="photon" if photons else "electron")
    # What lies outside the voxels is lost to the model too: its own showers say how much.
    energies = records.energy[:2000]
    contained = float((GFlash(config).sample(energies, seed=params.seed).sum(axis=(1, 2, 3), dtype=float) / energies).mean())
    response = float(overview.response.mean()) / max(contained, 1e-6)
    model = GFlash(GFlashConfig(medium, records.voxels, response=response, particle=config.particle, threshold=threshold))
    path = context.folder / "gflash.json"
    model.save(path)
    return path, {"condition": f"response {response:.4g}, resolution {100 * medium.resolution:.3g} %/√E", "size": "all are constants of the paper"}


def _network(
    context: JobContext, params: ShowerTrainParams, records: Records, calorimeter: Calorimeter | None, threshold: float
) -> tuple[Path, dict[str, str]]:
    from mlcore.showers.models.vae import VAE, VAEConfig
    from mlcore.showers.training import BEST, CHECKPOINT, CURVES, TrainingConfig, train

    # A sample's extreme energies lie a little within the range that it was drawn from.
    low, high = float(records.energy.min()) / MARGIN, float(records.energy.max()) * MARGIN
    config = VAEConfig(records.voxels, low, high, geometries=records.geometries, threshold=threshold)
    every = max(1, min(100, params.steps // 100))
    training = TrainingConfig(
        steps=params.steps,
        batch=params.batch,
        learning_rate=params.learning_rate,
        warmup=min(500, params.steps // 10),
        report_every=every,
        save_every=max(every, min(1000, params.steps // CHECKPOINTS)),
        seed=params.seed,
        precision=params.precision,
    )
    folder = context.folder / "training"
    folder.mkdir(exist_ok=True)
    for name in (CHECKPOINT, CURVES):
        if name in context.kept:
            shutil.copyfile(context.kept[name], folder / name)
    begun = CHECKPOINT in context.kept
    if begun:
        context.log("Going on with the training that was kept.")
    watched = Watched(context, folder, params.steps, CHECKPOINT, CURVES)
    model = VAE(config)
    done = train(model, records, folder, training, progress=watched)
    path = context.folder / "vae.safetensors"
    shutil.copyfile(folder / BEST, path)
    kept_curves = context.folder / CURVES
    shutil.copyfile(folder / CURVES, kept_curves)
    context.artifact(kept_curves, kind="report", title="Loss, its parts, gradient and learning rate by step")
    return path, {
        "condition": f"{pages.count(done.step)} steps of {params.batch} showers{', gone on with' if begun else ''}",
        "size": "weights",
        "loss": pages.short(done.loss, 5),
        "validation": "" if done.validation_loss is None else f"{pages.short(done.validation_loss, 5)} of showers kept aside",
    }


class Watched:
    """What a training says of itself: shown on the page, logged, and kept at each checkpoint so that another run can go on."""

    def __init__(self, context: JobContext, folder: Path, steps: int, checkpoint: str, curves: str) -> None:
        self.context, self.folder, self.total = context, folder, steps
        self.checkpoint, self.curves = folder / checkpoint, folder / curves
        self.saved = self._age()
        self.shown = self.kept = 0.0
        context.progress(0.05, "Training")

    def __call__(self, step: int, line: Mapping[str, float]) -> None:
        context = self.context
        context.progress(0.05 + 0.85 * step / self.total, "Training")
        context.log(f"step {step}: " + ", ".join(f"{name} {value:.5g}" for name, value in line.items()))
        if time.monotonic() - self.shown > SHOWN_EVERY:
            self.shown = time.monotonic()
            context.show(*pages.training_plots(*pages.read_curves(self.curves)))
        if (age := self._age()) != self.saved and time.monotonic() - self.kept > KEPT_EVERY:
            # The curves first: what they have beyond the checkpoint is dropped when it is gone on from.
            self.saved, self.kept = age, time.monotonic()
            note = f"up to step {pages.count(step)} of {pages.count(self.total)}"
            context.keep(self.curves, note=note)
            context.keep(self.checkpoint, note=note)

    def _age(self) -> int:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0
