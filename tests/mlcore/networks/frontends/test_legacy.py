"""Operators of opsets below 7, whose operands broadcast only where an attribute says so, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Case, hold, node_model

RNG = np.random.default_rng(2)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
C = RNG.standard_normal(3).astype(np.float32)

ARITHMETIC: dict[str, Callable[..., Any]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
COMPARISONS: dict[str, Callable[..., Any]] = {"Less": np.less, "Greater": np.greater}
LOGIC: dict[str, Callable[..., Any]] = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}


def broadcasting(kind: str, function: Callable[..., Any], opset: int, cast: Any, result: Any) -> list[Case]:
    """The right operand as the last axes, as those from an axis on, as one number, and of equal shape."""
    cases = []
    for right, axis, shape in (
        (C[:1], None, (1,)),
        (C, 1, (3, 1)),
        (X[0], None, (3, 4)),
        (X[0, :, 0], -2, (3, 1)),
        (X[:, :, 0], 0, (2, 3, 1)),
    ):
        left, right = cast(X), cast(right)
        attributes = {"broadcast": 1} if axis is None else {"broadcast": 1, "axis": axis}
        for dynamic in (False, True) if kind == "Add" else (False,):
            model = node_model(kind, [left, right], opset=opset, outputs=[result], dynamic=dynamic, fixed=[1], **attributes)
            answer = lambda x, y, shape=shape: [function(x, y.reshape(shape))]  # noqa: E731
            cases.append(Case(model, ((left, right),), expected=answer))
    equal = node_model(kind, [cast(X), cast(-X)], opset=opset, outputs=[result])
    cases.append(Case(equal, ((cast(X), cast(-X)),), expected=lambda x, y: [function(x, y)]))
    return cases


def test_operands_stand_where_the_axis_says() -> None:
    cases: list[Case] = []
    cases += broadcasting("Mul", np.multiply, 1, lambda x: x, np.float32)
    for kind, function in ARITHMETIC.items():
        cases += broadcasting(kind, function, 6, lambda x: x + 3, np.float32)
    for kind, function in COMPARISONS.items():
        cases += broadcasting(kind, function, 6, lambda x: x, np.bool_)
    for kind, function in LOGIC.items():
        cases += broadcasting(kind, function, 6, lambda x: x > 0, np.bool_)
    cases += broadcasting("Pow", np.power, 6, lambda x: np.abs(x), np.float32)
    cases += broadcasting("Equal", np.equal, 6, lambda x: (x > 0).astype(np.int32), np.bool_)
    hold(cases)


def test_slopes_matrices_bounds_and_sums() -> None:
    a, b = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 2), (3, 4)))
    bias = RNG.standard_normal(3).astype(np.float32)
    gemm = {"alpha": 2.0, "beta": 0.5, "transA": 1, "transB": 1, "broadcast": 1}
    wanted = 2 * (a.T.astype(np.float64) @ b.T) + 0.5 * bias
    cases = [
        Case(node_model("PRelu", [X, C], opset=6), ((X, C),), expected=lambda x, s: [np.where(x < 0, x * s[:, None], x)]),
        Case(node_model("PRelu", [X, C[:1]], opset=1), ((X, C[:1]),), expected=lambda x, s: [np.where(x < 0, x * s, x)]),
        Case(node_model("Gemm", [a, b, bias], opset=6, **gemm), ((a, b, bias),), expected=lambda *_: [wanted.astype(np.float32)]),
        Case(node_model("Clip", [X], opset=1, min=-0.5, max=0.25), ((X,),), expected=lambda x: [np.clip(x, -0.5, 0.25)]),
        Case(node_model("Sum", [X, X, X], opset=1), ((X, X, X),), expected=lambda *x: [sum(x)]),
        Case(node_model("Max", [X, -X], opset=1), ((X, -X),), expected=lambda x, y: [np.maximum(x, y)]),
        Case(
            node_model("Tile", [X, np.float32(2), np.float32(1)], opset=1, constants=[1, 2]),
            ((X,),),
            expected=lambda x: [np.concatenate([x, x], 1)],
        ),
        Case(
            node_model("Pad", [X], opset=1, paddings=[0, 1, 0, 0, 0, 2], value=1.0),
            ((X,),),
            expected=lambda x: [np.pad(x, [(0, 0), (1, 0), (0, 2)], constant_values=1)],
        ),
    ]
    hold(cases)


@pytest.mark.parametrize(
    ("attributes", "right", "problem"),
    [
        ({}, C, "not told to broadcast"),
        ({"broadcast": 1, "axis": 2}, X[0], "aligns"),
        ({"broadcast": 1, "axis": -4}, C, "aligns"),
    ],
)
def test_operands_that_do_not_fit(attributes: dict[str, int], right: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        translate(node_model("Add", [X, right], opset=6, **attributes), "refused")
