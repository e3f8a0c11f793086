"""The table of functions: its names, its docs, and each function against another implementation."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcore.batches.blocks import Jagged
from mlcore.batches.expressions import FUNCTIONS, Function, parse
from mlcore.batches.expressions.functions import Kind
from mlcore.batches.expressions.rows import Rows
from mlcore.batches.schema import Column

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "expressions.md"


def line(function: Function) -> str:
    others = ", ".join(f"`{alias}`" for alias in function.aliases)
    return f"| `{function.signature}` | {function.summary} | {others} |"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_its_line_on_the_page(name: str) -> None:
    assert line(FUNCTIONS[name]) in PAGE.read_text().splitlines()


def test_the_page_has_no_functions_that_are_not_there() -> None:
    section = PAGE.read_text().split("## Functions")[1].split("## Differences")[0]
    lines = [text for text in section.splitlines() if text.startswith("| `")]
    assert len(lines) == len(FUNCTIONS)


def test_no_name_is_two_functions() -> None:
    counts = Counter(name for function in FUNCTIONS.values() for name in (function.name, *function.aliases))
    assert [name for name, count in counts.items() if count > 1] == []


X = np.array([-2.5, -1.0, -0.3, 0.0, 0.4, 0.5, 1.0, 1.5, 3.0])
PYTHON: dict[str, Any] = {
    "sqrt": math.sqrt, "cbrt": math.cbrt, "exp": math.exp, "expm1": math.expm1, "log": math.log, "log2": math.log2,
    "log10": math.log10, "log1p": math.log1p, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin,
    "acos": math.acos, "atan": math.atan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "asinh": math.asinh,
    "acosh": math.acosh, "atanh": math.atanh, "floor": math.floor, "ceil": math.ceil, "trunc": math.trunc, "abs": abs,
    "float": float, "int": int, "isnan": math.isnan, "isinf": math.isinf, "isfinite": math.isfinite,
    "round": lambda x: math.copysign(math.floor(abs(x) + 0.5), x), "sign": lambda x: (x > 0) - (x < 0),
}  # fmt: skip
PAIRS: dict[str, Any] = {"pow": math.pow, "hypot": math.hypot, "atan2": math.atan2, "fmod": math.fmod, "min": min, "max": max}


@pytest.mark.parametrize("name", [*PYTHON, *PAIRS])
def test_values_are_those_of_python(name: str) -> None:
    """A NaN or an infinity stands where Python refuses to compute."""
    text = f"{name}(x)" if name in PYTHON else f"{name}(x, y)"
    y = X[::-1].copy()
    result = np.asarray(parse(text).evaluate({"x": X, "y": y}))
    for at, arguments in enumerate(zip(X.tolist(), y.tolist(), strict=True)):
        try:
            expected = PYTHON[name](arguments[0]) if name in PYTHON else PAIRS[name](*arguments)
        except ValueError:
            assert not np.isfinite(result[at])
        else:
            assert result[at] == pytest.approx(expected, rel=1e-14)


def test_every_elementwise_function_of_one_number_is_compared() -> None:
    single = {name for name, one in FUNCTIONS.items() if one.kind is Kind.ELEMENTWISE and len(one.parameters) == 1}
    assert single == set(PYTHON)


@pytest.mark.parametrize("name", [name for name, one in FUNCTIONS.items() if one.kind is not Kind.FORM])
def test_every_function_takes_every_layout_and_type(name: str) -> None:
    """Of what it can take: flat columns for elementwise ones, jagged and fixed ones for all."""
    function = FUNCTIONS[name]
    columns = {
        "r": np.array([1.5, np.nan, -2.0]),
        "i": np.array([1, 0, -3]),
        "b": np.array([True, False, True]),
        "u": np.array([1, 2, 3], np.uint64),
    }
    offsets = np.array([0, 0, 2, 3])
    for key, values in columns.items():
        if function.needs is not None and key == "r":
            continue
        for block in ({"x": values}, {"x": Jagged(values, offsets)}, {"x": np.stack([values, values], 1)}):
            if function.kind is not Kind.ELEMENTWISE and isinstance(block["x"], np.ndarray) and block["x"].ndim == 1:
                continue
            expression = parse(f"{name}({', '.join(['x'] * function.takes[0])})")
            result = expression.evaluate(block)  # type: ignore[arg-type]
            dtype = result.values.dtype if isinstance(result, Jagged) else result.dtype
            column = Column(
                "x",
                values.dtype,
                np.shape(block["x"])[1:] if isinstance(block["x"], np.ndarray) else (),
                isinstance(block["x"], Jagged),
            )
            assert dtype == expression.check({"x": column}).dtype
            assert len(result) == 3


def test_rows_of_very_different_lengths_are_sorted() -> None:
    """Which a table with gaps would need too much room for."""
    counts = np.array([0, 500, 1, 0, 2, *[1] * 300])
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    values = np.random.default_rng(1).integers(-9, 9, offsets[-1])
    expected = np.concatenate([np.sort(values[start:stop]) for start, stop in pairwise(offsets)])
    np.testing.assert_array_equal(Rows(offsets).sorted(values), expected)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3) | st.just(math.nan), max_size=4), max_size=6))
def test_reductions_of_rows_with_and_without_values(lists: list[list[float]]) -> None:
    values = np.array([value for one in lists for value in one], float)
    rows = Rows(np.concatenate(([0], np.cumsum([len(one) for one in lists]))).astype(np.int64))
    for ours, theirs, empty in (
        (rows.sum(values), np.sum, 0),
        (rows.extreme(np.maximum, values), np.max, np.nan),
        (rows.extreme(np.minimum, values), np.min, np.nan),
        (rows.position(np.maximum, values), np.argmax, -1),
        (rows.position(np.minimum, values), np.argmin, -1),
    ):
        np.testing.assert_array_equal(ours, [theirs(np.array(one)) if one else empty for one in lists])
    np.testing.assert_array_equal(rows.sorted(values), np.concatenate([np.sort(one) for one in lists] or [[]]))
    np.testing.assert_array_equal(rows.reversed(values), np.concatenate([one[::-1] for one in lists] or [[]]))
