"""Trees and RNTuples that ROOT writes, against uproot's arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import fsspec
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.sources import DamagedDataError, Part, open_source
from mlcore.errors import DataError, InputError
from tests.mlcore.batches.sources.checks import check_blocks, check_boundaries, check_reader, check_schema, values

pytestmark = pytest.mark.slow

ROWS = 2500
PLANNED = [
    "f", "d", "c", "uc", "s", "us", "i", "ui", "l", "ul", "b", "gl", "gul", "fixed", "matrix", "n", "counted", "pairs",
    "vf", "vd", "vi", "vuc", "vb", "vl", "rvec", "array", "jets", "jets.fX", "jets.fBits", "event.number",
    "event.weight", "event.cells", "event.times",
]  # fmt: skip
BY_UPROOT = ["d32", "f16", "leaves.x", "leaves.k"]
NONE = {"nested": "vectors of vectors", "text": "text", "texts": "text", "point": "objects"}
FIELDS = [
    "f", "d", "b", "i8", "u8", "ch", "by", "i16", "u16", "i32", "u32", "i64", "u64", "half", "d32", "fixed", "grid",
    "vf", "rv", "vb", "va", "jets.pt", "jets.q", "hits.jet.pt", "hits.x", "lead.jet.q", "lead.x", "event.cells",
    "event.times", "bits", "duo._0", "duo._1", "atom", "pairjets.pt", "alias_f", "late", "track.pt",
    "track.z", "kind", "tracks.q", "tracks.z", "jet_pt",
]  # fmt: skip
FIELDS_BY_UPROOT = ["cut", "quant", "njets"]
KEYS = {
    "event.cells": "event/cells[4]",
    "event.number": "event/number",
    "event.weight": "event/weight",
    "event.times": "event/times",
}


def branches(path: Path, names: list[str]) -> dict[str, Values]:
    found: dict[str, Values] = {}
    with uproot.open(path) as file:
        tree = file["Events"]
        for name in names:
            if name.startswith("leaves."):
                found[name] = values(tree["leaves"].array()[name[7:]])
            else:
                key = f"jets/{name}" if name.startswith("jets.") else KEYS.get(name, name)
                found[name] = values(tree[key].array())
    return found


def fields(path: Path, names: list[str]) -> dict[str, Values]:
    found: dict[str, Values] = {}
    with uproot.open(path) as file:
        table = file["Events"].arrays()
    for name in names:
        array: Any = table
        if name == "njets":
            found[name] = ak.to_numpy(ak.num(table["jets"], axis=1)).astype(np.uint32)
            continue
        for step in name.split("."):
            array = array[step.removeprefix("_") if step in ("_0", "_1") else step]
        found[name] = values(array)
    return found


@pytest.fixture(scope="module", params=["zlib", "zstd"])
def tree(request: pytest.FixtureRequest, written: Path) -> tuple[Part, dict[str, Values]]:
    path = written / f"tree_{request.param}.root"
    (part,) = open_source(path).parts
    return part, branches(path, PLANNED + BY_UPROOT)


@pytest.fixture(scope="module", params=["zlib", "zstd"])
def ntuple(request: pytest.FixtureRequest, written: Path) -> tuple[Part, dict[str, Values]]:
    path = written / f"rntuple_{request.param}.root"
    (part,) = open_source(path).parts
    return part, fields(path, FIELDS + FIELDS_BY_UPROOT)


RANGES = {
    "start": st.integers(0, ROWS),
    "rows": st.integers(0, 1500),
    "block_rows": st.sampled_from([1, 17, 256, 700, 8192]),
    "chosen": st.lists(st.integers(0, 10**6), min_size=1, max_size=4),
}


def check_range(table: tuple[Part, dict[str, Values]], start: int, rows: int, block_rows: int, chosen: list[int]) -> None:
    part, exact = table
    names = list(dict.fromkeys(list(exact)[number % len(exact)] for number in chosen))
    stop = min(ROWS, start + min(rows, 40 * block_rows))
    check_blocks(part, {name: exact[name] for name in names}, start, stop, block_rows)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**RANGES)
def test_ranges_of_trees(tree: tuple[Part, dict[str, Values]], start: int, rows: int, block_rows: int, chosen: list[int]) -> None:
    check_range(tree, start, rows, block_rows, chosen)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**RANGES)
def test_ranges_of_ntuples(
    ntuple: tuple[Part, dict[str, Values]], start: int, rows: int, block_rows: int, chosen: list[int]
) -> None:
    check_range(ntuple, start, rows, block_rows, chosen)


def test_trees(tree: tuple[Part, dict[str, Values]]) -> None:
    part, exact = tree
    assert part.rows == ROWS
    check_schema(part, exact)
    check_boundaries(part, ["f"])
    check_boundaries(part, ["f", "d", "vf", "i"])
    assert len(part.boundaries(["f", "vd"])) > 3
    check_blocks(part, exact, 0, ROWS, 333)
    planned = {name: exact[name] for name in PLANNED}
    with part.reader(PLANNED, 1000) as reader:
        assert reader.native is not None
        check_reader(reader, planned, 0, ROWS, 1000)
        check_reader(reader, planned, 3, 20, 1000)
    with part.reader([*PLANNED, *BY_UPROOT]) as reader:
        assert reader.native is None
    for name, why_not in NONE.items():
        assert why_not in part.schema[name].why_not
        with pytest.raises(DataError, match=f"column '{name}' .* cannot be read: it holds {why_not}"):
            part.reader(["f", name])
    with pytest.raises(DataError, match=r"no column 'evnt.number'") as caught:
        part.reader(["evnt.number"])
    assert "event.number" in caught.value.hint


@pytest.mark.parametrize("table", ["tree", "ntuple"])
def test_uproot_s_reader_gives_the_same(written: Path, table: str) -> None:
    """What is decoded natively can be read by uproot as well, over the same face."""
    path = written / ("tree_zlib.root" if table == "tree" else "rntuple_zlib.root")
    exact = branches(path, PLANNED) if table == "tree" else fields(path, FIELDS)
    for part in open_source(path).parts:
        with part.fallback(list(exact), 450) as reader:  # type: ignore[attr-defined]
            check_reader(reader, exact, 0, ROWS, 450)
            check_reader(reader, exact, 650, 1300, 450)


def test_ntuples(ntuple: tuple[Part, dict[str, Values]]) -> None:
    part, exact = ntuple
    check_schema(part, exact)
    np.testing.assert_array_equal(part.boundaries(["f", "jets.pt"]), [0, 600, 1200, 1800, 2400, ROWS])
    check_blocks(part, exact, 0, ROWS, 333)
    with part.reader(FIELDS, 1000) as reader:
        assert reader.native is not None
        check_reader(reader, {name: exact[name] for name in FIELDS}, 0, ROWS, 1000)
    assert part.schema["vf"].typename == "std::vector<float>"
    assert "text" in part.schema["text"].why_not
    assert "several types" in part.schema["variant"].why_not
    assert "vectors of vectors" in part.schema["nested"].why_not


@pytest.mark.parametrize("remote", [False, True])
def test_no_wrong_number_comes_of_a_damaged_page(written: Path, tmp_path: Path, remote: bool) -> None:
    """ROOT puts a checksum behind each page: one bit that is flipped anywhere in it is noticed, also where uproot decodes it."""
    whole = (written / "rntuple_zstd.root").read_bytes()
    rng = np.random.default_rng(8)
    path = tmp_path / "damaged.root"
    system = fsspec.filesystem("memory")
    for name in ["f", "b", "half", "fixed", "vf", "jets.pt", "late", "cut", "quant", "njets"]:
        path.write_bytes(whole)
        (part,) = open_source(path).parts
        pages = part.spans(name)  # type: ignore[attr-defined]
        for at, size, first, stop in pages[rng.choice(len(pages), min(4, len(pages)), replace=False)].tolist():
            data = bytearray(whole)
            data[at + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
            path.write_bytes(data)
            system.pipe_file("/damaged.root", bytes(data))
            (part,) = open_source("memory://damaged.root" if remote else path).parts
            with part.reader([name], 300) as reader:
                with pytest.raises(DamagedDataError, match="does not match its checksum") as caught:
                    list(reader.blocks(first if name in FIELDS_BY_UPROOT else 0, ROWS))
                assert first <= caught.value.start < caught.value.stop <= stop
                assert sum(len(block[name]) for block in reader.blocks(stop, ROWS)) == ROWS - stop
                if name not in FIELDS_BY_UPROOT:  # uproot decodes the cluster behind the one that it is asked for as well
                    assert sum(len(block[name]) for block in reader.blocks(0, first)) == first
    system.rm("/damaged.root")


@pytest.mark.parametrize(("name", "every"), [("maybe", 2), ("owned", 3)])
def test_values_that_may_be_missing(written: Path, name: str, every: int) -> None:
    """Each row has one, or none: here those whose numbers can be divided."""
    (part,) = open_source(written / "rntuple_zlib.root").parts
    rows = np.arange(ROWS)
    counts = (rows % every != 0).astype(np.int64)
    dtype = np.float32 if name == "maybe" else np.float64
    exact = Jagged(rows[counts > 0].astype(dtype), np.concatenate([[0], np.cumsum(counts)]))
    check_blocks(part, {name: exact}, 0, ROWS, 700)


def test_baskets_that_lie_in_the_tree(written: Path) -> None:
    (part,) = open_source(written / "embedded.root").parts
    with uproot.open(written / "embedded.root") as file:
        assert file["t"]["v"].embedded_baskets
        exact = {name: values(file["t"][name].array()) for name in ("x", "v", "a")}
    check_blocks(part, exact, 0, 500, 64)


def test_baskets_without_offsets(written: Path) -> None:
    """ROOT can leave them out and count them from the number of values instead."""
    rows = np.arange(ROWS)
    counts = rows % 8
    offsets = np.concatenate([[0], np.cumsum(counts)])
    values = np.repeat(rows, counts) + np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    (part,) = open_source(written / "generated.root").parts
    exact: dict[str, Values] = {"n": counts.astype(np.int32), "x": Jagged(values.astype(np.float32), offsets)}
    with part.reader(["n", "x"], 300) as reader:
        check_reader(reader, exact, 0, ROWS, 300)
        check_reader(reader, exact, 100, 2000, 300)


def test_a_job_that_was_killed(written: Path) -> None:
    """What the last AutoSave saved is there, the rest is not; whether or not the file has a table of contents."""
    saved = written / "killed.root"
    exact = branches(saved, [*PLANNED, *BY_UPROOT])
    with pytest.raises(KeyError):
        uproot.open(written / "unclosed.root")["Events"]
    for path in (saved, written / "unclosed.root"):
        (part,) = open_source(path).parts
        assert part.rows == ROWS * 2 // 3 + 1
        # Descriptions of a user's own classes are written when a file is closed.
        known = {name: column for name, column in exact.items() if not part.schema[name].why_not}
        assert set(exact) - set(known) <= {"event.times"}
        check_blocks(part, known, 0, part.rows, 500)


def test_a_file_that_was_cut_short(written: Path, tmp_path: Path) -> None:
    """As long as a tree that was saved is in what is left, it is read; its later baskets may not be."""
    data = (written / "unclosed.root").read_bytes()
    exact = branches(written / "killed.root", ["f", "vf"])
    opened = 0
    for size in range(len(data), 1000, -len(data) // 40):
        (tmp_path / "cut.root").write_bytes(data[:size])
        try:
            (part,) = open_source(tmp_path / "cut.root").parts
        except InputError:
            continue
        check_blocks(part, exact, 0, part.rows, 500)
        opened += 1
    assert 0 < opened < 40


def test_the_newest_cycle_is_meant(written: Path) -> None:
    path = written / "ntuple_tn.root"
    with uproot.open(path) as file:
        assert len(file.keys()) == 2
        exact = {name: values(file["tn"][name].array()) for name in "xyz"}
    for source in (path, f"{path}:tn", f"{path}:tn;1"):
        (part,) = open_source(source).parts
        check_blocks(part, exact, 0, ROWS, 999)


def test_friends_that_a_tree_lists(written: Path) -> None:
    (part,) = open_source(written / "with_friend.root").parts
    rows = np.arange(ROWS)
    exact: dict[str, Values] = {
        "f": rows.astype(np.float32),
        "score": rows * 0.25,
        "extra.f": -rows.astype(np.float32),
    }
    assert list(part.schema) == list(exact)
    check_schema(part, exact)
    check_blocks(part, exact, 5, ROWS, 700)
    check_blocks(part, {"extra.f": exact["extra.f"]}, 5, ROWS, 700)
    with part.reader(list(exact)) as reader:
        assert reader.native is not None


def test_friends_that_are_given(written: Path) -> None:
    main, friend = written / "tree_zlib.root", written / "rntuple_zlib.root"
    (part,) = open_source(main, friends=[f"{friend}:Events"]).parts
    exact = branches(main, ["f", "vf"])
    exact |= {"late": fields(friend, ["late"])["late"], "Events.f": fields(friend, ["f"])["f"]}
    exact |= fields(friend, ["jets.pt", "jets.q"]) | {"Events.vf": fields(friend, ["vf"])["vf"]}
    check_blocks(part, exact, 100, ROWS, 512)
    check_boundaries(part, list(exact))
    with part.reader(list(exact)) as reader:
        assert reader.native is not None
    mixed = exact | fields(friend, ["quant"])
    check_blocks(part, mixed, 100, ROWS, 512)
    other = exact | {"x_0": np.arange(ROWS) * 1.0}
    (part,) = open_source(main, friends=[friend, np.stack([other["x_0"]] * 2, axis=1)]).parts
    check_blocks(part, other, 100, ROWS, 512)
    with pytest.raises(InputError, match=r"embedded.root:t has 500 rows where .*tree_zlib.root:Events has 2500"):
        open_source(main, friends=[written / "embedded.root"])
