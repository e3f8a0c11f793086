"""Readers that several formats share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from mlcore.batches.blocks import Block, Values
from mlcore.batches.sources._values import cut_block, join, rows_of
from mlcore.batches.sources.part import BlockReader, DamagedDataError


class ArraysReader(BlockReader):
    """Rows of arrays in memory.

    Parameters
    ----------
    columns
        Of equal numbers of rows.
    block_rows
        The most rows of a block.
    """

    def __init__(self, columns: Mapping[str, Values], block_rows: int) -> None:
        self.columns = dict(columns)
        self.block_rows = block_rows

    def read(self, start: int, stop: int) -> Block:
        return cut_block(self.columns, start, stop)

    def close(self) -> None:
        self.columns = {}


class PiecesReader(BlockReader):
    """Rows of a format that gives them in pieces of its own size, such as row groups; a piece is read once where rows ascend."""

    def __init__(self, block_rows: int) -> None:
        self.block_rows = block_rows
        self._held: Block = {}
        self._first = 0
        self._pieces: Iterator[Block] | None = None

    @abstractmethod
    def pieces(self, start: int) -> Iterator[Block]:
        """Blocks of any size, one after the other: the first one begins at row `start`, the last one ends with the part."""

    def read(self, start: int, stop: int) -> Block:
        held = rows_of(self._held)
        if self._pieces is None or not self._first <= start <= self._first + held:
            self._drop()
            self._pieces, self._first, held = self.pieces(start), start, 0
        if start + 1 > self._first + held:
            self._held, self._first, held = {}, start, 0
        parts = [cut_block(self._held, start - self._first, held)] if held else []
        self._first = start
        have = rows_of(parts[0]) if parts else 0
        try:
            while have < stop - start:
                piece = next(self._pieces, None)
                if piece is None:
                    what = f"the data ends at row {start + have}"
                    raise DamagedDataError(what, start=start + have, stop=stop)
                parts.append(piece)
                have += rows_of(piece)
        except DamagedDataError as error:
            self._drop()  # a generator that raised has ended
            error.start = max(error.start, start + have)
            raise
        self._held = {name: join([part[name] for part in parts]) for name in parts[0]} if parts else {}
        return cut_block(self._held, 0, stop - start)

    def _drop(self) -> None:
        self._held, self._pieces = {}, None

    def close(self) -> None:
        self._drop()


class JoinedReader(BlockReader):
    """Columns of several readers of the same rows, in the order that is asked for.

    Parameters
    ----------
    readers
        Each with the names that its columns have here and there.
    columns
        All names, in order.
    block_rows
        The most rows of a block.
    """

    def __init__(self, readers: Sequence[tuple[BlockReader, Mapping[str, str]]], columns: Sequence[str], block_rows: int) -> None:
        self.readers = tuple(readers)
        self.columns = tuple(columns)
        self.block_rows = block_rows

    def read(self, start: int, stop: int) -> Block:
        found: dict[str, Values] = {}
        first: DamagedDataError | None = None
        for reader, names in self.readers:
            try:
                block = reader.read(start, stop)
            except DamagedDataError as error:
                if first is None or error.start < first.start:
                    first = error
                continue
            found |= {here: block[there] for here, there in names.items()}
        if first is not None:
            raise first
        return {name: found[name] for name in self.columns}

    def close(self) -> None:
        for reader, _ in self.readers:
            reader.close()
