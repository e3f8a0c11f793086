"""Damaged, lying and hostile files: each ends in a clear error, with a hint and without a traceback."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
import xgboost
from onnx import TensorProto, helper, numpy_helper

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.filetypes import Kind, detect
from mlcore.inspection import FORMATS, Inspection, inspect


def root_file(path: Path) -> None:
    with uproot.recreate(path) as out:
        out.mktree("t", {"x": np.dtype("f8"), "n": np.dtype("i4")})
        out["t"].extend({"x": np.arange(500.0), "n": np.arange(500, dtype="i4")})
        out.mkrntuple("r", {"y": np.arange(500.0)})


def onnx_file(path: Path) -> None:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    weights = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [8])], [value("y", TensorProto.FLOAT, [8])], [weights])
    onnx.save(helper.make_model(graph), path)


def xgboost_file(path: Path) -> None:
    rng = np.random.default_rng(1)
    matrix = xgboost.DMatrix(rng.normal(size=(80, 3)), rng.integers(0, 2, 80))
    model = xgboost.train({"max_depth": 3}, matrix, 3)
    path.write_bytes(model.save_raw("ubj" if path.suffix == ".ubj" else "json"))


def hdf5_file(path: Path) -> None:
    with h5py.File(path, "w") as out:
        out.create_dataset("g/x", data=np.arange(1000.0), chunks=(100,), compression="gzip")
        out["g"].attrs["unit"] = "GeV"


def parquet_file(path: Path) -> None:
    pq.write_table(pa.table({"x": np.arange(1000), "s": ["a"] * 1000}), path)


GOOD: dict[Kind, tuple[str, Callable[[Path], None]]] = {
    "root": ("a.root", root_file),
    "onnx": ("a.onnx", onnx_file),
    "xgboost-json": ("a.json", xgboost_file),
    "xgboost-ubj": ("a.ubj", xgboost_file),
    "hdf5": ("a.h5", hdf5_file),
    "parquet": ("a.parquet", parquet_file),
}


def content(kind: Kind, folder: Path) -> bytes:
    name, make = GOOD[kind]
    make(folder / name)
    return (folder / name).read_bytes()


def inspected(path: Path, kind: Kind) -> Inspection | InputError:
    """An inspection or the one sort of error that may come of a file; anything else fails the test."""
    start = time.process_time()
    try:
        found: Inspection | InputError = inspect(path, kind)
    except InputError as error:
        found = error
    assert time.process_time() - start < 60
    if isinstance(found, InputError):
        assert found.hint
        assert "Traceback" not in str(found)
        assert "\n" not in str(found)
    return found


@pytest.mark.parametrize("kind", GOOD)
def test_good_files_can_be_read(kind: Kind, tmp_path: Path) -> None:
    name, make = GOOD[kind]
    make(tmp_path / name)
    found = inspect(tmp_path / name)
    assert found.kind == kind
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["kind"] == kind


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.97])
def test_cut_short(kind: Kind, fraction: float, tmp_path: Path) -> None:
    data = content(kind, tmp_path)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * fraction)])
    assert isinstance(inspected(path, kind), InputError)


@pytest.mark.parametrize("kind", GOOD)
def test_empty_and_junk(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "junk"
    for data in (
        b"",
        bytes(5000),
        np.random.default_rng(4).bytes(5000),
        b"hello " * 500,
        b"\xff" * 5000,
        b"{" * 5000,
        b"[" * 100_000,
    ):
        path.write_bytes(data)
        assert isinstance(inspected(path, kind), InputError), data[:10]


@pytest.mark.parametrize("kind", GOOD)
def test_right_beginning_and_junk_behind(kind: Kind, tmp_path: Path) -> None:
    data = content(kind, tmp_path)
    path = tmp_path / "junk"
    rng = np.random.default_rng(4)
    path.write_bytes(data[:40] + rng.bytes(20_000))
    assert isinstance(inspected(path, kind), InputError)


@pytest.mark.parametrize("kind", GOOD)
def test_flipped_bytes_give_an_answer_or_an_error(kind: Kind, tmp_path: Path) -> None:
    """Single bytes changed all over the file; in a child each time would be honest and slow, so some for each kind here."""
    data = bytearray(content(kind, tmp_path))
    rng = np.random.default_rng(9)
    path = tmp_path / "flipped"
    for position in rng.integers(0, min(len(data), 4000), 40):
        old = data[position]
        data[position] = int(rng.integers(256))
        path.write_bytes(data)
        inspected(path, kind)
        data[position] = old


@pytest.mark.parametrize("kind", GOOD)
def test_mislabelled(kind: Kind, tmp_path: Path) -> None:
    """A file of another kind, claimed to be this one."""
    for other in GOOD:
        if FORMATS[other] != FORMATS[kind]:
            path = tmp_path / "other"
            path.write_bytes(content(other, tmp_path))
            assert isinstance(inspected(path, kind), InputError), other


def test_kinds_without_inspector(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("hello")
    with pytest.raises(UnsupportedFeatureError, match="no inspector"):
        inspect(path)


def test_pickle_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="run whatever code"):
        inspect(path, "onnx")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        inspect(tmp_path / "absent.root")


def lying_root(path: Path) -> None:
    """A key that claims two gigabytes."""
    root_file(path)
    data = bytearray(path.read_bytes())
    begin = struct.unpack_from(">i", data, 8)[0]
    struct.pack_into(">iHi", data, begin, 2**31 - 1, 4, 2**31 - 1)
    end = struct.unpack_from(">i", data, 12)[0]
    for position in range(begin, min(end, len(data)) - 4):
        if data[position : position + 6] == b"\x05TTree":
            struct.pack_into(">iHi", data, max(0, position - 26), 2**31 - 1, 4, 2**31 - 1)
    path.write_bytes(data)


def lying_onnx(path: Path) -> None:
    """A graph that claims an exabyte."""
    path.write_bytes(b"\x08\x08" + b"\x42\x02\x10\x11" + b"\x3a" + b"\xff" * 8 + b"\x0f" + b"\x0a\x04abcd")


def lying_ubj(path: Path) -> None:
    """An array that claims 2**62 numbers."""
    xgboost_file(path)
    data = path.read_bytes()
    where = data.index(b"[$l#L") + 5
    path.write_bytes(data[:where] + (2**62).to_bytes(8, "big") + data[where + 8 :])


@pytest.mark.parametrize(("kind", "make"), [("root", lying_root), ("onnx", lying_onnx), ("xgboost-ubj", lying_ubj)])
def test_huge_claimed_lengths(kind: Kind, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / f"lie.{'ubj' if kind == 'xgboost-ubj' else kind}"
    make(path)
    found = inspected(path, kind)
    if kind != "root":  # uproot may list such a key without following it
        assert isinstance(found, InputError)


def test_deep_json(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text('{"learner": {"gradient_booster": ' + "[" * 100_000 + "]" * 100_000 + "}}")
    assert detect(path).kind == "xgboost-json"
    assert isinstance(inspected(path, "xgboost-json"), InputError)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>.root", "a\nb\x1b[31m.root", "é" * 100 + ".root", "; rm -rf ~.root", "--help.root"]
)
def test_hostile_file_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / name.replace("/", "∕")
    path.write_bytes(b"root\0\0\xf6\x0c" + bytes(10))
    found = inspected(path, "root")
    assert isinstance(found, InputError)
    assert "\x1b" not in str(found)


def test_importing_loads_no_heavy_library() -> None:
    """The web process imports these: what is heavy must wait until a file is read."""
    script = """
        import sys
        import mlcore.filetypes, mlcore.inspection, mlcore.toolchain.compiler, mlcore.toolchain.sandbox
        heavy = {"numpy", "onnx", "uproot", "awkward", "h5py", "pyarrow", "torch", "xgboost", "lightgbm"}
        print(sorted(heavy & set(sys.modules)))
    """
    project = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", textwrap.dedent(script)]
    outcome = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert outcome.stdout == "[]\n"
