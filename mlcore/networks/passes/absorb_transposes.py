"""A transpose before a product with constant weights goes into the weights: what a network flattens comes in its own order.

The rows of the weights are put into the order in which the numbers lie before the transpose.
"""

from __future__ import annotations

import numpy as np

from mlcore.networks.ir import Graph, Node, TensorType, Value, constant, product
from mlcore.networks.ops import find
from mlcore.networks.passes._rewrite import Uses, all_graphs
from mlcore.networks.passes.sink_transposes import order_of


def absorb_transposes(graph: Graph) -> None:
    """Absorb in each graph by itself."""
    for one in all_graphs(graph):
        _absorb(one)


def _absorb(graph: Graph) -> None:
    uses = Uses.of(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        made = _absorbed(node, uses)
        nodes += made or [node]
    graph.nodes[:] = nodes


def _absorbed(node: Node, uses: Uses) -> list[Node] | None:
    """The product of what was there before ``Transpose`` and ``Flatten``, with other weights."""
    if node.kind not in ("Gemm", "MatMul") or node.integer("transA", 0) or node.input(0).rank != 2:
        return None
    weights, flat = node.constant(1), uses.producer.get(node.input(0))
    if weights is None or weights.ndim != 2 or flat is None or flat.operator.view_of(flat) != 0 or not flat.present():
        return None
    turned = uses.producer.get(flat.input(0))
    if turned is None or turned.kind != "Transpose":
        return None
    order, x = order_of(turned), turned.input(0)
    inner = turned.output.shape[1:]
    if order[0] != 0 or not all(isinstance(size, int) for size in inner):
        return None
    if tuple(flat.output.shape) != (x.shape[0], product(inner)):
        return None
    by_column = bool(node.integer("transB", 0))
    rows = weights.T if by_column else weights
    back = [order.index(axis) for axis in range(len(order))]
    sizes = [size for size in inner if isinstance(size, int)]
    moved = rows.reshape(*sizes, -1).transpose([axis - 1 for axis in back[1:]] + [len(sizes)]).reshape(rows.shape)
    moved = np.ascontiguousarray(moved.T if by_column else moved)
    plain = Value(f"{x.name}, flat", TensorType(x.dtype, flat.output.shape))
    return [
        Node(find("", "Flatten"), 13, [x], [plain], {"axis": 1}, flat.name),
        Node(
            node.operator,
            node.version,
            [plain, constant(node.input(1).name, moved), *node.inputs[2:]],
            list(node.outputs),
            dict(node.attributes),
            node.name,
        ),
    ]
