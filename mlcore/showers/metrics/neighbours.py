"""Precision, recall, density and coverage by nearest neighbours in the space of the high-level features.

References
----------
T. Kynkaanniemi et al., arXiv:1904.06991, Eqs. 1-3 (precision, recall); M. Naeem et al., arXiv:2002.09797, Eqs. 3-4 (density,
coverage).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.metrics.estimate import Estimate

Array = npt.NDArray[np.float64]
_CHUNK = 1024


@dataclass(frozen=True)
class NeighbourMeasures:
    """Of a model's showers: 1 is best of all; two samples of one truth have a precision below it.

    Attributes
    ----------
    precision
        The share of the model's showers near one of the truth's.
    recall
        The share of the truth's showers near one of the model's.
    density
        How many of the truth's neighbourhoods hold a shower of the model, over how many are expected; may be above 1.
    coverage
        The share of the truth's showers whose neighbourhood holds one of the model's.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def standardized(truth: npt.ArrayLike, *others: npt.ArrayLike) -> list[Array]:
    """All samples in units of the truth's standard deviations, from its means."""
    first = np.asarray(truth, np.float64)
    mean, deviation = first.mean(axis=0), first.std(axis=0)
    deviation[deviation < 1e-12 * (1 + np.abs(mean))] = 1
    return [(np.asarray(rows, np.float64) - mean) / deviation for rows in (first, *others)]


def neighbour_measures(
    truth: npt.ArrayLike, model: npt.ArrayLike, *, neighbours: int = 5, most: int = 10_000
) -> NeighbourMeasures:
    """The four measures of at most `most` showers of each sample, features standardised.

    A shower's neighbourhood reaches to its `neighbours`-th nearest within its own sample. Errors are those of means over
    showers; neighbourhoods are held fixed.
    """
    x, y = (rows[:most] for rows in standardized(truth, model))
    if min(len(x), len(y)) <= neighbours:
        raise InputError(
            f"{min(len(x), len(y))} showers have no {neighbours} neighbours", hint=f"Give more than {neighbours} of each sample."
        )
    reach_x, reach_y = _reach(x, neighbours), _reach(y, neighbours)
    hits_of_y = np.zeros(len(y))  # of the truth's neighbourhoods
    covered, recalled = np.zeros(len(x), bool), np.zeros(len(x), bool)
    for at, squares in _chunks(x, y):
        within = squares <= reach_x[at, None]
        hits_of_y += within.sum(axis=0)
        covered[at] = within.any(axis=1)
        recalled[at] = (squares <= reach_y[None, :]).any(axis=1)
    return NeighbourMeasures(
        precision=_mean(hits_of_y > 0), recall=_mean(recalled), density=_mean(hits_of_y / neighbours), coverage=_mean(covered)
    )


def _mean(values: npt.NDArray[np.generic]) -> Estimate:
    numbers = np.asarray(values, np.float64)
    return Estimate(float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(len(numbers))))


def _reach(rows: Array, neighbours: int) -> Array:
    """Squared distance to the k-th nearest other row."""
    reach = np.empty(len(rows))
    for at, squares in _chunks(rows, rows):
        squares[np.arange(len(squares)), np.arange(at.start, at.start + len(squares))] = -1  # itself comes first
        reach[at] = np.partition(squares, neighbours, axis=1)[:, neighbours]
    return reach


def _chunks(a: Array, b: Array) -> Iterator[tuple[slice, Array]]:
    """Squared distances of some rows of a from all of b."""
    norms = (b**2).sum(axis=1)
    for start in range(0, len(a), _CHUNK):
        part = a[start : start + _CHUNK]
        squares = (part**2).sum(axis=1)[:, None] + norms[None, :] - 2 * part @ b.T
        yield slice(start, start + len(part)), np.maximum(squares, 0)


def nearest(rows: Array, others: Array) -> Array:
    """Distance of each row to the nearest of others, shape (n_rows,)."""
    result = np.empty(len(rows))
    for at, squares in _chunks(rows, others):
        result[at] = np.sqrt(squares.min(axis=1))
    return result
