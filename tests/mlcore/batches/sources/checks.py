"""What the tests of sources share: arrays of any library as values, and readers held against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.sources import Part


def values(array: Any) -> Values:
    """An Awkward array as a column."""
    if "var" in str(array.type):
        counts = ak.to_numpy(ak.num(array, axis=1))
        return Jagged(ak.to_numpy(ak.flatten(array, axis=1)), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    return np.asarray(ak.to_numpy(array))


def check_rows(found: Values, exact: Values, start: int, stop: int, name: str) -> None:
    """That a column of a block is rows of the whole column, in type as well."""
    if isinstance(exact, Jagged):
        assert isinstance(found, Jagged), name
        offsets = exact.offsets[start : stop + 1]
        np.testing.assert_array_equal(found.offsets, offsets - offsets[0], err_msg=name)
        found, part = found.values, exact.values[offsets[0] : offsets[-1]]
    else:
        assert isinstance(found, np.ndarray), name
        part = exact[start:stop]
    assert found.dtype == part.dtype.newbyteorder("="), name
    assert found.shape == part.shape, name
    np.testing.assert_array_equal(found, part, err_msg=name)


def check_blocks(part: Part, exact: Mapping[str, Values], start: int, stop: int, block_rows: int) -> None:
    """That rows come in order, in blocks of the size, with the values that they should have."""
    with part.reader(list(exact), block_rows) as reader:
        check_reader(reader, exact, start, stop, block_rows)


def check_reader(reader: Any, exact: Mapping[str, Values], start: int, stop: int, block_rows: int) -> None:
    """`check_blocks`, of a reader that there is already."""
    row = start
    for block in reader.blocks(start, stop):
        assert list(block) == list(exact)
        upto = min(row + block_rows, stop)
        for name, column in exact.items():
            check_rows(block[name], column, row, upto, name)
        row = upto
    assert row == stop


def check_schema(part: Part, exact: Mapping[str, Values]) -> None:
    """That the schema says what the columns are."""
    for name, column in exact.items():
        said = part.schema[name]
        inner = column.values if isinstance(column, Jagged) else column
        assert said.jagged == isinstance(column, Jagged), name
        assert said.dtype == inner.dtype.newbyteorder("="), name
        assert said.shape == inner.shape[1:], name
        assert not said.why_not, name


def check_boundaries(part: Part, columns: Sequence[str]) -> None:
    """That they are rows in ascending order, from the first to the last."""
    found = part.boundaries(columns)
    assert found.dtype == np.int64
    assert found[0] == 0
    assert found[-1] == part.rows
    assert (np.diff(found) > 0).all()
