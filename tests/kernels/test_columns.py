"""Columns of files that uproot writes, against uproot's arrays."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import pytest
import uproot
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import ColumnPlan, ColumnReader, DecodeError, RowField, RowLayout, reference_columns
from kernels.columns import NUMBER_TYPES
from kernels.decompressors import Decompressors, chosen, found
from tests.kernels.root_plans import ntuple_plans, tree_plans

COMPRESSIONS = {
    "zlib": uproot.ZLIB(1),
    "lz4": uproot.LZ4(4),
    "zstd": uproot.ZSTD(5),
    "lzma": uproot.LZMA(1),
    "none": None,
}
TYPES = [name for name in NUMBER_TYPES if name != "float16"]
ROWS = 2500
FLAT = [*TYPES, "point", "square"]
JAGGED = ["v_float32", "v_float64", "v_int32", "v_uint8", "v_int64"]


def column(name: str, start: int, stop: int) -> Any:
    """Rows of a column, numbers that compress."""
    rng = np.random.default_rng([start, len(name)])
    n = stop - start
    if name == "point":
        return rng.normal(size=(n, 3)).astype(np.float32).round(1)
    if name == "square":
        return rng.integers(0, 9, (n, 2, 2)).astype(np.int16)
    if name.startswith("v_"):
        counts = rng.integers(0, 6, n)
        counts[n // 2 : n // 2 + 40] = 0
        return ak.unflatten(rng.integers(0, 200, counts.sum()).astype(name[2:]), counts)
    if name == "bool":
        return rng.random(n) < 0.5
    dtype = np.dtype(name)
    if dtype.kind == "f":
        return rng.normal(0, 10, n).round(2).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(max(limits.min, -3000), min(limits.max, 3000), n).astype(dtype)


@pytest.fixture(scope="module", params=COMPRESSIONS)
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a basket of each branch for each of four ranges of rows."""
    path: Path = tmp_path_factory.mktemp("tree") / "tree.root"
    edges = [0, 700, 701, 1900, ROWS]
    with uproot.recreate(path, compression=COMPRESSIONS[request.param]) as file:
        for start, stop in itertools.pairwise(edges):
            chunk = {name: column(name, start, stop) for name in [*FLAT, *JAGGED]}
            if start:
                file["t"].extend(chunk)
            else:
                file.mktree("t", chunk)
    return path


@pytest.fixture(scope="module", params=COMPRESSIONS)
def ntuple(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An RNTuple with four clusters."""
    path: Path = tmp_path_factory.mktemp("ntuple") / "ntuple.root"
    edges = [0, 700, 701, 1900, ROWS]
    with uproot.recreate(path, compression=COMPRESSIONS[request.param]) as file:
        for start, stop in itertools.pairwise(edges):
            chunk = {name: column(name, start, stop) for name in [*TYPES, *JAGGED]}
            chunk["jets"] = ak.zip({"pt": chunk["v_float32"], "n": ak.values_astype(chunk["v_float32"], np.int32)})
            if start:
                file["n"].extend(chunk)
            else:
                file.mkrntuple("n", chunk)
    return path


def expected(array: Any) -> tuple[Any, Any]:
    """Values and offsets of uproot's array."""
    if array.ndim > 1 and "var" in str(array.type):
        counts = ak.to_numpy(ak.num(array))
        return ak.to_numpy(ak.flatten(array)), np.concatenate([[0], np.cumsum(counts)])
    return ak.to_numpy(array), None


def check_block(reader: ColumnReader, arrays: list[Any], start: int, stop: int) -> None:
    reader.read(start, stop)
    assert reader.rows == stop - start
    for i, array in enumerate(arrays):
        values, offsets = expected(array[start:stop])
        found = reader.values(i)
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values.reshape(found.shape))
        if offsets is None:
            assert reader.offsets(i) is None
        else:
            np.testing.assert_array_equal(reader.offsets(i), offsets)


def check_ranges(reader: ColumnReader, arrays: list[Any], block_rows: int) -> None:
    """All rows in order, and then in no order."""
    for start in range(0, ROWS, block_rows):
        check_block(reader, arrays, start, min(ROWS, start + block_rows))
    rng = np.random.default_rng(5)
    for start in rng.integers(0, ROWS, 12):
        check_block(reader, arrays, int(start), int(min(ROWS, start + rng.integers(0, block_rows + 1))))


