"""How rows are cut into blocks, and what happens around rows that are lost; with readers that can lose any."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.batches.blocks import Block, Jagged
from mlcore.batches.sources import BlockReader, DamagedDataError
from mlcore.batches.sources._planned import common_boundaries
from mlcore.batches.sources._readers import ArraysReader, JoinedReader, PiecesReader
from mlcore.batches.sources._values import cut, join

ROWS = 200


def jagged(rows: np.ndarray) -> Jagged:
    counts = rows % 4
    return Jagged(np.repeat(rows, counts), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


class Lossy(BlockReader):
    """Rows that are their own numbers, some ranges of which are lost."""

    def __init__(self, name: str, lost: list[tuple[int, int]], block_rows: int) -> None:
        self.name = name
        self.lost = lost
        self.block_rows = block_rows

    def read(self, start: int, stop: int) -> Block:
        assert 0 <= start < stop <= ROWS
        assert stop - start <= self.block_rows
        for first, last in sorted(self.lost):
            if first < stop and last > start:
                raise DamagedDataError(self.name, start=first, stop=last)
        return {self.name: np.arange(start, stop)}

    def close(self) -> None:
        pass


class Pieces(PiecesReader):
    """The same, in pieces that end at edges."""

    def __init__(self, name: str, edges: list[int], lost: list[tuple[int, int]], block_rows: int) -> None:
        super().__init__(block_rows)
        self.name, self.edges, self.lost = name, sorted({*edges, ROWS} - {0}), lost
        self.begun: list[int] = []

    def pieces(self, start: int) -> Iterator[Block]:
        self.begun.append(start)
        while start < ROWS:
            stop = next(edge for edge in self.edges if edge > start)
            for first, last in sorted(self.lost):
                if first < stop and last > start:
                    if first > start:
                        yield self.block(start, first)
                    raise DamagedDataError(self.name, start=first, stop=last)
            yield self.block(start, stop)
            start = stop

    def block(self, start: int, stop: int) -> Block:
        rows = np.arange(start, stop)
        return {self.name: rows, "v": jagged(rows)}


def read(reader: BlockReader, start: int, stop: int) -> tuple[list[int], set[int]]:
    """The rows that come, and those that are said to be lost."""
    rows: list[int] = []
    lost: set[int] = set()
    while start < stop:
        try:
            for block in reader.blocks(start, stop):
                values = list(block.values())
                first = values[0]
                assert isinstance(first, np.ndarray)
                assert 0 < len(first) <= reader.block_rows
                for other in values[1:]:
                    if isinstance(other, Jagged):
                        np.testing.assert_array_equal(other.values, jagged(first).values)
                    else:
                        np.testing.assert_array_equal(other, first)
                rows += first.tolist()
                start = rows[-1] + 1
            return rows, lost
        except DamagedDataError as error:
            # Rows before the error's have come: nothing is asked for twice, nothing is left out.
            lost |= set(range(max(start, error.start), min(error.stop, stop)))
            start = error.stop
    return rows, lost


LOST = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 40)).map(lambda pair: (pair[0], sum(pair))), max_size=4)
RANGE = st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)).map(sorted)


@given(lost=LOST, span=RANGE, block_rows=st.sampled_from([1, 7, 64, 500]))
def test_rows_come_or_are_lost(lost: list[tuple[int, int]], span: list[int], block_rows: int) -> None:
    rows, gone = read(Lossy("x", lost, block_rows), *span)
    exact = {row for first, last in lost for row in range(max(first, span[0]), min(last, span[1]))}
    assert gone == exact
    assert rows == sorted(set(range(*span)) - exact)


@given(lost=LOST, span=RANGE, block_rows=st.sampled_from([1, 7, 64, 500]), edges=st.lists(st.integers(1, ROWS), max_size=6))
def test_pieces(lost: list[tuple[int, int]], span: list[int], block_rows: int, edges: list[int]) -> None:
    rows, gone = read(Pieces("x", edges, lost, block_rows), *span)
    exact = {row for first, last in lost for row in range(max(first, span[0]), min(last, span[1]))}
    assert gone == exact
    assert rows == sorted(set(range(*span)) - exact)


@given(one=LOST, two=LOST, span=RANGE, block_rows=st.sampled_from([7, 64]))
def test_joined(one: list[tuple[int, int]], two: list[tuple[int, int]], span: list[int], block_rows: int) -> None:
    parts = [(Lossy("x", one, block_rows), {"x": "x"}), (Pieces("y", [50, 120], two, block_rows), {"other": "y", "v": "v"})]
    rows, gone = read(JoinedReader(parts, ["other", "x", "v"], block_rows), *span)
    exact = {row for first, last in one + two for row in range(max(first, span[0]), min(last, span[1]))}
    assert gone == exact
    assert rows == sorted(set(range(*span)) - exact)


def test_pieces_are_read_once_where_rows_ascend() -> None:
    reader = Pieces("x", [60, 130], [], 17)
    assert read(reader, 0, ROWS)[0] == list(range(ROWS))
    assert reader.begun == [0]
    assert read(reader, 150, 180)[0] == list(range(150, 180))
    assert reader.begun == [0, 150]


def test_data_that_ends_early() -> None:
    class Short(Pieces):
        def pieces(self, start: int) -> Iterator[Block]:
            yield self.block(start, 100)

    with pytest.raises(DamagedDataError, match="the data ends at row 100") as caught:
        list(Short("x", [], [], 64).blocks(10, ROWS))
    assert (caught.value.start, caught.value.stop) == (100, 164)


def test_what_was_read_before_an_error_comes() -> None:
    """Also where the error says that more is lost, as it may for what is stored together."""

    class Broad(Pieces):
        def pieces(self, start: int) -> Iterator[Block]:
            if start < 100:
                yield self.block(start, 100)
            raise DamagedDataError("broad", start=50, stop=ROWS)

    rows, gone = read(Broad("x", [], [], 64), 10, ROWS)
    assert rows == list(range(10, 100))
    assert gone == set(range(100, ROWS))


@given(cuts=st.lists(st.integers(0, ROWS), max_size=5))
def test_what_is_cut_can_be_joined(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), ROWS]
    flat, ragged = np.arange(ROWS * 2).reshape(ROWS, 2), jagged(np.arange(ROWS))
    np.testing.assert_array_equal(join([cut(flat, a, b) for a, b in itertools.pairwise(edges)]), flat)
    again = join([cut(ragged, a, b) for a, b in itertools.pairwise(edges)])
    assert isinstance(again, Jagged)
    np.testing.assert_array_equal(again.values, ragged.values)
    np.testing.assert_array_equal(again.offsets, ragged.offsets)


def test_arrays_are_not_copied() -> None:
    x = np.arange(10)
    (block,) = ArraysReader({"x": x}, 100).blocks(2, 9)
    assert np.shares_memory(block["x"], x)


def test_boundaries_of_several_columns() -> None:
    starts = [np.array([0, 10, 20, 30]), np.array([0, 20])]
    assert common_boundaries(starts, 40).tolist() == [0, 20, 40]
    # That of few pages decides, where next to none are common.
    starts = [np.array([0, 11, 22, 33, 39]), np.array([0, 10, 20, 30])]
    assert common_boundaries(starts, 40).tolist() == [0, 10, 20, 30, 40]
    assert common_boundaries([np.array([0])], 0).tolist() == [0]
