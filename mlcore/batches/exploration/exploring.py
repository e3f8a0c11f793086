"""Looking at features before training: histograms of each class, correlations, what is missing, what lies far out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.conversion.shards import Groups
from mlcore.batches.loader import BatchLoader
from mlcore.batches.statistics import ColumnStatistics

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
    """Statistics of rows in memory, as `mlcore.batches.Statistics` tells them, and how well each feature separates the classes.

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
    flat = dict(_flat(columns, groups["x"]))
    names = list(flat)
    target = next((name for name in groups.get("y", ()) if len(groups["y"]) == 1 and _is_plain(columns[name])), "")
    if target:
        flat[target] = columns[target]  # type: ignore[assignment]  # it is plain
    sampled = len(next(iter(flat.values())))
    loader = BatchLoader(flat, names, target=target or (), dtype="float64", memory="8 GB")
    found = loader.statistics(bins=bins)
    # The largest value first: with labels 1 and 0, signal comes before background.
    classes = found.classes[::-1] if 2 <= len(found.classes) <= MOST_CLASSES else ()
    chosen = [(f"{target} = {entry.value:g}", entry.rows) for entry in classes] or [("all rows", sampled)]
    features = []
    for number, name in enumerate(names):
        values = flat[name].astype(np.float64)
        of_classes = [entry.columns[number] for entry in classes] or [found.columns[number]]
        first, second = ([values[flat[target] == entry.value] for entry in classes[:2]]) if classes else (values[:0], values[:0])
        features.append(_feature(found.columns[number], of_classes, values, first, second))
    correlation = tuple(tuple(_finite(value) for value in row) for row in found.correlation.tolist())
    return Exploration(rows, sampled, target if classes else "", tuple(chosen), tuple(features), correlation)


def _flat(columns: Mapping[str, Values], names: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Columns of one number a row."""
    for name in names:
        values = columns[name]
        if isinstance(values, Jagged):
            yield f"values of {name}", values.counts
        elif values.ndim == 1:
            yield name, values
        else:
            matrix = values.reshape(len(values), -1)
            yield from ((f"{name}[{number}]", matrix[:, number]) for number in range(matrix.shape[1]))


def _is_plain(values: Values) -> bool:
    return not isinstance(values, Jagged) and values.ndim == 1


def _feature(
    told: ColumnStatistics, of_classes: Sequence[ColumnStatistics], values: Numbers, first: Numbers, second: Numbers
) -> Feature:
    low, high = told.quantiles[0.25], told.quantiles[0.75]
    with np.errstate(all="ignore"):  # the difference of the largest numbers may overflow
        width = float(np.float64(FAR) * (np.float64(high) - low))
        far = np.isfinite(values) & ((values < low - width) | (values > high + width))
    return Feature(
        name=told.name,
        count=told.count,
        missing=told.missing,
        infinite=told.infinite,
        minimum=_finite(told.minimum),
        maximum=_finite(told.maximum),
        mean=_finite(told.mean),
        deviation=_finite(told.standard_deviation),
        median=_finite(told.quantiles[0.5]),
        far=int(far.sum()) if math.isfinite(width) and width > 0 else 0,
        edges=tuple(told.edges.tolist()),
        counts=tuple(tuple(int(count) for count in one.counts.tolist()) for one in of_classes),
        below=int(told.below),
        above=int(told.above),
        separation=_separation(first[np.isfinite(first)], second[np.isfinite(second)]),
    )


def _separation(first: Numbers, second: Numbers) -> float | None:
    if not len(first) or not len(second):
        return None
    every = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(values), every, side="right") / len(values) for values in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
