"""What readers do with the values of a column: cut them, put them together, and bring them into the machine's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcore.batches.blocks import Array, Block, Jagged, Values
from mlcore.batches.schema import Column


def cut(values: Values, start: int, stop: int) -> Values:
    """Rows ``start`` to ``stop`` of a column, as views where they can be."""
    if not isinstance(values, Jagged):
        return values[start:stop]
    offsets = values.offsets[start : stop + 1]
    return Jagged(values.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def join(pieces: Sequence[Values]) -> Values:
    """The rows of several pieces of a column, one piece after the other; there is at least one."""
    if len(pieces) == 1:
        return pieces[0]
    flat = [piece for piece in pieces if not isinstance(piece, Jagged)]
    if flat:
        return np.concatenate(flat)
    jagged = [piece for piece in pieces if isinstance(piece, Jagged)]
    return jagged_of(np.concatenate([piece.values for piece in jagged]), np.concatenate([piece.counts for piece in jagged]))


def jagged_of(values: Array, counts: Array) -> Jagged:
    """Values of shape (n_values, *items) of rows with these numbers of values, shape (n_rows,)."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Jagged(values, offsets)


def cut_block(block: Block, start: int, stop: int) -> Block:
    """Rows ``start`` to ``stop`` of all columns."""
    return {name: cut(values, start, stop) for name, values in block.items()}


def rows_of(block: Block) -> int:
    """The number of rows of a block; 0 without columns."""
    return next((len(values) for values in block.values()), 0)


def plain(array: Array) -> Array:
    """Numbers in the machine's byte order, one behind the other."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def number_column(
    name: str, dtype: np.dtype[Any], shape: tuple[int, ...] = (), *, jagged: bool = False, typename: str = ""
) -> Column:
    """A column of values of a NumPy type; one that can be no feature where they are no numbers."""
    native = dtype.newbyteorder("=")
    why_not = ""
    if native.kind not in "biuf" or native.itemsize > 8:
        why_not = f"it holds no numbers but {native}"
    elif 0 in shape:
        why_not = "its rows hold no values"
    if why_not:
        return Column(name, None, shape, jagged, typename or str(native), why_not)
    return Column(name, native, shape, jagged, typename or native.name)
