"""Separation power: the triangular discrimination between two histograms.

References
----------
S. Diefenbacher et al., arXiv:2009.03796, Eq. 15; F. Topsoe, IEEE Trans. Inf. Theory 46 (2000) 1602.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.metrics.estimate import Estimate
from mlcore.showers.metrics.features import Features
from mlcore.showers.voxels import Voxels

Array = npt.NDArray[np.float64]


def triangular_discrimination(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """``0.5 * sum((p - q)**2 / (p + q))`` of two histograms, each divided by its sum: 0 of equal ones, 1 of disjoint ones.

    Examples
    --------
    >>> triangular_discrimination([1, 1], [2, 2]), triangular_discrimination([3, 0], [0, 1])
    (0.0, 1.0)
    """
    p, q = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if p.shape != q.shape:
        raise InputError(f"histograms of {p.size} and {q.size} bins cannot be compared", hint="Use the same bins.")
    if not (p.sum() > 0 and q.sum() > 0) or (p < 0).any() or (q < 0).any():
        raise InputError("a histogram is empty or has negative bins", hint="Fill both.")
    p, q = p / p.sum(), q / q.sum()
    filled = p + q > 0
    return float(0.5 * np.sum((p - q)[filled] ** 2 / (p + q)[filled]))


@dataclass(frozen=True)
class Comparison:
    """One observable of truth and model in the same bins.

    Attributes
    ----------
    name, unit
        Of the observable.
    edges
        Of the bins, shape (n_bins + 1,). What lies outside is in the first and last bin.
    truth, model
        Counts, shape (n_bins,).
    separation
        `triangular_discrimination`, its bootstrap error, and the floor where a second sample of the truth was given.
    """

    name: str
    unit: str
    edges: Array
    truth: Array
    model: Array
    separation: Estimate


def compare(
    name: str,
    unit: str,
    edges: Array,
    truth: Array,
    model: Array,
    second: Array | None = None,
    *,
    rounds: int = 50,
    seed: int = 1,
) -> Comparison:
    """Histograms of two arrays of values, and of a second sample of the truth for the floor.

    Errors are of a bootstrap of showers: to draw as many values with replacement is to draw the counts of bins from a
    multinomial distribution.
    """
    counts = [_histogram(values, edges) for values in (truth, model)]
    estimate = _estimate(counts[0], counts[1], rounds, seed)
    if second is not None:
        estimate = estimate.with_floor(_estimate(counts[0], _histogram(second, edges), rounds, seed))
    return Comparison(name, unit, edges, counts[0], counts[1], estimate)


def _histogram(values: Array, edges: Array) -> Array:
    inside = np.clip(values, edges[0], edges[-1])
    return np.histogram(inside, edges)[0].astype(np.float64)


def _estimate(first: Array, second: Array, rounds: int, seed: int) -> Estimate:
    rng = np.random.default_rng(seed)

    def drawn(counts: Array) -> npt.NDArray[np.int64]:
        return rng.multinomial(int(counts.sum()), counts / counts.sum())

    values = [triangular_discrimination(drawn(first), drawn(second)) for _ in range(rounds)]
    return Estimate(triangular_discrimination(first, second), float(np.std(values, ddof=1)))


def compare_features(
    truth: Features, model: Features, voxels: Voxels, second: Features | None = None, *, rounds: int = 50, seed: int = 1
) -> list[Comparison]:
    """All observables of the CaloChallenge that are one number for each shower: total energy, then layer by layer.

    Bins are the challenge's for its second data set, whose outer radius of 41.85 mm others are scaled by.
    """
    reach = 30 / 41.85 * voxels.radii[-1]
    lateral, widths = np.linspace(-reach, reach, 101), np.linspace(0, reach, 101)
    ratio = truth.total / truth.incident
    middle = float(np.median(ratio)) or 1.0

    def one(name: str, unit: str, edges: Array, get: str, layer: int) -> Comparison:
        arrays = [None if sample is None else getattr(sample, get)[:, layer] for sample in (truth, model, second)]
        assert arrays[0] is not None and arrays[1] is not None  # noqa: S101, PT018  (for the type checker)
        return compare(name, unit, edges, arrays[0], arrays[1], arrays[2], rounds=rounds, seed=seed)

    result = [
        compare(
            "total energy / incident energy",
            "",
            middle * np.linspace(0.5, 1.5, 101),
            ratio,
            model.total / model.incident,
            None if second is None else second.total / second.incident,
            rounds=rounds,
            seed=seed,
        )
    ]
    for layer in range(voxels.shape[0]):
        energies = truth.layer_energies[:, layer]
        positive = energies[energies > 0]
        low, high = (positive.min(), positive.max()) if len(positive) else (1e-3, 1.0)
        edges = np.geomspace(low, max(high, low * 1.001), 41)
        result.append(one(f"layer {layer} energy", "MeV", edges, "layer_energies", layer))
        if voxels.angles > 1:
            for axis in "xy":
                result.append(one(f"layer {layer} centre {axis}", "mm", lateral, f"centre_{axis}", layer))
                result.append(one(f"layer {layer} width {axis}", "mm", widths, f"width_{axis}", layer))
        result.append(one(f"layer {layer} radius", "mm", np.linspace(0, voxels.radii[-1], 101), "centre_r", layer))
        result.append(one(f"layer {layer} sparsity", "", np.linspace(0, 1, 21), "sparsity", layer))
    return result
