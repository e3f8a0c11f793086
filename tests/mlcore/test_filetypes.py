"""File types are told by content, cheaply, and pickles refused in all their guises."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tempfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.filetypes import detect, refuse, refuse_stream

MODEL = {"weights": np.arange(20.0), "names": ["pt", "eta"], "depth": 3}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# Real files of each kind.


def make_root(path: Path) -> None:
    import uproot

    with uproot.recreate(path) as file:
        file["tree"] = {"x": np.arange(10.0)}


def make_onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])]
    )
    onnx.save(helper.make_model(graph), path)


def make_onnx_opset_first(path: Path) -> None:
    make_onnx(path)
    # Fields may come in any order: an empty domain's opset, then the rest.
    path.write_bytes(b"\x42\x02\x10\x11" + path.read_bytes())


def make_xgboost(path: Path) -> None:
    import xgboost

    rng = np.random.default_rng(1)
    data = xgboost.DMatrix(rng.normal(size=(50, 3)), rng.integers(0, 2, 50))
    xgboost.train({"max_depth": 2, "objective": "binary:logistic"}, data, 3).save_model(path)


def make_indented_xgboost(path: Path) -> None:
    make_xgboost(path.with_suffix(".json"))
    content = json.loads(path.with_suffix(".json").read_text())
    path.write_text(json.dumps({"version": content["version"], "learner": content["learner"]}, indent=2))


def make_lightgbm(path: Path) -> None:
    import lightgbm

    rng = np.random.default_rng(1)
    data = lightgbm.Dataset(rng.normal(size=(100, 3)), rng.integers(0, 2, 100))
    lightgbm.train({"objective": "binary", "verbose": -1}, data, 3).save_model(path)


def make_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["x"] = np.arange(5)


def make_hdf5_with_user_block(path: Path) -> None:
    import h5py

    with h5py.File(path, "w", userblock_size=4096) as file:
        file["x"] = np.arange(5)


def make_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1, 2, 3]}), path)


def make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "{}")


def make_skops(path: Path) -> None:
    schema = {"__class__": "RandomForestClassifier", "__module__": "sklearn.ensemble._forest", "__loader__": "ObjectNode"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("1.npy", "w") as member:
            np.save(member, np.arange(3))
        archive.writestr("schema.json", json.dumps(schema | {"content": {}, "_skops_version": "0.13"}, indent=2))


def make_numpy_archive(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, x=np.arange(5), y=np.ones((2, 2)))


CATBOOST = {
    "features_info": {"float_features": [{"borders": [0.5], "feature_index": 0}]},
    "model_info": {},
    "oblivious_trees": [],
    "scale_and_bias": [1, [0]],
}
TREELITE = {"num_feature": 3, "task_type": "kRegressor", "average_tree_output": False, "trees": []}

KINDS: list[tuple[str, str, Callable[[Path], None]]] = [
    ("root", "a.root", make_root),
    ("onnx", "a.onnx", make_onnx),
    ("onnx", "opset_first.onnx", make_onnx_opset_first),
    ("xgboost-json", "a.json", make_xgboost),
    ("xgboost-json", "indented", make_indented_xgboost),
    ("xgboost-ubj", "a.ubj", make_xgboost),
    ("lightgbm-text", "a.txt", make_lightgbm),
    ("skops", "a.skops", make_skops),
    ("tmva-xml", "a.xml", lambda path: path.write_text('<?xml version="1.0"?>\n<MethodSetup Method="BDT::BDT">\n') and None),
    ("tmva-xml", "comment.xml", lambda path: path.write_text("<!-- a\n b -->\n<MethodSetup>\n</MethodSetup>") and None),
    ("catboost-json", "c.json", lambda path: path.write_text(json.dumps(CATBOOST)) and None),
    ("treelite-json", "t.json", lambda path: path.write_text(json.dumps(TREELITE, indent=1)) and None),
    ("ml4ep-forest", "a.forest", lambda path: path.write_bytes(b"\x89ML4EP\r\n" + bytes(500)) and None),
    ("hdf5", "a.h5", make_hdf5),
    ("hdf5", "user_block.h5", make_hdf5_with_user_block),
    ("parquet", "a.parquet", make_parquet),
    ("zip", "a.zip", make_zip),
    ("numpy", "a.npz", make_numpy_archive),
    ("numpy", "a.npy", lambda path: np.save(path, np.arange(5))),
    ("numpy", "record.npy", lambda path: np.save(path, np.zeros(3, [("pt", "f4"), ("id", "i8")]))),
    ("text", "a.cpp", lambda path: path.write_text("// Übung\nint main() { return 0; }\n") and None),
    ("text", "tabs.csv", lambda path: path.write_text("a\tb\r\n1\t2\r\n") and None),
    ("json", "b.json", lambda path: path.write_text('\ufeff {"a": [1, 2]}') and None),
    ("text", "b.xml", lambda path: path.write_text('<?xml version="1.0"?>\n<a><MethodSetup/></a>\n') and None),
    ("json", "task.json", lambda path: path.write_text('{"task_type": "cleaning"}') and None),
    ("json", "list.json", lambda path: path.write_text("[1, 2]") and None),
]


@pytest.mark.parametrize(("kind", "name", "make"), KINDS, ids=[name for _, name, _ in KINDS])
def test_real_files_are_told_by_content(kind: str, name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    assert detect(path).kind == kind
    assert refuse(path) == detect(path)
    mislabelled = path.rename(tmp_path / "photograph.pkl")
    assert detect(mislabelled).kind == kind


@pytest.mark.parametrize(("kind", "name", "make"), KINDS, ids=[name for _, name, _ in KINDS])
def test_files_cut_anywhere_do_no_harm(kind: str, name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    data = path.read_bytes()
    for length in [*range(min(len(data), 200)), *range(200, len(data), 1 + len(data) // 50)]:
        found = detect(write(tmp_path / "cut", data[:length]))
        among = {"numpy"} if kind == "skops" else set()  # an archive whose first member is an array
        assert found.kind in {kind, "unknown", "text", "json", "zip"} | among, (length, found)
        assert "ickle" not in found.title, (length, data[:length])


@pytest.mark.parametrize("kind", ["root", "hdf5", "parquet", "lightgbm-text", "xgboost-ubj", "xgboost-json", "onnx"])
def test_the_first_half_keeps_the_kind(kind: str, tmp_path: Path) -> None:
    name, make = next((name, make) for each, name, make in KINDS if each == kind)
    make(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert detect(write(tmp_path / "half", data[: len(data) // 2])).kind == kind


# What is refused.


def torch_file(old: bool) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save(torch.nn.Linear(2, 3).state_dict(), stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def joblib_file(compress: object) -> bytes:
    import joblib

    stream = io.BytesIO()
    joblib.dump(MODEL, stream, compress=compress)
    return stream.getvalue()


def object_array(*, archive: bool) -> bytes:
    stream = io.BytesIO()
    array = np.array([{}, 1], dtype=object)
    if archive:
        np.savez_compressed(stream, x=np.arange(3), y=array)
    else:
        np.save(stream, array)
    return stream.getvalue()


def record_array_with_objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([(1, {})], dtype=[("n", "i4"), ("o", "O")]))
    return stream.getvalue()


def zipped_pickle() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("notes.txt", "harmless")
        archive.writestr("inner/model.PKL", pickle.dumps(MODEL))
    return stream.getvalue()


REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{f"protocol-{p}": ("file.pickle", lambda p=p: pickle.dumps(MODEL, protocol=p)) for p in range(6)},
    **{f"list-{p}": ("file.pickle", lambda p=p: pickle.dumps([1, "x"], protocol=p)) for p in range(6)},
    **{f"number-{p}": ("file.pickle", lambda p=p: pickle.dumps(3, protocol=p)) for p in range(6)},
    "attack-0": ("file.pickle", lambda: b"cos\nsystem\n(S'echo pwned'\ntR."),
    "large-0": ("file.pickle", lambda: pickle.dumps(list(range(200_000)), protocol=0)),
    "large-1": ("file.pickle", lambda: pickle.dumps([[str(i)] for i in range(100_000)], protocol=1)),
    "trailing": ("file.pickle", lambda: pickle.dumps(MODEL, protocol=0) + b"\n# harmless\n"),
    "joblib": ("file.joblib", lambda: joblib_file(0)),
    **{
        f"joblib-{c}": ("file.joblib", lambda c=c: joblib_file((c, 3))) for c in ("zlib", "gzip", "bz2", "xz", "lzma")
    },
    "gzipped-pickle": ("file.joblib", lambda: gzip.compress(pickle.dumps(MODEL))),
    "bzip-large": ("file.joblib", lambda: bz2.compress(pickle.dumps(os.urandom(2_000_000)), 2)),
    "torch": ("file.torch", lambda: torch_file(old=False)),
    "torch-old": ("file.torch", lambda: torch_file(old=True)),
    "zipped": ("file.pickle", zipped_pickle),
    "object-array": ("file.numpy", lambda: object_array(archive=False)),
    "object-archive": ("file.numpy", lambda: object_array(archive=True)),
    "object-record": ("file.numpy", record_array_with_objects),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_way_out(name: str, tmp_path: Path) -> None:
    code, make = REFUSED[name]
    path = write(tmp_path / "model.json", make())
    with pytest.raises(InputError, match="run whatever code") as caught:
        refuse(path)
    assert caught.value.code == code
    assert "upload that" in caught.value.hint
    assert detect(path).kind == "unknown"


@pytest.mark.parametrize("name", ["protocol-0", "protocol-1", "protocol-4", "torch", "joblib", "object-array"])
def test_refused_when_cut_short(name: str, tmp_path: Path) -> None:
    data = REFUSED[name][1]()
    if name in {"protocol-0", "protocol-1"}:
        # Long enough that the cut lies behind what is looked at.
        data = pickle.dumps([MODEL] + [str(i) for i in range(50_000)], protocol=int(name[-1]))
    with pytest.raises(InputError, match="run whatever code"):
        refuse(write(tmp_path / "cut", data[: len(data) * 2 // 3]))


@pytest.mark.parametrize(
    ("module", "way"), [("xgboost.core", 'save_model("model.json")'), ("lightgbm.basic", "model.txt"), ("sklearn.tree", "ONNX")]
)
def test_hint_suits_the_library(module: str, way: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.pkl", f"c{module}\nModel\n)R.".encode())
    with pytest.raises(InputError) as caught:
        refuse(path)
    assert way in caught.value.hint


# What is not.


@pytest.mark.parametrize(
    "text",
    ["N.", "0.", ".", "", "I think.", "(a)\n", "]\n", "(((((((((((((((\n", "tree\n", "VERSION=1\n", "K.\n", "c++\nis\nfun.\n"],
)
def test_short_texts_are_no_pickles(text: str, tmp_path: Path) -> None:
    assert "ickle" not in refuse(write(tmp_path / "a.txt", text.encode())).title


@pytest.mark.parametrize(
    "data", [bytes(1000), b"\xff" * 100, b"root", b"root\0\0\0\0", b"\x08", b"\x08\x08\x12\x04", b"{L", b"PK\x03", b"MZ\x90\0"]
)
def test_junk_is_unknown_or_text(data: bytes, tmp_path: Path) -> None:
    assert refuse(write(tmp_path / "junk", data)).kind in {"unknown", "text"}


def test_empty_file(tmp_path: Path) -> None:
    assert detect(write(tmp_path / "empty.root", b"")).title == "Empty file"


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, bz2.compress, lzma.compress])
def test_compressed_text_is_named(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    assert refuse(write(tmp_path / "a.gz", compress(b"just a text " * 100))).title.startswith("Compressed file")


def test_text_cut_within_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"a" + "é".encode() * 100_000)
    assert detect(path).kind == "text"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError) as caught:
            detect(path)
        assert caught.value.code == "file.unreadable"


@given(
    data=st.binary(max_size=400),
    start=st.sampled_from([b"", b"\x80\x04", b"PK\x03\x04", b"\x93NUMPY\x01\0", b"x\x9c", b"\x08\x08:", b"{L", b"("]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_get_an_answer(data: bytes, start: bytes, tmp_path: Path) -> None:
    assert detect(write(tmp_path / "any", start + data)).title


# Cheapness.


def huge(path: Path, head: bytes, size: int = 2**36) -> Path:
    write(path, head)
    os.truncate(path, size)
    return path


def bomb_archive() -> bytes:
    """A zip of a gigabyte of zeros, calling itself an array."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(64):
            member.write(bytes(2**20))
    return stream.getvalue()


