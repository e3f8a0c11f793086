"""Full simulation of showers by Geant4: in parts on as many workers as there are, joined to one file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params
from portal.jobs.results import Figure, Note, Result
from portal.jobs.shower_inputs import (
    CALORIMETER_TITLES,
    CalorimeterName,
    Spectrum,
    calorimeter_field,
    calorimeter_of,
    check_energies,
    energy_field,
    geometry_field,
    seconds_to_simulate,
    spectrum_field,
)

if TYPE_CHECKING:
    from mlcore.showers.fullsim import Plan

PART_SECONDS = 90.0
"""Of CPU time that a part takes, about."""
LEAST_SHARD, MOST_SHARD, MOST_PARTS = 10, 2000, 120


class SimulateParams(Params):
    """Which showers."""

    calorimeter: CalorimeterName = calorimeter_field("dataset2", description="Which one the particles hit")
    geometry: str | None = geometry_field()
    showers: int = Field(1000, ge=1, le=500_000, title="Showers", description="How many", json_schema_extra={"x-unit": "showers"})
    particle: Literal["e-", "e+", "gamma", "pi-", "pi+", "proton"] = Field(
        "e-",
        title="Particle",
        description="Hadrons need Geant4's data sets, which the administrator names",
        json_schema_extra={
            "x-titles": {
                "e-": "electron", "e+": "positron", "gamma": "photon", "pi-": "negative pion", "pi+": "positive pion",
                "proton": "proton",
            }
        },
    )  # fmt: skip
    lowest: float = energy_field(1.0, "Lowest energy")
    highest: float = energy_field(100.0, "Highest energy")
    spectrum: Spectrum = spectrum_field()
    theta_lowest: float = Field(
        90.0,
        ge=20,
        le=160,
        title="Lowest θ",
        description="To the beam; 90° is a right angle to the layers",
        json_schema_extra={"x-unit": "°"},
    )
    theta_highest: float = Field(
        90.0, ge=20, le=160, title="Highest θ", description="To the beam", json_schema_extra={"x-unit": "°"}
    )
    cut: float = Field(
        0.7, ge=0.001, le=100, title="Range cut", description="Geant4 makes no secondary particles of shorter range",
        json_schema_extra={"x-unit": "mm"},
    )  # fmt: skip
    physics: Literal["auto", "data-free", "FTFP_BERT", "FTFP_BERT_EMZ", "QGSP_BERT"] = Field(
        "auto",
        title="Physics",
        description="auto takes FTFP_BERT where Geant4's data sets are installed, else the data-free electromagnetic list",
        json_schema_extra={"x-titles": {"auto": "auto", "data-free": "data-free, electromagnetic"}},
    )
    seed: int = Field(1, ge=0, lt=2**62, title="Seed", description="The same one gives the same showers")

    @model_validator(mode="after")
    def _ranges(self) -> SimulateParams:
        check_energies(self.lowest, self.highest)
        if self.theta_lowest > self.theta_highest:
            raise ValueError(f"The lowest θ, {self.theta_lowest:g}°, is above the highest, {self.theta_highest:g}°.")
        return self

    @property
    def shard(self) -> int:
        """Showers to a file, so that each takes about `PART_SECONDS`."""
        one = seconds_to_simulate(1, self.lowest, self.highest, logarithmic=self.spectrum == "log")
        usual = min(max(int(PART_SECONDS / one), LEAST_SHARD), MOST_SHARD)
        return max(usual, -(-self.showers // MOST_PARTS))

    @property
    def shards(self) -> int:
        """How many files."""
        return -(-self.showers // self.shard)


class ShowerSimulate(JobType[SimulateParams]):
    slug = "shower-simulate"
    title = "Simulate showers"
    summary = "Electrons or photons in a calorimeter by Geant4, voxel by voxel, as a file that models are trained on"
    duration = "a minute or more"
    gives = (("showers.h5", "the showers, in the CaloChallenge's layout"), ("events.json", "those that the page draws"))
    phrases = (
        "simulate shower",
        "shower geant4",
        "simulate calorimeter",
        "simulate electron",
        "simulate photon",
        "full simulation",
        "generate shower geant4",
    )
    versions = ("geant4-pybind", "h5py", "numpy")
    limits = Limits(memory_bytes=6 * GIB, cpu_seconds=36_000, wall_seconds=7200)
    part_type = "shower-simulate-part"
    events = True
    Params = SimulateParams

    def name_run(self, params: SimulateParams, files: Mapping[str, str]) -> str:
        where = files.get(params.geometry or "") or CALORIMETER_TITLES[params.calorimeter].split(",")[0]
        energies = f"{params.lowest:g}" if params.lowest == params.highest else f"{params.lowest:g} to {params.highest:g}"
        return f"{pages.count(params.showers)} showers, {params.particle} of {energies} GeV in {where}"

    def parts(self, params: SimulateParams, sizes: Mapping[str, int]) -> Sequence[Mapping[str, Any]]:
        if params.shards < 2:
            return ()
        plain = params.model_dump(mode="json")
        return [plain | {"number": number} for number in range(params.shards)]

    def run(self, context: JobContext, params: SimulateParams) -> Result:
        from mlcore.showers import dataset
        from mlcore.showers.overview import Overview, spread

        plan = plan_of(context, params)
        paths = [path for made in context.parts for path in made]
        if not paths:
            paths = simulated(context, plan, range(plan.shards), processes=min(os.cpu_count() or 1, plan.shards), end=0.9)
        context.progress(0.92, "Putting the file together")
        made, origin = joined(paths, context.folder / "showers.h5", plan)
        context.artifact(made, kind="showers", title=f"{pages.count(plan.showers)} showers of the full simulation")
        context.progress(0.96, "Looking at the showers")
        overview = Overview.of(dataset.stream([made]))
        chosen = dataset.read(made)[spread(overview.energy, pages.EVENTS_SHOWN)]
        view = pages.write_events(context, [("Geant4", chosen)], "Showers in space")
        seconds = float(origin["cpu_seconds"])
        return Result(
            notes=(*_notes(origin), *pages.sample_notes(overview)),
            figures=(
                *pages.figures(overview),
                Figure("CPU time", f"{pages.short(1e3 * seconds / plan.showers)} ms", "for a shower, on one core"),
            ),
            events=(view,),
            plots=(*pages.overview_plots(("Geant4", overview)), pages.energy_plot(overview)),
            tables=(pages.origin_table(origin, overview),),
            facts={"showers": plan.showers, "calorimeter": plan.calorimeter.name, "cpu_ms": 1e3 * seconds / plan.showers},
        )


def _notes(origin: Mapping[str, Any]) -> tuple[Note, ...]:
    said = str(origin.get("physics", ""))
    notes = []
    if "data-free" in said.lower():
        notes.append(
            Note("act", "Geant4 ran without its data sets.", f"Physics: {said}. Good for electrons, positrons and photons.")
        )
    if "orientation" in origin:
        notes.append(Note("warn", "The crystal's lattice is not simulated.", "It is taken as amorphous; the file says so."))
    return tuple(notes)


def plan_of(context: JobContext, params: SimulateParams) -> Plan:
    """What is to be simulated."""
    from mlcore.showers.fullsim import Plan

    calorimeter = calorimeter_of(context, params.calorimeter, params.geometry)
    if calorimeter is None:
        raise RuntimeError("the form always names a calorimeter")
    return Plan(
        calorimeter,
        params.showers,
        params.particle,
        (1e3 * params.lowest, 1e3 * params.highest),
        params.spectrum,
        (math.radians(params.theta_lowest), math.radians(params.theta_highest)),
        seed=params.seed,
        shard=params.shard,
        cut=params.cut,
        physics=params.physics,
    )


def simulated(context: JobContext, plan: Plan, shards: Sequence[int], *, processes: int, end: float) -> list[Path]:
    """The files of these shards, in the run's folder; the progress goes up to ``end``."""
    from mlcore.showers.fullsim import produce
    from mlcore.showers.fullsim.worker import shard_path

    context.progress(0.01, "Simulating")
    folder = context.folder / "shards"
    data = context.places.get("geant4")

    def progress(part: float, what: str) -> None:
        context.progress(end * part, "Simulating")
        context.log(what)

    produce(
        plan,
        folder,
        processes=processes,
        data=data,
        only=shards,
        progress=progress,
    )
    return [shard_path(folder, shard) for shard in shards]


def joined(paths: Sequence[Path], target: Path, plan: Plan) -> tuple[Path, dict[str, Any]]:
    """All shards as one file, and what it says of its origin."""
    from mlcore.errors import InputError
    from mlcore.showers.dataset import ShowerFile, Writer

    files = [ShowerFile.open(path) for path in paths]
    if sum(file.count for file in files) != plan.showers:
        raise InputError("parts of this simulation are missing", hint="Run it again.", code="showers.parts")
    origin = {name: value for name, value in files[0].metadata.items() if name != "shard"}
    origin["shards"] = len(files)
    origin["cpu_seconds"] = round(sum(float(file.metadata.get("cpu_seconds", 0.0)) for file in files), 3)
    with Writer(target, plan.calorimeter.voxels, (plan.calorimeter.name,), metadata=origin, extra=("outside",)) as writer:
        for file in files:
            outside, start = file.column("outside"), 0
            for part in file.batches():
                writer.append(part, extra={"outside": outside[start : start + len(part)]})
                start += len(part)
    return target, origin
