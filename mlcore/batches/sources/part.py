"""What every format offers: a part is one table of one file, and a reader gives its rows in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Block
from mlcore.batches.schema import Schema
from mlcore.errors import DataError


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
    native
        A `kernels.ColumnReader` of the same columns in the same order, where rows can be decoded without Python; else None.
    """

    native: Any = None

    @abstractmethod
    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """Rows ``start`` to ``stop`` in order, in blocks of as many rows as the reader was made for, the last one shorter.

        The arrays are overwritten when the next block is asked for.

        Raises
        ------
        DamagedDataError
            Rows cannot be read. Reading may go on from a later row with a new call.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back files and memory."""

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
    rows
        Their number.
    schema
        The columns.
    fingerprint
        Changes when the content does: path, size, time of the last change and what the format itself offers.
    """

    name: str
    rows: int
    schema: Schema
    fingerprint: str

    @abstractmethod
    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        """Rows at which storage units (clusters, baskets, row groups) of these columns begin, with 0 and `rows`, ascending.

        Reading from one boundary to another decodes nothing twice, or as little as can be.
        """

    @abstractmethod
    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        """A reader of these columns.

        Raises
        ------
        DataError
            There is no such column, or it can be no feature.
        """
