"""Parts whose columns are decoded natively, as far as plans can say how; what they cannot, uproot reads."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels import SourceFile
from kernels.columns import ColumnPlan, ColumnReader, DecodeError, memory_file, open_file
from mlcore.batches.blocks import Block, Jagged, Values
from mlcore.batches.schema import Column
from mlcore.batches.sources._places import Place, check_version
from mlcore.batches.sources._readers import JoinedReader
from mlcore.batches.sources.part import BlockReader, DamagedDataError, Part
from mlcore.errors import InputError, MLCoreError

WINDOW = 32 * 1024**2
"""Bytes of a remote file that are fetched at a time."""


@dataclass(frozen=True, eq=False)
class NativeColumn:
    """A column that can be decoded natively.

    Attributes
    ----------
    column
        With the name that it has in blocks.
    plan
        Where its bytes lie.
    where
        The part, for messages.
    unit
        What a page of the plan is called: ``"basket"`` or ``"page"``.
    covered
        Rows from the first on that it has at all.
    rows
        Of the part.
    """

    column: Column
    plan: ColumnPlan
    where: str
    unit: str
    covered: int
    rows: int


class NativeReader(BlockReader):
    """Columns of local files, decoded without Python."""

    def __init__(self, files: Sequence[SourceFile], columns: Sequence[NativeColumn], block_rows: int) -> None:
        self.block_rows = block_rows
        self.columns = tuple(columns)
        self.native: ColumnReader | None = ColumnReader(files, [column.plan for column in columns], block_rows)

    def read(self, start: int, stop: int) -> Block:
        if self.native is None:
            raise ValueError("the reader is closed")
        self.check_rows(stop)
        try:
            self.native.read(start, stop)
        except DecodeError as error:
            raise self.damaged(error) from error
        except OSError as error:
            raise _unreadable(self.columns[0], error) from error
        return {entry.column.name: _values(self.native, i, entry.column) for i, entry in enumerate(self.columns)}

    def check_rows(self, stop: int) -> None:
        _check_covered(self.columns, stop)

    def damaged(self, error: DecodeError) -> DamagedDataError:
        return _damaged(self.columns[error.column], error)

    def close(self) -> None:
        self.native = None


def _check_covered(columns: Sequence[NativeColumn], stop: int) -> None:
    for entry in columns:
        if stop > entry.covered:
            message = (
                f"{entry.where}: column {entry.column.name!r} ends at row {entry.covered} of {entry.rows}: the rest was lost"
            )
            raise DamagedDataError(message, start=entry.covered, stop=entry.rows)


def _values(native: ColumnReader, i: int, column: Column) -> Values:
    values = native.values(i)
    if column.shape:
        values = values.reshape(len(values) if values.ndim > 1 else len(values) // column.items, *column.shape)
    offsets = native.offsets(i)
    return values if offsets is None else Jagged(values, offsets)


def _damaged(entry: NativeColumn, error: DecodeError) -> DamagedDataError:
    what = f"{entry.unit} of offsets" if error.of_offsets else entry.unit
    message = (
        f"{entry.where}: column {entry.column.name!r}, {what} {error.page}, rows {error.start} to {error.stop}: {error.reason}"
    )
    return DamagedDataError(message, start=error.start, stop=error.stop)


def _unreadable(entry: NativeColumn, error: OSError) -> InputError:
    return InputError(f"{entry.where} cannot be read: {error.strerror or error}", hint="Check the disk and the file.")


class RemoteReader(BlockReader):
    """Columns of a remote file: what a window of rows needs is fetched, and decoded natively.

    Parameters
    ----------
    part
        The file, its embedded bytes and the rows that pages hold.
    columns
        With plans.
    block_rows
        The most rows of a block.
    """

    def __init__(self, part: PlannedPart, columns: Sequence[NativeColumn], block_rows: int) -> None:
        self.block_rows = block_rows
        self.part = part
        self.columns = tuple(columns)
        spans = np.concatenate([part.spans(column.column.name) for column in columns])
        self.spans = np.unique(spans[np.argsort(spans[:, 2], kind="stable")], axis=0)
        self.start = self.stop = 0
        self.reader: ColumnReader | None = None

    def read(self, start: int, stop: int) -> Block:
        _check_covered(self.columns, stop)
        held = self.start <= start < stop <= self.stop
        reader = self.reader if self.reader is not None and held else self._fetched(start, stop)
        try:
            reader.read(start, stop)
        except DecodeError as error:
            raise _damaged(self.columns[error.column], error) from error
        return {entry.column.name: _values(reader, i, entry.column) for i, entry in enumerate(self.columns)}

    def _fetched(self, start: int, stop: int) -> ColumnReader:
        """A reader of the pages of at least these rows, and of more as long as they are no more than `WINDOW` bytes."""
        self.close()
        ahead = self.spans[self.spans[:, 3] > start]
        ahead = ahead[np.argsort(ahead[:, 2], kind="stable")]
        total = np.cumsum(ahead[:, 1])
        within = ahead[total <= WINDOW]
        # Behind the last page that fits, the next one begins.
        enough = int(ahead[len(within), 2]) if len(within) < len(ahead) else self.part.rows
        self.start, self.stop = start, max(stop, enough)
        wanted = ahead[ahead[:, 2] < self.stop]
        pieces = self.part.place.fetch([(int(at), int(at + size)) for at, size, _, _ in wanted])
        files = [memory_file(pieces), memory_file(self.part.embedded())]
        self.reader = ColumnReader(files, [column.plan for column in self.columns], self.block_rows)
        return self.reader

    def close(self) -> None:
        self.reader = None


class PlannedPart(Part):
    """A table of a ROOT file.

    Attributes
    ----------
    place
        Where the file is.
    version
        Of the file when it was opened.
    unit
        What a page of a plan is called: ``"basket"`` or ``"page"``.
    """

    place: Place
    version: tuple[str, ...]
    unit: str

    def __init__(self) -> None:
        self._plans: dict[str, ColumnPlan | None] = {}
        self._pieces: list[tuple[int, bytes]] = []
        self._size = 0
        self._lock = threading.RLock()

    @abstractmethod
    def make_plan(self, name: str) -> ColumnPlan | None:
        """The plan of a column, with file 0 for the part's and 1 for what `embed` took; None where plans cannot say it."""

    @abstractmethod
    def fallback(self, names: Sequence[str], block_rows: int) -> BlockReader:
        """A reader of columns that have no plan."""

    @abstractmethod
    def spans(self, name: str) -> npt.NDArray[np.int64]:
        """The pages of a column's plan in file 0, with those of its offsets: int64, shape (n, 4).

        Each is where it begins and its length in bytes, then the first row that it is needed for and the one behind the last.
        """

    def covered(self, name: str) -> int:
        """Rows from the first on that a column has; fewer than the part's where a file lost its end."""
        return self.rows

    def embed(self, data: bytes) -> int:
        """Keep bytes that lie nowhere in the file as they are needed; where they begin in file 1."""
        at = self._size
        self._pieces.append((at, data))
        self._size += len(data)
        return at

    def embedded(self) -> list[tuple[int, bytes]]:
        """What `embed` was given."""
        with self._lock:
            return list(self._pieces)

    def plan(self, name: str) -> ColumnPlan | None:
        """The plan of a column; None where there is none. Columns that share offsets share their plan's object.

        Raises
        ------
        DamagedDataError
            The metadata of the column makes no sense.
        """
        with self._lock:
            if name not in self._plans:
                try:
                    self._plans[name] = self.make_plan(name)
                except (MLCoreError, MemoryError):
                    raise
                except Exception as error:  # plans check themselves, and uproot reads embedded baskets only now
                    message = f"{self.name}: it is not clear where the {self.unit}s of column {name!r} lie: {error}"
                    raise DamagedDataError(message, start=0, stop=self.rows) from error
            return self._plans[name]

    def native_columns(self, names: Sequence[str]) -> list[NativeColumn | None]:
        """What native readers need of each column, or None."""
        found: list[NativeColumn | None] = []
        for name in names:
            plan = self.plan(name)
            found.append(
                None
                if plan is None
                else NativeColumn(self.schema[name], plan, self.name, self.unit, self.covered(name), self.rows)
            )
        return found

    def reader_bytes(self, columns: Sequence[str]) -> int:
        plans = [plan for name in columns if (plan := self.plan(name)) is not None]
        found = sum(_largest_page(plan) for plan in plans)
        offsets = {id(plan.offsets): plan.offsets for plan in plans if plan.offsets is not None}
        return found + sum(3 * _largest_page(plan) for plan in offsets.values()) + (WINDOW if self.place.remote else 0)

    def files(self) -> list[SourceFile]:
        """The files that plans count, opened; only of a local part.

        Raises
        ------
        InputError
            The file cannot be opened any more.
        """
        try:
            return [open_file(self.place.path), memory_file(self.embedded())]
        except OSError as error:
            raise InputError(f"{self.place.path} cannot be opened: {error.strerror or error}", hint="Check the path.") from error

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        self.schema.features(columns)
        every = self.native_columns(columns)
        planned = [entry for entry in every if entry is not None]
        others = [name for name, entry in zip(columns, every, strict=True) if entry is None]
        readers: list[BlockReader] = []
        if planned:
            native = RemoteReader(self, planned, block_rows) if self.place.remote else None
            readers.append(native or NativeReader(self.files(), planned, block_rows))
        if others:
            readers.append(self.fallback(others, block_rows))
        if len(readers) == 1:
            return readers[0]
        names = [{entry.column.name: entry.column.name for entry in planned}, {name: name for name in others}]
        return JoinedReader(list(zip(readers, names, strict=True)), columns, block_rows)

    def check_unchanged(self) -> None:
        check_version(self.place, self.version)


def _largest_page(plan: ColumnPlan) -> int:
    """Bytes of the largest page when it is decompressed, as far as the plan tells."""
    if not len(plan.pages):
        return 0
    numbers = int(plan.pages[:, 4].max()) * np.dtype(plan.dtype).itemsize
    if plan.kind == "basket":
        numbers *= plan.items
    return max(numbers, int(plan.pages[:, 2].max()))


def common_boundaries(starts: Sequence[npt.NDArray[np.int64]], rows: int) -> npt.NDArray[np.int64]:
    """Rows at which pages of all columns begin; where that are next to none, those of the column with the fewest pages.

    Cutting elsewhere costs one more page of each column that has no boundary there, so the largest pages decide.
    """
    ends = np.array([0, rows], np.int64)
    if not starts or rows == 0:
        return np.unique(ends)
    common = starts[0]
    for other in starts[1:]:
        common = np.intersect1d(common, other, assume_unique=True)
    fewest = min(starts, key=len)
    chosen = common if len(common) * 2 >= len(fewest) else fewest
    return np.unique(np.concatenate([ends, chosen[(chosen > 0) & (chosen < rows)]]))
