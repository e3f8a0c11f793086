"""What every format offers: a part is one table of one file, and a reader gives its rows in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from kernels.columns import ColumnReader, DecodeError
from mlcore.batches.blocks import Block
from mlcore.batches.schema import Schema
from mlcore.errors import DataError

if TYPE_CHECKING:
    from mlcore.batches.expressions import Expression


class DamagedDataError(DataError):
    """Rows that cannot be read, while others of the same part can.

    Parameters
    ----------
    message
        Which file, column and basket or page, and what is wrong with it.
    start, stop
        The rows of the part that are lost with it.
    """

    code = "batches.damaged"

    def __init__(self, message: str, *, start: int, stop: int, hint: str = "") -> None:
        super().__init__(message, hint=hint or 'Copy the file again, or pass on_error="skip" to go on without these rows.')
        self.start = start
        self.stop = stop


class BlockReader(ABC):
    """Some columns of a part, read by one thread; several readers of one part may be used at a time.

    Attributes
    ----------
    block_rows
        The most rows of a block.
    native
        A `kernels.ColumnReader` of the same columns in the same order, where rows can be decoded without Python; else None.
        What it raises, `damaged` translates.
    """

    block_rows: int
    native: ColumnReader | None = None

    @abstractmethod
    def read(self, start: int, stop: int) -> Block:
        """Rows ``start`` to ``stop``, from one to `block_rows`, in any order of calls; ascending ones are the fastest.

        The arrays are overwritten by the next call.

        Raises
        ------
        DamagedDataError
            Some of the rows, or all, cannot be read. Those before its `start` can, unless something else is damaged there.
        """

    def check_rows(self, stop: int) -> None:  # noqa: B027 - most formats know of no lost rows before they read them
        """Make sure that there are rows up to here, which `native` takes for granted.

        Raises
        ------
        DamagedDataError
            A file lost its end.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back files and memory."""

    def damaged(self, error: DecodeError) -> DamagedDataError:
        """What an error of `native` means, with the names of the file and the column."""
        raise TypeError("only a reader with a native one translates its errors") from error

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """Rows ``start`` to ``stop`` in order, in blocks of `block_rows`, the last one shorter.

        The arrays are overwritten when the next block is asked for. Before a `DamagedDataError` come all rows in front of it.

        Raises
        ------
        DamagedDataError
            Rows cannot be read. Reading may go on with a new call, from the error's `stop`.
        """
        row, limit = start, stop
        while row < stop:
            upto = min(row + self.block_rows, limit)
            try:
                block = self.read(row, upto)
            except DamagedDataError as error:
                if error.start <= row or error.start >= upto:
                    error.start = min(row, error.start)  # asked for again it fails in the same way
                    raise
                limit = error.start
                continue
            yield block
            row = upto
            if row == limit:
                limit = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Part(ABC):
    """One table of one file.

    Attributes
    ----------
    name
        For messages, such as ``signal.root:Events``.
    table
        Of the tree or group, such as ``Events``; empty where it has none.
    rows
        Their number.
    schema
        The columns.
    fingerprint
        Changes when the content does: path, size, time of the last change and what the format itself offers.
    lasting
        Whether the fingerprint means the same in another process.
    constants
        Columns that have one value in all rows; readers need not be asked for them.
    keep
        Which rows are meant at all, where it is not all of them; readers give what it reads beside what they are asked for.
    """

    name: str
    table: str = ""
    rows: int
    schema: Schema
    fingerprint: str
    lasting: bool = True
    constants: Mapping[str, float] = MappingProxyType({})
    keep: Expression | None = None

    @property
    def identity(self) -> str:
        """Its name without the folder, by which its rows are known wherever the file lies."""
        place = getattr(self, "place", None)
        if place is None:
            return self.name.rpartition("/")[2]
        table = place.table.partition(";")[0].strip("/")
        return f"{place.path.rpartition('/')[2]}:{table}"

    @abstractmethod
    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        """Rows at which storage units (clusters, baskets, row groups) of these columns begin, with 0 and `rows`, ascending.

        Reading from one boundary to another decodes nothing twice, or as little as can be.
        """

    def reader_bytes(self, columns: Sequence[str]) -> int:
        """About what a reader of these columns keeps in memory from one block to the next; 0 where that is not known."""
        return 0

    @abstractmethod
    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        """A reader of these columns.

        Raises
        ------
        DataError
            There is no such column, or it can be no feature.
        """

    @abstractmethod
    def check_unchanged(self) -> None:
        """Make sure that the file is still the one that was opened.

        Raises
        ------
        InputError
            It is not.
        """
