"""The oracle of row packing in plain NumPy, written to be read rather than to be fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.columns import ColumnArray, RowField, RowLayout


def converted(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Numbers in another type, as `kernels.pack_columns` converts them."""
    to = np.dtype(dtype)
    if values.dtype.kind == "f" and to.kind in "iu":
        limits = np.iinfo(to)
        numbers: list[float] = values.astype(np.float64).tolist()
        return np.array(
            [0 if math.isnan(number) else _within(number, int(limits.min), int(limits.max)) for number in numbers], to
        )
    with np.errstate(over="ignore"):
        return values.astype(to)


def _within(number: float, least: int, most: int) -> int:
    if number >= most:
        return most
    return least if number <= least else int(number)


def pack_columns(
    columns: Sequence[ColumnArray],
    layout: RowLayout,
    out: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_] | None = None,
) -> int:
    """See `kernels.pack_columns`."""
    first = columns[0]
    n = len(first[1]) - 1 if isinstance(first, tuple) else len(first)
    rows = np.arange(n) if mask is None else np.flatnonzero(mask)
    for record, row in zip(out, rows, strict=False):
        for entry in layout.fields:
            values, real = _values(entry, columns, int(row))
            record[entry.offset : entry.offset + entry.bytes] = values.view(np.uint8)
            if entry.mask is not None:
                record[entry.mask : entry.mask + entry.width] = np.arange(entry.width) < real
    return len(rows)


def _values(entry: RowField, columns: Sequence[ColumnArray], row: int) -> tuple[npt.NDArray[Any], int]:
    """The numbers of a field, and how many of them are no padding."""
    if entry.column is None:
        return np.full(entry.width, entry.value, entry.dtype), entry.width
    column = columns[entry.column]
    if isinstance(column, tuple):
        values, offsets = column
        own = values[offsets[row] : offsets[row + 1]].ravel()
    else:
        own = column[row : row + 1].ravel()
    own = own[: entry.width]
    field = np.full(entry.width, entry.pad, entry.dtype)
    field[: len(own)] = converted(own, entry.dtype)
    return field, len(own)
