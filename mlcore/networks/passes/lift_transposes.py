"""Transposes that could not sink move towards the inputs, where tensors are smaller.

They pass what repeats, puts together and computes element by element, as long as no more has to be moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcore.networks.ir import Graph, Node, Size, TensorType, Value, constant
from mlcore.networks.ir.sizes import evaluate, symbols
from mlcore.networks.ops._fused import VIEW, view
from mlcore.networks.ops.elementwise import Elementwise
from mlcore.networks.passes._rewrite import Uses, all_graphs
from mlcore.networks.passes.sink_transposes import inverse, order_of, transposed

MOST_ROUNDS = 64

TYPICAL = 16
"""What symbols are taken to be where sizes are compared."""


def lift_transposes(graph: Graph) -> None:
    """Lift in each graph by itself."""
    for one in all_graphs(graph):
        for _ in range(MOST_ROUNDS):
            if not _round(one):
                break


def amount(size: Size) -> int:
    """A number to compare sizes by."""
    return evaluate(size, {item.name: TYPICAL for item in symbols(size)})


def _round(graph: Graph) -> bool:
    """Move transposes by one node; whether any moved."""
    uses = Uses.of(graph)
    gone: set[Node] = set()
    made: dict[Node, list[Node]] = {}
    read: set[Value | None] = set()  # by nodes made in this round, of which `uses` does not know
    for node in reversed(graph.nodes):
        order = _wanted(node, uses)
        if order is None or node.output in read or any(reader in gone for reader in uses.nodes[node.output]):
            continue
        new = _lifted(node, order, uses)
        if new is None:
            continue
        # The transposes go; their readers read the new result.
        first, *others = uses.nodes[node.output]
        new[-1].outputs[0] = first.output
        for other in others:
            new.append(Node(VIEW, 1, [first.output], [other.output]))
        gone.update((first, *others))
        made[node] = new
        read.update(value for one in new for value in one.inputs)
    graph.nodes[:] = [item for node in graph.nodes if node not in gone for item in made.get(node, [node])]
    return bool(made)


def _wanted(node: Node, uses: Uses) -> list[int] | None:
    """The order in which all readers of a node transpose its output."""
    if len(node.outputs) != 1 or not isinstance(node.output.type, TensorType) or node.output.type.is_late:
        return None
    readers = uses.nodes.get(node.output, [])
    if not readers or node.output in uses.elsewhere or any(reader.kind != "Transpose" for reader in readers):
        return None
    order = order_of(readers[0])
    return order if all(order_of(reader) == order for reader in readers) else None


def _lifted(node: Node, order: Sequence[int], uses: Uses) -> list[Node] | None:
    """The node on transposed inputs, the last of these nodes; None where that is no gain."""
    if isinstance(node.operator, Elementwise):
        operands = node.operator.operands(node)
        if len(operands) != len(node.inputs):
            return None
        return _with_inputs(node, order, uses, node.attributes)
    if node.kind == "Concat":
        axis = node.axis(node.integer("axis", 0), len(order))
        return _with_inputs(node, order, uses, {**node.attributes, "axis": list(order).index(axis)})
    if node.kind == "Tile" and node.version >= 6:
        return _tile(node, order, uses)
    if node.operator.view_of(node) is not None:
        return _view(node, order)
    return None


def _with_inputs(node: Node, order: Sequence[int], uses: Uses, attributes: dict[str, object]) -> list[Node] | None:
    made: list[Node] = []
    inputs: list[Value | None] = []
    moved = 0
    for value in node.present():
        if value.count == 1 and node.kind != "Concat":
            inputs.append(value)
            continue
        if value.constant is not None and value.rank < len(order):
            value = constant(value.name, value.constant.reshape((1,) * (len(order) - value.rank) + value.constant.shape))
        if value.rank != len(order):
            return None
        moved += _cost(value, order, uses)
        turned, extra = _turned(value, order, uses)
        inputs.append(turned)
        if extra is not None:
            made.append(extra)
    if moved > amount(node.output.count):
        return None
    kind = TensorType(node.output.dtype, tuple(node.output.shape[axis] for axis in order))
    return [*made, Node(node.operator, node.version, inputs, [Value(node.output.name, kind)], dict(attributes), node.name)]


def _cost(value: Value, order: Sequence[int], uses: Uses) -> int:
    """Elements that a transpose moves: none where it meets its inverse, or only axes of size 1 change places."""
    if value.constant is not None:
        return 0
    if _undone(value, order, uses) is not None:
        return 0
    axes = [axis for axis in order if value.shape[axis] != 1]
    return 0 if axes == sorted(axes) else amount(value.count)


def _undone(value: Value, order: Sequence[int], uses: Uses) -> Value | None:
    """What a value is the transpose of, where the order undoes that."""
    before = uses.producer.get(value)
    undone = before is not None and before.kind == "Transpose" and order_of(before) == inverse(order)
    return before.input(0) if undone and before is not None else None


def _turned(value: Value, order: Sequence[int], uses: Uses) -> tuple[Value, Node | None]:
    """A value with its axes in another order, and the node that makes it, where one is needed."""
    undone = _undone(value, order, uses)
    return transposed(value, order) if undone is None else (undone, None)


def _tile(node: Node, order: Sequence[int], uses: Uses) -> list[Node] | None:
    repeats = node.constant(1)
    if repeats is None or _cost(node.input(0), order, uses) > amount(node.output.count):
        return None
    turned, extra = _turned(node.input(0), order, uses)
    kind = TensorType(node.output.dtype, tuple(node.output.shape[axis] for axis in order))
    wanted = constant(node.input(1).name, np.ascontiguousarray(repeats[list(order)]))
    made = Node(node.operator, node.version, [turned, wanted], [Value(node.output.name, kind)], {}, node.name)
    return [made] if extra is None else [extra, made]


def _view(node: Node, order: Sequence[int]) -> list[Node] | None:
    """A view that only adds axes of size 1: the others are transposed before it."""
    before, after = node.input(0), node.output
    kept: list[int] = []
    for axis, size in enumerate(after.shape):
        if len(kept) < before.rank and before.shape[len(kept)] == size:
            kept.append(axis)
        elif size != 1:
            return None
    if len(kept) != before.rank:
        return None
    inner = [kept.index(axis) for axis in order if axis in kept]
    shape = tuple(after.shape[axis] for axis in order)
    turned, extra = transposed(before, inner)
    return ([] if extra is None else [extra]) + [view(turned, shape, after.name)]
