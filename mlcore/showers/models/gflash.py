"""GFlash: electromagnetic showers by a formula, with no training.

The longitudinal profile is a gamma distribution whose parameters fluctuate together, the radial one a core and a tail, and the
energy is laid down in spots. The formulas are in the native kernel, each with its place in the paper; here are the properties of
the calorimeter that they take.

References
----------
G. Grindhammer and S. Peters, "The parameterized simulation of electromagnetic showers in homogeneous and sampling calorimeters",
hep-ex/0001020.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

import kernels
from mlcore.errors import InputError
from mlcore.showers.geometry import Calorimeter, Material, Slab
from mlcore.showers.voxels import Showers, Voxels, checked_energies

SCALE_ENERGY = 21.2
"""E_s of multiple scattering, MeV."""


@dataclass(frozen=True)
class Medium:
    """A calorimeter as GFlash sees it.

    Attributes
    ----------
    z
        Effective atomic number.
    radiation_length, moliere_radius
        mm.
    critical_energy
        MeV.
    frequency
        ``X0 / (d_passive + d_active)`` of sampling calorimeters; 0 of homogeneous ones.
    e_over_mip
        ``1 / (1 + 0.007 (Z_passive - Z_active))``.
    resolution
        c of ``sigma / E = c / sqrt(E / GeV)``, of sampling calorimeters.
    """

    z: float
    radiation_length: float
    moliere_radius: float
    critical_energy: float
    frequency: float = 0.0
    e_over_mip: float = 1.0
    resolution: float = 0.0

    @classmethod
    def homogeneous(cls, material: Material) -> Self:
        """Of one material.

        Examples
        --------
        >>> from mlcore.showers.geometry import MATERIALS
        >>> medium = Medium.homogeneous(MATERIALS["PbWO4"])
        >>> round(medium.radiation_length, 1), round(medium.critical_energy, 1)
        (8.9, 8.8)
        """
        return cls(**_effective([(material, 1.0)]))

    @classmethod
    def of_layers(
        cls, passive: Material, passive_thickness: float, active: Material, active_thickness: float, *, resolution: float
    ) -> Self:
        """Of alternating layers, thicknesses in mm."""
        layer = (Slab(passive, passive_thickness), Slab(active, active_thickness, sensitive=True))
        return cls.of(Calorimeter("layers", "layers", (layer,), Voxels((0.0, 1.0), 1, (0.0, 1.0))), resolution=resolution)

    @classmethod
    def of(cls, calorimeter: Calorimeter, *, resolution: float | None = None) -> Self:
        """Of a calorimeter: effective quantities by weight, hep-ex/0001020, Sec. 4.1.

        Parameters
        ----------
        resolution
            c of ``sigma / E = c / sqrt(E / GeV)``; sampling calorimeters need it, as measured or from the full simulation.

        Raises
        ------
        InputError
            There is no resolution above 0 for a sampling calorimeter.
        """
        found = _effective([(slab.material, slab.thickness) for slab in calorimeter.slabs])
        if calorimeter.homogeneous:
            return cls(**found)
        if resolution is None or not (resolution > 0 and math.isfinite(resolution)):
            raise InputError(f"a resolution of {resolution} is not above 0", hint="Give c of c / sqrt(E / GeV), such as 0.13.")
        return cls(**found, frequency=calorimeter.sampling_frequency, e_over_mip=calorimeter.e_over_mip, resolution=resolution)


def _effective(parts: list[tuple[Material, float]]) -> dict[str, float]:
    """Z, X0, R_M and E_c of materials and their lengths, each weighted by its mass."""
    masses = [material.density * length for material, length in parts]
    weights = [mass / sum(masses) for mass in masses]
    density = sum(masses) / sum(length for _, length in parts)
    pairs = [(weight, material) for weight, (material, _) in zip(weights, parts, strict=True)]
    length = 1 / sum(weight / material.specific_radiation_length for weight, material in pairs)  # g/cm2
    losses = sum(weight * critical_energy(material) / material.specific_radiation_length for weight, material in pairs)
    return {
        "z": sum(weight * material.z for weight, material in pairs),
        "radiation_length": 10 * length / density,
        "moliere_radius": 10 * SCALE_ENERGY / losses / density,
        "critical_energy": length * losses,
    }


def critical_energy(material: Material) -> float:
    """``2.66 (X0 Z / A) ** 1.1``, MeV: the fit that the formulas were tuned with."""
    return float(2.66 * (material.specific_radiation_length * material.z / material.a) ** 1.1)


@dataclass(frozen=True)
class GFlashConfig:
    """A medium, the voxels, and how much of the energy arrives in them.

    Attributes
    ----------
    response
        Every deposit is multiplied by it: 1 for calibrated showers, the sampling fraction for what active layers see.
    particle
        Photons begin to shower where they convert, 9/7 of a radiation length deep on average.
    threshold
        Voxels below it are 0, MeV.
    """

    medium: Medium
    voxels: Voxels
    response: float = 1.0
    particle: Literal["electron", "photon"] = "electron"
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not (self.response > 0 and math.isfinite(self.response)):
            raise InputError(
                f"a response of {self.response} is not above 0", hint="Give the share of the energy that is measured."
            )
        if self.particle not in ("electron", "photon"):
            raise InputError(f"GFlash describes no {self.particle}", hint="Choose electron or photon.")
        if not (self.threshold >= 0 and math.isfinite(self.threshold)):
            raise InputError(f"a threshold of {self.threshold} MeV is not 0 or more", hint="Give an energy in MeV.")


class GFlash:
    """Showers by Grindhammer and Peters, made by the native kernel.

    Shower i of a seed is the same however many are asked for.

    Examples
    --------
    >>> from mlcore.showers.geometry import MATERIALS
    >>> grid = Voxels.regular(layers=45, layer_depth=3.4, angles=16, rings=9, ring_width=4.65)
    >>> medium = Medium.of_layers(MATERIALS["W"], 1.4, MATERIALS["Si"], 0.3, resolution=0.13)
    >>> GFlash(GFlashConfig(medium, grid)).sample([50_000.0], seed=1).shape
    (1, 45, 16, 9)
    """

    slug = "gflash"

    def __init__(self, config: GFlashConfig) -> None:
        self.config = config
        medium = config.medium
        try:
            self._kernel = kernels.GFlash(**asdict(medium))
        except ValueError as error:
            raise InputError(f"GFlash cannot use this medium: {error}", hint="Check its properties.") from error
        self._depths = np.asarray(config.voxels.depths, np.float64)
        self._radii = np.asarray(config.voxels.radii, np.float64)

    def sample(self, energies: npt.ArrayLike, *, seed: int, first: int = 0, target: str = "") -> Showers:
        """Showers in voxels.

        Parameters
        ----------
        energies
            Of the particles, shape (n_showers,), MeV.
        seed, first
            The random numbers, and the number of the first shower.
        target
            A CPU target; "" for the best.

        Returns
        -------
        ndarray
            float32, shape (n_showers, n_layers, n_angles, n_radii), MeV.
        """
        numbers = checked_energies(energies)
        starts = self.starts(len(numbers), seed=seed, first=first)
        showers = self._kernel.voxels(
            numbers, starts, self._depths, self._radii, self.config.voxels.angles, seed=seed, first=first, target=target
        )
        if self.config.response != 1:
            showers *= np.float32(self.config.response)
        if self.config.threshold > 0:
            showers[showers < self.config.threshold] = 0
        return showers

    def spots(
        self, energies: npt.ArrayLike, *, seed: int, first: int = 0, target: str = ""
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The same showers as spots, before the threshold.

        Returns
        -------
        spots, offsets
            x, y, z (mm) and energy (MeV), float32, shape (n_spots, 4); where each shower's begin, int64, shape (n_showers + 1,).
        """
        numbers = checked_energies(energies)
        starts = self.starts(len(numbers), seed=seed, first=first)
        spots, offsets = self._kernel.spots(numbers, starts, self._depths, seed=seed, first=first, target=target)
        spots[:, 3] *= np.float32(self.config.response)
        return spots, offsets

    def starts(self, count: int, *, seed: int, first: int = 0) -> npt.NDArray[np.float64]:
        """Where showers begin, float64, shape (count,), mm: 0 for electrons; exponential of mean 9/7 X0 for photons."""
        if self.config.particle == "electron":
            return np.zeros(count)
        keys = kernels.row_keys(np.arange(first, first + count, dtype=np.uint64), seed, 0)
        uniform = ((keys >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        depths: npt.NDArray[np.float64] = -9 / 7 * self.config.medium.radiation_length * np.log(uniform)
        return depths

    def save(self, path: Path | str) -> None:
        """The configuration as JSON: there is nothing else to keep."""
        Path(path).write_text(json.dumps({"model": self.slug, **asdict(self.config)}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """A model that `save` has written.

        Raises
        ------
        InputError
            The file is not one.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            if found.pop("model") != cls.slug:
                raise InputError(f"{path} holds another model", hint="Load it with that model's class.")
            grid = found.pop("voxels")
            voxels = Voxels(_numbers(grid["depths"]), int(grid["angles"]), _numbers(grid["radii"]))
            return cls(GFlashConfig(Medium(**found.pop("medium")), voxels, **found))
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{path} is no GFlash model: {error}", hint="Save one with GFlash.save.") from error


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
