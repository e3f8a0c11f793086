"""A batch goes through several layers a few events at a time, so that what lies between the layers stays near the processor.

Nodes in a row whose results for an event need that event alone become the body of a loop over the batch (`Blocks`). It is done
where what they hand on would not fit into a cache otherwise. What is left is looked at again row by row, and so is a loop that
takes one event at a time: nodes and edges of a graph network are rows of their own. Rows go along the first axis that is longer
than one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from mlcore.networks.ir import Graph, Node, Shape, Size, TensorType, Value
from mlcore.networks.ops._blocks import BLOCKS
from mlcore.networks.ops._channels_last import CONVOLUTION, POOLING
from mlcore.networks.ops._fused import CHAIN, view
from mlcore.networks.ops._products import ATTENTION, LINEAR
from mlcore.networks.ops._strided import Strided
from mlcore.networks.ops.elementwise import Elementwise
from mlcore.networks.passes._rewrite import REDUCTIONS, Uses, axes_of
from mlcore.networks.passes.lift_transposes import amount
from mlcore.networks.passes.sink_transposes import order_of

LARGE = 2**18
"""Bytes handed on inside a group from which on it is worth a loop."""

NEAR = 2**17
"""Bytes handed on in one round of the loop, at most where more than one event goes together."""

LARGE_ROWS, NEAR_ROWS = 2**17, 2**16
"""The same where rows are taken instead of events: about half of it is there at a time, and fits into a first-level cache."""

MOST_WEIGHTS = 2**19
"""Bytes of constants of a group, which every round reads anew: half of a second-level cache."""

_ALONG_AN_AXIS = {
    "Softmax": -1, "LogSoftmax": -1, "LayerNormalization": -1, "RMSNormalization": -1, "TopK": -1, "ArgMax": 0, "ArgMin": 0,
    "Split": 0,
}  # fmt: skip
"""Operators that work along an axis, with its default."""


def block_batch(graph: Graph) -> None:
    """Form loops in the graph itself; subgraphs run as often as it says."""
    events = _events(graph)
    if events is not None:
        _block(graph, events, {value for value in graph.inputs if _share(value, events) == 1})
    _block_rows(graph)


def _block_rows(graph: Graph) -> None:
    """Form loops over rows of what is in no loop yet, or in one that takes an event at a time."""
    for rows in _lengths(graph):
        produced = (value for node in graph.nodes for value in node.outputs if value.name)
        _block(graph, rows, {value for value in (*graph.inputs, *produced) if _share(value, rows) == 1}, of_rows=True)
    for node in graph.nodes:
        if node.operator is BLOCKS and node.attributes["block"] == 1:
            _block_rows(node.graph("body"))


def _block(graph: Graph, events: Size, given: set[Value], *, of_rows: bool = False) -> None:
    """Form loops over so many events, or rows, from values that are known to have a row for each."""
    uses = Uses.of(graph)
    split = dict.fromkeys(given, 1)
    done: list[Node] = []
    group: list[Node] = []

    def close() -> None:
        done.extend(_formed(group, events, split, uses, of_rows=of_rows) or group)
        group.clear()

    for node in graph.nodes:
        inside = {value for member in group for value in member.outputs}
        if _by_event(node, events, split):
            whole = node.kind == "Gather" and node.input(0) in inside
            if whole or _weights([*group, node]) > MOST_WEIGHTS or (of_rows and _is_other_product(node, group)):
                close()
            group.append(node)
            split.update((value, share) for value in node.outputs if (share := _share(value, events)) is not None)
        elif any(value in inside for value in _read(node)):
            close()
            done.append(node)
        else:
            done.append(node)
    close()
    graph.nodes[:] = done


def _lengths(graph: Graph) -> list[int]:
    """How many rows the products have that are in no loop yet; the longest first."""
    found = {
        node.output.shape[_row_axis(node.output.shape)] for node in graph.nodes if node.operator is LINEAR and node.output.rank
    }
    return sorted((size for size in found if isinstance(size, int) and size > 1), reverse=True)


def _events(graph: Graph) -> Size | None:
    """The first size of the largest input, where it may be a batch."""
    tensors = [value for value in graph.inputs if isinstance(value.type, TensorType) and value.type.shape]
    if not tensors:
        return None
    size = max(tensors, key=lambda value: amount(value.count)).shape[0]
    return None if isinstance(size, int) and size < 2 else size


def _row_axis(shape: Shape) -> int:
    """The axis that rows go along: the first that is longer than one, which may not be the last where it has ones in front."""
    axis = next((axis for axis, size in enumerate(shape) if size != 1), 0)
    return axis if axis < len(shape) - 1 else 0


def _share(value: Value, events: Size) -> int | None:
    """How many rows a value has for each event, if it has as many for every one."""
    kind = value.type
    if not isinstance(kind, TensorType) or kind.is_late or not kind.shape or value.constant is not None:
        return None
    rows = kind.shape[_row_axis(kind.shape)]
    if isinstance(events, int) and isinstance(rows, int):
        return rows // events if rows % events == 0 and rows > 0 else None
    share = max(1, amount(rows) // max(1, amount(events)))
    return share if events * share == rows else None


def _weights(nodes: Sequence[Node]) -> int:
    """Bytes of the constants that nodes read."""
    constants = {value for node in nodes for value in node.present()}
    return sum(value.constant.nbytes for value in constants if value.constant is not None)


def _read(node: Node) -> set[Value]:
    return {*node.present(), *(value for inner in node.graphs for value in inner.used())}


def _by_event(node: Node, events: Size, split: dict[Value, int]) -> bool:
    """Whether a node computes the rows of an event from the rows of that event, and from what belongs to none."""
    rule = _rule(node)
    if rule is None or any(True for _ in node.graphs) or not node.operator.deterministic:
        return False
    if not any(value in split for value in node.present()):
        return False
    if any(value.name and _share(value, events) is None for value in node.outputs):
        return False
    return rule(node, events, split)


def _is_other_product(node: Node, group: Sequence[Node]) -> bool:
    """Whether a product has more or fewer rows than those of a group: where edges of a few nodes fill a tile, nodes do not."""

    def rows(product: Node) -> int:
        return math.prod(map(amount, product.output.shape[:-1]))

    found = {rows(member) for member in group if member.operator is LINEAR}
    return node.operator is LINEAR and bool(found - {rows(node)})


def _rule(node: Node) -> Callable[[Node, Size, dict[Value, int]], bool] | None:
    if isinstance(node.operator, Elementwise) or node.operator in (CHAIN, LINEAR, CONVOLUTION, POOLING):
        return _rows
    if node.operator is ATTENTION:
        return _attention
    if node.operator.view_of(node) == 0 or node.kind == "Cast":
        return lambda node, events, split: node.input(0) in split
    if node.kind in REDUCTIONS or node.kind in _ALONG_AN_AXIS:
        return _not_first
    return {"Transpose": _transpose, "MatMul": _matmul, "Concat": _concat, "Gather": _gather, "Slice": _slice}.get(node.kind)


def _rows(node: Node, events: Size, split: dict[Value, int]) -> bool:
    """Operands go along the rows of the result, or are the same for all of them."""
    del events
    out = node.output
    axis = _row_axis(out.shape)
    if axis and node.operator in (CONVOLUTION, POOLING):
        return False  # lines of an image
    for index, value in enumerate(node.present()):
        here = axis - (out.rank - value.rank)  # the axis of the operand that meets the rows
        if node.operator in (LINEAR, CONVOLUTION, POOLING) and index < 2:
            if (value in split) != (index == 0) or (index == 0 and not _same_rows(value, out)):
                return False
        elif value in split:
            if value.rank != out.rank or not _same_rows(value, out):
                return False
        elif here >= 0 and value.rank and value.shape[here] != 1 and not _is_sliced(value, out.shape):
            return False
    return True


def _same_rows(value: Value, out: Value) -> bool:
    axis = _row_axis(out.shape)
    return value.rank > axis == _row_axis(value.shape) and value.shape[axis] == out.shape[axis]


def _is_sliced(value: Value, shape: Shape) -> bool:
    """Whether a constant has a row for each of a result's."""
    axis = _row_axis(shape)
    return value.constant is not None and 0 < value.rank == len(shape) and value.shape[axis] == shape[axis] != 1


