"""Columns of files that ROOT itself writes, against uproot's arrays; a child process writes them once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from kernels import ColumnPlan, ColumnReader, SourceFile
from tests.kernels.root_plans import ntuple_plans, tree_plans

pytestmark = pytest.mark.slow  # ROOT starts and compiles the writers in some ten seconds

WRITER = Path(__file__).with_name("root_writer.py")
ROWS = 3000
COMPRESSIONS = {"zlib": 101, "lzma": 201, "lz4": 404, "zstd": 505, "none": 0}

BRANCHES = ["f", "d", "c", "uc", "s", "us", "i", "ui", "l", "ul", "b", "fixed", "matrix", "n", "counted", "vf", "vd", "vi", "vb"]
FIELDS = [
    "f",
    "d",
    "i8",
    "u8",
    "i16",
    "u16",
    "i32",
    "u32",
    "i64",
    "u64",
    "b",
    "h",
    "fixed",
    "vf",
    "va",
    "jets.pt",
    "jets.q",
    "pair.x",
]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of each compression."""
    folder: Path = tmp_path_factory.mktemp("root")
    arguments = [f"{name}={number}" for name, number in COMPRESSIONS.items()]
    done = subprocess.run([sys.executable, WRITER, folder, str(ROWS), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def expected(array: Any) -> tuple[Any, Any]:
    if "var" in str(array.type):
        return ak.to_numpy(ak.flatten(array)), np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(array)))])
    return ak.to_numpy(array), None


def check(files: list[SourceFile], plans: list[ColumnPlan], arrays: list[Any], names: list[str]) -> None:
    for block_rows in (ROWS, 333):
        reader = ColumnReader(files, plans, block_rows)
        for start in [*range(0, ROWS, block_rows), 1234 % ROWS, 17]:
            stop = min(ROWS, start + block_rows)
            reader.read(start, stop)
            for i, (name, array) in enumerate(zip(names, arrays, strict=True)):
                values, offsets = expected(array[start:stop])
                np.testing.assert_array_equal(reader.values(i), values.reshape(reader.values(i).shape), err_msg=name)
                if offsets is None:
                    assert reader.offsets(i) is None
                else:
                    np.testing.assert_array_equal(reader.offsets(i), offsets, err_msg=name)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_branches(written: Path, compression: str) -> None:
    path = written / f"tree_{compression}.root"
    files, plans = tree_plans(path, "t", BRANCHES)
    assert len(plans[0].pages) > 1
    with uproot.open(path) as file:
        check(files, plans, [file["t"][name].array() for name in BRANCHES], BRANCHES)


def test_baskets_that_were_never_flushed(written: Path) -> None:
    """A tree saved with what it still had in memory: its last baskets lie in the tree."""
    path = written / "embedded.root"
    files, plans = tree_plans(path, "t", BRANCHES)
    with uproot.open(path) as file:
        assert file["t"]["f"].embedded_baskets
        arrays = [file["t"][name].array() for name in BRANCHES]
    reader = ColumnReader(files, plans, ROWS)
    rows = len(arrays[0])
    reader.read(0, rows)
    for i, (name, array) in enumerate(zip(BRANCHES, arrays, strict=True)):
        values, _ = expected(array)
        np.testing.assert_array_equal(reader.values(i), values.reshape(reader.values(i).shape), err_msg=name)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_fields(written: Path, compression: str) -> None:
    path = written / f"ntuple_{compression}.root"
    files, plans = ntuple_plans(path, "n", FIELDS)
    with uproot.open(path) as file:
        assert len(file["n"].cluster_summaries) > 1
        table = file["n"].arrays()
    arrays = []
    for name in FIELDS:
        array = table
        for step in name.split("."):
            array = array[step]
        arrays.append(array)
    check(files, plans, arrays, FIELDS)


def test_several_frames(written: Path) -> None:
    """A basket of more than 16 MB, which is compressed in several frames."""
    path = written / "large.root"
    files, plans = tree_plans(path, "t", ["large"])
    rows = int(plans[0].pages[0][4])
    reader = ColumnReader(files, plans, rows)
    reader.read(0, rows)
    assert reader.values(0).nbytes > 2**24
    with uproot.open(path) as file:
        np.testing.assert_array_equal(reader.values(0), file["t"]["large"].array(library="np", entry_stop=rows))
