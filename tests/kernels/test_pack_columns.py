"""Rows packed from arrays, on every CPU target, against the NumPy oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels import RowField, RowLayout, reference_columns
from kernels.columns import NUMBER_TYPES

TARGETS = kernels.available_targets()
IN_RECORDS = [name for name in NUMBER_TYPES if name != "float16"]


def numbers(dtype: str, count: int, rng: np.random.Generator) -> Any:
    """Any numbers of a type: its limits, and for floating point what is none, too large for an integer, or next to nothing."""
    if dtype == "bool":
        return rng.random(count) < 0.5
    if dtype.startswith("float"):
        special = np.array(
            [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-7, 255.9, -128.9, 65504, 3e9, -3e9, 1e19, -1e19, 2.0**63, 2.0**64]
        )
        mixed = np.where(rng.random(count) < 0.3, rng.choice(special, count), rng.normal(0, 100, count))
        with np.errstate(over="ignore"):
            return mixed.astype(dtype)
    limits = np.iinfo(dtype)
    edge = np.array([limits.min, limits.max, 0, 1], dtype)
    return np.where(
        rng.random(count) < 0.3, rng.choice(edge, count), rng.integers(limits.min, limits.max, count, dtype, endpoint=True)
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Any], RowLayout, Any]:
    """Columns of any type, plain, of several values or jagged, and a record that takes some of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(0, 90))
    columns: list[Any] = []
    for _ in range(draw(st.integers(1, 12))):
        dtype = draw(st.sampled_from(["float32", "float32", *NUMBER_TYPES]))
        items = draw(st.sampled_from([1, 1, 1, 3]))
        if draw(st.integers(0, 3)) == 0:
            offsets = np.cumsum(np.concatenate([[draw(st.integers(0, 2))], rng.integers(0, 5, n)]))
            columns.append((numbers(dtype, int(offsets[-1] + 1) * items, rng).reshape(-1, items), offsets))
        else:
            values = numbers(dtype, n * items, rng)
            columns.append(values if items == 1 else values.reshape(n, items))
    fields, at = [], 0
    for _ in range(draw(st.integers(1, 24))):
        column = draw(st.one_of(st.none(), st.integers(0, len(columns) - 1)))
        dtype = draw(st.sampled_from(["float32", "float32", *IN_RECORDS]))
        width = draw(st.sampled_from([1, 1, 1, 2, 5]))
        masked = draw(st.integers(0, 4)) == 0
        field = RowField(column, at, dtype, width, pad=draw(st.integers(0, 1)), value=1, mask=None)
        at += field.bytes + draw(st.sampled_from([0, 0, 0, 1]))
        if masked:
            field = RowField(column, field.offset, dtype, width, field.pad, 1, mask=at)
            at += width
        fields.append(field)
    mask = draw(st.sampled_from([None, "some", "none", "all"]))
    kept = {None: None, "some": rng.random(n) < 0.4, "none": np.zeros(n, bool), "all": np.ones(n, bool)}[mask]
    return columns, RowLayout(tuple(draw(st.permutations(fields))), at + 2), kept


@pytest.mark.parametrize("target", TARGETS)
@given(case=cases())
def test_any_columns(target: str, case: tuple[list[Any], RowLayout, Any]) -> None:
    columns, layout, mask = case
    n = len(columns[0][1]) - 1 if isinstance(columns[0], tuple) else len(columns[0])
    found, exact = (np.full((n + 3, layout.record_bytes), 0xA5, np.uint8) for _ in range(2))
    kept = kernels.pack_columns(columns, layout, found, mask, target=target)
    assert kept == reference_columns.pack_columns(columns, layout, exact, mask)
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("from_type", NUMBER_TYPES)
@pytest.mark.parametrize("to_type", IN_RECORDS)
def test_conversions(target: str, from_type: str, to_type: str) -> None:
    values = numbers(from_type, 1000, np.random.default_rng(3))
    out = np.empty((1000, np.dtype(to_type).itemsize), np.uint8)
    kernels.pack_columns([values], RowLayout((RowField(0, 0, to_type),), out.shape[1]), out, target=target)
    np.testing.assert_array_equal(out.view(to_type)[:, 0], reference_columns.converted(values, to_type))


@pytest.mark.parametrize("target", TARGETS)
def test_every_half(target: str) -> None:
    """All 65 536 numbers of two bytes, against NumPy."""
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    out = np.empty((2**16, 4), np.uint8)
    kernels.pack_columns([values], RowLayout((RowField(0, 0),), 4), out, target=target)
    np.testing.assert_array_equal(out.view(np.float32)[:, 0], values.astype(np.float32))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("n_columns", [1, 3, 4, 7, 8, 12, 17, 33])
