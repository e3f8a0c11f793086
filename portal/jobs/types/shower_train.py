"""Train or fit a model of showers. A network's training shows its curves while it runs and goes on after a cancel or a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_training as making
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Result
from portal.jobs.shower_training import Made, NetworkParams, Showers

if TYPE_CHECKING:
    from mlcore.showers.dataset import Records
    from mlcore.showers.models.neural import NeuralModel

TITLES: dict[str, JsonValue] = {
    "parametrised": "Parametrised, fitted",
    "gflash": "GFlash, formulas",
    "vae": "VAE, a network",
    "transformer": "Transformer, a network",
}
MODEL_HELP = """- **Parametrised**: histograms of layers and shapes, fitted in seconds; one particle, direction and calorimeter.
- **GFlash**: formulas; the response and the resolution come from the showers.
- **VAE**, **transformer**: networks; energy, angles, particle and calorimeter are conditions. The transformer is better and
  takes far longer to train and to sample; distil it afterwards.
"""


class ShowerTrainParams(NetworkParams):
    """Which model, on which showers, for how long."""

    first = ("files", "model", "size")

    model: Literal["parametrised", "gflash", "vae", "transformer"] = Field(
        "parametrised",
        title="Model",
        description="What is fitted or trained",
        json_schema_extra={"x-titles": TITLES, "x-help": MODEL_HELP},
    )
    size: Literal["small", "standard"] = Field("standard", title="Size", description="Of a network")
    threshold: float | None = Field(
        None,
        ge=0,
        le=1e4,
        title="Threshold",
        description="Voxels below are empty; the calorimeter's own where left out",
        json_schema_extra={"x-unit": "MeV"},
    )


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
        return making.title(str(TITLES[params.model]).split(",")[0], params, files)

    def run(self, context: JobContext, params: ShowerTrainParams) -> Result:
        showers = Showers.of(context, params)
        threshold = params.threshold if params.threshold is not None else showers.threshold
        fits: dict[str, Callable[..., Made]] = {"parametrised": _parametrised, "gflash": _gflash}
        made = fits.get(params.model, _network)(context, params, showers, threshold)
        return making.handed_out(context, params, showers, made, params.model, threshold=threshold)


def _parametrised(context: JobContext, params: ShowerTrainParams, showers: Showers, threshold: float) -> Made:
    from mlcore.showers.models.parametrised import Parametrised

    context.progress(0.1, "Fitting")
    model = Parametrised.fit(
        showers.training.above(threshold),
        seed=params.seed,
        progress=lambda part: context.progress(0.1 + 0.8 * part, "Fitting"),
    )
    path = context.folder / "parametrised.npz"
    model.save(path)
    bins, classes = model.arrays["nodes"].shape
    return Made(path, f"bins of energy: {bins}, of depth: {classes}", "numbers in its tables")


def _gflash(context: JobContext, params: ShowerTrainParams, showers: Showers, threshold: float) -> Made:
    from mlcore.errors import InputError
    from mlcore.showers.dataset import PHOTON
    from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
    from mlcore.showers.overview import Overview

    calorimeter, records = showers.calorimeter, showers.training
    if calorimeter is None:
        raise InputError(
            "GFlash needs the calorimeter's materials, and the files do not say which one it is",
            hint="Choose the calorimeter in the form, or give its geometry file.",
            code="showers.geometry",
        )
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
    resolution = "" if calorimeter.homogeneous else f", resolution {100 * medium.resolution:.3g} %/√E"
    return Made(path, f"response {response:.4g}{resolution}", "its constants are the paper's")


def _network(context: JobContext, params: ShowerTrainParams, showers: Showers, threshold: float) -> Made:
    from mlcore.showers.training import train

    records = showers.training
    model = network(params.model, params.size, records, threshold)
    preview = making.previewed(context, records, params.seed)
    return making.trained(
        context,
        params.model,
        params,
        preview,
        lambda folder, config, progress: train(model, records, folder, config, progress=progress),
    )


def network(kind: str, size: str, records: Records, threshold: float) -> NeuralModel:
    """An untrained network for some showers."""
    from mlcore.showers.models.transformer import Transformer, TransformerConfig, fitting_patch
    from mlcore.showers.models.vae import VAE, VAEConfig

    common: dict[str, Any] = {
        "voxels": records.voxels,
        "lowest": float(records.energy.min()) / making.MARGIN,
        "highest": float(records.energy.max()) * making.MARGIN,
        "geometries": records.geometries,
        "threshold": threshold,
    }
    if kind == "vae":
        sizes: dict[str, Any] = {"latent": 8, "hidden": 64, "channels": 8}
        return VAE(VAEConfig(**common, **(sizes if size == "small" else {})))
    sizes = {"width": 48, "depth": 2, "heads": 4, "layer_width": 64, "layer_depth": 2, "steps": 8, "layer_steps": 4}
    if size != "small":
        sizes = {}
    return Transformer(TransformerConfig(**common, patch=fitting_patch(records.voxels.shape), **sizes))
