"""Transposes move towards the outputs until they meet their inverses: a chain of nodes then runs in one layout.

A transpose in front of a node whose work is the same in any order of axes is put behind it. Where two meet they become one; one
that moves nothing goes away (`eliminate_identity`), one that only moves axes of size 1 becomes a reshape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from mlcore.networks.ir import DType, Graph, Node, TensorType, Value, constant, product
from mlcore.networks.ir.graph import Attribute
from mlcore.networks.ops import Operator, find
from mlcore.networks.ops._channels_last import POOLING
from mlcore.networks.ops.elementwise import Elementwise
from mlcore.networks.ops.pooling import Pool
from mlcore.networks.passes._rewrite import REDUCTIONS, Uses, all_graphs, axes_of
from mlcore.networks.passes.channels_last import MOST_TAPS, first_order

MOST_ROUNDS = 64


def transposed(value: Value, order: Sequence[int], name: str = "") -> tuple[Value, Node | None]:
    """A value with its axes in another order, and the node that makes it; none for constants."""
    if value.constant is not None:
        return constant(name or value.name, np.ascontiguousarray(value.constant.transpose(order))), None
    kind = TensorType(value.dtype, tuple(value.shape[axis] for axis in order))
    result = Value(name or f"{value.name}, transposed", kind)
    return result, Node(find("", "Transpose"), 13, [value], [result], {"perm": list(order)}, "")


def order_of(node: Node) -> list[int]:
    """The order of axes of a Transpose."""
    order: list[int] = node.integers("perm") or list(range(node.input(0).rank))[::-1]
    return order


def inverse(order: Sequence[int]) -> list[int]:
    """The order that undoes another."""
    return [list(order).index(axis) for axis in range(len(order))]


def sink_transposes(graph: Graph) -> None:
    """Sink in each graph by itself."""
    for one in all_graphs(graph):
        for _ in range(MOST_ROUNDS):
            if not _round(one):
                break


def _round(graph: Graph) -> bool:
    """Move every transpose by one node at most; whether any moved."""
    uses = Uses.of(graph)
    changed = False
    nodes: list[Node] = []
    for node in graph.nodes:
        made = _merged(node, uses) or _sunk(node, uses)
        if made is None:
            nodes.append(node)
        else:
            nodes += made
            changed = True
            for new in made:
                for value in new.outputs:
                    uses.producer[value] = new
    graph.nodes[:] = nodes
    return changed


def _merged(node: Node, uses: Uses) -> list[Node] | None:
    """Two transposes as one."""
    if node.kind != "Transpose":
        return None
    before = uses.producer.get(node.input(0))
    if before is None or before.kind != "Transpose":
        return None
    first, second = order_of(before), order_of(node)
    return [
        Node(node.operator, node.version, [before.input(0)], [node.output], {"perm": [first[axis] for axis in second]}, node.name)
    ]


def _sunk(node: Node, uses: Uses) -> list[Node] | None:
    """The node without a transpose in front of it, and the transpose behind."""
    if len(node.outputs) != 1 or not isinstance(node.output.type, TensorType) or node.output.type.is_late:
        return None
    sources = [uses.producer.get(value) for value in node.present()]
    turned = [source for source in sources if source is not None and source.kind == "Transpose"]
    if not turned:
        return None
    order = order_of(turned[0])
    if isinstance(node.operator, Elementwise):
        return _sunk_elementwise(node, uses, order)
    if any(uses.only(source.output) is not node for source in turned):
        return None
    if node.kind in ("MaxPool", "AveragePool", "GlobalAveragePool") and order == first_order(len(order)):
        return _sunk_pool(node, turned[0].input(0), order)
    if node.kind == "Concat" and len(turned) == len(node.inputs) and all(order_of(source) == order for source in turned):
        axis = node.axis(node.integer("axis", 0), len(order))
        return _behind(node, [source.input(0) for source in turned], order, {"axis": order[axis]})
    if node.kind in ("Softmax", "LogSoftmax") and node.version >= 13:
        axis = node.axis(node.integer("axis", -1), len(order))
        return _behind(node, [turned[0].input(0)], order, {"axis": order[axis]})
    if node.kind in REDUCTIONS and sources[0] is turned[0] and len(turned) == 1:
        return _sunk_reduction(node, turned[0], order)
    return None


def _behind(node: Node, inputs: list[Value], order: Sequence[int], attributes: dict[str, object]) -> list[Node]:
    """A node on untransposed inputs, and a transpose of its result."""
    shape = [node.output.shape[axis] for axis in inverse(order)]
    plain = Value(f"{node.output.name}, before its transpose", TensorType(node.output.dtype, tuple(shape)))
    moved = Node(node.operator, node.version, list(inputs), [plain], {**node.attributes, **attributes}, node.name)
    back = Node(find("", "Transpose"), 13, [plain], [node.output], {"perm": list(order)}, "")
    return [moved, back]


def _sunk_elementwise(node: Node, uses: Uses, order: Sequence[int]) -> list[Node] | None:
    """All operands in the order before the transpose: transposed ones as they were, the others turned back if that is free."""
    operands = node.operator.operands(node)
    if len(operands) != len(node.present()):
        return None
    inputs: list[Value] = []
    back = inverse(order)
    made: list[Node] = []
    for value in operands:
        source = uses.producer.get(value)
        if source is not None and source.kind == "Transpose" and order_of(source) == list(order):
            # Shared with others, the transpose would be computed all the same.
            if uses.only(value) is not node:
                return None
            inputs.append(source.input(0))
        elif value.count == 1:
            inputs.append(value)
        elif value.constant is not None and value.rank <= len(order):
            padded = value.constant.reshape((1,) * (len(order) - value.rank) + value.constant.shape)
            inputs.append(constant(value.name, np.ascontiguousarray(padded.transpose(back))))
        elif value.rank == len(order) and _only_ones_move(value, back):
            turned, extra = transposed(value, back)
            inputs.append(turned)
            made += [extra] if extra is not None else []
        else:
            return None
    if node.output.rank != len(order):
        return None
    return [*made, *_behind(node, inputs, order, {})]


def _only_ones_move(value: Value, order: Sequence[int]) -> bool:
    """Whether a transpose moves no element: it is a view."""
    moved = [axis for axis in order if value.shape[axis] != 1]
    return moved == sorted(moved)


def _sunk_pool(node: Node, x: Value, order: Sequence[int]) -> list[Node] | None:
    """A pooling of channels that are last."""
    if node.output.dtype not in (DType.FLOAT32, DType.FLOAT64):
        return None
    if node.kind == "GlobalAveragePool":
        operator: Operator | None = find("", "ReduceMean")
        version = 13
        attributes: dict[str, Attribute] = {"axes": list(range(1, len(order) - 1)), "keepdims": 1}
    else:
        windows = cast("Pool", node.operator).windows(node)
        taps = product(windows.kernel)
        if not isinstance(taps, int) or taps > MOST_TAPS or any(isinstance(size, int) and size < 0 for size in windows.before):
            return None
        operator, version = POOLING, 1
        padded = bool(node.integer("count_include_pad", 0))
        attributes = {"windows": windows, "maximum": node.kind == "MaxPool", "padded": padded}
    shape = [node.output.shape[axis] for axis in inverse(order)]
    plain = Value(f"{node.output.name}, channels last", TensorType(node.output.dtype, tuple(shape)))
    return [
        Node(operator, version, [x], [plain], attributes, node.name),
        Node(find("", "Transpose"), 13, [plain], [node.output], {"perm": list(order)}, ""),
    ]


def _sunk_reduction(node: Node, source: Node, order: Sequence[int]) -> list[Node] | None:
    """A reduction over the axes where they were before the transpose."""
    rank = len(order)
    axes = axes_of(node)
    if not axes:
        return None
    by_input = node.has(1)
    before = sorted(order[axis] for axis in axes)
    inputs = [source.input(0)]
    attributes = dict(node.attributes)
    if by_input:
        inputs.append(constant("axes", np.array(before, np.int64)))
    else:
        attributes["axes"] = before
    if node.integer("keepdims", 1):
        shape = [node.output.shape[axis] for axis in inverse(order)]
        rest = list(order)
    else:
        kept = [axis for axis in range(rank) if axis not in before]
        rest = [kept.index(axis) for axis in order if axis in kept]
        shape = [node.output.shape[axis] for axis in inverse(rest)]
    plain = Value(f"{node.output.name}, before its transpose", TensorType(node.output.dtype, tuple(shape)))
    moved = Node(node.operator, node.version, list(inputs), [plain], attributes, node.name)
    back = Node(find("", "Transpose"), 13, [plain], [node.output], {"perm": rest}, "")
    return [moved, back]