def lying_directory() -> bytes:
    """A central directory that claims four gigabytes and a billion members."""
    entry = b"PK\x01\x02" + bytes(42)
    return (
        b"PK\x03\x04"
        + bytes(26)
        + entry * 100_000
        + b"PK\x05\x06"
        + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**32 - 2, 30, 0)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda path: huge(path, b"root\0\0\xf6\x0c"),
        lambda path: huge(path, b"\x08\x08:\xff\xff\xff\xff\x7f\x0a"),
        lambda path: huge(path, b"PK\x03\x04"),
        lambda path: huge(path, b"\0"),
        lambda path: huge(path, b"{"),
        lambda path: huge(path, b"(lp0\n"),
        lambda path: write(path, gzip.compress(bytes(2**26), 9)),
        lambda path: write(path, bz2.compress(bytes(2**26), 9)),
        lambda path: write(path, lzma.compress(bytes(2**26))),
        lambda path: write(path, bomb_archive()),
        lambda path: write(path, lying_directory()),
        lambda path: write(path, b"\x08\x08" + b"\x12\x00" * 1_000_000),
        lambda path: write(path, b"(" * 1_000_000),
        lambda path: write(path, b"}" * 1_000_000),
    ],
    ids=[
        "root",
        "onnx",
        "zip",
        "zeros",
        "brace",
        "pickle",
        "gzip",
        "bzip2",
        "xz",
        "archive",
        "directory",
        "fields",
        "marks",
        "dicts",
    ],
)
def test_huge_files_and_bombs_cost_little(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "bomb")
    tracemalloc.start()
    try:
        start = time.process_time()
        detect(path)
        seconds = time.process_time() - start
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
    assert seconds < 20  # of this process alone; all of a bomb would take minutes


