"""Batch normalisation at inference is a scale and a shift: folded into the weights before it, else two elementwise steps.

S. Ioffe and C. Szegedy, arXiv:1502.03167, Algorithm 2: y = gamma (x - mean) / sqrt(variance + epsilon) + beta. The folded weights
are computed in float64 and rounded once.
"""

from __future__ import annotations

import numpy as np

from mlcore.networks.ir import Array, Graph, Node, Value, constant
from mlcore.networks.ops import find
from mlcore.networks.passes._rewrite import Uses, all_graphs


def fold_batch_normalization(graph: Graph) -> None:
    """Fold or replace every batch normalisation whose statistics are constants."""
    for one in all_graphs(graph):
        _fold(one)


def _fold(graph: Graph) -> None:
    uses = Uses.of(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        parts = _scale_and_shift(node)
        if parts is None:
            nodes.append(node)
            continue
        scale, shift = parts
        source = uses.producer.get(node.input(0))
        if source is not None and uses.only(node.input(0)) is node and _fold_into(source, scale, shift):
            # The node before now computes the normalised value.
            source.outputs[0] = node.output
            uses.producer[node.output] = source
        else:
            nodes += _as_elementwise(node, scale, shift)
    graph.nodes[:] = nodes


def _scale_and_shift(node: Node) -> tuple[Array, Array] | None:
    """Of each channel, float64; None where the node is none, or trains."""
    if node.kind != "BatchNormalization" or node.integer("training_mode", 0) or node.version < 9:
        return None
    if any(value.name for value in node.outputs[1:]):
        return None
    known = [node.constant(i) for i in range(1, 5)]
    gamma, beta, mean, variance = (None if item is None else item.astype(np.float64) for item in known)
    if gamma is None or beta is None or mean is None or variance is None or node.output.dtype.is_small:
        return None
    with np.errstate(all="ignore"):  # variances below zero give NaN, as they do when they are not folded
        scale = gamma / np.sqrt(variance + node.number("epsilon", 1e-5))
        return scale, beta - mean * scale


def _fold_into(node: Node, scale: Array, shift: Array) -> bool:
    """Fold into a convolution or a matrix product with constant weights."""
    if node.kind == "Conv":
        weights = node.constant(1)
        bias = node.constant(2) if node.has(2) else np.zeros(len(scale))
        if weights is None or bias is None:
            return False
        scaled = weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    elif node.kind == "Gemm" and node.number("alpha", 1.0) == 1.0 and node.number("beta", 1.0) == 1.0:
        weights = node.constant(1)
        bias = node.constant(2) if node.has(2) else np.zeros(len(scale))
        if weights is None or bias is None or bias.ndim > 1:
            return False
        scaled = weights * (scale[:, None] if node.integer("transB", 0) else scale)
    else:
        return False
    dtype = weights.dtype
    node.inputs[1:] = [
        constant(f"{node.input(1).name}, normalised", scaled.astype(dtype)),
        constant(f"{node.name or node.kind} bias, normalised", (bias * scale + shift).astype(dtype)),
    ]
    return True


def _as_elementwise(node: Node, scale: Array, shift: Array) -> list[Node]:
    data = node.input(0)
    shape = (-1, *[1] * (data.rank - 2)) if data.rank > 1 else (-1,)
    factors = [
        constant(f"{node.name} {what}", item.reshape(shape).astype(data.dtype.numpy))
        for what, item in (("scale", scale), ("shift", shift))
    ]
    between = Value(f"{node.name} scaled", data.type)
    return [
        Node(find("", "Mul"), 14, [data, factors[0]], [between], {}, node.name),
        Node(find("", "Add"), 14, [between, factors[1]], [node.output], {}, node.name),
    ]
