"""Elementwise nodes that follow each other become one loop: what lies between them never reaches memory."""

from __future__ import annotations

from mlcore.networks.ir import Graph, Node, TensorType, Value
from mlcore.networks.ops._fused import CHAIN
from mlcore.networks.ops.elementwise import Elementwise
from mlcore.networks.passes._rewrite import Uses, all_graphs

MOST_OPERANDS = 10
"""Of one loop: each is a pointer that the processor keeps."""

MOST_STEPS = 64
"""Of one loop: longer ones gain nothing, and take the compiler long."""


def fuse_elementwise(graph: Graph) -> None:
    """Fuse in each graph by itself."""
    for one in all_graphs(graph):
        _fuse(one)


def _fusible(node: Node) -> bool:
    """Whether a node is a loop that others may join: its element type is computed as it is stored."""
    if not isinstance(node.operator, Elementwise) or len(node.outputs) != 1:
        return False
    kind = node.output.type
    return isinstance(kind, TensorType) and not kind.is_late and not kind.dtype.is_small and kind.dtype.bytes > 0


def _fuse(graph: Graph) -> None:
    uses = Uses.of(graph)
    taken: set[Node] = set()
    groups: dict[Node, list[Node]] = {}
    for last in reversed(graph.nodes):
        if last in taken or not _fusible(last):
            continue
        group = _grown(last, uses, taken)
        if len(group) > 1:
            taken.update(group)
            groups[last] = group
    if not groups:
        return
    order = {node: position for position, node in enumerate(graph.nodes)}
    nodes = []
    for node in graph.nodes:
        if node in groups:
            steps = sorted(groups[node], key=order.__getitem__)
            nodes.append(Node(CHAIN, 1, list(_outside(steps)), [node.output], {"steps": steps}, node.name))
        elif node not in taken:
            nodes.append(node)
    graph.nodes[:] = nodes


def _grown(last: Node, uses: Uses, taken: set[Node]) -> list[Node]:
    """The nodes that can be computed in the loop of the last one."""
    group = [last]
    changed = True
    while changed:
        changed = False
        for value in list(_outside(group)):
            node = uses.producer.get(value)
            if node is None or node in taken or not _fusible(node) or value in uses.elsewhere:
                continue
            if value.shape != last.output.shape or not all(reader in group for reader in uses.nodes[value]):
                continue
            if len(group) < MOST_STEPS and len(_outside([*group, node])) <= MOST_OPERANDS:
                group.append(node)
                changed = True
    return group


def _outside(group: list[Node]) -> dict[Value, None]:
    """What a group reads that it does not compute, in a fixed order."""
    computed = {node.output for node in group}
    return {value: None for node in group for value in node.operator.operands(node) if value not in computed}
