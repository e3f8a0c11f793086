"""Hexagonal cells of a layer, and their energy in rings and angles and back.

Energy is shared by area: a cell gives each voxel the part of it that lies there, as if its energy were spread evenly, and a
voxel gives each cell likewise. Both ways keep the sum; there and back blurs within a cell and a voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.voxels import Voxels

Floats = npt.NDArray[np.float64]
SAMPLES = 24
"""Points along a radius and along an angle of a voxel by which its area is shared."""


@dataclass(frozen=True)
class Hexagons:
    """Cells with two sides parallel to y, one of them centred on the axis.

    Parameters
    ----------
    width
        Between opposite sides, mm.
    """

    width: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.width) and self.width > 0):
            raise InputError(f"hexagonal cells {self.width} mm wide", hint="Give a width above 0.")

    def centres(self, radius: float) -> Floats:
        """x, y of the cells that reach into a disc of that radius, shape (n_cells, 2), mm, from the middle outwards."""
        reach = math.ceil((radius + self.width) / (self.width * math.sqrt(3) / 2)) + 1
        q, r = (values.ravel() for values in np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1)))
        x, y = self.width * (q + r / 2), self.width * math.sqrt(3) / 2 * r
        distance = np.hypot(x, y)
        kept = distance <= radius + self.width / math.sqrt(3)
        order = np.lexsort((np.arctan2(y, x)[kept], distance[kept].round(9)))
        return np.stack([x[kept], y[kept]], axis=1)[order]

    def cells_at(self, x: Floats, y: Floats) -> npt.NDArray[np.int64]:
        """Axial coordinates (q, r) of the cell at each point, shape (n_points, 2)."""
        r = y / (self.width * math.sqrt(3) / 2)
        q = x / self.width - r / 2
        s = -q - r
        rounded = [np.rint(values) for values in (q, r, s)]
        off = [np.abs(a - b) for a, b in zip(rounded, (q, r, s), strict=True)]
        first = (off[0] > off[1]) & (off[0] > off[2])
        second = ~first & (off[1] > off[2])
        rounded[0] = np.where(first, -rounded[1] - rounded[2], rounded[0])
        rounded[1] = np.where(second, -rounded[0] - rounded[2], rounded[1])
        return np.stack(rounded[:2], axis=1).astype(np.int64)

    def shared_areas(self, voxels: Voxels) -> Floats:
        """Area that each cell shares with each voxel of a layer, shape (n_cells, n_angles * n_radii), mm2."""
        return _shared_areas(self, voxels.angles, voxels.radii)

    def to_voxels(self, cells: npt.NDArray[Any], voxels: Voxels) -> npt.NDArray[np.float32]:
        """Energy of cells in voxels.

        Parameters
        ----------
        cells
            Energies, shape (..., n_layers, n_cells), cells as `centres` orders them for the outermost radius.

        Returns
        -------
        float32, shape (..., n_layers, n_angles, n_radii)
        """
        areas = self.shared_areas(voxels)
        self._same(np.shape(cells)[-1], len(areas), "cells")
        inside = areas.sum(axis=1, keepdims=True)
        shares = np.divide(areas, inside, out=np.zeros_like(areas), where=inside > 0)
        result = np.asarray(np.asarray(cells, np.float64) @ shares, np.float32)
        return result.reshape(*result.shape[:-1], voxels.angles, len(voxels.radii) - 1)

    def from_voxels(self, energies: npt.NDArray[Any], voxels: Voxels) -> npt.NDArray[np.float32]:
        """Energy of voxels, shape (..., n_layers, n_angles, n_radii), in cells: float32, shape (..., n_layers, n_cells)."""
        areas = self.shared_areas(voxels)
        flat = np.asarray(energies, np.float64)
        flat = flat.reshape(*flat.shape[:-2], -1)
        self._same(flat.shape[-1], areas.shape[1], "voxels")
        return np.asarray(flat @ (areas / areas.sum(axis=0)).T, np.float32)

    @staticmethod
    def _same(given: int, needed: int, what: str) -> None:
        if given != needed:
            raise InputError(
                f"{given} {what} a layer, where the grid has {needed}",
                hint="Use the grid that the showers have.",
                code="showers.voxels",
            )


@lru_cache(maxsize=8)
def _shared_areas(hexagons: Hexagons, angles: int, edges: tuple[float, ...]) -> Floats:
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    inner, outer = np.asarray(edges[:-1]), np.asarray(edges[1:])
    # Points of equal area: evenly in r^2 and in the angle.
    radius = np.sqrt(inner[:, None] ** 2 + steps * (outer**2 - inner**2)[:, None])
    turn = -np.pi + (np.arange(angles)[:, None] + steps) * (2 * np.pi / angles)
    shape = angles, SAMPLES, len(inner), SAMPLES
    r = np.broadcast_to(radius[None, None], shape)
    phi = np.broadcast_to(turn[:, :, None, None], shape)
    points = hexagons.cells_at((r * np.cos(phi)).ravel(), (r * np.sin(phi)).ravel())
    centres = hexagons.centres(edges[-1])
    index = {tuple(cell): i for i, cell in enumerate(hexagons.cells_at(centres[:, 0], centres[:, 1]).tolist())}
    cell = np.array([index[tuple(point)] for point in points.tolist()]).reshape(shape)
    voxel = np.broadcast_to((np.arange(angles)[:, None] * len(inner) + np.arange(len(inner)))[:, None, :, None], shape)
    area = np.broadcast_to((np.pi * (outer**2 - inner**2) / angles / SAMPLES**2)[None, None, :, None], shape)
    result = np.zeros((len(centres), angles * len(inner)))
    np.add.at(result, (cell.ravel(), voxel.ravel()), area.ravel())
    return result
