"""A sample of showers at a glance, in one pass over it: profiles, response, sparsity, spectrum; and some of them voxel by voxel.

Public names: `Overview` of a stream of records; `events` for a page that draws showers in space.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.dataset import Records
from mlcore.showers.voxels import Voxels

Floats = npt.NDArray[np.float64]
SPECTRUM = np.geomspace(1e-3, 1e5, 65)
"""Edges of the spectrum of voxels, MeV."""
MOST_VOXELS = 3000
"""Of a shower that is drawn: those of most energy."""


@dataclass(frozen=True)
class Overview:
    """What a sample's showers are like.

    Attributes
    ----------
    energy, response, filled
        Of each shower: of its particle, MeV; what its voxels add up to over that; the part of its voxels that has energy.
    layers, layers_error
        Mean energy of a layer and the error of that mean, shape (n_layers,), MeV.
    rings, rings_error
        Mean energy by area, shape (n_radii,), MeV/mm2.
    spectrum
        Voxels by their energy, counts in the bins of `SPECTRUM`.
    particles, geometries
        How many showers have which.
    theta, phi
        Lowest and highest, radians.
    """

    voxels: Voxels
    energy: Floats
    response: Floats
    filled: Floats
    layers: Floats
    layers_error: Floats
    rings: Floats
    rings_error: Floats
    spectrum: Floats
    particles: dict[int, int]
    geometries: dict[str, int]
    theta: tuple[float, float]
    phi: tuple[float, float]

    def __len__(self) -> int:
        return len(self.energy)

    @classmethod
    def of(cls, parts: Iterable[Records]) -> Overview:
        """Of records that come one part after the other, all of one grid.

        Raises
        ------
        InputError
            There are none, or their grids differ.
        """
        voxels: Voxels | None = None
        columns: list[tuple[Floats, Floats, Floats]] = []
        sums: list[Floats] = []
        spectrum = np.zeros(len(SPECTRUM) - 1)
        particles: dict[int, int] = {}
        geometries: dict[str, int] = {}
        angles: list[tuple[float, float, float, float]] = []
        for part in parts:
            if voxels is None:
                voxels = part.voxels
                sums = [np.zeros(size) for size in (voxels.shape[0], voxels.shape[0], voxels.shape[2], voxels.shape[2])]
            if part.voxels != voxels:
                raise InputError("the files have different voxels", hint="Give files of one calorimeter.", code="showers.voxels")
            if not len(part):
                continue
            layers = part.showers.sum(axis=(2, 3), dtype=np.float64)
            rings = part.showers.sum(axis=(1, 2), dtype=np.float64)
            for at, values in enumerate((layers, layers**2, rings, rings**2)):
                sums[at] += values.sum(axis=0)
            hit = part.showers > 0
            columns.append((part.energy, layers.sum(axis=1) / part.energy, hit.mean(axis=(1, 2, 3))))
            spectrum += np.histogram(np.clip(part.showers[hit], SPECTRUM[0], SPECTRUM[-1]), SPECTRUM)[0]
            for code, count in zip(*np.unique(part.particle, return_counts=True), strict=True):
                particles[int(code)] = particles.get(int(code), 0) + int(count)
            for number, count in zip(*np.unique(part.geometry, return_counts=True), strict=True):
                name = part.geometries[int(number)]
                geometries[name] = geometries.get(name, 0) + int(count)
            angles.append((part.theta.min(), part.theta.max(), part.phi.min(), part.phi.max()))
        if voxels is None or not columns:
            raise InputError("there are no showers in it", hint="Give a file of at least one.", code="showers.few")
        energy, response, filled = (np.concatenate(values) for values in zip(*columns, strict=True))
        areas = np.pi * np.diff(np.asarray(voxels.radii) ** 2)
        (layers, layers_error), (rings, rings_error) = (_mean(sums[at], sums[at + 1], len(energy)) for at in (0, 2))
        low, high = np.min(angles, axis=0), np.max(angles, axis=0)
        return cls(
            voxels, energy, response, filled, layers, layers_error, rings / areas, rings_error / areas, spectrum, particles,
            geometries, (float(low[0]), float(high[1])), (float(low[2]), float(high[3])),
        )  # fmt: skip

    def response_by_energy(self, bins: int = 8) -> tuple[Floats, Floats, Floats, Floats]:
        """Edges of the energy (MeV), and in each bin the mean response, its error and its relative width.

        Bins have as many showers each, about, and at least ten.
        """
        count = max(1, min(bins, len(self) // 10))
        low, high = float(self.energy.min()), float(self.energy.max())
        if high <= low * (1 + 1e-9):
            count = 1
        edges = np.geomspace(low * (1 - 1e-9), max(high, low * (1 + 1e-6)) * (1 + 1e-9), count + 1)
        place = np.clip(np.searchsorted(edges, self.energy, side="right") - 1, 0, count - 1)
        mean, error, width = np.full(count, np.nan), np.zeros(count), np.zeros(count)
        for at in range(count):
            these = self.response[place == at]
            if len(these) > 1:
                spread = float(these.std(ddof=1))
                mean[at], error[at] = these.mean(), spread / math.sqrt(len(these))
                width[at] = spread / mean[at] if mean[at] > 0 else 0.0
        return edges, mean, error, width

    @property
    def stochastic(self) -> float:
        """c of ``sigma / E = c / sqrt(E / GeV)``, from the spread of the response around its mean in bins of the energy."""
        edges, mean, _, _ = self.response_by_energy()
        place = np.clip(np.searchsorted(edges, self.energy, side="right") - 1, 0, len(mean) - 1)
        usual = mean[place]
        good = np.isfinite(usual) & (usual > 0)
        if good.sum() < 2:
            return 0.0
        deviations = (self.response[good] / usual[good] - 1) * np.sqrt(self.energy[good] / 1e3)
        return float(np.sqrt((deviations**2).mean()))


def _mean(total: Floats, squares: Floats, count: int) -> tuple[Floats, Floats]:
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0) / max(count - 1, 1))


def spread(energy: Floats, count: int) -> npt.NDArray[np.intp]:
    """Rows of `count` showers whose energies are spread evenly over those of all, ascending."""
    order = np.argsort(energy, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    rows: npt.NDArray[np.intp] = order[np.unique(places)]
    return rows


def events(samples: Sequence[tuple[str, Records]]) -> dict[str, Any]:
    """Showers of one or several samples for a page to draw, as plain values.

    Parameters
    ----------
    samples
        Names and as many records each: shower i of one sample is shown beside shower i of the others.

    Returns
    -------
    dict
        ``depths``, ``angles`` and ``radii`` of the voxels, and for each of ``samples`` its ``name`` and ``events``: ``energy``
        (GeV), ``theta`` and ``phi`` (degrees), ``total`` (MeV), how many ``voxels`` have energy, ``at`` the flat numbers (layer,
        angle, ring) of those of most energy and ``mev`` what these hold.
    """
    voxels = samples[0][1].voxels
    return {
        "depths": list(voxels.depths),
        "angles": voxels.angles,
        "radii": list(voxels.radii),
        "samples": [{"name": name, "events": [_event(records, row) for row in range(len(records))]} for name, records in samples],
    }


def _event(records: Records, row: int) -> dict[str, Any]:
    flat = records.showers[row].reshape(-1)
    at = np.flatnonzero(flat)
    count = len(at)
    if count > MOST_VOXELS:
        at = np.sort(at[np.argpartition(flat[at], count - MOST_VOXELS)[count - MOST_VOXELS :]])
    return {
        "energy": _short(records.energy[row] / 1e3),
        "theta": round(math.degrees(records.theta[row]), 2),
        "phi": round(math.degrees(records.phi[row]), 2),
        "total": _short(flat.sum(dtype=np.float64)),
        "voxels": count,
        "at": at.tolist(),
        "mev": [_short(value) for value in flat[at]],
    }


def _short(value: float) -> float:
    return float(f"{float(value):.4g}")
