"""A part of a full simulation: one file of its showers. The portal starts it for each."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Result
from portal.jobs.types.shower_simulate import SimulateParams, plan_of, simulated


class SimulatePartParams(SimulateParams):
    """Which part, of which simulation."""

    number: int = Field(ge=0, lt=10_000, title="Number", description="Of the part")


class ShowerSimulatePart(JobType[SimulatePartParams]):
    slug = "shower-simulate-part"
    title = "Part of a simulation of showers"
    summary = "One file of a full simulation"
    duration = "about two minutes"
    versions = ("geant4-pybind",)
    limits = Limits(memory_bytes=4 * GIB, cpu_seconds=36_000, wall_seconds=7200)
    listed = False
    Params = SimulatePartParams

    def name_run(self, params: SimulatePartParams, files: Mapping[str, str]) -> str:
        return f"Showers from number {params.number * params.shard}"

    def run(self, context: JobContext, params: SimulatePartParams) -> Result:
        plan = plan_of(context, params)
        (path,) = simulated(context, plan, [params.number], processes=1, end=0.98)
        context.artifact(path, kind="shard", title="Showers of the part")
        return Result(figures=(Figure("Part", str(params.number + 1), f"of {params.shards}"),))
