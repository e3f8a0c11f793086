"""Operators along axes against NumPy in double precision, of fixed and of given sizes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(5)
FLOATS = [np.float32, np.float64, np.float16]
WHOLE = [np.int32, np.int64, np.uint32, np.uint64]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12, np.float16: 2e-3}
"""Relative: some rounding steps of the type that numbers are summed in; float16 is summed in float32 and rounded once."""


def values(dtype: Any, shape: tuple[int, ...]) -> Array:
    if np.issubdtype(dtype, np.floating):
        return RNG.standard_normal(shape).astype(dtype)
    low = 0 if np.issubdtype(dtype, np.unsignedinteger) or dtype is np.bool_ else -5
    return RNG.integers(low, 2 if dtype is np.bool_ else 6, shape).astype(dtype)


def log_sum_exp(x: Array, axes: tuple[int, ...], keep: bool) -> Any:
    return np.log(np.sum(np.exp(x), axis=axes, keepdims=keep))


def extreme(x: Array, axes: tuple[int, ...], keep: bool, largest: bool, dtype: Any) -> Any:
    if np.issubdtype(dtype, np.floating):
        start = -np.inf if largest else np.inf
    elif dtype is np.bool_:
        start = not largest
    else:
        start = np.iinfo(dtype).min if largest else np.iinfo(dtype).max
    return (np.max if largest else np.min)(x, axis=axes, keepdims=keep, initial=start)


ORACLES: dict[str, Any] = {
    "ReduceSum": lambda x, axes, keep, _: np.sum(x, axis=axes, keepdims=keep),
    "ReduceMean": lambda x, axes, keep, _: np.mean(x, axis=axes, keepdims=keep),
    "ReduceMax": lambda x, axes, keep, dtype: extreme(x, axes, keep, True, dtype),
    "ReduceMin": lambda x, axes, keep, dtype: extreme(x, axes, keep, False, dtype),
    "ReduceProd": lambda x, axes, keep, _: np.prod(x, axis=axes, keepdims=keep),
    "ReduceL1": lambda x, axes, keep, _: np.sum(np.abs(x), axis=axes, keepdims=keep),
    "ReduceL2": lambda x, axes, keep, _: np.sqrt(np.sum(np.square(x), axis=axes, keepdims=keep)),
    "ReduceLogSum": lambda x, axes, keep, _: np.log(np.sum(x, axis=axes, keepdims=keep)),
    "ReduceLogSumExp": lambda x, axes, keep, _: log_sum_exp(x, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep, _: np.sum(np.square(x), axis=axes, keepdims=keep),
}


@st.composite
def reductions(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(sorted(ORACLES)))
    extremes = kind in ("ReduceMax", "ReduceMin")
    dtype = draw(st.sampled_from(FLOATS if kind.startswith("ReduceLog") else [*FLOATS, *WHOLE, *([np.bool_] * extremes)]))
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 37, 0]), max_size=4)))
    if kind == "ReduceMean":
        shape = tuple(max(1, size) for size in shape)
    rank = len(shape)
    dynamic = draw(st.booleans())
    keep, noop = draw(st.booleans()), draw(st.booleans())
    style = draw(st.sampled_from(["attribute", "known", "late"]))
    axes = draw(st.lists(st.integers(0, rank - 1), unique=True)) if rank else []
    # Axes of an older version that are an empty list are as good as none.
    omitted = not axes and (style == "attribute" or draw(st.booleans()))
    reduced = tuple(axes) if axes else () if noop and style != "attribute" else tuple(range(rank))
    named = np.array([axis - rank * draw(st.booleans()) for axis in axes], np.int64)

    def answer(x: Array, *_: Any) -> list[Array]:
        wide = x.astype(np.float64) if np.issubdtype(dtype, np.floating) or kind in ("ReduceL2", "ReduceMean") else x
        if kind == "ReduceLogSum":
            wide = np.abs(wide)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            result = np.asarray(ORACLES[kind](wide, reduced, keep, dtype))
            return [np.trunc(result).astype(dtype) if wide.dtype != x.dtype and dtype in WHOLE else result.astype(dtype)]

    def data(shape: tuple[int, ...]) -> Array:
        x = values(dtype, shape)
        return np.abs(x) if kind == "ReduceLogSum" else x

    calls = [data(shape)] + [data(tuple(size + 1 for size in shape))] * dynamic
    attributes: dict[str, Any] = {"keepdims": int(keep)}
    inputs: list[Any] = [calls[0]]
    if style == "attribute":
        opset = 12 if kind == "ReduceSum" else 13
        if axes:
            attributes["axes"] = named.tolist()
    else:
        opset = 20
        attributes["noop_with_empty_axes"] = int(noop)
        if not omitted:
            inputs.append(named)
    constants = [1] if style == "known" and len(inputs) > 1 else []
    if dtype is np.bool_ and opset < 20:
        opset, style = 20, "known"
        attributes.pop("axes", None)
        inputs = [calls[0], named] if axes else [calls[0]]
        constants = [1] if axes else []
    model = node_model(kind, inputs, opset=opset, outputs=[dtype], constants=constants, dynamic=dynamic, fixed=[1], **attributes)
    given = tuple(inputs[1:]) if not constants else ()
    tolerance = TOLERANCE.get(dtype, 0)
    return Case(model, tuple((x, *given) for x in calls), rtol=tolerance, atol=tolerance, expected=answer)


def test_reductions() -> None:
    hold(drawn(reductions(), 90))


def test_every_pattern_of_axes() -> None:
    """Rows, columns and what lies between, longer than vectors and not."""
    cases = []
    x = values(np.float32, (3, 5, 4, 19))
    for n in range(1, 5):
        for axes in itertools.combinations(range(4), n):
            model = node_model("ReduceSum", [x, np.array(axes)], opset=13, constants=[1], keepdims=0)
            cases.append(
                Case(
                    model,
                    ((x,),),
                    1e-5,
                    1e-5,
                    expected=lambda x, axes=axes: [np.sum(x, axis=axes, dtype=np.float64).astype(np.float32)],
                )
            )
    hold(cases)


def test_long_sums_stay_exact_enough() -> None:
    """A million numbers of float32: an ordinary running sum would lose more than three digits."""
    x = np.full((1, 1_000_003), 0.1, np.float32)
    cases = []
    for data, axis in ((x, 1), (x.T, 0), (np.repeat(x.T, 3, 1), 0), (x.reshape(1, 1_000_003, 1), 1), (x.astype(np.float16), 1)):
        model = node_model(
            "ReduceMean",
            [np.ascontiguousarray(data), np.array([axis])],
            opset=18,
            outputs=[data.dtype],
            constants=[1],
            keepdims=0,
        )
        mean = lambda x, axis=axis: [np.mean(x, axis=axis, dtype=np.float64).astype(x.dtype)]  # noqa: E731
        # Parts of 256 numbers are summed in order, their sums in pairs.
        cases.append(Case(model, ((np.ascontiguousarray(data),),), 1e-5, 0, expected=mean))
    hold(cases)


def test_infinities_and_nan() -> None:
    inf, nan = np.inf, np.nan
    x = np.array([[inf, 1, -inf], [nan, 1, 2], [1, nan, inf], [-inf, -inf, -inf], [3, inf, inf]], np.float32)
    wanted = {
        "ReduceMax": [inf, nan, nan, -inf, inf],
        "ReduceMin": [-inf, nan, nan, -inf, 3],
        "ReduceLogSumExp": [inf, nan, nan, -inf, inf],
        "ReduceSum": [nan, nan, nan, -inf, inf],
        "ReduceL1": [inf, nan, nan, inf, inf],
    }
    cases = []
    for kind, numbers in wanted.items():
        answer = np.array(numbers, np.float32)
        for data, axis in ((x, 1), (np.repeat(x.T, 2, 1), 0)):
            model = node_model(kind, [data, np.array([axis])], opset=18, constants=[1], keepdims=0)
            expected = answer if axis else np.repeat(answer, 2)
            cases.append(Case(model, ((data,),), expected=lambda _, expected=expected: [expected]))
    hold(cases)


# Places of extremes, running sums.


@st.composite
def places(draw: st.DrawFn) -> Case:
    kind, last = draw(st.sampled_from(["ArgMax", "ArgMin"])), draw(st.integers(0, 1))
    dtype = draw(st.sampled_from([np.float32, np.float16, np.int32, np.int8, np.float64]))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis, keep, dynamic = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.integers(0, 1)), draw(st.booleans())
    find = np.argmax if kind == "ArgMax" else np.argmin

    def answer(x: Array) -> list[Array]:
        turned = np.flip(x, axis) if last else x
        found = np.asarray(find(turned, axis=axis))
        found = x.shape[axis] - 1 - found if last else found
        return [np.expand_dims(found, axis) if keep else found]

    # Few different numbers, so that there are equals.
    calls = [RNG.integers(-2, 2, shape).astype(dtype)]
    if dynamic:
        calls.append(RNG.integers(-2, 2, [size + 1 for size in shape]).astype(dtype))
    model = node_model(
        kind, calls[:1], opset=13, outputs=[np.int64], dynamic=dynamic, axis=axis, keepdims=keep, select_last_index=last
    )
    return Case(model, tuple((x,) for x in calls), expected=answer)


@st.composite
def running(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(["CumSum", "CumProd"]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.float16]))
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    axis, exclusive, reverse = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.integers(0, 1)), draw(st.integers(0, 1))
    known, dynamic = draw(st.booleans()), draw(st.booleans())

    def answer(x: Array, *_: Any) -> list[Array]:
        y = np.moveaxis(x.astype(np.float64), axis, 0)
        y = y[::-1] if reverse else y
        start = np.full((1, *y.shape[1:]), 0.0 if kind == "CumSum" else 1.0)
        total = (np.cumsum if kind == "CumSum" else np.cumprod)(y, axis=0)
        if exclusive:
            total = np.concatenate([start, total[:-1]])[: len(y)]
        total = total[::-1] if reverse else total
        return [np.moveaxis(total, 0, axis).astype(dtype)]

    calls = [values(dtype, tuple(shape))] + [values(dtype, tuple(size + 1 for size in shape))] * dynamic
    place = np.array(axis, draw(st.sampled_from([np.int32, np.int64])))
    model = node_model(
        kind, [calls[0], place], opset=26, outputs=[dtype], constants=[1] if known else [], dynamic=dynamic, fixed=[1],
        exclusive=exclusive, reverse=reverse,
    )  # fmt: skip
    given = () if known else (place,)
    tolerance = TOLERANCE.get(dtype, 0)
    return Case(model, tuple((x, *given) for x in calls), rtol=tolerance, atol=tolerance, expected=answer)


def test_places_and_running_sums() -> None:
    nan = np.array([[1, np.nan, 3, np.nan]], np.float32)
    special = [
        Case(node_model(kind, [nan], opset=13, outputs=[np.int64], axis=1, select_last_index=last), ((nan,),),
             expected=lambda _, last=last: [np.array([[3 if last else 1]])])
        for kind in ("ArgMax", "ArgMin") for last in (0, 1)
    ]  # fmt: skip
    hold([*special, *drawn(places(), 30), *drawn(running(), 40)])


# Softmax and its kin.


@st.composite
def normalizing(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization"]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16]))
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 5, 17, 33, 0]), min_size=1, max_size=3))
    axis, dynamic = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.booleans())
    old = kind != "LpNormalization" and draw(st.booleans())
    p = draw(st.integers(1, 2))

    def answer(x: Array) -> list[Array]:
        y = x.astype(np.float64)
        at = axis
        if old:
            y = y.reshape(math.prod(x.shape[:axis] if axis else ()), math.prod(x.shape[axis:]))
            at = 1
        if y.size:
            if kind == "LpNormalization":
                norm = np.sum(np.abs(y) ** p, axis=at, keepdims=True) ** (1 / p)
                y = y / np.where(norm == 0, np.inf, norm)
            elif kind == "Hardmax":
                first = np.expand_dims(np.argmax(y, at), at)
                z = np.zeros_like(y)
                np.put_along_axis(z, first, 1, at)
                y = z
            else:
                y = np.exp(y - y.max(at, keepdims=True))
                y = y / y.sum(at, keepdims=True)
                y = np.log(y) if kind == "LogSoftmax" else y
        return [y.reshape(x.shape).astype(dtype)]

    calls = [values(dtype, tuple(shape))] + [values(dtype, tuple(size + 1 for size in shape))] * dynamic
    if kind == "LpNormalization":
        calls[0][..., :1] = 0
    attributes = {"p": p} if kind == "LpNormalization" else {}
    model = node_model(kind, calls[:1], opset=11 if old else 22, outputs=[dtype], dynamic=dynamic, axis=axis, **attributes)
    # Softmax of float16 rounds each of its five steps.
    tolerance = 5e-3 if dtype is np.float16 else TOLERANCE[dtype]
    return Case(model, tuple((x,) for x in calls), rtol=tolerance, atol=tolerance, expected=answer)


def test_softmax_and_its_kin() -> None:
    # Numbers whose exponentials are too large or zero, and a row that one NaN takes over.
    large = np.array([[1000, 1000, -1000, 0.0], [-np.inf, 0, -np.inf, 1], [1, np.nan, 3, 2]], np.float32)
    special = []
    for data, axis in ((large, 1), (np.ascontiguousarray(large.T), 0)):
        e = np.exp(data.astype(np.float64) - data.max(axis, keepdims=True))
        answer = (e / e.sum(axis, keepdims=True)).astype(np.float32)
        model = node_model("Softmax", [data], opset=13, axis=axis)
        special.append(Case(model, ((data,),), 1e-6, 1e-7, expected=lambda _, answer=answer: [answer]))
    hold([*special, *drawn(normalizing(), 70)])


# Shapes that are computed.


def test_sizes_that_the_model_multiplies_are_followed() -> None:
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ReduceProd", ["shape"], ["count"], keepdims=1),
        helper.make_node("Reshape", ["x", "count"], ["y"]),
        helper.make_node("ReduceMax", ["shape"], ["longest"], keepdims=1),
        helper.make_node("Expand", ["one", "longest"], ["ones"]),
    ]
    graph = helper.make_graph(
        nodes, "flat", [helper.make_tensor_value_info("x", 1, ["a", "b"])],
        [helper.make_tensor_value_info(name, 1, None) for name in ("y", "ones")],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )  # fmt: skip
    emitted = translate(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), "flat")
    assert [port.form for port in emitted.outputs] == ["plain", "plain"]
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = Function(library, emitted)([x])
    np.testing.assert_array_equal(found[0], x.reshape(-1))
    np.testing.assert_array_equal(found[1], np.ones(4))


X = np.zeros((2, 3), np.float32)
REFUSED: list[tuple[Any, str]] = [
    (node_model("ReduceSum", [X, np.array([2])], opset=13, constants=[1]), "axis 2"),
    (node_model("ReduceSum", [X, np.array([0, -2])], opset=13, constants=[1]), "twice"),
    (node_model("ReduceSum", [X > 0], opset=13, outputs=[np.bool_]), "bool"),
    (node_model("ReduceSum", [X, np.array([0, 1, 0])], opset=13, keepdims=0), "more axes"),
    (node_model("ArgMax", [X[:0]], opset=13, outputs=[np.int64], axis=0), "empty"),
    (node_model("ArgMax", [X], opset=13, outputs=[np.int64], axis=3), "axis 3"),
    (node_model("CumSum", [X, np.array(2)], opset=14, constants=[1]), "axis 2"),
    (node_model("CumSum", [X, np.array([0, 1])], opset=14), "one axis"),
    (node_model("Softmax", [X], opset=13, axis=2), "axis 2"),
    (node_model("Softmax", [X], opset=11, axis=3), "axis 3"),
    (node_model("LpNormalization", [X], opset=22, p=3), "order 3"),
]


@pytest.mark.parametrize(("model", "problem"), REFUSED, ids=[f"{m.graph.name}-{p}" for m, p in REFUSED])
def test_contradictions_are_refused_when_the_model_is_read(model: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        translate(model, "refused")


def test_bad_axes_are_refused_when_the_code_runs() -> None:
    models = [
        node_model("ReduceSum", [X, np.array([0])], opset=13),
        node_model("ReduceMax", [X, np.array([0, 1])], opset=18, keepdims=0),
        node_model("CumSum", [X, np.array(0)], opset=14),
        node_model("ArgMin", [X], opset=13, outputs=[np.int64], dynamic=True, axis=0),
        node_model("ReduceMean", [X.astype(np.int32)], opset=13, outputs=[np.int32], dynamic=True),
    ]
    emitted = [translate(model, f"wrong_{i}") for i, model in enumerate(models)]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    wrong: list[tuple[int, list[Array], str]] = [
        (0, [X, np.array([2])], "no such axis"),
        (0, [X, np.array([-3])], "no such axis"),
        (1, [X, np.array([0, -2])], "twice"),
        (2, [X, np.array(5)], "no such axis"),
        (3, [X[:0]], "not empty"),
        (4, [X[:0].astype(np.int32)], "divided by zero"),
    ]
    for index, inputs, problem in wrong:
        with pytest.raises(InputError, match=problem):
            Function(library, emitted[index])(inputs)
