"""Rows from files of the user's: each format, by name and by order, and files made to hurt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.forests import load
from mlcore.forests.ir import TreeModel
from mlcore.forests.rows import read_rows

Train = Callable[..., Any]
NAMES = ("pt", "eta", "phi", "m", "n", "q")


@pytest.fixture(scope="module")
def model(xgboost_booster: Train) -> TreeModel:
    """A model of six named features."""
    return replace(load(xgboost_booster()).model, feature_names=NAMES)


@pytest.fixture(scope="module")
def rows() -> Any:
    found = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    found[3, 2] = np.nan
    return found


def shuffled(rows: Any) -> dict[str, Any]:
    """The columns by name, in another order, with one more."""
    return {"weight": np.ones(len(rows)), **{name: rows[:, number] for number, name in reversed(list(enumerate(NAMES)))}}


def write_npy(path: Path, rows: Any) -> None:
    np.save(path, rows)


def write_npz(path: Path, rows: Any) -> None:
    np.savez(path, rows=rows)


def write_records(path: Path, rows: Any) -> None:
    columns = shuffled(rows)
    table = np.empty(len(rows), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    np.save(path, table)


def write_csv(path: Path, rows: Any) -> None:
    columns = shuffled(rows)
    lines = [",".join(columns)]
    lines += [
        ",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in zip(*columns.values(), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


def write_plain(path: Path, rows: Any) -> None:
    np.savetxt(path, rows)


def write_root(path: Path, rows: Any) -> None:
    import uproot

    with uproot.recreate(path) as file:
        columns = {name: np.ascontiguousarray(column) for name, column in shuffled(rows).items()}
        tree = file.mktree("Events", {name: column.dtype for name, column in columns.items()})
        tree.extend(columns)


def write_parquet(path: Path, rows: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table(shuffled(rows)), path)


WRITERS = {
    "npy": write_npy, "npz": write_npz, "records.npy": write_records, "csv": write_csv, "txt": write_plain, "root": write_root,
    "parquet": write_parquet,
}  # fmt: skip


@pytest.mark.parametrize("ending", sorted(WRITERS))
def test_rows_come_back(model: TreeModel, rows: Any, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    WRITERS[ending](path, rows)
    found = read_rows(path, model)
    assert found.shape == rows.shape
    np.testing.assert_array_equal(found.astype(np.float32), rows)


@pytest.mark.parametrize("ending", sorted(WRITERS))
def test_no_more_rows_are_read_than_asked_for(model: TreeModel, rows: Any, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    WRITERS[ending](path, rows)
    assert len(read_rows(path, model, most=7)) == 7


def test_columns_without_the_features_names_are_taken_in_order(model: TreeModel, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a;b;c;d;e;f\n1;2;3;4;5;6\n")
    assert read_rows(path, model).tolist() == [[1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("few.csv", b"a,b\n1,2\n", "rows.columns"),
        ("words.csv", b"a,b,c,d,e,f\n1,2,3,4,5,x\n", "rows.damaged"),
        ("ragged.csv", b"1,2,3,4,5,6\n1,2\n", "rows.damaged"),
        ("data.json", b'{"a": 1}', "rows.kind"),
        ("cut.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 6), }", "rows.damaged"),
        ("cut.root", b"root\x00\x00\xf7\x00" + bytes(100), "rows.empty"),
        ("cut.parquet", b"PAR1" + bytes(40), "rows.damaged"),
        ("cube.npy", None, "rows.shape"),
        ("model.pkl", b"\x80\x04\x95\x06\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01e.", "file.pickle"),
    ],
)
def test_a_file_that_does_not_fit_says_why(model: TreeModel, tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    path = tmp_path / name
    if content is None:
        np.save(path, np.zeros((2, 3, 6)))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_rows(path, model)
    assert refused.value.code == code
    assert refused.value.hint
