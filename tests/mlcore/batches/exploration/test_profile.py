"""Profiles: bytes as other programs tell them, and advice that comes where it is due and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from mlcore.batches.exploration.profile import TableProfile, profile
from mlcore.errors import InputError

ROWS = 40_000


def columns() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {"pt": rng.exponential(20, ROWS).astype(np.float32), "n": rng.integers(0, 9, ROWS).astype(np.int32)}


def tree_file(path: Path, compression: Any, step: int = ROWS, arrays: dict[str, Any] | None = None) -> Path:
    arrays = arrays or columns()
    with uproot.recreate(path, compression=compression) as root:
        tree = root.mktree("Events", {name: array.dtype for name, array in arrays.items()})
        for start in range(0, ROWS, step):
            tree.extend({name: array[start : start + step] for name, array in arrays.items()})
    return path


def only(path: Path, **options: Any) -> TableProfile:
    (table,) = profile(path, **options).tables
    return table


def headlines(table: TableProfile) -> str:
    return " ".join(entry.headline for entry in table.advice)


def test_a_tree_is_told_as_uproot_tells_it(tmp_path: Path) -> None:
    path = tree_file(tmp_path / "a.root", uproot.ZSTD(5), 10_000)
    table = only(path)
    with uproot.open(path) as file:
        for column in table.stored.columns:
            branch = file["Events"][column.name]
            assert (column.compressed, column.uncompressed) == (branch.compressed_bytes, branch.uncompressed_bytes)
            assert (column.units, column.compression) == (4, "ZSTD 5")
    assert table.stored.clusters == (10_000,) * 4
    assert (table.stored.kind, table.stored.rows) == ("TTree", ROWS)
    assert table.speed is not None
    assert table.speed.native
    assert (table.speed.rows, table.speed.bytes) == (ROWS, ROWS * 8)
    assert table.speed.rows_per_second > 0
    assert not table.advice


def test_nothing_is_read_where_that_is_not_asked_for(tmp_path: Path) -> None:
    table = only(tree_file(tmp_path / "a.root", None), seconds=0)
    assert table.speed is None
    assert table.unread
    assert {column.compression for column in table.stored.columns} == {"none"}


@pytest.mark.parametrize(
    ("compression", "step", "wanted"),
    [
        (uproot.LZMA(5), ROWS, "by LZMA"),
        (uproot.ZLIB(1), ROWS, "by zlib"),
        (uproot.ZSTD(5), 500, "baskets are small"),
    ],
)
def test_advice_comes_where_it_is_due(tmp_path: Path, compression: Any, step: int, wanted: str) -> None:
    table = only(tree_file(tmp_path / "a.root", compression, step))
    assert wanted in headlines(table)
    assert all(entry.text for entry in table.advice)


def test_numbers_that_do_not_compress(tmp_path: Path) -> None:
    noise = np.frombuffer(np.random.default_rng(1).bytes(4 * ROWS), np.int32).copy()
    noise[:1000] = 0  # else it would be stored as it is
    assert "hardly" in headlines(only(tree_file(tmp_path / "a.root", uproot.ZSTD(5), arrays={"x": noise})))


def test_double_precision_is_told(tmp_path: Path) -> None:
    doubles = {"x": np.random.default_rng(1).standard_normal(ROWS)}
    assert "double precision" in headlines(only(tree_file(tmp_path / "a.root", uproot.ZSTD(5), arrays=doubles)))


def test_a_tree_by_root_without_clusters(tmp_path: Path) -> None:
    root = pytest.importorskip("ROOT")
    path = tmp_path / "a.root"
    frame = root.RDataFrame(30_000).Define("x", "(float)rdfentry_").Define("y", "(double)rdfentry_")
    options = root.RDF.RSnapshotOptions()
    options.fAutoFlush = 0
    frame.Snapshot("Events", str(path), ["x", "y"], options)
    table = only(path)
    assert sum(table.stored.clusters) in (0, 30_000)
    assert table.speed is not None
    assert table.speed.rows == 30_000


def test_an_rntuple(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as root:
        root.mkrntuple("Events", columns())
    table = only(path)
    assert (table.stored.kind, table.stored.unit, table.stored.rows) == ("RNTuple", "page", ROWS)
    sizes = {column.name: column.uncompressed for column in table.stored.columns}
    assert sizes == {"pt": 4 * ROWS, "n": 4 * ROWS}
    assert sum(table.stored.clusters) == ROWS
    assert table.speed is not None
    assert table.speed.rows == ROWS


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns()), path, compression="gzip", row_group_size=10_000)
    table = only(path)
    metadata = pq.ParquetFile(path).metadata
    stored = {column.name: column for column in table.stored.columns}
    sizes = [metadata.row_group(group).column(0).total_compressed_size for group in range(4)]
    assert stored["pt"].compressed == sum(sizes)
    assert (stored["pt"].compression, stored["pt"].units) == ("GZIP", 4)
    assert table.stored.clusters == (10_000,) * 4
    assert "zlib" in headlines(table)


def test_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("pt", data=columns()["pt"], chunks=(10_000,), compression="gzip", compression_opts=4)
        file.create_dataset("n", data=columns()["n"])
        size = file["pt"].id.get_storage_size()
    table = only(path)
    stored = {column.name: column for column in table.stored.columns}
    assert (stored["pt"].compressed, stored["pt"].uncompressed, stored["pt"].units) == (size, 4 * ROWS, 4)
    assert (stored["pt"].compression, stored["n"].compression) == ("gzip 4", "none")
    assert table.speed is not None


def test_it_is_plain_data(tmp_path: Path) -> None:
    told = json.loads(json.dumps(profile(tree_file(tmp_path / "a.root", uproot.LZMA(1))).to_json(), allow_nan=False))
    assert told["tables"][0]["speed"]["rows_per_second"] > 0
    assert told["tables"][0]["stored"]["columns"][0]["ratio"] > 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("pt eta")
    with pytest.raises(InputError, match=r"a\.txt"):
        profile(tmp_path / "a.txt")
