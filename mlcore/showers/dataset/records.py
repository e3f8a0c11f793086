"""The one form in which showers reach models and measures: energies in voxels with what they are conditioned on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.voxels import Showers, Voxels, checked_energies

ELECTRON, POSITRON, PHOTON = 11, -11, 22
NORMAL = math.pi / 2
"""theta of a particle that meets the layers at a right angle."""


@dataclass(frozen=True, eq=False)
class Records:
    """Showers and their conditions.

    Attributes
    ----------
    showers
        Energies, float32, shape (n_showers, n_layers, n_angles, n_radii), MeV.
    energy
        Of the incident particles, float64, shape (n_showers,), MeV.
    theta, phi
        Direction, float64, shape (n_showers,), radians; see `mlcore.showers.geometry.Calorimeter`.
    particle
        PDG codes, int32, shape (n_showers,).
    geometry
        Index into `geometries`, int16, shape (n_showers,).
    geometries
        Names of calorimeters.
    voxels
        The grid of all showers.
    """

    showers: Showers
    energy: npt.NDArray[np.float64]
    theta: npt.NDArray[np.float64]
    phi: npt.NDArray[np.float64]
    particle: npt.NDArray[np.int32]
    geometry: npt.NDArray[np.int16]
    geometries: tuple[str, ...]
    voxels: Voxels

    @classmethod
    def of(
        cls,
        showers: npt.NDArray[Any],
        energy: npt.ArrayLike,
        voxels: Voxels,
        *,
        theta: npt.ArrayLike = NORMAL,
        phi: npt.ArrayLike = 0.0,
        particle: npt.ArrayLike = ELECTRON,
        geometry: npt.ArrayLike = 0,
        geometries: Sequence[str] = ("unknown",),
        first: int = 0,
    ) -> Records:
        """Checked records; what is one number for all showers is repeated.

        Parameters
        ----------
        first
            Number of the first shower in its file, for messages.

        Raises
        ------
        InputError
            Another number of voxels, NaN, negative energies, or conditions that do not fit the showers or have no meaning.
        """
        what = "showers" if first == 0 else f"showers from number {first} on"
        checked = voxels.checked(showers, what=what)
        count = len(checked)
        angles = {}
        for name, values, lowest, highest in (("theta", theta, 0.0, math.pi), ("phi", phi, -2 * math.pi, 2 * math.pi)):
            array = _each(values, count, name, np.float64)
            wrong = ~((array >= lowest) & (array <= highest))
            if wrong.any():
                at = int(np.argmax(wrong))
                raise InputError(
                    f"{name} of shower {first + at} is {array[at]}",
                    hint=f"Angles are in radians, {lowest:.4g} to {highest:.4g}.",
                    code="showers.angles",
                )
            angles[name] = array
        kinds = _each(geometry, count, "geometries", np.int16)
        unknown = kinds[(kinds < 0) | (kinds >= len(geometries))]
        if len(unknown):
            raise InputError(
                f"a shower has the geometry {unknown[0]} of {len(geometries)}",
                hint="Geometries count from 0 in the list of their names.",
                code="showers.geometry",
            )
        return cls(
            checked,
            checked_energies(energy, count),
            angles["theta"],
            angles["phi"],
            _each(particle, count, "particles", np.int32),
            kinds,
            tuple(geometries),
            voxels,
        )

    def __len__(self) -> int:
        return len(self.showers)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> Records:
        """Some of the showers, by a slice, indices or a mask."""
        return Records(
            self.showers[rows],
            self.energy[rows],
            self.theta[rows],
            self.phi[rows],
            self.particle[rows],
            self.geometry[rows],
            self.geometries,
            self.voxels,
        )

    def above(self, threshold: float) -> Records:
        """With voxels of less than `threshold` MeV empty."""
        showers = np.where(self.showers >= np.float32(threshold), self.showers, np.float32(0))
        return Records(showers, self.energy, self.theta, self.phi, self.particle, self.geometry, self.geometries, self.voxels)

    @staticmethod
    def joined(parts: Iterable[Records]) -> Records:
        """All showers of several records of one grid, the names of their geometries united.

        Raises
        ------
        InputError
            There are none, or their grids differ.
        """
        records = list(parts)
        if not records:
            raise InputError("there are no records to join", hint="Give at least one.")
        names: list[str] = []
        kinds = []
        for part in records:
            if part.voxels != records[0].voxels:
                raise InputError(
                    "the showers to be joined have different voxels", hint="Join those of one grid.", code="showers.voxels"
                )
            names += [name for name in part.geometries if name not in names]
            kinds.append(np.array([names.index(name) for name in part.geometries], np.int16)[part.geometry])
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in records])
            for name in ("showers", "energy", "theta", "phi", "particle")
        }
        return Records(**columns, geometry=np.concatenate(kinds), geometries=tuple(names), voxels=records[0].voxels)

    def batches(self, size: int) -> Iterator[Records]:
        """Pieces of `size` showers, the last of what remains."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


def _each(values: npt.ArrayLike, count: int, what: str, dtype: type[Any]) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values).astype(dtype, casting="same_kind" if np.asarray(values).dtype.kind != "f" else "unsafe")
    except TypeError as error:
        raise InputError(f"{what} are of type {np.asarray(values).dtype}", hint="Give numbers.") from error
    if array.ndim == 0:
        return np.full(count, array, dtype)
    array = array.reshape(-1)
    if len(array) != count:
        raise InputError(
            f"there are {len(array)} {what} for {count} showers", hint="Give one for each shower.", code="showers.conditions"
        )
    return array
