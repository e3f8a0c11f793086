"""Tensors of a pattern: what NumPy makes of the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model


@st.composite
def ranges(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.int16]))
    start, limit = draw(st.integers(-9, 9)), draw(st.integers(-9, 9))
    step = draw(st.sampled_from([1, 2, 3, -1, -2]))
    if np.issubdtype(dtype, np.floating):
        # Halves and quarters are exact, so the number of elements is beyond doubt.
        start, limit, step = start / 2, limit / 4, step / 4
    numbers = [np.array(item, dtype) for item in (start, limit, step)]
    constants = [i for i in range(3) if draw(st.booleans())]
    if len(constants) == 3:
        constants.pop()
    model = node_model("Range", numbers, opset=11, outputs=[dtype], constants=constants)
    given = tuple(item for i, item in enumerate(numbers) if i not in constants)
    return Case(model, (given,), expected=lambda *_: [np.arange(*(item[()] for item in numbers), dtype=dtype)])


@st.composite
def constants(draw: st.DrawFn) -> Case:
    shape = np.array(draw(st.lists(st.integers(0, 4), max_size=3)), np.int64)
    dtype = draw(st.sampled_from([None, np.float32, np.float16, np.int64, np.bool_, np.uint8, np.float64]))
    value = None if dtype is None else np.array([draw(st.integers(0, 1 if dtype is np.bool_ else 9))]).astype(dtype)
    attributes = {} if value is None else {"value": numpy_helper.from_array(value)}
    filling = np.zeros(1, np.float32) if value is None else value
    model = node_model("ConstantOfShape", [shape], opset=20, outputs=[filling.dtype], **attributes)
    return Case(model, ((shape,),), expected=lambda x: [np.full(tuple(x), filling[0])])


@st.composite
def identities(draw: st.DrawFn) -> Case:
    shape, k = (draw(st.integers(0, 4)), draw(st.integers(0, 4))), draw(st.integers(-5, 5))
    dtype = draw(st.sampled_from([np.float32, np.int32, np.float16, np.bool_]))
    own = draw(st.booleans())
    attributes = {"k": k} if own else {"k": k, "dtype": helper.np_dtype_to_tensor_dtype(np.dtype(dtype))}
    dynamic = draw(st.booleans())
    calls: list[Array] = [np.zeros(shape, dtype if own else np.int64)]
    if dynamic:
        calls.append(np.zeros((shape[0] + 2, shape[1]), calls[0].dtype))
    model = node_model("EyeLike", calls[:1], opset=22, outputs=[dtype], dynamic=dynamic, **attributes)
    return Case(model, tuple((x,) for x in calls), expected=lambda x: [np.eye(*x.shape, k, dtype=dtype)])


def test_patterns() -> None:
    hold([*drawn(ranges(), 30), *drawn(constants(), 25), *drawn(identities(), 20)])


def test_sizes_of_ranges_are_followed() -> None:
    """A range up to a size of the input is as long as the input."""
    for start, limit, step, length in (("zero", "n", "one", 1), ("n", "zero", "minus", 1)):
        names = {"zero": 0, "one": 1, "minus": -1}
        nodes = [
            helper.make_node("Size", ["x"], ["n"]),
            helper.make_node("Range", [start, limit, step], ["places"]),
            helper.make_node("Cast", ["places"], ["floats"], to=1),
            helper.make_node("Add", ["x", "floats"], ["y"]),
        ]
        initial = [numpy_helper.from_array(np.array(number, np.int64), name) for name, number in names.items()]
        graph = helper.make_graph(
            nodes,
            "places",
            [helper.make_tensor_value_info("x", 1, ["n"])],
            [helper.make_tensor_value_info("y", 1, None)],
            initial,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        emitted = translate(model, "places")
        assert emitted.outputs[0].form == "plain"
        library, _ = build([emitted], BuildOptions(flags=QUICK))
        x = np.zeros(5, np.float32)
        wanted = np.arange(5) if step == "one" else np.arange(5, 0, -1)
        np.testing.assert_array_equal(Function(library, emitted)([x])[0], wanted)
        assert length == 1


ONE = np.array(1, np.int64)

REFUSED: list[tuple[Any, str]] = [
    (node_model("Range", [ONE, ONE, ONE * 0], opset=11, outputs=[np.int64], constants=[2]), "step of zero"),
    (node_model("ConstantOfShape", [np.array([-1])], opset=9, constants=[0]), "0 or more"),
    (
        node_model("ConstantOfShape", [np.array([1])], opset=9, value=numpy_helper.from_array(np.zeros(2, np.float32))),
        "one number is needed",
    ),
    (node_model("EyeLike", [np.zeros(3, np.float32)], opset=9), "matrix"),
]


@pytest.mark.parametrize(("model", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_contradictions_are_refused_when_the_model_is_read(model: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        translate(model, "refused")


def test_bad_numbers_are_refused_when_the_code_runs() -> None:
    whole = node_model("Range", [ONE, ONE, ONE], opset=11, outputs=[np.int64])
    floats = node_model("Range", [np.float32(1), np.float32(1), np.float32(1)], opset=11)
    shape = node_model("ConstantOfShape", [np.array([1, 1])], opset=9)
    emitted = [translate(model, f"wrong_{i}") for i, model in enumerate((whole, floats, shape))]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    functions = [Function(library, item) for item in emitted]
    wrong: list[tuple[int, list[Any], str]] = [
        (0, [ONE, ONE, ONE * 0], "step of zero"),
        (0, [-(ONE << 62), ONE << 62, ONE], "too long"),
        (1, [np.array(item, np.float32) for item in (0, np.inf, 1)], "without end"),
        (1, [np.array(item, np.float32) for item in (0, np.nan, 1)], "without end"),
        (1, [np.array(item, np.float32) for item in (0, 1, 0)], "step of zero"),
        (2, [np.array([-1, 1])], "larger than memory"),
        (2, [np.array([2**40, 2**40])], "larger than memory"),
    ]
    for index, inputs, problem in wrong:
        with pytest.raises(InputError, match=problem):
            functions[index](inputs)
