"""What is to be simulated: a plan from which each shard follows on its own."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.geometry import Calorimeter, from_mapping, to_mapping

Particle = Literal["e-", "e+", "gamma", "pi-", "pi+", "proton"]
Spectrum = Literal["log", "flat"]
Physics = Literal["auto", "data-free", "FTFP_BERT", "FTFP_BERT_EMZ", "QGSP_BERT"]
PDG = {"e-": 11, "e+": -11, "gamma": 22, "pi-": -211, "pi+": 211, "proton": 2212}
ELECTROMAGNETIC = ("e-", "e+", "gamma")
LOWEST_ENERGY, HIGHEST_ENERGY = 1.0, 1e8
LEAST_ANGLE = math.radians(20)


@dataclass(frozen=True)
class Plan:
    """Which showers are to be made.

    Attributes
    ----------
    showers, shard
        How many in all, and in a file.
    energy
        Lowest and highest, MeV.
    spectrum
        "log" draws the logarithm of the energy evenly, "flat" the energy.
    theta, phi
        Lowest and highest, radians; see `mlcore.showers.geometry.Calorimeter`.
    cut
        Range below which Geant4 makes no secondary particles, mm.
    physics
        "auto" takes FTFP_BERT where Geant4's data sets are given, else the data-free electromagnetic list.
    """

    calorimeter: Calorimeter
    showers: int
    particle: Particle = "e-"
    energy: tuple[float, float] = (1e3, 1e5)
    spectrum: Spectrum = "log"
    theta: tuple[float, float] = (math.pi / 2, math.pi / 2)
    phi: tuple[float, float] = (0.0, 0.0)
    seed: int = 1
    shard: int = 500
    cut: float = 0.7
    physics: Physics = "auto"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("particle", self.particle, get_args(Particle)),
            ("spectrum", self.spectrum, get_args(Spectrum)),
            ("physics list", self.physics, get_args(Physics)),
        ):
            if value not in known:
                raise InputError(f"{name} {value!r} is not known", hint=f"Choose one of {', '.join(known)}.", code="showers.plan")
        _range("energies", self.energy, LOWEST_ENERGY, HIGHEST_ENERGY, "MeV")
        _range("theta", self.theta, LEAST_ANGLE, math.pi - LEAST_ANGLE, "radians")
        _range("phi", self.phi, -2 * math.pi, 2 * math.pi, "radians")
        for name, number in (("showers", self.showers), ("showers in a shard", self.shard)):
            if number < 1:
                raise InputError(f"{number} {name} cannot be made", hint="Give 1 or more.", code="showers.plan")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"the seed {self.seed} is out of range", hint="Give a number of 0 or more.", code="showers.plan")
        if not (math.isfinite(self.cut) and 1e-3 <= self.cut <= 100):
            raise InputError(
                f"a range cut of {self.cut} mm", hint="Give 0.001 to 100 mm; 0.7 is Geant4's own.", code="showers.plan"
            )

    @property
    def shards(self) -> int:
        return -(-self.showers // self.shard)

    def conditions(self, shard: int) -> Conditions:
        """Energies, angles and Geant4's seeds of a shard; they depend on the plan's seed and the shard's number alone."""
        random = np.random.default_rng([self.seed, shard])
        count = min(self.shard, self.showers - shard * self.shard)
        low, high = self.energy
        draw = random.random(count)
        energy = low * (high / low) ** draw if self.spectrum == "log" else low + (high - low) * draw
        theta, phi = (random.uniform(*limits, count) for limits in (self.theta, self.phi))
        seeds = tuple(int(value) for value in random.integers(1, 2**31 - 1, 2))
        return Conditions(energy, theta, phi, seeds)

    def to_json(self) -> dict[str, Any]:
        rest = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "calorimeter"}
        return {"calorimeter": to_mapping(self.calorimeter), **rest}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        given = dict(content)
        for name in ("energy", "theta", "phi"):
            given[name] = tuple(given[name])
        return cls(calorimeter=from_mapping(given.pop("calorimeter")), **given)

    def settle(self, folder: Path) -> None:
        """Write the plan into a folder, or make sure that it is the one there.

        Raises
        ------
        InputError
            The folder holds showers of another plan; what differs is named.
        """
        path = folder / "plan.json"
        own = json.loads(json.dumps(self.to_json()))
        if path.exists():
            try:
                other = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(
                    f"{path.name} is damaged: {error}", hint="Choose an empty folder.", code="showers.plan"
                ) from error
            # More showers of the same kind may be asked for.
            differing = [key for key in own if key != "showers" and own[key] != other.get(key)]
            if differing:
                raise InputError(
                    f"{folder.name} holds showers of another plan; it differs in {', '.join(differing)}",
                    hint="Choose another folder, or the options of before.",
                    code="showers.plan",
                )
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(own, indent=1), encoding="utf-8")
        partial.replace(path)


@dataclass(frozen=True)
class Conditions:
    """Of one shard's showers: MeV and radians, shape (n_showers,)."""

    energy: npt.NDArray[np.float64]
    theta: npt.NDArray[np.float64]
    phi: npt.NDArray[np.float64]
    seeds: tuple[int, ...]


def _range(name: str, limits: tuple[float, float], lowest: float, highest: float, unit: str) -> None:
    low, high = limits
    if not (lowest <= low <= high <= highest):
        raise InputError(
            f"{name} from {low:g} to {high:g}",
            hint=f"Give two ascending numbers, {lowest:.4g} to {highest:.4g} {unit}.",
            code="showers.plan",
        )
