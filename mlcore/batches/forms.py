"""From arrays of some thousand rows to batches: matrices, or dicts by name, cut to their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mlcore.batches.selection import Selection

Arrays: TypeAlias = tuple[npt.NDArray[Any], ...]
Convert: TypeAlias = Callable[[npt.NDArray[Any]], Any]
Change: TypeAlias = Callable[[Arrays], Arrays]


class JaggedArray(NamedTuple):
    """A column with another number of values in every row, of the rows of a batch.

    Attributes
    ----------
    values
        Of all rows, one after the other, shape (n_values, ...).
    offsets
        int64, shape (n_rows + 1,), from 0: row ``i`` has ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: Any
    offsets: Any


class Form:
    """What a loader's batches look like.

    Parameters
    ----------
    selection
        What they hold.
    convert
        From an array to one of another library, which can be sliced.
    change
        Of the arrays, before that.
    """

    def __init__(self, selection: Selection, convert: Convert, change: Change = lambda arrays: arrays) -> None:
        self.outputs, self.by_name = selection.outputs, selection.by_name
        self._convert, self._change = convert, change

    def group(self, arrays: Arrays) -> tuple[int, Mapping[str, Any]]:
        """The rows, and the arrays by name, of another library."""
        rows = len(arrays[0])
        found: dict[str, Any] = {}
        last = ""
        for output, array in zip(self.outputs, self._change(arrays), strict=True):
            if output.counted:
                found[last] = self._jagged(found[last], array)
            else:
                found[output.name] = array
                last = output.name
        return rows, {
            name: JaggedArray(self._convert(array.values), array.offsets)
            if isinstance(array, JaggedArray)
            else self._convert(array)
            for name, array in found.items()
        }

    @staticmethod
    def _jagged(padded: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> JaggedArray:
        """What of padded rows is their own."""
        own = mask.reshape(*mask.shape[:2], -1)[:, :, 0]  # a value is there with all its numbers, or not at all
        offsets = np.zeros(len(own) + 1, np.int64)
        np.cumsum(np.count_nonzero(own, axis=1), out=offsets[1:])
        return JaggedArray(padded[own], offsets)

    def batch(self, group: Mapping[str, Any], start: int, stop: int) -> Any:
        """Some of the rows: x, a tuple of x and more, or a dict."""
        cut = {name: self._cut(array, start, stop) for name, array in group.items()}
        if self.by_name:
            return cut
        arrays = tuple(cut.values())
        return arrays[0] if len(arrays) == 1 else arrays

    def _cut(self, array: Any, start: int, stop: int) -> Any:
        if not isinstance(array, JaggedArray):
            return array[start:stop]
        offsets = array.offsets[start : stop + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        return JaggedArray(array.values[first:last], self._convert(offsets - first))


def mapped(batch: Any, convert: Callable[[Any], Any], jagged: Callable[[JaggedArray], Any]) -> Any:
    """A batch of another library: all its arrays converted."""
    if isinstance(batch, JaggedArray):
        return jagged(batch)
    if isinstance(batch, dict):
        return {name: mapped(array, convert, jagged) for name, array in batch.items()}
    if isinstance(batch, tuple):
        return tuple(mapped(array, convert, jagged) for array in batch)
    return convert(batch)
