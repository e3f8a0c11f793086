"""Whether simulated showers are as theory expects: linearity, resolution, depth of the maximum, containment."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.dataset import Records, ShowerFile, read
from mlcore.showers.fullsim.plan import Plan
from mlcore.showers.fullsim.production import produce
from mlcore.showers.geometry import Calorimeter

Floats = npt.NDArray[np.float64]
FEWEST = 10


@dataclass(frozen=True)
class Point:
    """Showers of one energy.

    Attributes
    ----------
    energy
        GeV.
    response, response_error
        Energy read out, inside and outside the voxels and calibrated, over the particle's.
    resolution, resolution_error
        Standard deviation over mean of that energy.
    depth, depth_error
        Of the maximum of the mean profile, X0.
    expected_depth
        By `mlcore.showers.geometry.Calorimeter.depth_of_maximum`.
    containment
        Part of the energy read out that is in voxels.
    radius
        Holding nine tenths of the energy in voxels, in Moliere radii; 1 is expected where the voxels hold all of it.
    """

    energy: float
    showers: int
    response: float
    response_error: float
    resolution: float
    resolution_error: float
    depth: float
    depth_error: float
    expected_depth: float
    containment: float
    radius: float


@dataclass(frozen=True)
class Validation:
    """A simulation against theory.

    Attributes
    ----------
    nonlinearity
        Largest deviation of a response from their mean, as a part of it.
    stochastic, constant
        ``sigma / E = stochastic / sqrt(E / GeV) (+) constant``.
    depth_difference
        Largest deviation of a depth from the expected one, X0.
    """

    calorimeter: str
    particle: str
    physics: str
    points: tuple[Point, ...]
    nonlinearity: float
    stochastic: float
    constant: float
    depth_difference: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def draw(self, path: Path) -> None:
        """The figures on a page, as the suffix says: .pdf, .svg or .png."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 7), layout="constrained")
        axes = figure.subplots(2, 2).ravel()
        energy = np.array([point.energy for point in self.points])
        columns = {name: np.array([getattr(point, name) for point in self.points]) for name in Point.__dataclass_fields__}
        mean = columns["response"].mean()
        axes[0].errorbar(energy, columns["response"] / mean, columns["response_error"] / mean, fmt="o")
        axes[0].axhline(1, color="grey", lw=0.8)
        axes[0].set_ylabel(f"response / mean ({mean:.4g})")
        axes[1].errorbar(energy, 100 * columns["resolution"], 100 * columns["resolution_error"], fmt="o")
        curve = np.geomspace(energy.min(), energy.max(), 100)
        axes[1].plot(curve, 100 * np.hypot(self.stochastic / np.sqrt(curve), self.constant), color="grey")
        axes[1].set_ylabel("resolution, %")
        axes[1].set_title(f"{100 * self.stochastic:.1f} %/sqrt(E) + {100 * self.constant:.1f} %", fontsize=10)
        axes[2].errorbar(energy, columns["depth"], columns["depth_error"], fmt="o", label="simulated")
        axes[2].plot(energy, columns["expected_depth"], color="grey", label="Grindhammer and Peters")
        axes[2].set_ylabel("depth of the maximum, X0")
        axes[2].legend(frameon=False)
        axes[3].plot(energy, 100 * columns["containment"], "o-")
        axes[3].set_ylabel("energy in voxels, %")
        for axis in axes:
            axis.set_xscale("log")
            axis.set_xlabel("energy, GeV")
        title = textwrap.fill(f"{self.particle} in {self.calorimeter}: {self.physics}", 100)
        figure.suptitle(title, fontsize=10)
        figure.savefig(path)


