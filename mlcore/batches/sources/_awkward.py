"""Awkward arrays, as uproot gives them, as the values of columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore.batches.blocks import Array, Values
from mlcore.batches.schema import Column
from mlcore.batches.sources._values import jagged_of, plain


def values_of(array: Any, column: Column) -> Values:
    """The rows of an array of numbers, or of lists of numbers where the column is jagged."""
    import awkward as ak

    if column.jagged:
        counts = ak.to_numpy(ak.num(array, axis=1))
        content = ak.to_numpy(ak.flatten(array, axis=1))
        return jagged_of(_shaped(content, column), counts)
    return _shaped(ak.to_numpy(array), column)


def _shaped(given: Any, column: Column) -> Array:
    values = plain(np.asarray(given))
    if column.dtype is not None and values.dtype != column.dtype:
        values = values.astype(column.dtype)
    return values.reshape(len(values), *column.shape)
