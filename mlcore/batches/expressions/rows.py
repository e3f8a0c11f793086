"""Reductions of jagged rows without a loop over them; rows without a value included."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Array


class Rows:
    """How the values of a block lie in rows.

    Parameters
    ----------
    offsets
        int64, shape (n_rows + 1,), from 0.
    """

    def __init__(self, offsets: npt.NDArray[np.int64]) -> None:
        self.offsets = offsets

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """The number of values of each row, int64, shape (n_rows,)."""
        return np.diff(self.offsets)

    @cached_property
    def filled(self) -> npt.NDArray[np.bool_]:
        """Which rows have a value."""
        return self.counts > 0

    @cached_property
    def row(self) -> npt.NDArray[np.int64]:
        """The row of each value, int64, shape (n_values,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def spread(self, flat: Array) -> Array:
        """One value of each row, once for each of its values."""
        return np.repeat(flat, self.counts)

    def reduce(self, ufunc: np.ufunc, values: Array, empty: float | bool) -> Array:
        """A reduction of each row, of the values' type.

        Parameters
        ----------
        ufunc
            Such as `numpy.add`.
        values
            Shape (n_values,).
        empty
            What rows without a value give.
        """
        result = np.full(len(self.counts), empty, values.dtype)
        if len(values):
            # `reduceat` cannot do empty rows, but between the starts of two that are not lie the first one's values alone.
            result[self.filled] = ufunc.reduceat(values, self.offsets[:-1][self.filled])
        return result

    def sum(self, values: Array) -> Array:
        """The sum of each row; truth values are counted."""
        return self.reduce(np.add, values.astype(np.int64) if values.dtype == bool else values, 0)

    def extreme(self, ufunc: np.ufunc, values: Array) -> npt.NDArray[np.float64]:
        """The largest or smallest value of each row as a real; NaN where there is none."""
        result = self.reduce(ufunc, values, 0).astype(np.float64)
        result[~self.filled] = np.nan
        return result

    def position(self, ufunc: np.ufunc, values: Array) -> npt.NDArray[np.int64]:
        """Where in each row its first extreme value is, -1 where there is none; NaN counts as extreme, as for NumPy."""
        best = self.spread(self.reduce(ufunc, values, 0))
        hits = np.flatnonzero((values == best) | ((values != values) & (best != best)))
        rows = self.row[hits]
        first = np.ones(len(hits), bool)
        first[1:] = rows[1:] != rows[:-1]
        result = np.full(len(self.counts), -1, np.int64)
        result[rows[first]] = hits[first] - self.offsets[rows[first]]
        return result

    def mean(self, values: Array) -> npt.NDArray[np.float64]:
        """The mean of each row; NaN where there is no value."""
        return np.asarray(self.sum(values.astype(np.float64)) / self.counts, np.float64)

    def variance(self, values: Array) -> npt.NDArray[np.float64]:
        """The sample variance of each row; NaN where there are fewer than two values."""
        away = values.astype(np.float64) - self.spread(self.mean(values))
        return np.asarray(np.where(self.counts > 1, self.sum(away * away) / (self.counts - 1), np.nan), np.float64)

    def sorted(self, values: Array) -> Array:
        """Each row in ascending order, NaN last."""
        return np.asarray(values[np.lexsort((values, self.row))])

    def reversed(self, values: Array) -> Array:
        """Each row back to front."""
        ends = self.spread(self.offsets[:-1] + self.offsets[1:] - 1)
        return np.asarray(values[ends - np.arange(len(values))])