def validate(
    plan: Plan,
    folder: Path,
    *,
    energies: Sequence[float] = (1, 3, 10, 30, 100),
    processes: int = 1,
    data: Path | None = None,
    progress: Callable[[float, str], None] = lambda _part, _what: None,
) -> Validation:
    """Simulate showers of several energies and compare them with theory.

    Parameters
    ----------
    plan
        Its showers are made at each energy; its own energies are not used.
    energies
        GeV.
    """
    if len(energies) < 2:
        raise InputError("a validation needs two energies or more", hint="Give for example 1, 10 and 100 GeV.")
    points = []
    physics = ""
    for number, energy in enumerate(energies):
        one = replace(plan, energy=(1e3 * energy, 1e3 * energy), seed=plan.seed + number)
        made = produce(one, folder / f"{energy:g}-gev", processes=processes, data=data)
        outside = np.concatenate([ShowerFile.open(path).column("outside") for path in made.paths])
        physics = str(ShowerFile.open(made.paths[0]).metadata["physics"])
        points.append(point(read(made.paths), outside, plan.calorimeter, photon=plan.particle == "gamma"))
        progress((number + 1) / len(energies), f"{energy:g} GeV")
    return summed_up(points, plan, physics)


def point(records: Records, outside: Floats, calorimeter: Calorimeter, *, photon: bool = False) -> Point:
    """Figures of showers of one energy; `outside` is what was read out outside their voxels, MeV."""
    count = len(records)
    if count < FEWEST:
        raise InputError(f"{count} showers are too few for a validation", hint=f"Give {FEWEST} or more at each energy.")
    energy = float(records.energy[0])
    showers = records.showers.astype(np.float64)
    inside = showers.sum(axis=(1, 2, 3))
    total = inside + outside
    profile = showers.sum(axis=(2, 3))
    depths = np.asarray(records.voxels.depths)
    middles, widths = (depths[1:] + depths[:-1]) / 2 / calorimeter.radiation_length, np.diff(depths)
    random = np.random.default_rng(0)
    spread = [_maximum(middles, profile[random.integers(0, count, count)].mean(axis=0) / widths) for _ in range(50)]
    resolution = float(total.std(ddof=1) / total.mean())
    rings = showers.sum(axis=(0, 1, 2))
    growth = np.concatenate([[0], np.cumsum(rings) / rings.sum()])
    radius = float(np.interp(0.9, growth, records.voxels.radii)) / calorimeter.moliere_radius
    return Point(
        energy=energy / 1e3,
        showers=count,
        response=float(total.mean() / energy),
        response_error=float(total.std(ddof=1) / math.sqrt(count) / energy),
        resolution=resolution,
        resolution_error=resolution / math.sqrt(2 * (count - 1)),
        depth=_maximum(middles, profile.mean(axis=0) / widths),
        depth_error=float(np.std(spread)),
        expected_depth=calorimeter.depth_of_maximum(energy, photon=photon),
        containment=float(inside.sum() / total.sum()),
        radius=radius,
    )


def summed_up(points: Sequence[Point], plan: Plan, physics: str) -> Validation:
    """The figures of all energies together."""
    response = np.array([entry.response for entry in points])
    # sigma^2 / E^2 is linear in 1 / E; each point counts by its relative error, which is that of the number of showers.
    squares = np.array([entry.resolution for entry in points]) ** 2
    weights = np.sqrt([entry.showers for entry in points]) / squares
    terms = np.stack([1 / np.array([entry.energy for entry in points]), np.ones(len(points))], axis=1)
    slope, offset = np.linalg.lstsq(terms * weights[:, None], squares * weights, rcond=None)[0]
    if offset < 0:
        slope, offset = float((terms[:, 0] * squares * weights**2).sum() / (terms[:, 0] ** 2 * weights**2).sum()), 0.0
    return Validation(
        calorimeter=plan.calorimeter.name,
        particle=plan.particle,
        physics=physics,
        points=tuple(points),
        nonlinearity=float(np.abs(response / response.mean() - 1).max()),
        stochastic=math.sqrt(max(slope, 0.0)),
        constant=math.sqrt(offset),
        depth_difference=max(abs(entry.depth - entry.expected_depth) for entry in points),
    )


def _maximum(at: Floats, values: Floats) -> float:
    """Where a profile is largest: the top of a parabola through the logarithms around its largest value."""
    top = int(np.argmax(values))
    rows = slice(max(0, top - 2), top + 3)
    x, y = at[rows], values[rows]
    if len(x) < 3 or (y <= 0).any():
        return float(at[top])
    curvature, slope, _ = np.polyfit(x - at[top], np.log(y), 2)
    if curvature >= 0:
        return float(at[top])
    return float(np.clip(at[top] - slope / (2 * curvature), x[0], x[-1]))
