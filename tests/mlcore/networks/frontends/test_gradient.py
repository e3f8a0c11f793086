"""Gradients against differences of the forward pass in double precision, as ONNX's reference evaluator computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import read, translate
from mlcore.networks.ops._derivatives import RULES
from tests.mlcore.networks.conftest import Array, Case, hold

DOMAIN = "ai.onnx.preview.training"
STEP = 1e-5
RNG = np.random.default_rng(5)


def gradient(xs: Sequence[str], y: str, *, given: Sequence[str] = (), zs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Any:
    outputs = outputs or [f"d{x}" for x in xs]
    attributes = {"zs": list(zs)} if zs else {}
    return helper.make_node("Gradient", given or [*xs, *zs], outputs, "gradient", domain=DOMAIN, xs=list(xs), y=y, **attributes)


def model(
    nodes: Sequence[Any], inputs: dict[str, Array], outputs: Sequence[str], constants: dict[str, Array], *, opset: int = 20,
    dynamic: bool = False, dtype: int = TensorProto.DOUBLE,
) -> Any:  # fmt: skip
    ports = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(array.dtype),
            [f"{name}{axis}" if dynamic else size for axis, size in enumerate(array.shape)],
        )
        for name, array in inputs.items()
    ]
    results = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
    initial = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(
        helper.make_graph(list(nodes), "graph", ports, results, initial), opset_imports=opsets, ir_version=10
    )


def differences(function: Callable[..., Array], values: list[Array], index: int) -> Array:
    """Central differences of a number by each element of one of its arguments."""
    result = np.zeros_like(values[index])
    for place in np.ndindex(result.shape):
        ends = []
        for sign in (1, -1):
            moved = [item.copy() for item in values]
            moved[index][place] += sign * STEP
            ends.append(float(function(*moved)))
        result[place] = (ends[0] - ends[1]) / (2 * STEP)
    return result


def case(
    kind: str, *arrays: Array, n_outputs: int = 1, constants: Sequence[Array] = (), opset: int = 20, by: int | None = None,
    dynamic: bool = False, function: Callable[[Array], Array] | None = None, **attributes: Any,
) -> Case:  # fmt: skip
    """Gradients of a node's outputs, each times numbers of its own, by its first inputs.

    Parameters
    ----------
    function
        What the node computes, where the reference evaluator does not do it in double precision.
    """
    inputs = {f"x{i}": array for i, array in enumerate(arrays)}
    fixed = {f"c{i}": array for i, array in enumerate(constants)}
    outputs = [f"y{i}" for i in range(n_outputs)]
    forward = [helper.make_node(kind, [*inputs, *fixed], outputs, **attributes)]
    shapes = [item.shape for item in ReferenceEvaluator(model(forward, inputs, outputs, fixed, opset=opset)).run(None, inputs)]
    fixed |= {f"r{i}": RNG.uniform(0.5, 2, shape) for i, shape in enumerate(shapes)}
    forward += [helper.make_node("Mul", [f"y{i}", f"r{i}"], [f"m{i}"]) for i in range(n_outputs)]
    forward += [helper.make_node("ReduceSum", [f"m{i}"], [f"s{i}"], keepdims=0) for i in range(n_outputs)]
    forward.append(helper.make_node("Sum", [f"s{i}" for i in range(n_outputs)], ["total"]))
    evaluator = ReferenceEvaluator(model(forward, inputs, ["total"], fixed, opset=opset))

    def total(*values: Array) -> Array:
        if function is not None:
            return np.asarray((function(*values) * fixed["r0"]).sum())
        found: Array = evaluator.run(None, dict(zip(inputs, values, strict=True)))[0]
        return found

    xs = list(inputs)[:by]

    def expected(*values: Array) -> list[Array]:
        return [total(*values), *(differences(total, list(values), i) for i in range(len(xs)))]

    proto = model(
        [*forward, gradient(xs, "total", zs=list(inputs)[len(xs) :])], inputs, ["total", *(f"d{x}" for x in xs)], fixed,
        opset=opset, dynamic=dynamic,
    )  # fmt: skip
    # Central differences are wrong by the square of the step, and by the rounding of the sum over the step.
    return Case(proto, (tuple(inputs.values()),), 1e-6, 1e-7, expected)


def some(*shape: int, low: float = -2.0, high: float = 2.0) -> Array:
    """Numbers that are nowhere near a kink: no multiples of a half."""
    array = RNG.uniform(low, high, shape)
    near = np.abs(array * 2 - np.round(array * 2)) < 0.05
    return np.where(near, array + 0.06, array)


ERF = np.vectorize(math.erf)
X = some(3, 4)
POSITIVE, UNIT = some(3, 4, low=0.2), some(3, 4, low=-0.9, high=0.85)
UNARY = {
    POSITIVE.tobytes(): ("Log", "Sqrt", "Reciprocal"),
    UNIT.tobytes(): ("Asin", "Acos", "Atanh", "Tan"),
    X.tobytes(): (
        "Abs", "Neg", "Exp", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh", "Tanh", "Sigmoid", "Relu", "Softplus", "Softsign",
        "HardSwish", "Mish", "LeakyRelu", "Elu", "Celu", "Selu", "HardSigmoid", "ThresholdedRelu", "Identity",
        "Floor", "Ceil", "Round", "Sign",
    ),
}  # fmt: skip
CASES = [
    *(case(kind, np.frombuffer(data).reshape(3, 4)) for data, kinds in UNARY.items() for kind in kinds),
    case("Acosh", some(3, 4, low=1.1, high=3)),
    case("Swish", X, opset=24, alpha=1.3),
    case("Erf", X, function=ERF),
    case("Gelu", X, function=lambda x: x * (1 + ERF(x * 0.5**0.5)) / 2),
    case("Gelu", X, approximate="tanh"),
    case("LeakyRelu", X, alpha=0.3),
    case("Elu", X, alpha=1.7),
    case("Celu", X, alpha=1.7, opset=12),
    case("Selu", X, alpha=1.5, gamma=1.2),
    case("HardSigmoid", X, alpha=0.31, beta=0.4),
    case("ThresholdedRelu", X, alpha=0.25),
    case("Clip", X, constants=[np.array(-1.0), np.array(0.7)]),
    case("Clip", X, constants=[np.array(-1.0)]),
    case("Clip", X, opset=10, max=0.7),
    *(case(kind, X, some(4, low=0.3)) for kind in ("Add", "Sub", "Mul", "Div", "PRelu", "Max", "Min")),
    *(case(kind, some(4), some(2, 3, 1, low=0.3)) for kind in ("Add", "Sub", "Mul", "Div")),
    case("Add", X, X.copy()[:, :4], dynamic=True),
    case("Pow", POSITIVE, some(3, 1)),
    case("Pow", X, constants=[np.array(3.0)]),
    case("Pow", X, constants=[np.array(2)]),
    case("Sum", X, some(4), some(3, 1)),
    case("Mean", X, some(4), some(3, 1)),
    case("Max", X, some(3, 4), some(1, 4)),
    case("CastLike", X, some(1), by=1),
    case("Cast", X, to=TensorProto.DOUBLE),
    case("Reshape", X, constants=[np.array([2, -1])]),
    case("Reshape", X, constants=[np.array([2, -1])], dynamic=True),
    case("Flatten", some(2, 3, 2), axis=2),
    case("Squeeze", some(2, 1, 3), constants=[np.array([1])]),
    case("Unsqueeze", X, constants=[np.array([0, 3])]),
    case("Transpose", some(2, 3, 4), perm=[1, 2, 0]),
    case("Transpose", X),
    case("Expand", some(3, 1), constants=[np.array([2, 3, 4])]),
    case("Concat", X, some(3, 2), axis=1),
    case("Concat", X, some(3, 2), axis=-1, dynamic=True),
    case("Split", X, constants=[np.array([1, 3])], n_outputs=2, axis=1),
    *(case(f"Reduce{kind}", some(2, 3, 4, low=0.3), keepdims=keep, constants=[np.array(axes)])
      for kind in ("Sum", "Mean", "SumSquare", "L1", "L2", "LogSumExp", "Max", "Min")
      for keep, axes in ((0, [0, -1]), (1, [1]))),
    case("ReduceMean", X, keepdims=0, dynamic=True),
    case("ReduceMean", X, keepdims=0, opset=13, axes=[1]),
    case("ReduceSum", X, constants=[np.array([], np.int64)], noop_with_empty_axes=1),
    case("Softmax", X),
    case("Softmax", some(2, 3, 4), axis=1, dynamic=True),
    case("LogSoftmax", X, axis=0),
    case("Softmax", X, opset=11),
    case("MatMul", X, some(4, 2)),
    case("MatMul", X, some(4, 2), dynamic=True),
    case("MatMul", some(2, 1, 3, 4), some(5, 4, 2)),
    case("MatMul", some(4), some(2, 4, 3)),
    case("MatMul", some(2, 3, 4), some(4)),
    case("MatMul", some(4), some(4)),
    *(case("Gemm", some(*a), some(*b), some(*c), alpha=0.7, beta=1.3, transA=ta, transB=tb)
      for a, ta in (((2, 3), 0), ((3, 2), 1)) for b, tb in (((3, 4), 0), ((4, 3), 1)) for c in ((4,), (2, 1))),
]  # fmt: skip


@pytest.mark.parametrize("start", range(0, len(CASES), 45))
def test_derivatives(start: int) -> None:
    hold(CASES[start : start + 45])


def test_every_rule_is_tested() -> None:
    tested = {item.model.graph.node[0].op_type for item in CASES} | {"Where", "fused::View"}
    assert set(RULES) <= tested


def function_of(proto: Any) -> Function:
    emitted = translate(proto, "gradient")
    return Function(build([emitted], BuildOptions(flags=QUICK))[0], emitted)


def test_by_weights_that_the_model_holds() -> None:
    """Steps of gradient descent: the loss of a small network falls, and its gradients are right."""
    w, b, v = RNG.standard_normal((2, 8)), np.zeros(8), RNG.standard_normal((8, 1))
    nodes = [
        helper.make_node("Mul", ["w", "w"], ["decay"]),  # of constants alone: not to be folded
        helper.make_node("ReduceSum", ["decay"], ["decays"], keepdims=0),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["out"]),
        helper.make_node("Sub", ["out", "t"], ["e"]),
        helper.make_node("ReduceSumSquare", ["e"], ["squares"], keepdims=0),
        helper.make_node("Add", ["squares", "decays"], ["loss"]),
        gradient(["w", "b", "v"], "loss", zs=["x", "t"]),
    ]
    x, t = some(5, 2), some(5, 1)
    found = function_of(model(nodes, {"x": x, "t": t}, ["loss", "dw", "db", "dv"], {"w": w, "b": b, "v": v}, dynamic=True))(
        [x, t]
    )

    def loss(w: Array, b: Array, v: Array) -> Array:
        return np.asarray(((np.tanh(x @ w + b) @ v - t) ** 2).sum() + (w * w).sum())

    np.testing.assert_allclose(found[0], loss(w, b, v), rtol=1e-12)
    for i in range(3):
        np.testing.assert_allclose(found[1 + i], differences(loss, [w, b, v], i), rtol=1e-6, atol=1e-7)


def test_second_derivatives() -> None:
    nodes = [
        helper.make_node("Sin", ["x"], ["s"]),
        helper.make_node("Mul", ["s", "x"], ["y"]),
        gradient(["x"], "y"),
        gradient(["x"], "dx", outputs=["ddx"]),
    ]
    x = some(6)
    (found,) = function_of(model(nodes, {"x": x}, ["ddx"], {}))([x])
    np.testing.assert_allclose(found, 2 * np.cos(x) - x * np.sin(x), rtol=1e-12)


def test_at_other_values_than_those_it_names() -> None:
    """By an intermediate value, at another one; the other variable is what it was."""
    nodes = [
        helper.make_node("Exp", ["x"], ["h"]),
        helper.make_node("Mul", ["h", "z"], ["p"]),
        helper.make_node("Mul", ["z", "z"], ["q"]),
        helper.make_node("Mul", ["p", "q"], ["y"]),
        gradient(["h", "z"], "y", given=["other", "z"]),
    ]
    arrays = {"x": some(3), "z": some(3), "other": some(3)}
    found = function_of(model(nodes, arrays, ["y", "dh", "dz"], {}))(list(arrays.values()))
    x, z, h = arrays.values()
    for mine, wanted in zip(found, (np.exp(x) * z**3, z**3, 3 * h * z**2), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-12)


def test_outputs_may_be_left_out_and_be_zero() -> None:
    nodes = [
        helper.make_node("Where", ["flag", "a", "b"], ["y"]),
        gradient(["a", "b"], "y", outputs=["", "db"]),
        gradient(["c"], "y", outputs=["dc"]),
    ]
    arrays = {"flag": np.array([True, False]), "a": some(2), "b": some(2), "c": some(3)}
    db, dc = function_of(model(nodes, arrays, ["db", "dc"], {}))(list(arrays.values()))
    np.testing.assert_array_equal(db, [0, 1])
    np.testing.assert_array_equal(dc, np.zeros(3))


def test_inside_a_function() -> None:
    """Names are those of the function, and a weight that it is given is no constant in it."""
    body = [helper.make_node("Mul", ["p", "p"], ["q"]), gradient(["p"], "q", outputs=["dp"])]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    inner = helper.make_function("mine", "Twice", ["p"], ["dp"], body, opsets)
    proto = model([helper.make_node("Twice", ["w"], ["y"], domain="mine")], {"x": some(1)}, ["y"], {"w": np.array([3.0])})
    proto.functions.append(inner)
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    np.testing.assert_array_equal(function_of(proto)([some(1)])[0], [6])


def test_what_is_refused() -> None:
    x = np.ones((1, 1, 3))
    conv = [helper.make_node("Conv", ["x", "w"], ["c"], "mine"), helper.make_node("Relu", ["c"], ["y"]), gradient(["x"], "y")]
    with pytest.raises(UnsupportedOperatorError, match="Conv node 'mine', and no derivative") as caught:
        read(model(conv, {"x": x}, ["dx"], {"w": x}))
    assert "backward pass" in (caught.value.hint or "")
    with pytest.raises(InputError, match="differentiates"):
        read(model([helper.make_node("Equal", ["x", "x"], ["y"]), gradient(["x"], "y")], {"x": x}, ["dx"], {}))
    with pytest.raises(InputError, match="1 inputs and 1 outputs for 1 variables of 2"):
        read(model([gradient(["x"], "x", zs=["w"], given=["x"])], {"x": x}, ["dx"], {"w": x}))
    with pytest.raises(InputError, match="'nothing' is used before"):
        read(model([gradient(["x"], "nothing")], {"x": x}, ["dx"], {}))
    branch = helper.make_graph([gradient(["x"], "y")], "branch", [], [helper.make_tensor_value_info("dx", 11, None)])
    nodes = [
        helper.make_node("Exp", ["x"], ["y"]),
        helper.make_node("If", ["flag"], ["d"], then_branch=branch, else_branch=branch),
    ]
    with pytest.raises(UnsupportedOperatorError, match="in a subgraph"):
        read(model(nodes, {"x": x, "flag": np.array(True)}, ["d"], {}))
    kept = helper.make_graph([helper.make_node("Exp", ["x"], ["e"])], "kept", [], [helper.make_tensor_value_info("e", 11, None)])
    nodes = [helper.make_node("If", ["flag"], ["y"], then_branch=kept, else_branch=kept), gradient(["x"], "y")]
    with pytest.raises(UnsupportedOperatorError, match="the If node, and no derivative"):
        read(model(nodes, {"x": x, "flag": np.array(True)}, ["dx"], {}))