def _attention(node: Node, events: Size, split: dict[Value, int]) -> bool:
    parts = [cast("Strided", node.attributes[key]) for key in ("queries", "keys", "values", "result")]
    bases = {item.base for item in parts[:-1]}
    if any(base not in split or base.shape[0] != events for base in bases) or parts[-1].base.shape[0] != events:
        return False
    for item in parts:
        whole = item.base.count
        if len(item.shape) < 3 or item.shape[0] != events or item.strides[0] * events != whole:
            return False
    added = cast("Value | None", node.attributes["added"])
    if added is None:
        return True
    if added in split:
        return added.rank == len(parts[0].shape) and added.shape[0] == events
    return added.rank < len(parts[0].shape) or added.shape[0] == 1


def _not_first(node: Node, events: Size, split: dict[Value, int]) -> bool:
    del events
    data = node.input(0)
    others = node.present()[1:]
    if data not in split or data.rank < 2 or any(value in split for value in others):
        return False
    first = _row_axis(data.shape)
    if node.kind in REDUCTIONS:
        axes = axes_of(node)
        return bool(axes) and min(axes) > first
    if node.kind in ("Softmax", "LogSoftmax") and node.version < 13:
        return bool(node.axis(node.integer("axis", 1), data.rank) > first)
    return bool(node.axis(node.integer("axis", _ALONG_AN_AXIS[node.kind]), data.rank) > first)


