"""The pass over a source that its statistics come from."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kernels import row_keys
from mlcore.batches.filling import BLOCK_ROWS, Packer, Progress, Records, Task, each
from mlcore.batches.samples import LABEL
from mlcore.batches.selection import ID_BYTES, Selection
from mlcore.batches.statistics import Binning, ClassStatistics, Matrix, Statistics, Sums, quantiles_of
from mlcore.errors import InputError

MOST_CLASSES = 16
SAMPLE_ROWS = 65_536
SAMPLE_SHARE = 0.2
"""Of the budget, for the sample."""
PILOT_ROWS = 20_000
PILOT_BLOCKS = 256
FEWEST = 100
CHUNK = 1 << 17
"""Numbers that are worked on at a time."""
_SALT = 0x5EED0F5A317E
_ROLES: dict[str, Literal["feature", "target", "weight"]] = {"x": "feature", "y": "target", "w": "weight"}


@dataclass(frozen=True)
class _Column:
    """A number of each record."""

    name: str
    role: Literal["feature", "target", "weight"]
    offset: int
    dtype: np.dtype[Any]


def measure(
    selection: Selection,
    work: list[Task],
    threads: int,
    progress: Progress,
    *,
    budget: int,
    weighted: bool = False,
    bins: int = 50,
    titles: Mapping[float, str] | None = None,
) -> Statistics:
    """Statistics of the rows that a selection keeps.

    Parameters
    ----------
    selection, work, threads, progress
        What is read, as of `mlcore.batches.filling.each`.
    budget
        Bytes of memory.
    weighted
        Whether rows count by the first column of w; one that is not finite counts as 0.
    bins
        Of histograms.
    titles
        Names of classes.

    Raises
    ------
    InputError
        There are no weights, or no bins.
    DamagedDataError
        Rows cannot be read.
    """
    if weighted and "w" not in selection.groups:
        raise InputError(
            "there are no weights to count rows by", hint="Give weight=..., or leave out weighted.", code="batches.weight"
        )
    if bins < 1:
        raise InputError(f"a histogram of {bins} bins is none", hint="Give 1 or more.", code="batches.bins")
    columns = _columns(selection)
    passing = _Pass(selection, columns, work, budget=budget, weighted=weighted, bins=bins)
    each(work, lambda: Packer(selection, with_id=True), passing.run, threads, progress)
    return passing.result(titles or {})


def _columns(selection: Selection) -> list[_Column]:
    """The numbers of a record, in the order of x, y and w.

    Raises
    ------
    InputError
        A column has another number of values in every row.
    """
    for name in selection.packed:
        if selection.is_ragged(name):
            raise InputError(
                f"there are no statistics of {name!r}, which has another number of values in every row",
                hint=f"Pad it, or define a number each row, such as Sum({name}).",
                code="batches.columns",
            )
    fields = list(selection.layout(selection.packed, with_id=True).fields)
    found: list[_Column] = []
    for group, (names, _) in selection.groups.items():
        for name in names:
            place = fields.pop(0)
            dtype = np.dtype(place.dtype)
            single = place.width == 1 and not selection.known[name].jagged
            for k in range(place.width):
                title = name if single else f"{name}[{k}]"
                found.append(_Column(title, _ROLES[group], place.offset + k * dtype.itemsize, dtype))
    return found


class _Pass:
    """All that threads add to."""

    def __init__(
        self, selection: Selection, columns: list[_Column], work: list[Task], *, budget: int, weighted: bool, bins: int
    ) -> None:
        self.selection, self.columns, self.work, self.weighted = selection, columns, work, weighted
        self.weight = next((i for i, column in enumerate(columns) if column.role == "weight"), 0)
        self.class_column = _class_column(columns)
        pilot = self._pilot()
        self.binning = Binning.of(pilot, bins)
        if self.class_column is not None and len(np.unique(pilot[:, self.class_column])) > MOST_CLASSES:
            self.class_column = None
        rows = int(budget * SAMPLE_SHARE) // (8 * (2 * len(columns) + 3))
        self.sample = _Sample(max(1, min(SAMPLE_ROWS, rows)), len(columns))
        self.sums: dict[float, Sums] = {}
        self._waiting: dict[int, dict[float, Sums]] = {}
        self._numbers = {task.first: number for number, task in enumerate(work)}
        self._next = 0
        self._lock = threading.Lock()

    def _pilot(self) -> Matrix:
        """Some thousand rows from all over the source, shape (n_rows, n_columns)."""
        blocks = [(task, start) for task in self.work for start in range(task.start, task.stop, BLOCK_ROWS)]
        found, rows = [np.zeros((0, len(self.columns)))], 0
        # Ever finer: the first one, then those at 1/2, at 1/4 and 3/4, and so on, each once.
        step, seen = 1 << max(0, len(blocks) - 1).bit_length(), 0
        with closing(Packer(self.selection, with_id=True)) as packer:
            out = np.empty((BLOCK_ROWS, packer.layout.record_bytes), np.uint8)
            for number in _halving(step):
                if number >= len(blocks):
                    continue
                if rows >= PILOT_ROWS or (seen >= PILOT_BLOCKS and rows >= FEWEST):
                    break
                task, start = blocks[number]
                kept = packer.pack(task, start, min(start + BLOCK_ROWS, task.stop), out)
                found.append(self._values(out[:kept]))
                rows += kept
                seen += 1
        return np.concatenate(found)

    def _values(self, records: Records) -> Matrix:
        values = np.empty((len(records), len(self.columns)), order="F")  # most is done column by column
        if len(records):
            for i, column in enumerate(self.columns):
                values[:, i] = np.ndarray((len(records),), column.dtype, records, column.offset, (records.shape[1],))
        return values

    def run(self, packer: Packer, task: Task) -> None:
        """Add a task's rows."""
        sums: dict[float, Sums] = {}
        rows = max(256, CHUNK // len(self.columns))
        for records in packer.blocks(task):
            for start in range(0, len(records), rows):
                self._add(records[start : start + rows], sums)
        with self._lock:  # sums are added up in the order of the source
            self._waiting[self._numbers[task.first]] = sums
            while self._next in self._waiting:
                self._merge(self._waiting.pop(self._next))
                self._next += 1

    def _add(self, records: Records, sums: dict[float, Sums]) -> None:
        values = self._values(records)
        weights = None
        if self.weighted:
            weights = np.where(np.isfinite(values[:, self.weight]), values[:, self.weight], 0.0)
        place = slice(self.selection.id_offset, self.selection.id_offset + ID_BYTES)
        ids = np.ascontiguousarray(records[:, place]).view(np.uint64)[:, 0]
        self.sample.add(ids, values, weights)
        class_column = self.class_column  # another thread may find that there are too many classes
        if class_column is None:
            sums.setdefault(0.0, Sums(self.binning)).add(values, weights)
            return
        of_class = values[:, class_column]
        for value in np.unique(of_class).tolist():
            here = np.isnan(of_class) if math.isnan(value) else of_class == value
            key = math.nan if math.isnan(value) else value  # the one NaN that dicts find again
            sums.setdefault(key, Sums(self.binning)).add(values.T[:, here].T, None if weights is None else weights[here])
        if len(sums) > MOST_CLASSES:
            self.class_column = None

    def _merge(self, sums: dict[float, Sums]) -> None:
        for value, of_class in sums.items():
            if value in self.sums:
                self.sums[value].merge(of_class)
            else:
                self.sums[value] = of_class
        if self.class_column is None or len(self.sums) > MOST_CLASSES:
            self.class_column = None
            self.sums = {0.0: self._total()}

    def _total(self) -> Sums:
        total = Sums(self.binning)
        for value in sorted(self.sums, key=_last_nan):
            total.merge(self.sums[value])
        return total

    def result(self, titles: Mapping[float, str]) -> Statistics:
        """Once all tasks are done."""
        names = [(column.name, column.role) for column in self.columns]
        features = sum(column.role == "feature" for column in self.columns)
        total = self._total()
        values, weights = self.sample.rows()
        classes: list[ClassStatistics] = []
        if self.class_column is not None:
            of_class = values[:, self.class_column]
            for value in sorted(self.sums, key=_last_nan):
                sums = self.sums[value]
                here = np.isnan(of_class) if math.isnan(value) else of_class == value
                quantiles = quantiles_of(values[here], None if weights is None else weights[here])
                classes.append(
                    ClassStatistics(value, titles.get(value, ""), sums.rows, sums.weight, sums.columns(names, quantiles))
                )
        return Statistics(
            rows=total.rows,
            weight=total.weight,
            weighted=self.weighted,
            sample_rows=len(values),
            columns=total.columns(names, quantiles_of(values, weights)),
            feature_names=tuple(name for name, role in names if role == "feature"),
            correlation=total.correlation(features),
            class_column="" if self.class_column is None else names[self.class_column][0],
            classes=tuple(classes),
        )


class _Sample:
    """The rows whose numbers have the smallest hashes, whatever the order is in which they come.

    Parameters
    ----------
    size
        How many at most.
    columns
        Of each.
    """

    def __init__(self, size: int, columns: int) -> None:
        self.size, self.columns = size, columns
        self._limit = np.uint64(2**64 - 1)
        self._held: list[tuple[npt.NDArray[np.uint64], Matrix, Matrix | None]] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, ids: npt.NDArray[np.uint64], values: Matrix, weights: Matrix | None) -> None:
        keys = row_keys(ids, _SALT, 0)
        chosen = np.flatnonzero(keys <= self._limit)
        if not len(chosen):
            return
        some = keys[chosen], values[chosen], None if weights is None else weights[chosen]
        with self._lock:
            self._held.append(some)
            self._count += len(chosen)
            if self._count > 2 * self.size:
                self._shrink()

    def _shrink(self) -> None:
        """Leave out what is not among the smallest, in the order of the hashes."""
        keys = np.concatenate([entry[0] for entry in self._held])
        kept = np.argsort(keys)[: self.size]
        values = np.concatenate([entry[1] for entry in self._held])[kept]
        given = [entry[2] for entry in self._held if entry[2] is not None]
        self._held = [(keys[kept], values, np.concatenate(given)[kept] if given else None)]
        self._count = len(kept)
        if len(kept) == self.size:
            self._limit = self._held[0][0][-1]

    def rows(self) -> tuple[Matrix, Matrix | None]:
        """Values, shape (n_rows, n_columns), and weights."""
        if not self._held:
            return np.zeros((0, self.columns)), None
        self._shrink()
        return self._held[0][1], self._held[0][2]


def _class_column(columns: list[_Column]) -> int | None:
    """The target that can be a class: the label of samples, or the only one."""
    targets = [i for i, column in enumerate(columns) if column.role == "target"]
    labels = [i for i in targets if columns[i].name == LABEL]
    found = labels or targets
    return found[0] if len(found) == 1 else None


def _halving(size: int) -> Iterator[int]:
    """Numbers below a power of two, each once, so that the first ones lie evenly."""
    yield 0
    step = size
    while step > 1:
        yield from range(step // 2, size, step)
        step //= 2


def _last_nan(value: float) -> tuple[bool, float]:
    return (True, 0.0) if math.isnan(value) else (False, value)
