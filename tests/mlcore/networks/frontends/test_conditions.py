"""An If whose condition is known when the model is read is the branch that is taken."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import read, translate


def model(size: int, condition: np.ndarray) -> object:
    """x + w of a vector where the condition holds, else the last axis of a matrix: only one of them fits."""
    taken = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["a"])], "then", [], [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.full(1, 2, np.float32), "w")],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["b"], axis=1)],
        "else",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Size", ["shape"], ["rank"]),
        helper.make_node("Equal", ["rank", "one"], ["is_vector"]),
        helper.make_node("And", ["is_vector", "known"], ["condition"]),
        helper.make_node("If", ["condition"], ["y"], then_branch=taken, else_branch=other),
    ]
    initial = [numpy_helper.from_array(np.array(1), "one"), numpy_helper.from_array(condition, "known")]
    graph = helper.make_graph(
        nodes, "branches", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3] * size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], initial,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_the_branch_stands_in_the_place_of_the_node() -> None:
    vector, matrix = model(1, np.array(True)), model(2, np.array([True]))
    assert not any(node.kind == "If" for node in read(vector).walk())
    emitted = [translate(vector, "vector"), translate(matrix, "matrix")]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    np.testing.assert_array_equal(Function(library, emitted[0])([x[0]])[0], x[0] + 2)
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(Function(library, emitted[1])([x])[0], e / e.sum(1, keepdims=True), rtol=1e-6)


def test_the_branch_that_is_taken_has_to_fit() -> None:
    with pytest.raises(InputError, match="axis 1"):
        translate(model(1, np.array(False)), "refused")
    with pytest.raises(InputError, match="one condition"):
        translate(model(1, np.array([True, True])), "refused")


def ranks(nodes: list[object], condition: list[str]) -> object:
    """One number, in a scalar where the condition holds, else in a vector; some nodes make y of it and of x."""
    graphs = [
        helper.make_graph(
            [helper.make_node("Identity", [name], [f"{name}_out"])], name, [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
        )
        for name in ("scalar", "vector")
    ]  # fmt: skip
    choose = helper.make_node("If", condition, ["one"], then_branch=graphs[0], else_branch=graphs[1])
    initial = [
        numpy_helper.from_array(np.float32(2), "scalar"),
        numpy_helper.from_array(np.array([3], np.float32), "vector"),
        numpy_helper.from_array(np.array([True, False]), "flags"),
    ]
    inputs = [
        helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([choose, *nodes], "ranks", inputs, outputs, initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_branches_that_differ_in_axes_of_size_1_in_front() -> None:
    """What broadcasts with enough axes has one rank, whichever branch is taken; nothing else has."""
    emitted = translate(ranks([helper.make_node("Mul", ["x", "one"], ["y"])], ["flag"]), "broadcast")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    for n in (4, 1, 0):
        x = np.arange(n, dtype=np.float32)
        for flag in (True, False):
            (found,) = function([np.array(flag), x])
            assert found.shape == (n,)
            np.testing.assert_array_equal(found, x * (2 if flag else 3))
    refused = ([helper.make_node("Neg", ["one"], ["y"])], [helper.make_node("Clip", ["one", "", "scalar"], ["y"])])
    for nodes in refused:
        with pytest.raises(InputError, match="rank"):
            translate(ranks(nodes, ["flag"]), "refused")


def test_a_result_of_two_ranks_keeps_the_one_it_has() -> None:
    emitted = translate(ranks([helper.make_node("Identity", ["one"], ["y"])], ["flag"]), "either")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    x = np.zeros(2, np.float32)
    assert Function(library, emitted)([np.array(True), x])[0].shape == ()
    assert Function(library, emitted)([np.array(False), x])[0].shape == (1,)
