"""Squares are products: ``Pow(x, 2)`` is ``x * x``, to the last bit."""

from __future__ import annotations

from mlcore.networks.ir import Graph, Node
from mlcore.networks.ops import find
from mlcore.networks.passes._rewrite import all_graphs


def simplify_powers(graph: Graph) -> None:
    """Rewrite in each graph by itself."""
    for one in all_graphs(graph):
        one.nodes[:] = [_rewritten(node) or node for node in one.nodes]


def _rewritten(node: Node) -> Node | None:
    if node.kind != "Pow" or not node.output.dtype.is_float or node.output.type != node.input(0).type:
        return None
    exponent = node.constant(1)
    if exponent is None or exponent.size != 1 or float(exponent.reshape(-1)[0]) != 2.0:
        return None
    return Node(find("", "Mul"), 14, [node.input(0), node.input(0)], [node.output], {}, node.name)
