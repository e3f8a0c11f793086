"""Rows that name themselves: what loaders give of them, and how well they are mixed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS = 60_000
SMALL = 1_000_000
"""Bytes of memory that the rows do not fit."""
LARGE = 64_000_000
NAMES = [f"f{i}" for i in range(5)]


def rows_in(batches: Iterator[Any]) -> npt.NDArray[np.int64]:
    """The numbers of the rows of batches (x, y) whose y is the number, in their order."""
    found = [np.asarray(y) for _, y in batches]
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, np.int64)


def mixing(orders: list[npt.NDArray[np.int64]], rows: int, cells: int = 10) -> float:
    """Chi-square per degree of freedom of the region of the source against the position, summed over orders of all rows."""
    chi_square = 0.0
    for order in orders:
        counts = np.zeros((cells, cells))
        np.add.at(counts, (order * cells // rows, np.arange(rows) * cells // rows), 1)
        expected = rows / cells**2
        chi_square += float(((counts - expected) ** 2 / expected).sum())
    return chi_square / (len(orders) * (cells - 1) ** 2)
