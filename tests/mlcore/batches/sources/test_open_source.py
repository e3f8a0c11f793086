"""What a user may give: paths, globs, folders, lists; the schema that several files have in common."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from mlcore.batches.sources import open_source
from mlcore.batches.sources._formats import formats, readers
from mlcore.batches.sources._places import Place, merged, split_table
from mlcore.errors import DataError, InputError
from tests.mlcore.batches.sources.checks import check_blocks


def tree(path: Path, rows: int, **columns: np.ndarray) -> Path:
    with uproot.recreate(path) as file:
        data = {"x": np.arange(rows) * 1.0, **columns}
        file.mktree("Events", data)
    return path


def test_importing_is_light() -> None:
    code = (
        "import sys, mlcore.batches.sources as s; from mlcore.batches.sources._formats import formats; formats();"
        "import numpy as np;"
        "s.open_source({'a': np.arange(3)});"
        "print([m for m in sys.modules if m.partition('.')[0] in "
        "{'uproot', 'awkward', 'pyarrow', 'h5py', 'ROOT', 'torch', 'fsspec', 'pandas'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_kind_of_file_has_one_reader() -> None:
    assert set(readers()) == {"root", "parquet", "hdf5", "numpy"}
    assert {entry.name for entry in formats()} == {"ROOT", "Parquet", "HDF5", "NumPy", "Arrow", "RDataFrame"}


@pytest.mark.parametrize(
    ("text", "path", "table"),
    [
        ("a.root", "a.root", ""),
        ("a.root:Events", "a.root", "Events"),
        ("a.root:folder/Events;2", "a.root", "folder/Events;2"),
        ("data/a*.root:t", "data/a*.root", "t"),
        ("data/*:t", "data/*", "t"),
        ("https://host:8080/a.root", "https://host:8080/a.root", ""),
        ("https://host:8080/a.root:dir/t", "https://host:8080/a.root", "dir/t"),
        ("root://host:1094//eos/a.root", "root://host:1094//eos/a.root", ""),
        ("root://host:1094//eos/a.root:t", "root://host:1094//eos/a.root", "t"),
        ("s3://bucket/a.parquet", "s3://bucket/a.parquet", ""),
        ("plain:name", "plain:name", ""),
    ],
)
def test_names_of_tables(text: str, path: str, table: str) -> None:
    assert split_table(text) == Place(path, table)


def test_a_file_whose_name_has_a_colon(tmp_path: Path) -> None:
    path = tree(tmp_path / "run.1:2.root", 3)
    assert open_source(path).rows == 3
    assert open_source(f"{path}:Events").rows == 3


def test_ranges_that_lie_close_come_as_one() -> None:
    assert merged([]) == []
    assert merged([(10, 20), (0, 5), (15, 40), (10**6, 10**6 + 1)]) == [(0, 40), (10**6, 10**6 + 1)]


def test_globs_folders_and_lists(tmp_path: Path) -> None:
    for number, rows in enumerate([3, 4, 5]):
        tree(tmp_path / f"part{2 - number}.root", rows)
    (tmp_path / "notes.txt").write_text("nothing to read")
    (tmp_path / ".hidden.root").write_bytes((tmp_path / "part0.root").read_bytes())
    sizes = [5, 4, 3]
    for source in (
        tmp_path,
        str(tmp_path),
        f"{tmp_path}/part*.root",
        f"{tmp_path}/part?.root:Events",
        [tmp_path / f"part{i}.root" for i in range(3)],
        [f"{tmp_path}/part[01].root", tmp_path / "part2.root"],
    ):
        assert [part.rows for part in open_source(source).parts] == sizes
    source = open_source(tmp_path, tree="Events")
    assert source.rows == 12
    assert [part.name for part in source.parts] == [f"{tmp_path}/part{i}.root:Events" for i in range(3)]
    assert len({source.fingerprint, open_source([*tmp_path.glob("part0*"), tmp_path / "part2.root"]).fingerprint}) == 2
    with pytest.raises(InputError, match="no file matches"):
        open_source(f"{tmp_path}/none*.root")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file of a known kind"):
        open_source(tmp_path / "empty")
    with pytest.raises(InputError, match=r"notes.txt is no file of rows: Text"):
        open_source(tmp_path / "notes.txt")


def test_formats_together(tmp_path: Path) -> None:
    x = np.arange(4.0)
    tree(tmp_path / "a.root", 4)
    pq.write_table(pa.table({"x": x}), tmp_path / "b.parquet")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["x"] = x
    np.savez(tmp_path / "d.npz", x=x, y=x)
    source = open_source([tmp_path, {"x": x}, pa.table({"x": x})])
    assert source.rows == 24
    for part in source.parts:
        check_blocks(part, {"x": x}, 0, 4, 3)
    assert not source.schema["x"].why_not
    assert source.schema["y"].why_not == f"{tmp_path}/a.root:Events has no such column"


def test_what_differs_between_files_is_named(tmp_path: Path) -> None:
    one = tree(tmp_path / "one.root", 3, y=np.arange(3.0), z=np.arange(3))
    two = tree(tmp_path / "two.root", 3, y=np.arange(3, dtype=np.float32), w=np.arange(3))
    source = open_source([one, two])
    assert list(source.schema) == ["x", "y", "z", "w"]
    source.schema.features(["x"])
    for name, message in [
        ("y", "it is float32 in .*two.root:Events, and float64 in .*one.root:Events"),
        ("z", "two.root:Events has no such column"),
        ("w", "one.root:Events has no such column"),
    ]:
        with pytest.raises(DataError, match=message):
            source.schema.features([name])
    with pytest.raises(InputError, match="no column in common") as caught:
        open_source([one, {"other": np.arange(3)}])
    assert "has no such column" in caught.value.hint


def test_friends_of_files(tmp_path: Path) -> None:
    mains = [tree(tmp_path / f"m{i}.root", 3 + i) for i in range(2)]
    friends = [tree(tmp_path / f"f{i}.root", 3 + i, s=np.arange(3.0 + i) + 7) for i in range(2)]
    source = open_source(mains, friends=[friends])
    assert list(source.schema) == ["x", "Events.x", "s"]
    for i, part in enumerate(source.parts):
        rows = np.arange(3.0 + i)
        check_blocks(part, {"s": rows + 7, "x": rows, "Events.x": rows}, 0, 3 + i, 2)
    with pytest.raises(InputError, match=r"has 3 rows where .* has 7"):
        open_source(mains, friends=[friends[0]])
    with pytest.raises(InputError, match="1 files and the source in 2"):
        open_source(mains, friends=[{"s": np.arange(7)}])
    with pytest.raises(InputError, match=r"f1.root:Events has 4 rows where .*m0.root:Events has 3"):
        open_source(mains, friends=[friends[::-1]])
    source.check_unchanged()
    friends[0].unlink()
    with pytest.raises(InputError, match="no such file"):
        source.check_unchanged()


def test_readers_in_threads(tmp_path: Path) -> None:
    """A part has as many readers at a time as there are threads."""
    rows = 5000
    struct = np.zeros(rows, [("a", "f4"), ("k", "i4")])
    struct["k"] = np.arange(rows)
    path = tmp_path / "t.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": np.arange(rows) * 1.0, "s": struct})
        file["t"].extend({"x": np.arange(rows) * 1.0, "s": struct})
    (part,) = open_source(path).parts
    names = [name for name in part.schema if name == "x" or name.endswith("k")]
    assert len(names) == 2
    exact = {name: np.tile(np.arange(rows), 2).astype("f8" if name == "x" else "i4") for name in names}
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(check_blocks, part, exact, start, 2 * rows, 700) for start in range(0, 4000, 500)]
        for job in jobs:
            job.result()
