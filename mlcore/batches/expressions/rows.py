"""Reductions of jagged rows without a loop over them; rows without a value included."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Array

_MOST_PADDING = 8
"""Times more room than the values take that sorting may use."""


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
    def _filled_at(self) -> npt.NDArray[np.int64]:
        """The rows that have a value."""
        return np.flatnonzero(self.filled)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Where those rows start."""
        return self.offsets[self._filled_at]

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
            result[self._filled_at] = ufunc.reduceat(values, self._starts)
        return result

    def sum(self, values: Array) -> Array:
        """The sum of each row; truth values are counted."""
        if values.dtype != bool:
            return self.reduce(np.add, values, 0)
        result = np.zeros(len(self.counts), np.int64)
        if len(values):  # the bytes are widened piece by piece, not to an array eight times as large
            result[self._filled_at] = np.add.reduceat(values.view(np.int8), self._starts, dtype=np.int64)
        return result

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
        most = int(self.counts.max(initial=0))
        if len(self.counts) * most > _MOST_PADDING * len(values):
            return np.asarray(values[np.lexsort((values, self.row))])
        # Rows of about one length are a table with gaps, which sorts several times faster; what fills a gap sorts to the end.
        last = np.nan if values.dtype.kind == "f" else True if values.dtype == bool else np.iinfo(values.dtype).max
        table = np.full((len(self.counts), most), last, values.dtype)
        there = np.arange(most) < self.counts[:, None]
        table[there] = values
        table.sort(axis=1)
        return np.asarray(table[there])

    def reversed(self, values: Array) -> Array:
        """Each row back to front."""
        ends = self.spread(self.offsets[:-1] + self.offsets[1:] - 1)
        return np.asarray(values[ends - np.arange(len(values))])