@pytest.mark.parametrize("block_rows", [97, 701, ROWS])
def test_branches(tree: Path, block_rows: int) -> None:
    names = [*FLAT, *JAGGED]
    files, plans = tree_plans(tree, "t", names)
    with uproot.open(tree) as file:
        arrays = [file["t"][name].array() for name in names]
    check_ranges(ColumnReader(files, plans, block_rows), arrays, block_rows)


@pytest.mark.parametrize("block_rows", [97, 701, ROWS])
def test_fields(ntuple: Path, block_rows: int) -> None:
    names = [*TYPES, *JAGGED, "jets.pt", "jets.n"]
    files, plans = ntuple_plans(ntuple, "n", names)
    with uproot.open(ntuple) as file:
        table = file["n"].arrays()
        arrays = [table["jets"][name[5:]] if name.startswith("jets.") else table[name] for name in names]
    assert plans[-1].offsets is plans[-2].offsets
    check_ranges(ColumnReader(files, plans, block_rows), arrays, block_rows)


@pytest.mark.parametrize("target", kernels.available_targets())
def test_every_target_and_python_s_decompressors(tree: Path, ntuple: Path, target: str) -> None:
    for files, plans in (tree_plans(tree, "t", [*FLAT, *JAGGED]), ntuple_plans(ntuple, "n", [*TYPES, "jets.pt"])):
        best = ColumnReader(files, plans, ROWS)
        other = ColumnReader(files, plans, ROWS, using=chosen(()), target=target)
        best.read(3, ROWS)
        other.read(3, ROWS)
        for i in range(len(plans)):
            np.testing.assert_array_equal(best.values(i), other.values(i))


LAYOUT = RowLayout(
    (
        RowField(1, 0),
        RowField(0, 4),
        RowField(2, 8, "float32", 4, pad=-1, mask=24),
        RowField(None, 28, "int16", value=7),
        RowField(0, 30, "float64"),
    ),
    38,
)


def test_records(tree: Path) -> None:
    """Packed block by block, over all blocks in one call, and from the arrays by the oracle: the same bytes."""
    names = ["float32", "int32", "v_float64"]
    files, plans = tree_plans(tree, "t", names)
    reader = ColumnReader(files, plans, 300)
    with uproot.open(tree) as file:
        arrays = [expected(file["t"][name].array()) for name in names]
    columns = [values if offsets is None else (values, offsets) for values, offsets in arrays]
    exact = np.zeros((ROWS, 38), np.uint8)
    reference_columns.pack_columns(columns, LAYOUT, exact)
    found = np.zeros_like(exact)
    assert reader.pack_range(LAYOUT, 0, ROWS, found) == ROWS
    np.testing.assert_array_equal(found, exact)
    mask = np.random.default_rng(1).random(ROWS) < 0.3
    kept = 0
    for start in range(0, ROWS, 300):
        stop = min(ROWS, start + 300)
        reader.read(start, stop)
        kept += reader.pack(LAYOUT, found[kept:], mask[start:stop])
    assert kept == mask.sum()
    np.testing.assert_array_equal(found[:kept], exact[mask])


def test_some_pages_alone(tree: Path, ntuple: Path) -> None:
    """Plans of a few pages, in pieces of memory, as for a range of rows of a remote file: other rows are refused."""
    for path, (files, plans) in (
        (tree, tree_plans(tree, "t", ["float32", "v_float64", "square"])),
        (ntuple, ntuple_plans(ntuple, "n", ["float32", "v_float64", "bool"])),
    ):
        whole = ColumnReader(files, plans, ROWS)
        whole.read(701, 1900)
        counts = whole.offsets(1)
        assert counts is not None
        whole.read(0, 701)
        before = len(whole.values(1))
        data = path.read_bytes()

        def part(plan: ColumnPlan, start: int, stop: int) -> ColumnPlan:
            first, count = plan.pages[:, 3], plan.pages[:, 4]
            return dataclasses.replace(plan, pages=plan.pages[(first >= start) & (first + count <= stop)], offsets=None)

        some = [part(plan, 701, 1900) for plan in plans]
        if plans[1].offsets is not None:
            values = part(plans[1], before, before + int(counts[-1]))
            some[1] = dataclasses.replace(values, offsets=part(plans[1].offsets, 701, 1900))
        every = [*some, *(plan.offsets for plan in some if plan.offsets is not None)]
        pieces = [(int(page[1]), data[page[1] : page[1] + page[2]]) for plan in every for page in plan.pages]
        reader = ColumnReader([kernels.memory_file(pieces)], some, ROWS)
        reader.read(701, 1900)
        whole.read(701, 1900)
        for i in range(3):
            np.testing.assert_array_equal(reader.values(i), whole.values(i))
        for start, stop in [(700, 800), (1800, 1901)]:
            with pytest.raises(ValueError, match="has no rows"):
                reader.read(start, stop)


