"""Shards: every kept row once, in one order for a seed, whatever was done where, how often, and cut off when."""

from __future__ import annotations

import errno
import io
import json
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import uproot
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.batches import BatchLoader, Sample, SkippedRowsWarning
from mlcore.batches.conversion.convert import WORK, Plan, convert, plan
from mlcore.batches.conversion.convert import _named as module_named
from mlcore.batches.conversion.convert import _unnamed as module_unnamed
from mlcore.batches.conversion.joining import Manifest
from mlcore.batches.conversion.pieces import DamagedPieceError
from mlcore.batches.conversion.recipe import Recipe
from mlcore.batches.sources import DamagedDataError, open_source
from mlcore.batches.stores import StorageError
from mlcore.errors import DataError, InputError
from tests.mlcore.batches import damaged_files

ROWS = 3000


@pytest.fixture(scope="module")
def arrays() -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(3)
    return {
        "pt": rng.exponential(30, 2 * ROWS).astype(np.float32),
        "eta": rng.standard_normal(2 * ROWS),
        "row": np.arange(2 * ROWS, dtype=np.int32),
        "event": rng.integers(0, 50, 2 * ROWS).astype(np.int64),
        "three": rng.standard_normal((2 * ROWS, 3)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def files(arrays: dict[str, npt.NDArray[Any]], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("convert")
    for number in range(2):
        with uproot.recreate(folder / f"{number}.root") as root:
            tree = root.mktree("Events", {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()})
            for start in range(number * ROWS, (number + 1) * ROWS, 700):
                stop = min(start + 700, (number + 1) * ROWS)
                tree.extend({name: array[start:stop] for name, array in arrays.items()})
    return [f"{folder}/{number}.root:Events" for number in range(2)]


def rows_of(directory: Path, split: str = "shard") -> npt.NDArray[np.int64]:
    tables = [pq.read_table(path).column("row").to_numpy() for path in sorted(directory.glob(f"{split}-*.parquet"))]
    return np.concatenate(tables).astype(np.int64) if tables else np.empty(0, np.int64)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows_per_shard=st.integers(200, 9000),
    threads=st.integers(1, 3),
    shuffle=st.booleans(),
    cut=st.sampled_from([None, "pt > 40"]),
    seed=st.integers(0, 2**64 - 1),
)
def test_every_row_comes_once(
    files: list[str], arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, rows_per_shard: int, threads: int,
    shuffle: bool, cut: str | None, seed: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("out")
    made = convert(
        files, folder, target="row", filter=cut, rows_per_shard=rows_per_shard, threads=threads, shuffle=shuffle, seed=seed
    )
    kept = np.flatnonzero(arrays["pt"] > 40) if cut else np.arange(2 * ROWS)
    found = rows_of(folder)
    np.testing.assert_array_equal(np.sort(found), kept)
    assert made.rows == len(kept)
    assert made.rows_read == 2 * ROWS
    assert all(shard.rows == rows_per_shard for shard in made.shards[:-1])
    assert np.array_equal(found, kept) == (not shuffle)
    table = pq.read_table(folder / made.shards[0].name)
    np.testing.assert_array_equal(table.column("eta").to_numpy(), arrays["eta"][found[: table.num_rows]])
    assert not (folder / WORK).exists()


def test_columns_keep_their_types(files: list[str], arrays: dict[str, Any], tmp_path: Path) -> None:
    made = convert(files, tmp_path / "out", target="row", seed=1)
    table = pq.read_table(tmp_path / "out" / made.shards[0].name)
    assert [str(field.type) for field in table.schema] == [
        "float", "double", "int64", "fixed_size_list<element: float>[3]", "int32",
    ]  # fmt: skip
    told = {column["name"]: (column["dtype"], column["values"], column["role"]) for column in made.columns}
    assert told == {
        "pt": ("float32", 1, "x"), "eta": ("float64", 1, "x"), "event": ("int64", 1, "x"), "three": ("float32", 3, "x"),
        "row": ("int32", 1, "y"),
    }  # fmt: skip
    assert Manifest.read(tmp_path / "out") == made


def test_one_file_is_in_the_order_of_the_loader(files: list[str], tmp_path: Path) -> None:
    """So that a training on shards sees what one on the file would."""
    convert(files[0], tmp_path / "out", target="row", rows_per_shard=700, seed=12)
    loader = BatchLoader(files[0], ["pt"], target="row", seed=12)
    np.testing.assert_array_equal(rows_of(tmp_path / "out"), np.concatenate([y for _, y in loader.numpy()]))


def test_the_order_is_uniform(files: list[str], tmp_path: Path) -> None:
    """Chi-square of where rows come from against where they go, per degree of freedom."""
    convert(files, tmp_path / "out", columns=["row"], seed=5)
    found = rows_of(tmp_path / "out")
    counts = np.histogram2d(found, np.arange(len(found)), bins=20)[0]
    expected = len(found) / 400
    assert 0.75 < ((counts - expected) ** 2 / expected).sum() / 361 < 1.3


def test_shards_do_not_depend_on_threads_and_memory(files: list[str], tmp_path: Path) -> None:
    made = [
        convert(files, tmp_path / str(threads), rows_per_shard=1000, seed=4, threads=threads, memory=memory)
        for threads, memory in ((1, "1 MB"), (3, "900 MB"))
    ]
    assert made[0].shards == made[1].shards


# --- splits ---------------------------------------------------------------------------------------------------------------------


def test_splits_are_disjoint(files: list[str], tmp_path: Path) -> None:
    made = convert(files, tmp_path / "out", split={"train": 0.7, "validation": 0.2, "test": 0.1}, rows_per_shard=900, seed=1)
    parts = {name: rows_of(tmp_path / "out", name) for name in ("train", "validation", "test")}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(2 * ROWS))
    assert abs(len(parts["train"]) / (2 * ROWS) - 0.7) < 0.03
    assert made.to_json()["splits"] == {name: len(rows) for name, rows in parts.items()}


def test_a_column_keeps_rows_together(files: list[str], arrays: dict[str, Any], tmp_path: Path) -> None:
    convert(files, tmp_path / "out", columns=["pt", "row"], split={"train": 0.5, "validation": 0.5}, split_by="event", seed=1)
    train, rest = (set(arrays["event"][rows_of(tmp_path / "out", name)].tolist()) for name in ("train", "validation"))
    assert train
    assert rest
    assert not train & rest


def test_shares_below_one_leave_rows_out(files: list[str], tmp_path: Path) -> None:
    made = convert(files, tmp_path / "out", split={"small": 0.1}, seed=1)
    assert 400 < made.rows < 800
    assert made.rows_read == 2 * ROWS


# --- formats --------------------------------------------------------------------------------------------------------------------


def test_hdf5_and_numpy_are_read_by_the_loader(files: list[str], arrays: dict[str, Any], tmp_path: Path) -> None:
    for format_ in ("hdf5", "numpy"):
        made = convert(files, tmp_path / format_, format=format_, target="row", rows_per_shard=2500, seed=1)
        loader = BatchLoader(
            [str(tmp_path / format_ / shard.name) for shard in made.shards], ["eta"], target="row", dtype="float64"
        )
        x, y = next(iter(loader.numpy()))
        np.testing.assert_array_equal(x[:, 0], arrays["eta"][y.astype(np.int64)])
        assert loader.rows == 2 * ROWS
    with h5py.File(tmp_path / "hdf5" / "shard-00000-of-00003.h5") as file:
        assert file["row"].dtype == np.int32
        assert file["three"].shape == (2500, 3)
    with np.load(tmp_path / "numpy" / "shard-00000-of-00003.npz", allow_pickle=False) as stored:
        assert stored["event"].dtype == np.int64


POOL = descriptor_pool.DescriptorPool()  # messages do not keep it alive


@cache
def example_class() -> Any:
    """tf.train.Example by Google's protocol buffers, without TensorFlow."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tf", syntax="proto3")
    for name, kind in (("FloatList", field.TYPE_FLOAT), ("Int64List", field.TYPE_INT64)):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in ((2, "FloatList"), (3, "Int64List")):
        feature.field.add(
            name=name.lower(), number=number, type=field.TYPE_MESSAGE, type_name=f".tf.{name}", oneof_index=0, label=1
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=field.TYPE_MESSAGE, type_name=".tf.Feature", label=1)
    features.field.add(name="feature", number=1, type=field.TYPE_MESSAGE, type_name=".tf.Features.FeatureEntry", label=3)
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, type=field.TYPE_MESSAGE, type_name=".tf.Features", label=1)
    POOL.Add(file)
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName("tf.Example"))


def crc32c_by_bits(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def records(path: Path) -> list[bytes]:
    """The records of a TFRecord file, their checksums compared."""

    def check(part: bytes, told: int) -> None:
        value = crc32c_by_bits(part)
        assert told == ((value >> 15 | value << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32

    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        length, of_length = struct.unpack_from("<QI", data, at)
        check(data[at : at + 8], of_length)
        body = data[at + 12 : at + 12 + length]
        check(body, struct.unpack_from("<I", data, at + 12 + length)[0])
        found.append(body)
        at += 16 + length
    return found


def test_tfrecords_are_what_protocol_buffers_say(tmp_path: Path) -> None:
    source = {
        "x": np.array([1.5, np.nan, -0.0], np.float32),
        "n": np.array([0, -1, 2**62], np.int64),
        "small": np.array([300, 1, 127], np.uint16),
        "flag": np.array([True, False, True]),
        "pair": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 1e300]]),
        "ids": np.array([[128, -(2**63)], [1, 2], [3, 4]]),
    }
    made = convert(source, tmp_path / "out", format="tfrecord", shuffle=False)
    example = example_class()
    rows = [example.FromString(body).features.feature for body in records(tmp_path / "out" / made.shards[0].name)]
    for row, feature in enumerate(rows):
        assert set(feature) == set(source)
        for name, values in source.items():
            wanted = np.atleast_1d(values[row])
            if values.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    np.testing.assert_array_equal(np.array(feature[name].floatlist.value, np.float32), wanted.astype(np.float32))
            else:
                assert list(feature[name].int64list.value) == [int(value) for value in wanted]


def test_tfrecord_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="above 2\\*\\*63"):
        convert({"n": np.array([2**63], np.uint64)}, tmp_path / "out", format="tfrecord")


def test_webdataset_has_the_members_of_a_row_side_by_side(files: list[str], arrays: dict[str, Any], tmp_path: Path) -> None:
    made = convert(
        files, tmp_path / "out", columns=["pt", "three"], target="row", format="webdataset", rows_per_shard=4000, seed=1
    )
    keys = []
    for shard in made.shards:
        with tarfile.open(tmp_path / "out" / shard.name) as archive:
            members = archive.getmembers()
            keys += [member.name.partition(".")[0] for member in members[::2]]
            assert [member.name.partition(".")[2] for member in members[:4]] == ["x.npy", "y.npy"] * 2
            x, y = (np.load(io.BytesIO(archive.extractfile(member).read())) for member in members[:2])  # type: ignore[union-attr]
            row = int(y[0])
            np.testing.assert_array_equal(x, np.array([arrays["pt"][row], *arrays["three"][row]]))
    assert len(set(keys)) == 2 * ROWS


@pytest.fixture(scope="module")
def jagged_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("jagged") / "jets.root"
    rng = np.random.default_rng(1)
    import awkward as ak

    counts = rng.integers(0, 5, 500)
    with uproot.recreate(path) as root:
        root["Events"] = {
            "jet": ak.unflatten(rng.standard_normal(counts.sum()).astype(np.float32), counts),
            "row": np.arange(500, dtype=np.int32),
        }
    return f"{path}:Events"


@pytest.mark.parametrize("format_", ["parquet", "tfrecord"])
def test_jagged_columns_as_they_are(jagged_file: str, tmp_path: Path, format_: Any) -> None:
    made = convert(jagged_file, tmp_path / "out", columns=["jet", "row"], format=format_, seed=3)
    wanted = uproot.open(jagged_file)["jet"].array().to_list()
    path = tmp_path / "out" / made.shards[0].name
    if format_ == "parquet":
        table = pq.read_table(path).to_pydict()
        pairs = list(zip(table["row"], table["jet"], strict=True))
    else:
        features = [example_class().FromString(body).features.feature for body in records(path)]
        pairs = [(feature["row"].int64list.value[0], list(feature["jet"].floatlist.value)) for feature in features]
    assert sorted(row for row, _ in pairs) == list(range(500))
    assert all(wanted[row] == jets for row, jets in pairs)
    assert next(column for column in made.columns if column["name"] == "jet")["values"] is None


def test_jagged_columns_are_padded_where_that_is_asked_for(jagged_file: str, tmp_path: Path) -> None:
    convert(jagged_file, tmp_path / "out", columns=["jet", "row"], pad={"jet": 2}, format="numpy", shuffle=False)
    with np.load(tmp_path / "out" / "shard-00000-of-00001.npz", allow_pickle=False) as stored:
        for row, jets in enumerate(uproot.open(jagged_file)["jet"].array().to_list()):
            assert stored["jet"][row].tolist() == ([*jets, 0.0, 0.0])[:2]


def test_jagged_columns_need_padding_elsewhere(jagged_file: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another number of values") as caught:
        convert(jagged_file, tmp_path / "out", columns=["jet"], format="hdf5")
    assert "pad=" in caught.value.hint


# --- what was cut off -----------------------------------------------------------------------------------------------------------


class CutOffError(Exception):
    pass


def test_it_goes_on_where_it_was(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = convert(files, tmp_path / "whole", rows_per_shard=1000, seed=9, threads=1)

    def cut_off(done: int, total: int) -> None:
        if done >= total * 0.7:
            raise CutOffError

    with pytest.raises(CutOffError):
        convert(files, tmp_path / "out", rows_per_shard=1000, seed=9, threads=1, progress=cut_off)
    assert not (tmp_path / "out" / "manifest.json").exists()
    pieces = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / WORK).glob("*.piece")}
    shards = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.parquet")}
    assert len(pieces) == 2
    assert 0 < len(shards) < 6
    before = {}
    finish = Plan.finish

    def look(self: Plan, made: Any) -> Any:
        before.update({path.name: path.stat().st_mtime_ns for path in self.work.glob("*.piece")})
        return finish(self, made)

    monkeypatch.setattr(Plan, "finish", look)
    made = convert(files, tmp_path / "out", rows_per_shard=1000, threads=1)  # with the seed that it was begun with
    assert made.shards == whole.shards
    assert before == pieces
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == at for name, at in shards.items())


def begun(files: list[str], folder: Path) -> Plan:
    found = plan(files, folder, Recipe(rows_per_shard=1000), seed=9)
    assert isinstance(found, Plan)
    for number in range(len(found.tasks)):
        found.scatter(number)
    return found


def test_a_damaged_piece_is_found_and_made_again(files: list[str], tmp_path: Path) -> None:
    work = begun(files, tmp_path / "out")
    path = work.work / work.tasks[1].file
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedPieceError):
        [work.join(number) for number in range(len(work.layout.shards))]
    convert(files, tmp_path / "out", rows_per_shard=1000)
    np.testing.assert_array_equal(np.sort(rows_of(tmp_path / "out")), np.arange(2 * ROWS))


def test_a_piece_that_is_cut_short_is_made_again(files: list[str], tmp_path: Path) -> None:
    work = begun(files, tmp_path / "out")
    path = work.work / work.tasks[0].file
    path.write_bytes(path.read_bytes()[:-100])
    convert(files, tmp_path / "out", rows_per_shard=1000)
    np.testing.assert_array_equal(np.sort(rows_of(tmp_path / "out")), np.arange(2 * ROWS))


def test_a_damaged_shard_is_made_again(files: list[str], tmp_path: Path) -> None:
    work = begun(files, tmp_path / "out")
    shard = work.join(0)
    (tmp_path / "out" / shard.name).write_bytes(b"0" * shard.bytes)
    convert(files, tmp_path / "out", rows_per_shard=1000)
    np.testing.assert_array_equal(np.sort(rows_of(tmp_path / "out")), np.arange(2 * ROWS))


def test_what_is_complete_is_not_done_again(files: list[str], tmp_path: Path) -> None:
    made = convert(files, tmp_path / "out", seed=2)
    assert convert(files, tmp_path / "out", progress=lambda done, total: pytest.fail("it was done again")) == made


def test_another_conversion_in_the_same_folder_is_refused(files: list[str], tmp_path: Path) -> None:
    convert(files, tmp_path / "out", seed=2)
    with pytest.raises(InputError, match="other options"):
        convert(files, tmp_path / "out", filter="pt > 3")
    with pytest.raises(InputError, match="other files"):
        convert(files[0], tmp_path / "out")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").touch()
    with pytest.raises(InputError, match="has files in it"):
        convert(files, tmp_path / "else")


def test_a_source_that_changed_is_refused(files: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.root"
    shutil.copy(files[0].rpartition(":")[0], copy)
    begun([f"{copy}:Events"], tmp_path / "out")
    shutil.copy(files[1].rpartition(":")[0], copy)
    with pytest.raises(InputError, match="other files"):
        convert(f"{copy}:Events", tmp_path / "out", rows_per_shard=1000)


def test_a_full_disk_leaves_nothing_half_written(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            plan(files, tmp_path / "out", Recipe())
    work = begun(files, tmp_path / "out2")
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            work.join(0)
    assert not list((tmp_path / "out2").glob("*.parquet"))
    assert not list((tmp_path / "out2").glob(".shard*"))


# --- what is damaged ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "ntuple"])
def test_what_is_damaged_is_left_out_and_counted(kind: str, tmp_path: Path) -> None:
    """Everything else comes once, in the order that it would have, whatever the number of tasks."""
    rows = damaged_files.ROWS
    values = np.random.default_rng(3).normal(size=rows).astype(np.float32)
    path = damaged_files.write(tmp_path / "a.root", kind, {"row": np.arange(rows, dtype=np.int32), "f": values})
    made = convert(path, tmp_path / "sound", rows_per_shard=20_000, seed=7, on_error="skip")
    assert not made.skipped
    order = rows_of(tmp_path / "sound")
    np.testing.assert_array_equal(np.sort(order), np.arange(rows))
    first, stop = damaged_files.damage(path, "f", damaged_files.EDGES[1])
    short, gone = (
        damaged_files.write(tmp_path / "b.root", kind, {"row": np.arange(5, dtype=np.int32), "f": np.ones(5, "f4")}),
        tmp_path / "c.root",
    )
    short.write_bytes(short.read_bytes()[:300])
    with pytest.raises(DamagedDataError, match="column 'f'"):
        convert(path, tmp_path / "raising", seed=7)
    for threads, memory in ((1, "1 MB"), (3, "900 MB")):
        out = tmp_path / str(threads)
        told = rf"^{stop - first} rows and 2 files were skipped: .*b\.root is cut short"
        with pytest.warns(SkippedRowsWarning, match=told):
            made = convert(
                [path, short, gone], out, rows_per_shard=20_000, seed=7, threads=threads, memory=memory, on_error="skip"
            )
        np.testing.assert_array_equal(rows_of(out), order[(order < first) | (order >= stop)])
        assert made.rows == rows - (stop - first)
        assert (made.rows_read, made.skipped.rows) == (rows, stop - first)
        assert list(made.skipped.files) == [str(short), str(gone)]
        assert len(made.skipped.messages) == 3
        assert "column 'f'" in made.skipped.messages[2]
        assert Manifest.read(out) == made
    with pytest.raises(InputError, match="cut short"):
        convert([short, gone], tmp_path / "nothing", on_error="skip")
    with pytest.raises(InputError, match="on_error='ignore' is unknown"):
        convert(path, tmp_path / "nothing", on_error="ignore")  # type: ignore[arg-type]


def test_a_column_of_which_nothing_is_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the rows of its file."""
    path = damaged_files.write(tmp_path / "a.root", "tree", {"row": np.arange(damaged_files.ROWS, dtype=np.int32)})

    def damaged(self: Any, name: str) -> None:
        raise ValueError("no sense")

    monkeypatch.setattr(type(open_source(path).parts[0]), "make_plan", damaged)
    with pytest.warns(SkippedRowsWarning, match=f"{damaged_files.ROWS} rows were skipped: .*it is not clear where"):
        convert([{"row": np.arange(5, dtype=np.int32)}, path], tmp_path / "out", seed=1, on_error="skip")
    np.testing.assert_array_equal(np.sort(rows_of(tmp_path / "out")), np.arange(5))


# --- what is wrong --------------------------------------------------------------------------------------------------------------


def test_nothing_kept_is_an_error(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row"):
        convert(files, tmp_path / "out", filter="pt > 1e9")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "no format of shards"),
        ({"rows_per_shard": 0}, "is none"),
        ({"split": {"train": 0.8, "test": 0.4}}, "together"),
        ({"split": {"train": -1}}, "no share"),
        ({"split": {"../up": 0.5}}, "name of a split"),
        ({"split": {"train": 1}, "split_by": "three"}, "not one number"),
        ({"seed": -1}, "no seed"),
        ({"filter": "ptt > 1"}, "ptt"),
    ],
)
def test_wrong_options_are_told(files: list[str], tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(files, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_missing_column_has_its_nearest_names(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        convert(files, tmp_path / "out", columns=["eat"])
    assert "eta" in caught.value.hint


# --- on a cluster ---------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # what a cluster warns of is not ours
def test_on_a_dask_cluster(files: list[str], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    alone = convert(files, tmp_path / "alone", rows_per_shard=1000, seed=6)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        made = convert(files, tmp_path / "out", rows_per_shard=1000, seed=6, client=client)
        with pytest.raises(InputError, match="a cluster reads files"):
            convert({"x": np.ones(3)}, tmp_path / "memory", client=client)
    assert made.shards == alone.shards
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["rows"] == 2 * ROWS


# --- samples, and what the loader does alike ------------------------------------------------------------------------------------


def test_samples_bring_labels_weights_and_filters(files: list[str], arrays: dict[str, Any], tmp_path: Path) -> None:
    samples = [Sample(files[0], label=0, weight=0.5), Sample(files[1], label=1, filter="pt > 40")]
    made = convert(samples, tmp_path / "out", columns=["pt", "row"], seed=1)
    table = pq.read_table(tmp_path / "out" / made.shards[0].name)
    rows, labels = table.column("row").to_numpy(), table.column("sample_label").to_numpy()
    np.testing.assert_array_equal(labels, rows >= ROWS)
    np.testing.assert_array_equal(table.column("sample_weight").to_numpy(), np.where(labels == 1, 1.0, 0.5))
    kept = (np.arange(2 * ROWS) < ROWS) | (arrays["pt"] > 40)
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(kept))
    assert [column["role"] for column in made.columns] == ["x", "x", "y", "w"]


def test_splits_are_those_of_the_loader(files: list[str], tmp_path: Path) -> None:
    convert(files, tmp_path / "out", columns=["row"], split={"train": 0.8, "validation": 0.2}, seed=1)
    for name, part in BatchLoader(files, ["row"]).split(train=0.8, validation=0.2).items():
        rows = np.concatenate([x[:, 0] for x in part.numpy()]).astype(np.int64)
        np.testing.assert_array_equal(np.sort(rows), np.sort(rows_of(tmp_path / "out", name)))


def test_samples_go_to_a_cluster(files: list[str]) -> None:
    samples = [Sample(files[0], label=0), Sample([files[1]], label=1, filter="pt > 40")]
    again = module_unnamed(json.loads(json.dumps(module_named(samples))))
    assert [(sample.label, sample.filter) for sample in again] == [(0, None), (1, "pt > 40")]
    assert again[1].source == [files[1]]


def test_an_empty_file_among_others(files: list[str], tmp_path: Path, arrays: dict[str, Any]) -> None:
    with uproot.recreate(tmp_path / "empty.root") as root:
        root.mktree("Events", {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()})
    made = convert([files[0], f"{tmp_path}/empty.root:Events", files[1]], tmp_path / "out", seed=1)
    np.testing.assert_array_equal(np.sort(rows_of(tmp_path / "out")), np.arange(2 * ROWS))
    assert [source["rows"] for source in made.sources] == [ROWS, 0, ROWS]
    with pytest.raises(InputError, match="no row"):
        convert(f"{tmp_path}/empty.root:Events", tmp_path / "none", define={"m": "2 * pt"}, seed=1)


def test_new_columns_are_written(files: list[str], arrays: dict[str, Any], tmp_path: Path) -> None:
    define = {"one": "1", "m": "2 * pt"}
    made = convert(files, tmp_path / "out", columns=["m", "one", "row"], define=define, seed=1)
    table = pq.read_table(tmp_path / "out" / made.shards[0].name)
    rows = table.column("row").to_numpy()
    np.testing.assert_allclose(table.column("m").to_numpy(), 2 * arrays["pt"][rows], rtol=1e-6)
    assert set(table.column("one").to_pylist()) == {1}


@pytest.mark.parametrize("format_", ["parquet", "hdf5", "numpy"])
def test_every_type_of_number_comes_back(tmp_path: Path, format_: Any) -> None:
    rng = np.random.default_rng(1)
    names = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
    source: dict[str, Any] = {}
    for name in names:
        dtype = np.dtype(name)
        raw = np.frombuffer(rng.bytes(dtype.itemsize * 200), dtype) if name != "bool" else rng.random(200) > 0.5
        source[name], source[f"{name}_wide"] = raw[:50], raw[50:200].reshape(50, 3)
    made = convert(source, tmp_path / "out", format=format_, shuffle=False)
    path = tmp_path / "out" / made.shards[0].name
    for name, values in source.items():
        if format_ == "parquet":
            column = pq.read_table(path).column(name).combine_chunks()
            found = (
                column.flatten().to_numpy(zero_copy_only=False).reshape(values.shape)
                if values.ndim > 1
                else column.to_numpy(False)
            )
        elif format_ == "hdf5":
            with h5py.File(path) as file:
                found = file[name][:]
        else:
            with np.load(path, allow_pickle=False) as stored:
                found = stored[name]
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)
        assert next(column for column in made.columns if column["name"] == name)["dtype"] == values.dtype.name


def test_a_killed_process_costs_what_was_not_complete(files: list[str], tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from mlcore.batches import convert\n"
        "def progress(done, total):\n"
        "    if done >= 0.75 * total: os.kill(os.getpid(), signal.SIGKILL)\n"
        "convert(sys.argv[2:], sys.argv[1], rows_per_shard=1000, seed=9, threads=2, progress=progress)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "out", *files], check=False, cwd=Path(__file__).parents[3])
    assert killed.returncode == -signal.SIGKILL
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.parquet")}
    assert kept
    assert not (tmp_path / "out" / "manifest.json").exists()
    made = convert(files, tmp_path / "out", rows_per_shard=1000)
    assert made.shards == convert(files, tmp_path / "whole", rows_per_shard=1000, seed=9).shards
    again = [name for name, at in kept.items() if (tmp_path / "out" / name).stat().st_mtime_ns != at]
    assert len(again) <= 2, "those that were in work"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.json", *(shard.name for shard in made.shards)}


def test_what_a_killed_process_was_writing_is_removed(files: list[str], tmp_path: Path) -> None:
    work = begun(files, tmp_path / "out")
    left = [tmp_path / "out" / ".shard-00000-of-00006.parquet-a_b0c1d2", work.work / f".{work.tasks[0].file}-a_b0c1d2"]
    for path in left:
        path.touch()
    (tmp_path / "out" / ".gitignore").touch()
    plan(files, tmp_path / "out", Recipe(rows_per_shard=1000))
    assert not any(path.exists() for path in left)
    assert (tmp_path / "out" / ".gitignore").exists()
