"""One node computed by ONNX's reference evaluator: how constants are folded."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mlcore.networks.ir import Array, DType, Node, SequenceType, TensorType

MOST_BYTES = 64 * 2**20
"""Outputs that are larger are computed by the generated code."""


def folded(node: Node) -> list[Array] | None:
    """The outputs of a node whose inputs are all known; None where it is left to the generated code."""
    if not node.operator.deterministic or any(True for _ in node.graphs):
        return None
    if any(value.constant is None for value in node.present()):
        return None
    for value in node.outputs:
        if not isinstance(value.type, TensorType) or value.type.dtype is DType.STRING:
            return None
        if (
            value.type.shape is not None
            and isinstance(value.type.count, int)
            and value.type.count * value.dtype.bytes > MOST_BYTES
        ):
            return None
    if any(isinstance(value.type, SequenceType) or value.dtype is DType.STRING for value in node.present()):
        return None
    try:
        found = _evaluate(node)
    except Exception:
        return None
    arrays = []
    for value, array in zip(node.outputs, found, strict=False):
        if array is None or not isinstance(array, np.ndarray | np.generic):
            return None
        wanted = value.dtype.numpy
        array = np.asarray(array)
        if array.dtype != wanted:
            array = array.astype(wanted)
        known = value.tensor.shape
        if known is not None and all(isinstance(size, int) for size in known) and array.shape != known:
            return None
        arrays.append(array)
    return arrays


def _evaluate(node: Node) -> list[Any]:
    import onnx
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    names = [f"i{i}" if value is not None else "" for i, value in enumerate(node.inputs)]
    outputs = [f"o{i}" if value.name else "" for i, value in enumerate(node.outputs)]
    attributes = {key: value for key, value in node.attributes.items() if value is not None}
    proto = helper.make_node(node.operator.name, names, outputs, domain=node.operator.domain)
    for key, item in attributes.items():
        proto.attribute.append(_attribute(key, item))
    graph = helper.make_graph(
        [proto],
        "folded",
        [
            helper.make_tensor_value_info(name, value.dtype.number, value.constant.shape)  # type: ignore[union-attr]
            for name, value in zip(names, node.inputs, strict=True)
            if value is not None
        ],
        [
            helper.make_tensor_value_info(name, value.dtype.number, None)
            for name, value in zip(outputs, node.outputs, strict=True)
            if name
        ],
    )
    opsets = [helper.make_opsetid(node.operator.domain, node.version)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=onnx.IR_VERSION)
    feeds = {name: value.constant for name, value in zip(names, node.inputs, strict=True) if value is not None}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = iter(ReferenceEvaluator(model).run(None, feeds))
        return [next(found) if name else None for name in outputs]


def _attribute(key: str, value: Any) -> Any:
    from onnx import helper, numpy_helper

    if isinstance(value, np.ndarray):
        return helper.make_attribute(key, numpy_helper.from_array(value))
    if isinstance(value, list) and not value:
        return helper.make_attribute(key, value, attr_type=7)
    return helper.make_attribute(key, value)
