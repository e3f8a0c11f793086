"""Parquet files: schema, row groups, compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcore.errors import InputError
from mlcore.inspection import Inspection, inspect


def rows(inspection: Inspection, title: str) -> tuple[tuple[Any, ...], ...]:
    return next(table.rows for table in inspection.tables if table.title == title)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.parquet"
    table = pa.table(
        {"pt": pa.array([1.0] * 1000, pa.float32()), "name": ["jet"] * 1000, "hits": [[1, 2]] * 1000}, metadata={"sample": "zee"}
    )
    pq.write_table(table, path, row_group_size=400, compression={"pt": "zstd", "name": "snappy", "hits.list.element": "gzip"})
    return path


def test_facts(file: Path) -> None:
    facts = dict(inspect(file).facts)
    assert (facts["Rows"], facts["Columns"], facts["Row groups"]) == (1000, 3, 3)
    assert facts["Compression"] == "gzip, snappy, zstd"
    assert "parquet-cpp" in str(facts["Written by"])


def test_columns(file: Path) -> None:
    columns = {row[0]: row[1:] for row in rows(inspect(file), "Columns")}
    assert columns["pt"][:2] == ("float", "zstd")
    assert columns["name"][:2] == ("String (byte_array)", "snappy")
    assert columns["hits.list.element"][:2] == ("int64", "gzip")
    metadata = pq.read_metadata(file)
    packed = sum(metadata.row_group(i).column(0).total_compressed_size for i in range(3))
    assert columns["pt"][2] == packed


def test_row_groups(file: Path) -> None:
    assert [row[:2] for row in rows(inspect(file), "Row groups")] == [(0, 400), (1, 400), (2, 200)]


def test_metadata(file: Path) -> None:
    assert rows(inspect(file), "Metadata") == (("sample", "zee"),)


def test_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"x": pa.array([], pa.int8())}), path)
    assert dict(inspect(path).facts)["Rows"] == 0


def test_wide_tables_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"c{i}": [1] for i in range(3000)}), path)
    found = inspect(path)
    assert dict(found.facts)["Columns"] == 3000
    assert len(rows(found, "Columns")) == 1000


def test_cut_file(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut short") as caught:
        inspect(cut)
    assert caught.value.code == "inspection.truncated"


@pytest.mark.parametrize("length", [2**32 - 1, 10**6])
def test_footer_larger_than_the_file(length: int, tmp_path: Path) -> None:
    path = tmp_path / "lie.parquet"
    path.write_bytes(b"PAR1" + bytes(100) + length.to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match="larger than itself"):
        inspect(path)


def test_encrypted_footer(tmp_path: Path) -> None:
    path = tmp_path / "closed.parquet"
    path.write_bytes(b"PARE" + bytes(100) + (50).to_bytes(4, "little") + b"PARE")
    with pytest.raises(InputError, match="encrypted"):
        inspect(path)