def _transpose(node: Node, events: Size, split: dict[Value, int]) -> bool:
    axis = _row_axis(node.input(0).shape)
    order = list(order_of(node))
    return node.input(0) in split and order[: axis + 1] == list(range(axis + 1)) and node.input(0).shape[axis] == events


def _matmul(node: Node, events: Size, split: dict[Value, int]) -> bool:
    del events
    left, right = node.input(0), node.input(1)
    if left not in split or not _same_rows(left, node.output) or left.rank != node.output.rank:
        return False
    if right in split:
        return left.rank == right.rank >= 3 and right.shape[0] == left.shape[0] != 1
    return left.rank >= 2 and (right.rank == 2 or (right.rank == left.rank and right.shape[0] == 1))


def _concat(node: Node, events: Size, split: dict[Value, int]) -> bool:
    del events
    axis = node.axis(node.integer("axis", 0), node.output.rank)
    return axis > _row_axis(node.output.shape) and all(
        value in split and _same_rows(value, node.output) for value in node.present()
    )


def _gather(node: Node, events: Size, split: dict[Value, int]) -> bool:
    """Of rows of the whole batch, which have to be there before the loop begins, or of another axis."""
    del events
    data, indices = node.input(0), node.input(1)
    axis = node.axis(node.integer("axis", 0), data.rank)
    if axis == 0:
        return indices in split
    return data in split and indices not in split and axis > _row_axis(data.shape)


def _slice(node: Node, events: Size, split: dict[Value, int]) -> bool:
    del events
    if node.input(0) not in split or any(value.constant is None for value in node.present()[1:]):
        return False
    axes, data = node.constant(3) if node.has(3) else None, node.input(0)
    return axes is not None and all(node.axis(int(axis), data.rank) > _row_axis(data.shape) for axis in axes)