def test_views_outlive_the_reader(tree: Path) -> None:
    """A view of jagged values stays valid memory when the reader takes more, or goes."""
    files, plans = tree_plans(tree, "t", ["v_int64"])
    reader = ColumnReader(files, plans, ROWS)
    reader.read(0, 10)
    values = reader.values(0)
    before = values.copy()
    reader.read(0, ROWS)
    del reader, files
    assert len(values) == len(before)
    assert not values.flags.writeable


def test_readers_share_files_between_threads(tree: Path) -> None:
    files, plans = tree_plans(tree, "t", ["float32", "v_int32"])
    whole = ColumnReader(files, plans, ROWS)
    whole.read(0, ROWS)
    wanted = whole.values(0).sum(dtype=np.float64)
    sums: list[float] = []

    def work() -> None:
        reader = ColumnReader(files, plans, 100)
        total = 0.0
        for start in range(0, ROWS, 100):
            reader.read(start, start + 100)
            total += reader.values(0).sum(dtype=np.float64)
        sums.append(total)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(sums, [wanted] * 4)


def test_what_cannot_be_read_is_refused(tree: Path) -> None:
    files, plans = tree_plans(tree, "t", ["float32", "v_int32"])
    reader = ColumnReader(files, plans, 100)
    assert reader.values(0).shape == (0,)
    assert reader.offsets(1) is not None
    for start, stop in [(0, 101), (5, 4), (-1, 3)]:
        with pytest.raises(ValueError, match="no rows of a block"):
            reader.read(start, stop)
    with pytest.raises(ValueError, match="column 0 has no rows 2490 to 2501"):
        reader.read(ROWS - 10, ROWS + 1)
    reader.read(7, 7)
    assert reader.rows == 0
    with pytest.raises(IndexError):
        reader.values(2)
    with pytest.raises(ValueError, match="file that is not there"):
        ColumnReader(files[:0], plans, 100)
    index = ColumnPlan("page", "uint32", np.array([PAGE]), encoding="delta")
    with pytest.raises(ValueError, match="offsets of others only"):
        ColumnReader(files, [index], 100)
    with pytest.raises(FileNotFoundError):
        kernels.open_file(tree.parent / "none.root")


PAGE = [0, 0, 8, 0, 2, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "leaf"}, "no kind"),
        ({"dtype": "complex64"}, "cannot be planned"),
        ({"encoding": "gzip"}, "no encoding"),
        ({"encoding": "bits"}, "has no encoding 'bits'"),
        ({"kind": "basket", "encoding": "split"}, "plan of baskets"),
        ({"jagged": True}, "jagged by a plan of offsets"),
        ({"kind": "basket", "header_bytes": 10}, "only the rows of jagged"),
        ({"items": 0}, "at least one value"),
        ({"pages": np.zeros((1, 5), np.int64)}, "pages are int64"),
        ({"pages": np.array([[0, 0, 8, 0, 0, 0]])}, "no page is empty"),
        ({"pages": np.array([[0, -1, 8, 0, 2, 0]])}, "no negative"),
        ({"pages": np.array([PAGE, [0, 8, 8, 3, 2, 0]])}, "begins where the one before ends"),
        ({"checksums": np.zeros(2, bool)}, "for each of them"),
        ({"kind": "basket", "checksums": np.zeros(1, bool)}, "checksums are of pages"),
    ],
)
def test_plans_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ColumnPlan(**{"kind": "page", "dtype": "float32", "pages": np.array([PAGE]), **options})


