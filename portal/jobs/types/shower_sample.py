"""Sample showers from a model: of a spectrum of one's own, or one for each particle of a dataset."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Result
from portal.jobs.shower_inputs import (
    ModelParams,
    Spectrum,
    check_energies,
    dataset_field,
    energy_field,
    loaded,
    name_of,
    records_of,
    spectrum_field,
)

if TYPE_CHECKING:
    from mlcore.showers.catalogue import Loaded
    from mlcore.showers.dataset import Records

BATCH = 2000


class ShowerSampleParams(ModelParams):
    """How many showers of which particles."""

    first = ("model", "shipped", "like")

    like: list[str] = dataset_field(
        "Like a dataset", "One shower for each of its particles; what is below is then not used", optional=True
    )
    showers: int = Field(
        1000, ge=1, le=1_000_000, title="Showers", description="How many", json_schema_extra={"x-unit": "showers"}
    )
    lowest: float = energy_field(1.0, "Lowest energy")
    highest: float = energy_field(100.0, "Highest energy")
    spectrum: Spectrum = spectrum_field()
    theta: float = Field(
        90.0,
        ge=0,
        le=180,
        title="θ",
        description="To the beam, of models that know directions",
        json_schema_extra={"x-unit": "°"},
    )
    phi: float = Field(0.0, ge=-360, le=360, title="φ", description="Around the beam", json_schema_extra={"x-unit": "°"})
    particle: Literal["e-", "e+", "gamma"] = Field(
        "e-", title="Particle", description="Of models that know several",
        json_schema_extra={"x-titles": {"e-": "electron", "e+": "positron", "gamma": "photon"}},
    )  # fmt: skip
    seed: int = Field(1, ge=0, lt=2**62, title="Seed", description="The same one gives the same showers")

    @model_validator(mode="after")
    def _range(self) -> ShowerSampleParams:
        check_energies(self.lowest, self.highest)
        return self


class ShowerSample(JobType[ShowerSampleParams]):
    slug = "shower-sample"
    title = "Sample showers"
    summary = "Showers made by a trained or fitted model, as a file in the CaloChallenge's layout"
    duration = "some seconds"
    gives = (("showers.h5", "the showers"), ("events.json", "those that the page draws"))
    phrases = ("sample shower", "generate shower", "shower from model", "make shower model", "fast simulation shower")
    versions = ("torch", "numpy", "h5py")
    limits = Limits(memory_bytes=8 * GIB, cpu_seconds=36_000, wall_seconds=7200)
    events = True
    Params = ShowerSampleParams

    def name_run(self, params: ShowerSampleParams, files: Mapping[str, str]) -> str:
        return f"Showers of {params.model_name(files)}"

    def run(self, context: JobContext, params: ShowerSampleParams) -> Result:
        from mlcore.showers.dataset import Writer
        from mlcore.showers.overview import Overview, spread

        context.progress(0.02, "Reading the model")
        model = loaded(context, params)
        if params.like:
            truth = records_of(context, params.like, params)
            wanted = [truth[at : at + BATCH] for at in range(0, len(truth), BATCH)]
        else:
            truth = None
            wanted = _drawn(params, model)
        total = sum(map(len, wanted))
        made: list[Records] = []
        seconds = 0.0
        for number, part in enumerate(wanted):
            context.progress(0.05 + 0.8 * number / len(wanted), "Sampling")
            started = time.perf_counter()
            showers = model.like(part, seed=params.seed + number)
            seconds += time.perf_counter() - started
            made.append(type(part).of(
                showers, part.energy, part.voxels, theta=part.theta, phi=part.phi, particle=part.particle,
                geometry=part.geometry, geometries=part.geometries,
            ))  # fmt: skip
        context.progress(0.88, "Writing")
        path = context.folder / "showers.h5"
        origin = {
            "model": model.slug,
            "file": name_of(context, params),
            "seed": params.seed,
            "ms_for_a_shower": 1e3 * seconds / total,
        }
        with Writer(path, model.voxels, made[0].geometries, metadata=origin) as writer:
            for part in made:
                writer.append(part)
        context.artifact(path, kind="showers", title=f"{pages.count(total)} showers of the model {model.slug}")
        context.progress(0.95, "Drawing")
        all_made = made[0].joined(made)
        overview = Overview.of([all_made])
        rows = spread(all_made.energy, pages.EVENTS_SHOWN)
        samples = [(model.slug, all_made[rows])]
        shown = [(model.slug, overview)]
        if truth is not None:
            samples.insert(0, ("Dataset", truth[rows]))
            shown.insert(0, ("dataset", Overview.of([truth])))
        view = pages.write_events(context, samples, "Showers in space")
        return Result(
            notes=pages.sample_notes(overview, named=False),
            figures=(
                *pages.figures(overview),
                Figure("Time", f"{pages.short(1e3 * seconds / total)} ms", f"for a shower, in batches of {min(BATCH, total)}"),
            ),
            events=(view,),
            plots=pages.overview_plots(shown[0], *shown[1:]),
            tables=(pages.origin_table(origin, overview),),
            facts={"model": model.slug, "showers": total, "ms": 1e3 * seconds / total},
        )


def _drawn(params: ShowerSampleParams, model: Loaded) -> list[Records]:
    """Particles of the form's spectrum, as records without showers yet."""
    import numpy as np

    from mlcore.errors import DataError
    from mlcore.showers.dataset import ELECTRON, PHOTON, POSITRON, Records

    names = model.geometries or ("unknown",)
    if params.calorimeter and model.geometries and params.calorimeter not in names:
        raise DataError.missing("calorimeter", params.calorimeter, names, where="the model")
    name = params.calorimeter or names[0]
    draw = np.random.default_rng([params.seed, 7]).random(params.showers)
    low, high = 1e3 * params.lowest, 1e3 * params.highest
    energy: Any = low * (high / low) ** draw if params.spectrum == "log" else low + (high - low) * draw
    code = {"e-": ELECTRON, "e+": POSITRON, "gamma": PHOTON}[params.particle]
    return [
        Records.of(
            np.zeros((len(part), *model.voxels.shape), np.float32), part, model.voxels, theta=math.radians(params.theta),
            phi=math.radians(params.phi), particle=code, geometries=(name,),
        )
        for part in (energy[at : at + BATCH] for at in range(0, params.showers, BATCH))
    ]  # fmt: skip
