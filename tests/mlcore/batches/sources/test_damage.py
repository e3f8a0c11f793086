"""Files that are damaged, cut short, changed, or not what they seem."""

from __future__ import annotations

import itertools
import os
import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from mlcore.batches.blocks import Jagged
from mlcore.batches.sources import DamagedDataError, Part, open_source
from mlcore.errors import DataError, InputError, MLCoreError

EDGES = [0, 400, 900, 1000]
ROWS = EDGES[-1]


def write(path: Path, kind: str) -> Path:
    """Three baskets or clusters of ``x``, ``y`` and the jagged ``v``."""
    rng = np.random.default_rng(3)
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        for start, stop in itertools.pairwise(EDGES):
            rows = np.arange(start, stop)
            counts = rows % 3
            chunk = {
                "x": rows.astype(np.float64),
                "y": rng.normal(size=len(rows)).astype(np.float32),
                "v": ak.unflatten(np.repeat(rows, counts).astype(np.int32), counts),
            }
            if start:
                file["Events"].extend(chunk)
            elif kind == "tree":
                file.mktree("Events", chunk)
            else:
                file.mkrntuple("Events", chunk)
    return path


@pytest.fixture(params=["tree", "ntuple"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / f"{request.param}.root", request.param)


def spans(part: Part, name: str) -> np.ndarray:
    return part.spans(name)  # type: ignore[attr-defined,no-any-return]


def flip(path: Path, at: int, count: int = 8) -> None:
    data = bytearray(path.read_bytes())
    for i in range(at, at + count):
        data[i] ^= 0xFF
    path.write_bytes(data)


def read(part: Part, columns: list[str], block_rows: int) -> tuple[list[int], list[DamagedDataError]]:
    """The rows that can be read, by the values of ``x``, and the errors on the way."""
    rows: list[int] = []
    errors: list[DamagedDataError] = []
    start = 0
    with part.reader(columns, block_rows) as reader:
        while start < part.rows:
            try:
                for block in reader.blocks(start, part.rows):
                    x = block["x"]
                    assert isinstance(x, np.ndarray)
                    rows += x.astype(int).tolist()
                start = part.rows
            except DamagedDataError as error:
                errors.append(error)
                start = max(error.stop, start + 1)
    return rows, errors


@pytest.mark.parametrize("block_rows", [64, 1000])
@pytest.mark.parametrize("column", ["y", "v"])
def test_what_is_lost_is_named_and_the_rest_is_read(path: Path, column: str, block_rows: int) -> None:
    (part,) = open_source(path).parts
    at, size, first, stop = spans(part, column)[spans(part, column)[:, 2] == 400][0].tolist()
    assert (first, stop) == (400, 900)
    flip(path, at + (60 if part.name.endswith("tree.root:Events") else 0) + min(size, 80) // 2)
    (part,) = open_source(path).parts
    rows, errors = read(part, ["x", column], block_rows)
    assert [row for row in rows if not 400 <= row < 900] == [*range(400), *range(900, ROWS)]
    assert len(rows) < ROWS
    unit = "basket 1" if "tree" in part.name else "page"
    for error in errors:
        assert error.message.startswith(f"{part.name}: column {column!r}, {unit}")
        assert f"rows {error.start} to {error.stop}" in error.message
        assert 400 <= error.start < error.stop <= 900
        assert 'on_error="skip"' in error.hint


def test_what_uproot_cannot_read(tmp_path: Path) -> None:
    """As above, of a column that has no plan: a structure of several types."""
    path = tmp_path / "leaves.root"
    table = np.zeros(ROWS, [("a", "f8"), ("k", "i4")])
    table["a"] = np.random.default_rng(1).normal(size=ROWS)
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        for start, stop in itertools.pairwise(EDGES):
            chunk = {"x": np.arange(start, stop) * 1.0, "s": table[start:stop]}
            if start:
                file["t"].extend(chunk)
            else:
                file.mktree("t", chunk)
    (part,) = open_source(path).parts
    struct = [name for name in part.schema if name != "x"]
    lost = struct[0]
    assert not part.schema[lost].why_not
    with uproot.open(path) as file:
        branch = next(branch for branch in file["t"].branches if branch.name != "x")
        at = int(branch.member("fBasketSeek")[1])
    flip(path, at + 100, 400)
    rows, errors = read(open_source(path).parts[0], ["x", lost], 300)
    assert rows == [*range(400), *range(900, ROWS)]
    (error,) = errors
    assert (error.start, error.stop) == (400, 900)


def test_a_file_that_lost_its_end(path: Path) -> None:
    for size in (700, 400, 150):
        os.truncate(path, size)
        with pytest.raises(InputError, match=rf"{path.name} is cut short: {size} of \d+ bytes are there") as caught:
            open_source(path)
        assert "Copy the file again" in caught.value.hint


def test_baskets_beyond_the_end(tmp_path: Path) -> None:
    """The table of contents is there and baskets are not, as after a download that left holes."""
    path = write(tmp_path / "tree.root", "tree")
    (part,) = open_source(path).parts
    with part.reader(["x", "v"], 100) as reader:
        last = spans(part, "x")[-1]
        os.truncate(path, int(last[0]) + 30)
        with pytest.raises(DamagedDataError, match="column 'x', basket 2, rows 900 to 1000") as caught:
            list(reader.blocks(800, ROWS))
    assert (caught.value.start, caught.value.stop) == (900, 1000)


def test_any_damage_is_told(path: Path) -> None:
    """Bytes flipped anywhere give an error of ours or the rows, and never another exception."""
    whole = path.read_bytes()
    rng = np.random.default_rng(12)
    told = 0
    before = {name: dict(kind.known_versions) for name, kind in uproot.classes.items() if hasattr(kind, "known_versions")}
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            (part,) = open_source(path, tree="Events").parts
            names = [column.name for column in part.schema.values() if not column.why_not]
            with part.reader(names) as reader:
                for _block in reader.blocks(0, min(part.rows, ROWS)):
                    pass
        except MLCoreError as error:
            told += bool(error.hint)
        else:
            told += 1
    assert told == 60
    # What a damaged file says of its classes must not be believed of the next file.
    assert before == {name: uproot.classes[name].known_versions for name in before}


def test_missing_things_are_told_with_what_is_near(path: Path) -> None:
    with pytest.raises(DataError, match="no tree or RNTuple 'Event'") as caught:
        open_source(path, tree="Event")
    assert "Events" in caught.value.hint
    with pytest.raises(DataError, match="no column 'vv'"):
        open_source(path).parts[0].reader(["vv"])
    with pytest.raises(InputError, match="no such file"):
        open_source(path.parent / "none.root")
    with pytest.raises(InputError, match="names another table"):
        open_source(f"{path}:Events", tree="Other")


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.root").touch()
    with pytest.raises(InputError, match=r"no file of rows: Empty file"):
        open_source(tmp_path / "empty.root")
    (tmp_path / "text.root").write_text("just some words\n")
    with pytest.raises(InputError, match="no file of rows: Text"):
        open_source(tmp_path / "text.root")
    (tmp_path / "table.root").write_bytes(pickle.dumps({"x": [1, 2, 3]}))
    with pytest.raises(InputError, match=r"Python pickle.*run whatever code") as caught:
        open_source(tmp_path / "table.root")
    assert caught.value.code == "file.pickle"
    np.save(tmp_path / "objects.npy", np.array([{}, 1], object))
    with pytest.raises(InputError, match="Python objects"):
        open_source(tmp_path / "objects.npy")
    (tmp_path / "head.root").write_bytes(b"root" + bytes([0, 0, 0xF3, 0x60]) + bytes(300))
    with pytest.raises(InputError, match=r"head.root"):
        open_source(tmp_path / "head.root")


def test_several_trees_and_none(tmp_path: Path) -> None:
    path = tmp_path / "two.root"
    with uproot.recreate(path) as file:
        file.mktree("a", {"x": np.float64})
        file.mktree("folder/b", {"x": np.float64})
        file["a"].extend({"x": np.arange(3.0)})
        file["folder/b"].extend({"x": np.arange(5.0)})
    with pytest.raises(InputError, match="2 trees or RNTuples: a, folder/b") as caught:
        open_source(path)
    assert 'tree="a"' in caught.value.hint
    assert open_source(path, tree="folder/b").rows == 5
    assert open_source(f"{path}:folder/b").rows == 5
    with uproot.recreate(path) as file:
        file["h"] = np.histogram(np.arange(9.0))
    with pytest.raises(InputError, match="no TTree and no RNTuple"):
        open_source(path)


def test_a_tree_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "none.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": np.float64, "v": "var * float32"})
    source = open_source(path)
    assert source.rows == 0
    (part,) = source.parts
    with part.reader(["x", "v"]) as reader:
        assert list(reader.blocks(0, 0)) == []
    assert part.boundaries(["x", "v"]).tolist() == [0]


def test_changes_are_noticed(path: Path) -> None:
    source = open_source(path)
    before = source.fingerprint
    source.check_unchanged()
    assert open_source(path).fingerprint == before
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(InputError, match="changed while it was read") as caught:
        source.check_unchanged()
    assert caught.value.hint == "Open it anew."
    assert open_source(path).fingerprint != before
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        source.check_unchanged()


def test_readers_after_the_file_is_gone(path: Path) -> None:
    (part,) = open_source(path).parts
    with part.reader(["x", "v"]) as reader:
        path.unlink()
        block = next(reader.blocks(0, 10))  # it is open
        assert isinstance(block["v"], Jagged)
    with pytest.raises(InputError, match="cannot be opened"):
        part.reader(["x"])
