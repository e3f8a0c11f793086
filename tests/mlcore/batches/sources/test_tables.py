"""Arrays, Arrow tables, Parquet, HDF5 and NumPy's files, against the arrays that were put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.sources import DamagedDataError, Part, open_source
from mlcore.errors import DataError, InputError
from tests.mlcore.batches.sources.checks import check_blocks, check_boundaries, check_schema

ROWS = 1003
TYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]


def numbers(dtype: str, shape: tuple[int, ...] = ()) -> np.ndarray:
    rng = np.random.default_rng(len(dtype) + len(shape))
    if dtype == "bool":
        return rng.random((ROWS, *shape)) < 0.5
    if dtype.startswith("float"):
        return rng.normal(size=(ROWS, *shape)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (ROWS, *shape), dtype=dtype, endpoint=True)


def ragged(dtype: str, shape: tuple[int, ...] = ()) -> Jagged:
    counts = np.random.default_rng(2).integers(0, 4, ROWS)
    counts[300:400] = 0
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Jagged(np.arange(offsets[-1] * int(np.prod(shape))).reshape(-1, *shape).astype(dtype), offsets)


FLAT: dict[str, Values] = {name: numbers(name) for name in TYPES}
WIDE: dict[str, Values] = {"point": numbers("float32", (3,)), "image": numbers("int16", (2, 4))}
RAGGED: dict[str, Values] = {"v": ragged("float32"), "w": ragged("int64")}


def arrow_table(chunks: int = 1) -> pa.Table:
    v, w = ragged("float32"), ragged("int64")
    image = numbers("int16", (2, 4))
    inner = pa.FixedSizeListArray.from_arrays(pa.array(image.reshape(-1)), 4)
    jets = pa.StructArray.from_arrays([pa.array(v.values), pa.array(w.values)], ["pt", "n"])
    columns: dict[str, Any] = {name: pa.array(column) for name, column in FLAT.items()}
    columns |= {
        "point": pa.FixedSizeListArray.from_arrays(pa.array(numbers("float32", (3,)).reshape(-1)), 3),
        "image": pa.FixedSizeListArray.from_arrays(inner, 2),
        "v": pa.ListArray.from_arrays(pa.array(v.offsets, pa.int32()), pa.array(v.values)),
        "w": pa.LargeListArray.from_arrays(pa.array(w.offsets), pa.array(w.values)),
        "jets": pa.ListArray.from_arrays(pa.array(v.offsets, pa.int32()), jets),
        "lead": pa.StructArray.from_arrays([pa.array(FLAT["float32"]), pa.array(FLAT["int8"])], ["pt", "q"]),
        "a.b": pa.array(FLAT["int16"]),
        "text": pa.array(["x"] * ROWS),
        "deep": pa.array([[[1.0]]] * ROWS),
        "day": pa.array([0] * ROWS, pa.date32()),
    }
    table = pa.table(columns)
    return table if chunks == 1 else pa.concat_tables([table.slice(a, 100) for a in range(0, ROWS, 100)])


ARROW: dict[str, Values] = {
    **FLAT, **WIDE, **RAGGED, "jets.pt": RAGGED["v"], "jets.n": RAGGED["w"], "lead.pt": FLAT["float32"], "lead.q": FLAT["int8"],
    "a.b": FLAT["int16"],
}  # fmt: skip


def dict_of_arrays(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    big = {"big": FLAT["int32"].astype(">i4"), "list": [1.5] * ROWS}  # type: ignore[union-attr]
    return {**FLAT, **WIDE, **RAGGED, **big}, {**FLAT, **WIDE, **RAGGED, "big": FLAT["int32"], "list": np.full(ROWS, 1.5)}


def structured(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    array = np.zeros(ROWS, [("f", ">f4"), ("p", "f4", (3,)), ("in", [("k", "i2"), ("b", "?")])])
    array["f"], array["p"], array["in"]["k"], array["in"]["b"] = FLAT["float32"], WIDE["point"], FLAT["int16"], FLAT["bool"]
    return array, {"f": FLAT["float32"], "p": WIDE["point"], "in.k": FLAT["int16"], "in.b": FLAT["bool"]}


def matrix(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    array = numbers("float32", (3,))
    return array, {f"x_{i}": array[:, i] for i in range(3)}


def npy(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    array, exact = structured(folder)
    np.save(folder / "a.npy", array)
    return folder / "a.npy", exact


def npy_matrix(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    array, exact = matrix(folder)
    np.save(folder / "m.npy", array)
    return str(folder / "m.npy"), exact


def npz(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    np.savez_compressed(folder / "a.npz", **FLAT, **WIDE)
    return folder / "a.npz", {**FLAT, **WIDE}


def table(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    return arrow_table(), ARROW


def table_in_chunks(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    return arrow_table(11), ARROW


class Frame:
    """What data frames of pandas and Polars have in common."""

    columns = ["x"]

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def data_frame(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    return Frame(arrow_table()), ARROW


def record_batch(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    (batch,) = arrow_table().to_batches()
    return batch, ARROW


def parquet(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    pq.write_table(arrow_table(), folder / "a.parquet", row_group_size=300)
    return folder / "a.parquet", ARROW


def hdf5(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    with h5py.File(folder / "a.h5", "w") as file:
        group = file.create_group("data")
        for name, column in FLAT.items():
            group.create_dataset(name, data=column, chunks=(128,), compression="gzip")
        group["point"] = WIDE["point"]
        group["image"] = WIDE["image"]
        group["big"] = np.asarray(FLAT["int32"]).astype(">i4")
        v = ragged("float32")
        group.create_dataset("v", (ROWS,), h5py.vlen_dtype(np.float32))
        group["v"][:] = np.array([v.values[a:b] for a, b in zip(v.offsets[:-1], v.offsets[1:], strict=True)], object)
        group["text"] = ["x"] * ROWS
        file.attrs["title"] = "t"
        file["version"] = 3
    point = numbers("float32", (3,))
    exact = {
        **FLAT,
        **{f"point_{i}": point[:, i] for i in range(3)},
        "image": WIDE["image"],
        "v": RAGGED["v"],
        "big": FLAT["int32"],
    }
    return folder / "a.h5", exact


def hdf5_structured(folder: Path) -> tuple[Any, Mapping[str, Values]]:
    array, exact = structured(folder)
    with h5py.File(folder / "s.h5", "w") as file:
        file.create_dataset("group/table", data=array, chunks=(99,))
        file["other"] = np.arange(5)
    return f"{folder / 's.h5'}:group/table", exact


MAKERS = [
    dict_of_arrays, structured, matrix, npy, npy_matrix, npz, table, table_in_chunks, record_batch, parquet, hdf5,
    hdf5_structured, data_frame,
]  # fmt: skip


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Part, Mapping[str, Values]]:
    maker: Callable[[Path], tuple[Any, Mapping[str, Values]]] = request.param
    source, exact = maker(tmp_path_factory.mktemp("table"))
    (part,) = open_source(source).parts
    return part, exact


def test_columns(opened: tuple[Part, Mapping[str, Values]]) -> None:
    part, exact = opened
    assert part.rows == ROWS
    check_schema(part, exact)
    check_boundaries(part, list(exact))
    check_blocks(part, exact, 0, ROWS, 256)
    assert set(exact) == {name for name, column in part.schema.items() if not column.why_not}
    part.check_unchanged()
    assert part.fingerprint == part.fingerprint


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spans=st.lists(st.tuples(st.integers(0, ROWS), st.integers(0, 500)), min_size=1, max_size=4),
    block_rows=st.sampled_from([1, 64, 300, 8192]),
    chosen=st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
)
def test_ranges(
    opened: tuple[Part, Mapping[str, Values]], spans: list[tuple[int, int]], block_rows: int, chosen: list[int]
) -> None:
    part, exact = opened
    names = list(dict.fromkeys(list(exact)[number % len(exact)] for number in chosen))
    with part.reader(names, block_rows) as reader:
        for start, rows in spans:
            row, stop = start, min(ROWS, start + min(rows, 50 * block_rows))
            for block in reader.blocks(start, stop):
                for name in names:
                    found, upto = block[name], min(row + block_rows, stop)
                    column = exact[name]
                    if isinstance(column, Jagged):
                        assert isinstance(found, Jagged)
                        np.testing.assert_array_equal(found.values, column.values[column.offsets[row] : column.offsets[upto]])
                        np.testing.assert_array_equal(found.offsets, column.offsets[row : upto + 1] - column.offsets[row])
                    else:
                        np.testing.assert_array_equal(found, column[row:upto])
                row = upto
            assert row == max(start, stop)


def test_what_holds_no_numbers(tmp_path: Path) -> None:
    for source in (arrow_table(), parquet(tmp_path)[0]):
        schema = open_source(source).schema
        assert "no numbers" in schema["text"].why_not
        assert "no numbers" in schema["day"].why_not
        assert "lists of lists" in schema["deep"].why_not
    assert open_source(hdf5(tmp_path)[0]).schema["text"].why_not
    assert open_source({"t": np.array(["a", "b"]), "x": np.arange(2)}).schema["t"].why_not
    with pytest.raises(DataError, match="cannot be read"):
        open_source(arrow_table()).parts[0].reader(["text"])


def test_rows_without_a_value(tmp_path: Path) -> None:
    """Floating point becomes NaN, a list becomes empty, an integer is an error."""
    table = pa.table({"f": [1.5, None, 2.5], "l": pa.array([[1.0], None, [None, 2.0]]), "i": [1, None, 3]})
    pq.write_table(table, tmp_path / "n.parquet")
    for source in (table, tmp_path / "n.parquet"):
        (part,) = open_source(source).parts
        block = next(part.reader(["f", "l"]).blocks(0, 3))
        np.testing.assert_array_equal(block["f"], [1.5, np.nan, 2.5])
        lists = block["l"]
        assert isinstance(lists, Jagged)
        np.testing.assert_array_equal(lists.offsets, [0, 1, 1, 3])
        np.testing.assert_array_equal(lists.values, [1, np.nan, 2])
        with pytest.raises(InputError, match=r"column 'i' .* 1 rows without a value"):
            next(part.reader(["i"]).blocks(0, 3))


def test_lengths_that_differ(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'b' has 4 rows where 'a' has 3"):
        open_source({"a": np.arange(3), "b": np.arange(4)})
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["g/a"], file["g/b"] = np.arange(3), np.arange(4)
    with pytest.raises(InputError, match="'b' has 4 rows where 'a' has 3") as caught:
        open_source(tmp_path / "d.h5")
    assert "Name one dataset" in caught.value.hint
    assert open_source(f"{tmp_path / 'd.h5'}:g/b").rows == 4


def test_several_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["a/x"], file["b/x"] = np.arange(3), np.arange(4)
    with pytest.raises(InputError, match="2 groups of datasets: /a, /b"):
        open_source(tmp_path / "g.h5")
    assert open_source(tmp_path / "g.h5", tree="b").rows == 4
    with pytest.raises(DataError, match="no group or dataset 'c'"):
        open_source(tmp_path / "g.h5", tree="c")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.arange(3)
    with h5py.File(tmp_path / "l.h5", "w") as file:
        file["y"] = np.arange(3)
        file["x"] = h5py.ExternalLink("secret.h5", "/x")
    assert list(open_source(tmp_path / "l.h5").schema) == ["y"]


def test_damage(tmp_path: Path) -> None:
    path, _ = parquet(tmp_path)
    data = bytearray(path.read_bytes())
    offset = pq.ParquetFile(path).metadata.row_group(1).column(11).data_page_offset
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    (part,) = open_source(path).parts
    with part.reader(["float64"], 100) as reader:
        blocks = reader.blocks(0, ROWS)
        assert [len(next(blocks)["float64"]) for _ in range(3)] == [100] * 3
        with pytest.raises(DamagedDataError, match="row group 1, rows 300 to 600") as caught:
            next(blocks)
        assert (caught.value.start, caught.value.stop) == (300, 600)
        assert sum(len(block["float64"]) for block in reader.blocks(600, ROWS)) == ROWS - 600
    path.write_bytes(bytes(data[:2000]))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        open_source(path)
    path, _ = hdf5(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        open_source(path)


def test_fingerprints_tell_content() -> None:
    table = arrow_table()
    one = open_source(table).fingerprint
    assert open_source(arrow_table(11)).fingerprint == one
    assert open_source(table.slice(1)).fingerprint != one
    arrays = {"a": np.arange(10.0), "v": ragged("int64")}
    arrays["v"] = Jagged(arrays["v"].values[:6], np.arange(0, 11) // 2 + 0)  # type: ignore[union-attr]
    first = open_source(arrays).fingerprint
    assert open_source(dict(arrays)).fingerprint == first
    assert open_source(arrays | {"a": np.arange(10.0) + 1}).fingerprint != first
    assert open_source(arrays | {"a": np.arange(10)}).fingerprint != first


def test_what_is_no_source() -> None:
    for given_, message in [
        (3, "a builtins.int is no source"),
        ([], "list of sources is empty"),
        ({}, "holds no arrays"),
        ({"a": 3}, "single value"),
        ({1: np.arange(3)}, "columns have names, not 1"),
        (np.zeros((2, 2, 2)), "has the shape"),
        (b"path", "bytes"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            open_source(given_)
        assert caught.value.hint