def _formed(group: Sequence[Node], events: Size, split: dict[Value, int], uses: Uses, *, of_rows: bool) -> list[Node] | None:
    """A group as a loop; None where that is no gain."""
    least, large, near = (1, LARGE_ROWS, NEAR_ROWS) if of_rows else (2, LARGE, NEAR)
    members = set(group)
    made = {value: None for node in group for value in node.outputs if value.name}
    outputs = [value for value in made if value in uses.elsewhere or any(reader not in members for reader in uses.nodes[value])]
    handed = [
        value
        for node in group
        if node.operator.view_of(node) is None
        for value in node.outputs
        if value in made and value not in outputs
    ]
    heavy = [node for node in group if node.operator in (LINEAR, CONVOLUTION, ATTENTION) or node.kind == "MatMul"]
    total = sum(amount(value.count) * value.dtype.bytes for value in handed)
    each = total // max(1, amount(events))
    if len(heavy) < least or not outputs or (total < large if isinstance(events, int) else each < large // 16):
        return None
    block = (
        max(size for size in range(1, events + 1) if events % size == 0 and (size == 1 or size * each <= near))
        if isinstance(events, int)
        else 1
    )
    if block == events:
        return None
    gathered = {
        node.input(0)
        for node in group
        if node.kind == "Gather" and node.input(1) in split and node.axis(node.integer("axis", 0), node.input(0).rank) == 0
    }
    inner: dict[Value, Value] = {}

    def mapped(value: Value, beside: Shape = ()) -> Value:
        """A value inside the loop; a constant that goes along the rows of `beside` has rows of a block too."""
        sliced = _is_sliced(value, beside)
        if not sliced and (value.constant is not None or (value not in split and value not in made)):
            return value
        if value not in inner:
            inner[value] = Value(value.name, TensorType(value.dtype, _rows_of(value.shape, events, block)))
        return inner[value]

    nodes = [_clone(node, mapped, gathered, events, block) for node in group]
    inputs = [value for value in inner if value not in made]
    body = Graph("block of a batch", [inner[value] for value in inputs], [inner[value] for value in outputs], nodes)
    own = set(inner.values())
    others = dict.fromkeys(value for node in nodes for value in node.present() if value.constant is None and value not in own)
    read = [*inputs, *(value for value in others if value not in inputs)]
    return [Node(BLOCKS, 1, list(read), outputs, {"body": body, "events": events, "block": block}, group[0].name)]


def _is_whole(node: Node, value: Value, gathered: set[Value]) -> bool:
    """Whether a node reads a value as a whole although it belongs to events."""
    return value in gathered and node.kind == "Gather" and node.input(0) is value


def _clone(node: Node, mapped: Callable[..., Value], gathered: set[Value], events: Size, block: int) -> Node:
    elementwise = isinstance(node.operator, Elementwise) or node.operator is CHAIN
    inputs = [
        value
        if value is None or _is_whole(node, value, gathered)
        else mapped(value, node.output.shape if elementwise or index > 1 else ())
        for index, value in enumerate(node.inputs)
    ]
    outputs = [mapped(value) if value.name else value for value in node.outputs]
    if node.operator.view_of(node) == 0 and inputs[0] is not None:
        shaped = view(inputs[0], outputs[0].shape)
        shaped.outputs[0] = outputs[0]
        return shaped
    attributes = dict(node.attributes)
    if "steps" in attributes:
        own: dict[Value, Value] = {}

        def step_value(value: Value) -> Value:
            return own[value] if value in own else mapped(value, node.output.shape)

        def shaped_as(value: Value) -> Value:
            own[value] = Value(value.name, TensorType(value.dtype, _rows_of(value.shape, events, block)))
            return own[value]

        steps = cast("list[Node]", attributes["steps"])
        if "raw" in attributes:
            attributes["raw"] = shaped_as(cast("Value", attributes["raw"]))
        cloned = []
        for step in steps:
            step_inputs = [None if value is None else step_value(value) for value in step.inputs]
            result = outputs[0] if step is steps[-1] else shaped_as(step.output)
            cloned.append(Node(step.operator, step.version, step_inputs, [result], dict(step.attributes), step.name))
        attributes["steps"] = cloned
    for key, item in attributes.items():
        if isinstance(item, Strided):
            attributes[key] = replace(item, base=mapped(item.base), shape=(block, *item.shape[1:]))
    if isinstance(attributes.get("added"), Value):
        attributes["added"] = mapped(cast("Value", attributes["added"]))
    return Node(node.operator, node.version, inputs, outputs, attributes, node.name)


def _rows_of(shape: Shape, events: Size, block: int) -> Shape:
    """The shape of the rows of one block."""
    if not shape:
        return shape
    axis = _row_axis(shape)
    share = amount(shape[axis]) // max(1, amount(events))
    return (*shape[:axis], share * block, *shape[axis + 1 :]) if share and events * share == shape[axis] else shape
