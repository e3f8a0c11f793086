"""The full simulation of a calorimeter against theory: linearity, resolution, depth of the maximum, containment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import comparisons
from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params
from portal.jobs.results import Figure, Plot, Result, Table
from portal.jobs.shower_inputs import (
    CALORIMETER_TITLES,
    CalorimeterName,
    calorimeter_field,
    calorimeter_of,
    geometry_field,
)

if TYPE_CHECKING:
    from mlcore.showers.fullsim import Validation


class ShowerValidateParams(Params):
    """Of which calorimeter, at which energies."""

    calorimeter: CalorimeterName = calorimeter_field("dataset2", description="Which one the particles hit")
    geometry: str | None = geometry_field()
    energies: list[float] = Field(
        default_factory=lambda: [1.0, 5.0, 20.0],
        min_length=2,
        max_length=12,
        title="Energies",
        description="Of the particles, two or more, separated by commas",
        json_schema_extra={"x-unit": "GeV"},
    )
    showers: int = Field(
        100, ge=10, le=10_000, title="Showers", description="At each energy", json_schema_extra={"x-unit": "showers"}
    )
    particle: Literal["e-", "e+", "gamma"] = Field(
        "e-",
        title="Particle",
        description="Of what theory speaks of",
        json_schema_extra={"x-titles": {"e-": "electron", "e+": "positron", "gamma": "photon"}},
    )
    seed: int = Field(1, ge=0, lt=2**62, title="Seed", description="The same one gives the same showers")

    @field_validator("energies")
    @classmethod
    def _ascending(cls, values: list[float]) -> list[float]:
        if any(not 0.001 <= value <= 1e5 for value in values) or len(set(values)) != len(values):
            raise ValueError("Give different energies from 0.001 to 100 000 GeV.")
        return sorted(values)


class ShowerValidate(JobType[ShowerValidateParams]):
    slug = "shower-validate"
    title = "Validate a simulation"
    summary = "Geant4's showers in a calorimeter against theory: response, resolution, depth of the maximum, containment"
    duration = "a minute for 100 showers up to 20 GeV"
    gives = (("report.pdf", "the figures on a page"), ("report.json", "the numbers"))
    phrases = ("validate simulation", "validate geant4", "validate calorimeter", "linearity resolution calorimeter")
    versions = ("geant4-pybind", "numpy", "matplotlib")
    limits = Limits(memory_bytes=6 * GIB, cpu_seconds=36_000, wall_seconds=7200)
    Params = ShowerValidateParams

    def name_run(self, params: ShowerValidateParams, files: Mapping[str, str]) -> str:
        where = files.get(params.geometry or "") or CALORIMETER_TITLES[params.calorimeter].split(",")[0]
        return f"Validation of {where}, {params.particle}"

    def run(self, context: JobContext, params: ShowerValidateParams) -> Result:
        from mlcore.showers.fullsim import Plan, validate

        calorimeter = calorimeter_of(context, params.calorimeter, params.geometry)
        if calorimeter is None:
            raise RuntimeError("the form always names a calorimeter")
        cores = os.cpu_count() or 1
        plan = Plan(calorimeter, params.showers, params.particle, seed=params.seed, shard=max(10, -(-params.showers // cores)))
        context.progress(0.01, "Simulating")
        found = validate(
            plan,
            context.folder / "showers",
            energies=params.energies,
            processes=min(cores, plan.shards),
            data=context.places.get("geant4"),
            progress=lambda part, what: context.progress(0.95 * part, "Simulating"),
        )
        report, numbers = context.folder / "report.pdf", context.folder / "report.json"
        found.draw(report)
        numbers.write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
        context.artifact(report, kind="report", title="The figures on a page")
        context.artifact(numbers, kind="numbers", title="The numbers")
        return summary(found)


def summary(found: Validation) -> Result:
    """What the job shows."""
    constant = f" ⊕ {100 * found.constant:.2g} %" if found.constant else ""
    return Result(
        figures=(
            Figure("Response", pages.short(sum(p.response for p in found.points) / len(found.points), 4), found.physics),
            Figure("Not linear by", f"{100 * found.nonlinearity:.2f} %", "at most, of the mean response"),
            Figure("Resolution", f"{100 * found.stochastic:.3g} %/√E{constant}", "E in GeV"),
            Figure("Maximum off by", f"{found.depth_difference:.2f} X₀", "at most, of Grindhammer and Peters"),
        ),
        plots=tuple(_plots(found)),
        tables=(
            Table(
                "Energies",
                ("Energy [GeV]", "Response", "Resolution [%]", "Maximum [X₀]", "Expected [X₀]", "In voxels [%]", "R₉₀ [R_M]"),
                tuple(
                    (
                        f"{p.energy:g}",
                        f"{p.response:.5f} ± {p.response_error:.1g}",
                        f"{100 * p.resolution:.2f} ± {100 * p.resolution_error:.1g}",
                        f"{p.depth:.2f} ± {p.depth_error:.1g}",
                        f"{p.expected_depth:.2f}",
                        f"{100 * p.containment:.1f}",
                        f"{p.radius:.2f}",
                    )
                    for p in found.points
                ),
                numeric=tuple(range(7)),
                note="R₉₀ holds nine tenths of the energy in voxels; 1 is expected where the voxels hold all of it.",
            ),
        ),
        facts={"nonlinearity": found.nonlinearity, "stochastic": found.stochastic, "constant": found.constant},
    )


def _plots(found: Validation) -> list[Plot]:
    energies = [point.energy for point in found.points]
    made = []
    for title, unit, names in (
        ("Response", "", (("simulated", "response"),)),
        ("Resolution", " [%]", (("simulated", "resolution"),)),
        ("Depth of the maximum", " [X₀]", (("simulated", "depth"), ("Grindhammer and Peters", "expected_depth"))),
    ):
        scale = 100.0 if title == "Resolution" else 1.0
        lines = [comparisons.Line(label, [scale * getattr(point, name) for point in found.points]) for label, name in names]
        svg = comparisons.curves(energies, lines, x_title="energy [GeV]", y_title=f"{title}{unit}", label=f"{title} by energy")
        made.append(Plot(title, svg, "Errors are in the table."))
    return made
