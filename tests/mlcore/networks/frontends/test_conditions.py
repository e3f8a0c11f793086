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
