"""Small networks that several tests share, made with onnx.helper."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str] | None]],
    outputs: dict[str, int],
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model of some nodes; inputs and outputs by name, with the number of their element type."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, None) for name, dtype in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def mlp(batch: int | str = "batch", *, width: int = 16, seed: int = 0) -> onnx.ModelProto:
    """Two layers: 8 inputs, ReLU, 4 outputs through a sigmoid."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Add", ["a", "b1"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "w2", "b2"], ["d"], transB=1),
        helper.make_node("Sigmoid", ["d"], ["y"]),
    ]
    constants = {
        "w1": rng.standard_normal((8, width)).astype(np.float32),
        "b1": rng.standard_normal(width).astype(np.float32),
        "w2": rng.standard_normal((4, width)).astype(np.float32),
        "b2": rng.standard_normal(4).astype(np.float32),
    }
    return model(nodes, {"x": (TensorProto.FLOAT, [batch, 8])}, {"y": TensorProto.FLOAT}, constants)


def mlp_answer(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What `mlp` computes, in float64."""
    w = {item.name: numpy_helper.to_array(item).astype(np.float64) for item in proto.graph.initializer}
    hidden = np.maximum(x.astype(np.float64) @ w["w1"] + w["b1"], 0)
    return 1 / (1 + np.exp(-(hidden @ w["w2"].T + w["b2"])))
