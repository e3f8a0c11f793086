"""A loader's transforms: fitted to the rows of one loader, applied to the batches of all that come of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np

from mlcore.batches.blocks import Block
from mlcore.batches.filling import Packer, Task
from mlcore.batches.forms import Arrays
from mlcore.batches.selection import Selection
from mlcore.batches.transforms import OneHot, Pipeline, Step
from mlcore.errors import DataError, InputError

Rows = Callable[[], tuple[Selection, list[Task]]]


class Fitted:
    """Transforms of x, fitted when they are first needed.

    Parameters
    ----------
    steps
        By the names of columns of x, or of features that have several each.
    selection
        What x is.
    rows
        Tells what they are fitted to.

    Raises
    ------
    DataError
        There is no such feature.
    InputError
        Batches have no x of float32, or steps cannot follow each other.
    """

    def __init__(self, steps: Pipeline | Mapping[str, Step | Sequence[Step]], selection: Selection, rows: Rows) -> None:
        if selection.by_name or selection.dtype != np.float32:
            raise InputError(
                "transforms give x as a matrix of float32",
                hint="Leave out layout and dtype, or apply a Pipeline yourself.",
                code="batches.transform",
            )
        given = steps if isinstance(steps, Pipeline) else Pipeline(steps)
        self._steps = _expanded(given, selection)
        widens = any(chain and isinstance(chain[-1], OneHot) for chain in self._steps.steps.values())
        if widens and any(output.name == "mask" for output in selection.outputs):
            raise InputError(
                "a mask of x fits no x with other columns, and OneHot makes some",
                hint="Leave out OneHot, or the mask.",
                code="batches.transform",
            )
        self._rows = rows
        self._found: Pipeline | None = None
        self._lock = threading.Lock()

    def to(self, rows: Rows) -> Fitted:
        """The same, fitted to other rows, unless all numbers were given."""
        other = object.__new__(Fitted)
        other._steps, other._found, other._rows, other._lock = self._steps, None, rows, threading.Lock()
        return other

    @property
    def pipeline(self) -> Pipeline:
        """The fitted transforms of all columns of x; reads the rows that they are fitted to when it is first asked for."""
        with self._lock:
            if self._found is None:
                selection, work = self._rows()
                self._found = self._steps if self._steps.is_fitted else self._steps.fit(_blocks(selection, work))
            return self._found

    def change(self, arrays: Arrays) -> Arrays:
        """Of the arrays of batches, x transformed."""
        return self.pipeline.transform(arrays[0]), *arrays[1:]


def _expanded(pipeline: Pipeline, selection: Selection) -> Pipeline:
    """For all columns of x."""
    names = selection.feature_names
    steps: dict[str, tuple[Step, ...]] = {}
    for name, chain in pipeline.steps.items():
        if name in names:
            several = [name]
        elif name in selection.features:
            several = [f"{name}[{index}]" for index in range(selection.width(name))]
        else:
            raise DataError.missing("feature", name, (*selection.features, *names), where=selection.known.where)
        for column in several:
            if column in steps:
                raise InputError(f"{column!r} has steps twice", hint="Name it once.", code="batches.transform")
            steps[column] = chain
    return Pipeline(steps).for_columns(names)


def _blocks(selection: Selection, work: Sequence[Task]) -> Iterator[Block]:
    """The numbers of x as batches have them, in the order of the source; NaN where a mask says that they are padded."""
    outputs = {output.name: output for output in selection.outputs}
    x, mask = outputs["x"], outputs.get("mask")
    size = x.dtype.itemsize
    with closing(Packer(selection, with_id=False)) as packer:
        for task in work:
            for records in packer.blocks(task):
                block = {}
                rows, stride = len(records), records.shape[1:]
                for at, name in enumerate(selection.feature_names if rows else ()):
                    values = np.ndarray((rows,), x.dtype, records, x.offset + at * size, stride)
                    if mask is not None:
                        own = np.ndarray((rows,), np.bool_, records, mask.offset + at, stride)
                        values = np.where(own, values, np.float32(np.nan))
                    block[name] = values
                if block:
                    yield block
