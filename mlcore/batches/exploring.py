"""Looking at features before training: histograms of each class, correlations, what is missing, what lies far out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.shards import Groups

BINS = 50
MOST_CLASSES = 8
FAR = 5.0
"""Widths of the middle half, from its edges, beyond which a value is far out."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """What the rows hold of one feature.

    Attributes
    ----------
    name
        Of the column, with an index where a row has several values.
    count, missing, infinite
        Values that are finite, NaN, or infinite.
    minimum, maximum, mean, deviation, median
        Of the finite ones; None where there are none.
    far
        How many lie far out: more than five widths of the middle half beyond it.
    edges
        Of the histogram, which leaves tails out that are thin and long.
    counts
        Values in each bin, by class, in the order of `Exploration.classes`.
    below, above
        Values outside of the histogram.
    separation
        The largest difference of the cumulative shares of the first two classes, 0 to 1; None where there is one class.
    """

    name: str
    count: int
    missing: int
    infinite: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    median: float | None
    far: int
    edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    below: int
    above: int
    separation: float | None


@dataclass(frozen=True)
class Exploration:
    """What rows hold.

    Attributes
    ----------
    rows, sampled
        All of them, and those that were looked at.
    target
        The column that classes are of; empty without classes.
    classes
        Name and rows of each, such as ``("label = 1", 4100)``; one for all where there is no target, or it has many values.
    features
        Of x, in order.
    correlation
        Of each pair of features, over the rows where both are finite; None where one does not vary.
    """

    rows: int
    sampled: int
    target: str
    classes: tuple[tuple[str, int], ...]
    features: tuple[Feature, ...]
    correlation: tuple[tuple[float | None, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def explore(columns: Mapping[str, Values], groups: Groups, rows: int, *, bins: int = BINS) -> Exploration:
    """Statistics of rows in memory.

    Parameters
    ----------
    columns
        By name; jagged ones are told by the number of values in each row.
    groups
        The names of x and y.
    rows
        How many there are in all, where these are a sample.
    bins
        Of histograms, at most.
    """
    names, matrix = _matrix(columns, groups["x"])
    target, labels, chosen = _classes(columns, groups)
    features = tuple(_feature(name, matrix[:, number], labels, len(chosen), bins) for number, name in enumerate(names))
    counts = np.bincount(labels, minlength=len(chosen)).tolist()
    return Exploration(rows, len(matrix), target, tuple(zip(chosen, counts, strict=True)), features, _correlation(matrix))


def _matrix(columns: Mapping[str, Values], names: Sequence[str]) -> tuple[list[str], Numbers]:
    found, told = [], []
    for name in names:
        values = columns[name]
        if isinstance(values, Jagged):
            found.append(values.counts.astype(np.float64)[:, None])
            told.append(f"values of {name}")
            continue
        flat = values.reshape(len(values), -1).astype(np.float64)
        found.append(flat)
        told += [name] if flat.shape[1] == 1 else [f"{name}[{number}]" for number in range(flat.shape[1])]
    return told, np.concatenate(found, axis=1)


def _classes(columns: Mapping[str, Values], groups: Groups) -> tuple[str, npt.NDArray[np.int64], list[str]]:
    """The target, the class of each row, and what the classes are called."""
    rows = len(next(iter(columns.values())))
    targets = groups.get("y", ())
    if len(targets) == 1:
        values = columns[targets[0]]
        if not isinstance(values, Jagged) and values.ndim == 1:
            known, labels = np.unique(values, return_inverse=True)
            if 2 <= len(known) <= MOST_CLASSES:
                # The largest value first: with labels 1 and 0, signal comes before background.
                order = len(known) - 1 - labels.reshape(-1)
                return targets[0], order.astype(np.int64), [f"{targets[0]} = {value:g}" for value in known[::-1].tolist()]
    return "", np.zeros(rows, np.int64), ["all rows"]


def _feature(name: str, values: Numbers, labels: npt.NDArray[np.int64], classes: int, bins: int) -> Feature:
    good = np.isfinite(values)
    finite = values[good]
    missing = int(np.isnan(values).sum())
    edges = histogram_edges(finite, bins)
    counts = np.array([np.histogram(values[good & (labels == number)], edges)[0] for number in range(classes)])
    quartiles = np.quantile(finite, (0.25, 0.5, 0.75)).tolist() if len(finite) else [math.nan] * 3
    some = finite if len(finite) else np.full(1, np.nan)
    with np.errstate(all="ignore"):  # sums of the largest numbers may overflow
        width = float(np.float64(FAR) * (np.float64(quartiles[2]) - quartiles[0]))
        mean, deviation = some.mean(), some.std()
    far = (finite < quartiles[0] - width) | (finite > quartiles[2] + width) if math.isfinite(width) and width > 0 else np.zeros(0)
    return Feature(
        name=name,
        count=len(finite),
        missing=missing,
        infinite=len(values) - missing - len(finite),
        minimum=_finite(some.min()),
        maximum=_finite(some.max()),
        mean=_finite(mean),
        deviation=_finite(deviation),
        median=_finite(quartiles[1]),
        far=int(far.sum()),
        edges=tuple(edges.tolist()),
        counts=tuple(tuple(int(value) for value in row) for row in counts),
        below=int((finite < edges[0]).sum()),
        above=int((finite > edges[-1]).sum()),
        separation=_separation(values[good & (labels == 0)], values[good & (labels == 1)]) if classes > 1 else None,
    )


def histogram_edges(finite: Numbers, bins: int) -> Numbers:
    """Equal bins: one for each whole number where these are few, else over the middle 99 % and a margin."""
    if not len(finite):
        return np.linspace(0.0, 1.0, 2)
    least, most = float(finite.min()), float(finite.max())
    if most - least < bins and max(abs(least), abs(most)) < 2**51 and bool((finite == np.floor(finite)).all()):
        return np.arange(least - 0.5, most + 1.0)
    low, high = (float(value) for value in np.quantile(finite, (0.005, 0.995)))
    margin = 0.1 * (high - low)
    low, high = max(least, low - margin), min(most, high + margin)
    if not (math.isfinite(high - low) and high - low > 1e-9 * max(abs(low), abs(high))):
        room = max(abs(low) * 1e-6, 0.5)
        low, high = (low - room, low + room) if math.isfinite(2 * room) else (-1e300, 1e300)
    return np.linspace(low, high, bins + 1)


def _separation(first: Numbers, second: Numbers) -> float | None:
    if not len(first) or not len(second):
        return None
    every = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(values), every, side="right") / len(values) for values in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def _correlation(matrix: Numbers) -> tuple[tuple[float | None, ...], ...]:
    good = np.isfinite(matrix)
    with np.errstate(all="ignore"):
        if good.all():
            found = np.corrcoef(matrix, rowvar=False) if len(matrix) > 1 else np.full((matrix.shape[1],) * 2, np.nan)
            found = np.atleast_2d(found)
        else:
            found = _pairwise(matrix, good)
    return tuple(
        tuple(_finite(min(1.0, max(-1.0, value))) if math.isfinite(value) else None for value in row) for row in found.tolist()
    )


def _pairwise(matrix: Numbers, good: npt.NDArray[np.bool_]) -> Numbers:
    """Over the rows where both are finite: sums of products with zeros for what is not."""
    scale = np.array([np.abs(column[there]).max(initial=0.0) or 1.0 for column, there in zip(matrix.T, good.T, strict=True)])
    scaled = np.where(good, matrix, 0.0) / scale
    means = scaled.sum(axis=0) / np.maximum(1, good.sum(axis=0))
    values, there = np.where(good, scaled - means, 0.0), good.astype(np.float64)
    count = there.T @ there
    sums, squares, products = values.T @ there, (values**2).T @ there, values.T @ values
    covariance = products - sums * sums.T / count
    variance = squares - sums**2 / count
    found: Numbers = covariance / np.sqrt(variance * variance.T)
    found[(variance <= 1e-12 * squares) | (variance.T <= 1e-12 * squares.T)] = np.nan
    return found


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
