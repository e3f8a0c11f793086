"""Matrix products with constant weights become `Linear` nodes: weights are packed once, what follows joins their loops.

A bias is an elementwise step like any other (`fuse_epilogue`), so that ``x @ W + b``, ``Gemm`` and 1x1 convolutions end alike.
"""

from __future__ import annotations

import numpy as np

from mlcore.networks.ir import Array, DType, Graph, Node, Value, constant
from mlcore.networks.ops import find
from mlcore.networks.ops._products import LINEAR
from mlcore.networks.passes._rewrite import all_graphs

_TYPES = (DType.FLOAT32, DType.FLOAT64)


def form_linear(graph: Graph) -> None:
    """Rewrite in each graph by itself."""
    for one in all_graphs(graph):
        one.nodes[:] = [new for node in one.nodes for new in (_from_gemm(node) or _from_matmul(node) or [node])]


def _linear(node: Node, weights: Array, output: Value) -> Node:
    packed = constant(node.input(1).name, np.ascontiguousarray(weights))
    return Node(LINEAR, 1, [node.input(0), packed], [output], {}, node.name)


def _from_matmul(node: Node) -> list[Node] | None:
    if node.kind != "MatMul" or node.output.dtype not in _TYPES or node.output.tensor.is_late:
        return None
    weights = node.constant(1)
    if weights is None or weights.ndim != 2 or node.input(0).rank < 2:
        return None
    return [_linear(node, weights, node.output)]


def _from_gemm(node: Node) -> list[Node] | None:
    if node.kind != "Gemm" or node.output.dtype not in _TYPES or node.output.tensor.is_late or node.integer("transA", 0):
        return None
    weights, alpha, beta = node.constant(1), node.number("alpha", 1.0), node.number("beta", 1.0)
    bias = node.optional(2)
    if weights is None or (bias is not None and beta != 1.0 and bias.constant is None):
        return None
    weights = weights.T if node.integer("transB", 0) else weights
    if alpha != 1.0:
        weights = (weights.astype(np.float64) * alpha).astype(weights.dtype)
    if bias is None or beta == 0.0:
        return [_linear(node, weights, node.output)]
    if beta != 1.0 and bias.constant is not None:
        bias = constant(bias.name, (bias.constant.astype(np.float64) * beta).astype(bias.constant.dtype))
    raw = Value(f"{node.output.name}, without bias", node.output.type)
    return [_linear(node, weights, raw), Node(find("", "Add"), 14, [raw, bias], [node.output], {}, node.name)]
