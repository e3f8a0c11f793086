"""What an elementwise node would repeat anyway is not repeated before it: Expand and Tile in front of it go.

That is so as far as its other operands tell the shape of the result.
"""

from __future__ import annotations

from mlcore.networks.ir import Graph, Node, Shape, Value
from mlcore.networks.ops.elementwise import Elementwise
from mlcore.networks.passes._rewrite import Uses, all_graphs


def drop_expansions(graph: Graph) -> None:
    """Drop in each graph by itself."""
    for one in all_graphs(graph):
        uses = Uses.of(one)
        for node in one.nodes:
            if isinstance(node.operator, Elementwise) and len(node.outputs) == 1 and not node.output.tensor.is_late:
                for index, value in enumerate(node.inputs):
                    if value is not None:
                        node.inputs[index] = _without(node, index, value, uses)


def _without(node: Node, index: int, value: Value, uses: Uses) -> Value:
    """The operand before it was expanded, where the others tell the shape of the result."""
    plain = repeated(uses.producer.get(value))
    if plain is None or value not in node.operator.operands(node):
        return value
    others = [item for i, item in enumerate(node.inputs) if i != index and item is not None]
    if not all(item in node.operator.operands(node) for item in others):
        return value
    rank = node.output.rank
    for axis in range(rank):
        wanted = node.output.shape[axis]
        if _size(plain.shape, rank, axis) != wanted and all(_size(item.shape, rank, axis) != wanted for item in others):
            return value
    return plain


def repeated(node: Node | None) -> Value | None:
    """What an Expand or Tile repeats along axes of size 1, alone."""
    if node is None or node.kind not in ("Expand", "Tile") or node.output.tensor.is_late:
        return None
    before, after = node.input(0), node.output
    if before.rank > after.rank:
        return None
    for axis, size in enumerate(after.shape):
        old = _size(before.shape, after.rank, axis)
        if old not in (1, size):
            return None
    return before


def _size(shape: Shape, rank: int, axis: int) -> object:
    """The size along an axis of a shape that is filled up with ones in front."""
    position = axis - rank + len(shape)
    return shape[position] if position >= 0 else 1