@pytest.mark.parametrize("using", [chosen(()), found()], ids=["python", "libraries"])
@pytest.mark.parametrize("count", [1, 3, 40, 5000])
def test_pages_are_held_against_their_checksums(using: Decompressors, count: int) -> None:
    """Bits of a page that is stored as it is, which nothing else would notice."""
    values = np.random.default_rng(count).normal(size=2 * count).astype("<f4")
    pages, at = [], 0
    data = b""
    for first, checksum in ((0, True), (count, False)):
        page = values[first : first + count].tobytes()
        pages.append([0, at, len(page), first, count, 0])
        data += page + (xxhash.xxh3_64_intdigest(page).to_bytes(8, "little") if checksum else b"")
        at = len(data)
    plan = ColumnPlan("page", "float32", np.array(pages), checksums=np.array([True, False]))

    def read(content: bytes, start: int, stop: int) -> npt.NDArray[np.float32]:
        reader = ColumnReader([kernels.memory_file([(0, content)])], [plan], 2 * count, using=using)
        reader.read(start, stop)
        return np.array(reader.values(0))

    np.testing.assert_array_equal(read(data, 0, 2 * count), values)
    for bit in [*range(0, 8 * (4 * count + 8), max(1, count // 3)), 8 * (4 * count + 8) - 1]:
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError, match="does not match its checksum") as caught:
            read(bytes(broken), 0, 2 * count)
        assert (caught.value.start, caught.value.stop) == (0, count)
        np.testing.assert_array_equal(read(bytes(broken), count, 2 * count), values[count:])
    with pytest.raises(DecodeError, match="not in memory"):
        read(data[: 4 * count + 4], 0, 1)


def damaged(path: Path, plans: list[ColumnPlan], where: list[int], size: int) -> list[Any]:
    """The file in memory with some bytes of its pages flipped, cut to a size."""
    data = bytearray(path.read_bytes())
    every = [*plans, *(plan.offsets for plan in plans if plan.offsets is not None)]
    spans = [page[1:3] for plan in every for page in plan.pages if page[0] == 0]
    for at in where:
        offset, length = spans[at % len(spans)]
        data[int(offset) + (at * 7919) % max(1, int(length))] ^= 1 + at % 255
    return [kernels.memory_file([(0, bytes(data[: len(data) - size]))]), kernels.memory_file([])]


DAMAGE = {"where": st.lists(st.integers(0, 10**6), min_size=1, max_size=6), "cut": st.sampled_from([0, 0, 1000, 20_000])}


@settings(max_examples=40)
@given(**DAMAGE)
def test_damaged_baskets_cost_rows_and_nothing_else(tree: Path, where: list[int], cut: int) -> None:
    _, plans = tree_plans(tree, "t", ["float32", "int16", "v_float64", "v_uint8"])
    check_damaged(ColumnReader(damaged(tree, plans, where, cut), plans, 400), len(plans))


@settings(max_examples=40)
@given(**DAMAGE)
def test_damaged_pages_cost_rows_and_nothing_else(ntuple: Path, where: list[int], cut: int) -> None:
    _, plans = ntuple_plans(ntuple, "n", ["float64", "bool", "jets.pt", "jets.n"])
    check_damaged(ColumnReader(damaged(ntuple, plans, where, cut), plans, 400), len(plans))


def check_damaged(reader: ColumnReader, columns: int) -> None:
    """Every row is read or reported as lost, and reading goes on behind what is lost."""
    row = 0
    while row < ROWS:
        stop = min(ROWS, row + 400)
        error = read_error(reader, row, stop)
        while error is not None and error.start > row:  # what lies before can be read, unless something else is damaged there
            assert reader.rows == 0
            assert error.start < stop
            stop = error.start
            error = read_error(reader, row, stop)
        if error is None:
            for i in range(columns):
                offsets = reader.offsets(i)
                assert len(reader.values(i)) == (stop - row if offsets is None else offsets[-1])
            row = stop
        else:
            assert error.stop > row
            assert 0 <= error.column < columns
            row = error.stop


def read_error(reader: ColumnReader, start: int, stop: int) -> DecodeError | None:
    """The error of a read, if it is one."""
    try:
        reader.read(start, stop)
    except DecodeError as error:
        return error
    return None


def test_a_lost_basket_is_named(tree: Path) -> None:
    _, plans = tree_plans(tree, "t", ["int32", "float32"])
    data = bytearray(tree.read_bytes())
    data[int(plans[1].pages[2][1]) + 14] ^= 0x40  # the length of the key
    reader = ColumnReader([kernels.memory_file([(0, bytes(data))])], plans, 1000)
    reader.read(0, 701)
    with pytest.raises(DecodeError, match="column 1, page 2, rows 701 to 1900: the basket's key is damaged") as caught:
        reader.read(600, 1600)
    error = caught.value
    assert (error.column, error.page, error.of_offsets, error.start, error.stop) == (1, 2, False, 701, 1900)
    reader.read(1900, ROWS)
    out = np.zeros((ROWS, 4), np.uint8)
    with pytest.raises(DecodeError):
        reader.pack_range(RowLayout((RowField(1, 0),), 4), 0, ROWS, out)
