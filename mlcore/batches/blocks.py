"""Blocks: some thousand consecutive rows of several columns, small enough to stay in the cache while they are worked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Jagged:
    """A column with another number of values in every row.

    Attributes
    ----------
    values
        Of all rows, one after the other, shape (n_values,).
    offsets
        int64, shape (n_rows + 1,), from 0: row ``i`` has ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: Array
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The number of values of each row, int64, shape (n_rows,)."""
        return np.diff(self.offsets)


Values: TypeAlias = Array | Jagged
"""A column of a block: an array of shape (n_rows, *items), in the machine's byte order, or jagged."""

Block: TypeAlias = Mapping[str, Values]