def test_reads_a_bounded_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore import filetypes

    files = []

    class Recorded(filetypes._File):
        def __init__(self, stream: io.BufferedReader) -> None:
            super().__init__(stream)
            files.append(self)

    monkeypatch.setattr(filetypes, "_File", Recorded)
    for data in (lying_directory(), bz2.compress(os.urandom(2**21)), b"\x08\x08" + b"\x12\x00" * 1_000_000, bytes(2**22)):
        detect(write(tmp_path / "a", data))
        assert files[-1].left >= 0
    assert len(files) == 4


def test_an_exported_program_of_pytorch_is_told_by_its_mark() -> None:
    members = {"m/archive_format": b"pt2", "m/models/model.json": b"{}", "m/data/sample_inputs/model.pt": b"PK"}
    assert kind_of_zip(members) == "pt2"
    assert kind_of_zip({**members, "m/archive_format": b"other"}) == "zip"
    assert kind_of_zip({**members, "m/data.pkl": b""}) == "unknown"  # a checkpoint


def test_a_keras_model_is_told_by_its_members() -> None:
    members = {"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b"\x89HDF"}
    assert kind_of_zip(members) == "keras"
    assert kind_of_zip({name: members[name] for name in ("metadata.json", "config.json")}) == "zip"
    assert kind_of_zip({**members, "assets/x.pkl": b""}) == "unknown"


def kind_of_zip(members: dict[str, bytes]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return detect(path).kind


def test_open_files_are_told_as_well(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"root\0\0\xf3\x60" + bytes(300), b"PAR1" + bytes(40), b"", b"words\n"):
        path.write_bytes(content)
        with path.open("rb") as stream:
            assert refuse_stream(stream) == detect(path)
    with pytest.raises(InputError, match="Python pickle"):
        refuse_stream(io.BytesIO(pickle.dumps({"a": [1, 2]})))
