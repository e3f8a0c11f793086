"""Elements that are gathered or scattered by indices which repeat along all other axes are whole rows, and are moved as such.

Graph networks have these: PyTorch's scatter takes one index for each element, so that the nodes of edges are expanded to the
width of what is passed along them.
"""

from __future__ import annotations

from mlcore.networks.ir import DType, Graph, Node, Value
from mlcore.networks.ops import find
from mlcore.networks.ops._fused import view
from mlcore.networks.passes._rewrite import Uses, all_graphs
from mlcore.networks.passes.drop_expansions import repeated


def scatter_rows(graph: Graph) -> None:
    """Rewrite in each graph by itself; the expansions go where nothing else reads them."""
    for one in all_graphs(graph):
        uses = Uses.of(one)
        one.nodes[:] = [new for node in one.nodes for new in _by_rows(node, uses) or (node,)]


def _by_rows(node: Node, uses: Uses) -> tuple[Node, ...] | None:
    """What a node becomes; None where it stays."""
    if node.kind not in ("ScatterElements", "Scatter", "GatherElements"):
        return None
    data, indices = node.input(0), node.input(1)
    plain = repeated(uses.producer.get(indices))
    if plain is None or data.rank < 2 or node.axis(node.integer("axis", 0), data.rank) != 0 or node.output.tensor.is_late:
        return None
    n = indices.shape[0]
    if plain.dtype is not DType.INT64 or plain.count != n or indices.shape[1:] != data.shape[1:]:
        return None
    if plain.rank < indices.rank or plain.shape[0] != n:
        return None  # one index for all rows, repeated along the first axis
    if node.kind == "GatherElements":
        places = view(plain, (n,))
        return places, Node(find("", "Gather"), 13, [data, places.output], [node.output], {"axis": 0}, node.name)
    places = view(plain, (n, 1))
    how = {"reduction": node.attributes["reduction"]} if "reduction" in node.attributes else {}
    inputs: list[Value | None] = [data, places.output, node.input(2)]
    return places, Node(find("", "ScatterND"), 18, inputs, [node.output], how, node.name)
