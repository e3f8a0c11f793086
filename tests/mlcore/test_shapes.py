"""Shapes as people write them."""

from __future__ import annotations

import pytest

from mlcore.errors import InputError
from mlcore.shapes import parse_shapes, without_bounds


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("x: batch, 3, 32, 32", {"x": ("batch", 3, 32, 32)}),
        ("a: [n, 7]; b: n x 2\n", {"a": ("n", 7), "b": ("n", 2)}),
        ("a: n <= 128, 7", {"a": ("n<=128", 7)}),
        ("a: n<=128 7; b: (m<=2)", {"a": ("n<=128", 7), "b": ("m<=2",)}),
        ("model:0: 5", {"model:0": (5,)}),
    ],
)
def test_shapes_are_read(text: str, shapes: dict[str, tuple[int | str, ...]]) -> None:
    assert parse_shapes(text) == shapes


@pytest.mark.parametrize(
    "text", ["x: n<=0", "x: n<=", "x: <=5", "x: n<5", "x: n>=5", "x: 3<=n", "x: n<=5<=6", "x: n<=-1", "x: n<=1e3"]
)
def test_bounds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no size"):
        parse_shapes(text)


def test_bounds_are_taken_from_shapes() -> None:
    assert without_bounds({"a": ("n<=8", 7), "b": ("n", "m<=3")}) == ({"a": ("n", 7), "b": ("n", "m")}, {"n": 8, "m": 3})
    assert without_bounds({"a": ("n<=8",), "b": ("n<=8",)})[1] == {"n": 8}