def test_columns_side_by_side(target: str, n_columns: int) -> None:
    """Widths that tiles of eight and four take, with rows that none does."""
    rng = np.random.default_rng(n_columns)
    matrix = rng.standard_normal((1003, n_columns)).astype(np.float32)
    layout = RowLayout(tuple(RowField(i, 4 * i) for i in range(n_columns)), 4 * n_columns)
    out = np.empty((1003, 4 * n_columns), np.uint8)
    assert kernels.pack_columns(list(matrix.T), layout, out, target=target) == 1003
    np.testing.assert_array_equal(out.view(np.float32), matrix)


def test_numbers_stay_exact() -> None:
    """Integers of 64 bits and NaN keep each bit, as values, constants and padding."""
    values = np.array([2**63 + 1, 2**64 - 1], np.uint64)
    nan = np.array([0x7FA00001, 0xFFC12345], np.uint32).view(np.float32)
    layout = RowLayout(
        (RowField(0, 0, "uint64", 2, pad=2**64 - 3), RowField(None, 16, "int64", value=-(2**63)), RowField(1, 24)), 28
    )
    out = np.empty((2, 28), np.uint8)
    kernels.pack_columns([values, nan], layout, out)
    assert out[:, :16].copy().view(np.uint64).tolist() == [[2**63 + 1, 2**64 - 3], [2**64 - 1, 2**64 - 3]]
    assert out[:, 16:24].copy().view(np.int64).ravel().tolist() == [-(2**63)] * 2
    assert out[:, 24:].copy().view(np.uint32).ravel().tolist() == [0x7FA00001, 0xFFC12345]


def test_either_byte_order_and_strides() -> None:
    values = np.arange(20, dtype=">i4")[::2]
    out = np.empty((10, 8), np.uint8)
    kernels.pack_columns([values], RowLayout((RowField(0, 0, "float64"),), 8), out)
    assert out.view(np.float64)[:, 0].tolist() == list(range(0, 20, 2))


def test_what_does_not_fit_is_refused() -> None:
    x = np.ones(4, np.float32)
    layout = RowLayout((RowField(0, 0),), 4)
    out = np.empty((4, 4), np.uint8)
    with pytest.raises(ValueError, match="fewer rows than are kept"):
        kernels.pack_columns([x], layout, out[:3])
    with pytest.raises(ValueError, match="4 bytes a row"):
        kernels.pack_columns([x], layout, np.empty((4, 5), np.uint8))
    with pytest.raises(ValueError, match="an element for each row"):
        kernels.pack_columns([x], layout, out, np.ones(3, bool))
    with pytest.raises(ValueError, match="more columns than there are"):
        kernels.pack_columns([x], RowLayout((RowField(1, 0),), 4), out)
    with pytest.raises(ValueError, match="3 rows where the first has 4"):
        kernels.pack_columns([x, x[:3]], layout, out)
    with pytest.raises(ValueError, match="ascending"):
        kernels.pack_columns([(x, np.array([0, 3, 2]))], layout, out)
    with pytest.raises(ValueError, match="fewer values than its rows need"):
        kernels.pack_columns([(x, np.array([0, 3, 5]))], layout, out)
    with pytest.raises(TypeError, match="complex64"):
        kernels.pack_columns([x.astype(np.complex64)], layout, out)
    with pytest.raises(TypeError):
        kernels.pack_columns([x], layout, np.asfortranarray(out))  # no copy in whose place nothing would be written
    assert kernels.pack_columns([x], layout, out[:2], np.array([True, False, False, True])) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((RowField(0, 0), RowField(1, 3)), "two fields have byte 3"),
        ((RowField(0, 0, mask=4),), "reaches to byte 5"),
        ((RowField(0, 0, "float64"),), "reaches to byte 8"),
    ],
)
def test_fields_that_do_not_fit(fields: tuple[RowField, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RowLayout(fields, 4 if len(fields) == 1 else 12)


def test_fields_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no 'float16'"):
        RowField(0, 0, "float16")
    with pytest.raises(ValueError, match=r"1\.5 is no int32"):
        RowField(0, 0, "int32", pad=1.5)
    with pytest.raises(ValueError, match="256 is no uint8"):
        RowField(None, 0, "uint8", value=256)
    with pytest.raises(ValueError, match="nan is no int8"):
        RowField(None, 0, "int8", value=float("nan"))
