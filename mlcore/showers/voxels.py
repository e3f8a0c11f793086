"""Cylindrical voxels around a shower's axis, in which every model's showers are given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError

Showers = npt.NDArray[np.float32]
"""Energies in voxels, MeV, shape (n_showers, n_layers, n_angles, n_radii)."""


@dataclass(frozen=True)
class Voxels:
    """Layers along the axis, angles around it from -pi on, and rings of radii.

    Parameters
    ----------
    depths
        Edges of the layers from the calorimeter's face on, n_layers + 1 ascending numbers, mm.
    angles
        How many equal parts a turn has.
    radii
        Edges of the rings, n_radii + 1 ascending numbers, mm.

    Raises
    ------
    InputError
        Edges do not ascend from 0 or more, or there is no angle.

    Examples
    --------
    >>> Voxels.regular(layers=45, layer_depth=3.4, angles=16, rings=9, ring_width=4.65).shape
    (45, 16, 9)
    """

    depths: tuple[float, ...]
    angles: int
    radii: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, edges in (("depths", self.depths), ("radii", self.radii)):
            numbers = np.asarray(edges, np.float64)
            if (
                numbers.ndim != 1
                or len(numbers) < 2
                or not np.isfinite(numbers).all()
                or numbers[0] < 0
                or (np.diff(numbers) <= 0).any()
            ):
                raise InputError(f"the edges of {name} do not ascend from 0 or more", hint="Give at least two, in mm.")
        if self.angles < 1:
            raise InputError(f"a turn cannot have {self.angles} angles", hint="Give at least 1.")

    @classmethod
    def regular(cls, *, layers: int, layer_depth: float, angles: int, rings: int, ring_width: float) -> Voxels:
        """Layers and rings of one size."""
        return cls(
            tuple(float(i * layer_depth) for i in range(layers + 1)),
            angles,
            tuple(float(i * ring_width) for i in range(rings + 1)),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """n_layers, n_angles, n_radii."""
        return len(self.depths) - 1, self.angles, len(self.radii) - 1

    @property
    def count(self) -> int:
        """Of voxels."""
        layers, angles, rings = self.shape
        return layers * angles * rings

    @cached_property
    def centres(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """x, y and radius of a layer's voxels, each of shape (n_angles, n_radii), mm."""
        radius = (np.asarray(self.radii[1:]) + np.asarray(self.radii[:-1])) / 2
        turn = -np.pi + (np.arange(self.angles) + 0.5) * (2 * np.pi / self.angles)
        return np.outer(np.cos(turn), radius), np.outer(np.sin(turn), radius), np.broadcast_to(radius, (self.angles, len(radius)))

    def checked(self, showers: npt.NDArray[np.floating], *, what: str = "showers") -> Showers:
        """Showers as float32 of shape (n_showers, n_layers, n_angles, n_radii), from that shape or from rows of all voxels.

        Raises
        ------
        InputError
            Another number of voxels, negative energies, NaN or infinity.
        """
        array = np.asarray(showers)
        per_shower = int(np.prod(array.shape[1:])) if array.ndim > 1 else 0
        if array.ndim < 2 or per_shower != self.count:
            raise InputError(
                f"{what} have {per_shower} voxels each, the geometry {' x '.join(map(str, self.shape))} = {self.count}",
                hint="Choose the geometry that the showers were made with.",
                code="showers.voxels",
            )
        result = np.ascontiguousarray(array.reshape(len(array), *self.shape), np.float32)
        if not np.isfinite(result).all():
            raise InputError(
                f"{what} hold NaN or infinity, first in shower {_first(~np.isfinite(result))}",
                hint="Leave such showers out.",
                code="showers.values",
            )
        if len(result) and result.min() < 0:
            raise InputError(
                f"{what} hold negative energies, first in shower {_first(result < 0)}",
                hint="Energies are deposits in MeV, 0 or more.",
                code="showers.values",
            )
        return result


def checked_energies(
    energies: npt.ArrayLike, count: int | None = None, *, what: str = "incident energies"
) -> npt.NDArray[np.float64]:
    """Energies of particles as float64, shape (n_showers,), MeV.

    Raises
    ------
    InputError
        Not one for each of `count` showers, not finite, or not above 0.
    """
    result = np.asarray(energies, np.float64).reshape(-1)
    if count is not None and len(result) != count:
        raise InputError(
            f"there are {len(result)} {what} for {count} showers", hint="Give one for each shower.", code="showers.energies"
        )
    wrong = ~(np.isfinite(result) & (result > 0))
    if wrong.any():
        at = _first(wrong)
        raise InputError(
            f"{what} are not all above 0: number {at} is {result[at]}", hint="Give energies in MeV.", code="showers.energies"
        )
    return result


def _first(wrong: npt.NDArray[np.bool_]) -> int:
    return int(np.argwhere(wrong.reshape(len(wrong), -1).any(axis=1))[0, 0])
