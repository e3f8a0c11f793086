"""What an epoch delivered: every value of every row, against uproot's, and how well the rows are mixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.batches.data import LOW_ROWS

STEP = 499
"""Each so many rows are compared as a whole."""
BINS = 50


@dataclass(frozen=True)
class Content:
    """An epoch, in the order in which it came.

    Attributes
    ----------
    rows
        The number of each row: int64, shape (n_rows,).
    bits
        Of each column of x and y, its values' bits by exclusive or: uint32, shape (n_features + 1,). Any value that differs
        changes it, and the order does not.
    samples
        Every `STEP`-th row of the file as a whole, by its number: float32, shape (n_samples, n_features + 1).
    zeros
        How many rows have an x of zeros.
    """

    rows: npt.NDArray[np.int64]
    bits: npt.NDArray[np.uint32]
    samples: npt.NDArray[np.float32]
    zeros: int = 0

    def save(self, path: Path) -> None:
        np.savez(path, rows=self.rows, bits=self.bits, samples=self.samples)

    @classmethod
    def load(cls, path: Path) -> Content:
        with np.load(path) as kept:
            return cls(kept["rows"], kept["bits"], kept["samples"])


def content(batches: Iterable[tuple[Any, Any]]) -> Content:
    """Of all batches of an epoch, whose x ends with the row's number."""
    numbers: list[npt.NDArray[np.int64]] = []
    samples: list[npt.NDArray[np.float32]] = []
    bits: npt.NDArray[np.uint32] | None = None
    zeros = 0
    for table in _tables(batches):
        rows = table[:, -3].astype(np.int64) * LOW_ROWS + table[:, -2].astype(np.int64)
        numbers.append(rows)
        samples.append(table[rows % STEP == 0])
        zeros += int(np.count_nonzero(~table[:, :-1].any(axis=1)))
        found = np.bitwise_xor.reduce(table.view(np.uint32), axis=0)
        bits = found if bits is None else bits ^ found
    if bits is None:
        return Content(np.empty(0, np.int64), np.empty(0, np.uint32), np.empty((0, 0), np.float32))
    whole = np.concatenate(samples)
    return Content(np.concatenate(numbers), bits, whole[np.lexsort((whole[:, -2], whole[:, -3]))], zeros)


def _tables(batches: Iterable[tuple[Any, Any]]) -> Iterator[npt.NDArray[np.float32]]:
    """x and y side by side, some batches at a time."""
    pending: list[npt.NDArray[np.float32]] = []
    for x, y in batches:
        pending.append(np.hstack([np.asarray(x, np.float32), np.asarray(y, np.float32).reshape(-1, 1)]))
        if len(pending) == 64:
            yield np.concatenate(pending)
            pending = []
    if pending:
        yield np.concatenate(pending)


def wrong(found: Content, truth: Content) -> str | None:
    """What is wrong with an epoch, in words; None where it has every row exactly once, with the values of the file."""
    counts = np.bincount(found.rows[found.rows >= 0], minlength=int(truth.rows.max()) + 1)
    missing = int(np.count_nonzero(counts[truth.rows] == 0))
    again = int((counts[truth.rows] - 1).clip(0).sum())
    other = len(found.rows) - int(counts[truth.rows].sum())
    troubles = [f"{missing} rows are missing"] * bool(missing) + [f"{again} come again"] * bool(again)
    troubles += [f"{other} do not belong to it"] * bool(other)
    if not troubles and not (np.array_equal(found.bits, truth.bits) and np.array_equal(found.samples, truth.samples)):
        columns = int(np.count_nonzero(found.bits != truth.bits)) if found.bits.shape == truth.bits.shape else 0
        in_columns = f"values differ in {columns} of {len(truth.bits)} columns"
        troubles = [in_columns if columns else "rows are put together wrongly"]
    if troubles and found.zeros:
        troubles.append(f"{found.zeros} are zeros")
    return f"{len(found.rows)} rows instead of {len(truth.rows)}: {', '.join(troubles)}" if troubles else None


def mixing(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Chi-square per degree of freedom of two orders of the same rows, 1 where they have nothing to do with one another.

    Parameters
    ----------
    first, second
        Two numbers of each row, each a permutation: its place in the file and in an epoch, or in two epochs.
    """
    places = BINS * first // len(first) * BINS + BINS * second // len(second)
    table = np.bincount(places, minlength=BINS * BINS).reshape(BINS, BINS).astype(float)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum() / (BINS - 1) ** 2)


def places(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each row of the file came in an epoch that has all of them."""
    found = np.empty_like(rows)
    found[rows] = np.arange(len(rows))
    return found
