"""Columns with another number of values in every row, in records: cut and filled up, or as long as the longest row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.batches.blocks import Block, Jagged, Values
from mlcore.batches.schema import Column, Schema
from mlcore.errors import InputError

if TYPE_CHECKING:
    from mlcore.batches.filling import Task
    from mlcore.batches.selection import Selection
    from mlcore.batches.sources import Source


@dataclass(frozen=True)
class Pad:
    """How many values each row of a jagged column gets.

    Attributes
    ----------
    size
        Rows with more values are cut to so many.
    value
        Rows with fewer are filled up with it; NaN for floating point alone.
    mask
        Whether there is a mask, True where a value is the row's own. A name is that of the mask, which columns of one
        collection share: it is checked that each row has equally many values of all of them.

    Raises
    ------
    InputError
        There is not one value at least, or the mask has no name.
    """

    size: int
    value: float = 0.0
    mask: bool | str = False

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int | np.integer) or self.size < 1:
            raise InputError(f"rows cannot be padded to {self.size} values", hint="Give 1 or more.", code="batches.pad")
        if self.mask == "":
            raise InputError("a mask has a name", hint="Give mask=True, or a name.", code="batches.pad")

    def mask_name(self, column: str) -> str:
        """What the mask of a column is called; empty where it has none."""
        return self.mask if isinstance(self.mask, str) else f"{column}_mask" if self.mask else ""


def pads_of(pad: Mapping[str, int | Pad] | None, known: Schema, dtype_of: Callable[[Column], np.dtype[Any]]) -> dict[str, Pad]:
    """What users ask for, with columns that are there, and the types that they have in records.

    Raises
    ------
    DataError
        There is no such column.
    InputError
        It is not jagged, cannot hold what is padded with, or shares its mask with one of another size.
    """
    found = {name: given if isinstance(given, Pad) else Pad(given) for name, given in (pad or {}).items()}
    shared: dict[str, tuple[str, int, tuple[int, ...]]] = {}
    for name, given in found.items():
        column = known[name]
        if not column.jagged:
            raise InputError(
                f"the column {name!r} has equally many values in every row", hint="Leave out its pad.", code="batches.pad"
            )
        if column.dtype is not None:
            _check_value(name, given.value, dtype_of(column))
        if isinstance(given.mask, str):
            first, *same = shared.setdefault(given.mask, (name, given.size, column.shape))
            if same != [given.size, column.shape]:
                raise InputError(
                    f"{first!r} and {name!r} share the mask {given.mask!r}, but have not equally many values in a padded row",
                    hint="Pad them to the same size, or give each a mask of its own.",
                    code="batches.pad",
                )
    return found


def _check_value(name: str, value: float, dtype: np.dtype[Any]) -> None:
    """Make sure that a type holds what is padded with."""
    if dtype.kind == "f":
        most = float(np.finfo(dtype).max)
        if math.isfinite(value) and abs(value) > most:
            raise InputError(
                f"{name!r} is padded with {value}, which no {dtype} can hold",
                hint=f"Give a number of at most {most:.3g}, or float('inf').",
                code="batches.pad",
            )
        return
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not (math.isfinite(value) and value == int(value) and low <= value <= high):
        raise InputError(
            f"{name!r} is padded with {value}, which is no {dtype}",
            hint=f"Give a whole number from {low} to {high}.",
            code="batches.pad",
        )


def check_shared(pads: Mapping[str, Pad], names: tuple[str, ...], block: Block) -> None:
    """Make sure that the rows of columns that share a mask have equally many values.

    Raises
    ------
    InputError
        Some have not.
    """
    first: dict[str, tuple[str, Jagged]] = {}
    for name in names:
        values = block[name]
        if name not in pads or not isinstance(pads[name].mask, str) or not isinstance(values, Jagged):
            continue
        mask = str(pads[name].mask)
        other_name, other = first.setdefault(mask, (name, values))
        if other is not values and not np.array_equal(other.offsets, values.offsets):
            raise InputError(
                f"{other_name!r} and {name!r} share the mask {mask!r}, but some rows have more values of one of them",
                hint="Give each a mask of its own.",
                code="batches.pad",
            )


def is_shared(pads: Mapping[str, Pad], names: tuple[str, ...]) -> bool:
    """Whether two of these columns share a mask."""
    masks = [str(pads[name].mask) for name in dict.fromkeys(names) if name in pads and isinstance(pads[name].mask, str)]
    return len(set(masks)) < len(masks)


def longest_rows(source: Source, selection: Selection, threads: int, names: tuple[str, ...]) -> dict[str, int]:
    """The most values that a row of the source has of each of these jagged columns; reads them, and nothing else.

    Parameters
    ----------
    source, selection
        Whose columns they are; defined ones are computed.
    threads
        That read.
    names
        The columns.

    Raises
    ------
    DamagedDataError
        Rows cannot be read, and are not to be skipped.
    """
    from mlcore.batches.filling import BLOCK_ROWS, tasks
    from mlcore.batches.sources import DamagedDataError

    needed, defined = _needed(selection, names)

    def longest(task: Task) -> dict[str, int]:
        most = dict.fromkeys(names, 0)
        columns = [name for name in needed if name not in task.part.constants]
        try:
            opened = task.part.reader(columns, BLOCK_ROWS)
        except DamagedDataError:
            if selection.skipped is None:
                raise
            return most
        with closing(opened) as reader:
            for rows, block in _blocks(reader, task, skip=selection.skipped is not None, block_rows=BLOCK_ROWS):
                found: dict[str, Values] = {**block, **{name: np.full(rows, v) for name, v in task.part.constants.items()}}
                for name in defined:
                    found[name] = selection.defined[name].evaluate(found)
                for name in names:
                    values = found[name]
                    if isinstance(values, Jagged) and rows:
                        most[name] = max(most[name], int(values.counts.max()))
        return most

    with ThreadPoolExecutor(max(1, threads)) as pool:
        results = list(pool.map(longest, tasks(source, selection)))
    return {name: max((found[name] for found in results), default=0) for name in names}


def _needed(selection: Selection, names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The columns to read, and those to compute in their order."""
    wanted = set(names)
    for name in reversed(selection.defined):
        if name in wanted:
            wanted |= set(selection.defined[name].columns)
    return [name for name in selection.known if name in wanted and name not in selection.defined], [
        name for name in selection.defined if name in wanted
    ]


def _blocks(reader: Any, task: Task, *, skip: bool, block_rows: int) -> Iterator[tuple[int, Block]]:
    from mlcore.batches.skipping import Skipped, readable

    for low in range(task.start, task.stop, block_rows):
        high = min(low + block_rows, task.stop)
        if not skip:
            yield high - low, reader.read(low, high)
            continue
        for begin, end, block in readable(reader, task.part.name, low, high, Skipped({})):
            yield end - begin, block


def unpadded(column: Column) -> InputError:
    """What is wrong with a jagged column that is neither padded nor asked for as offsets."""
    hint = (
        f"Say how many a row gets, such as pad={{{column.name!r}: 4}}, define a number each row, such as Sum({column.name}), "
        'or take layout="dict" with jagged="offsets".'
    )
    return InputError(f"the column {column.name!r} has another number of values in every row", hint=hint, code="batches.columns")
