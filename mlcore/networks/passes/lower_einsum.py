"""Einsums of two operands that are matrix products become MatMul nodes, which other passes pack, fuse and make attention of.

An operand's labels are those of a batch, which both operands and the result have, those that only this operand and the result
have, and those that are summed over. In this order, each of the last two groups as one axis, they are matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlcore.networks.ir import DType, Graph, Node, Shape, Size, TensorType, Value, constant, product
from mlcore.networks.ops import find
from mlcore.networks.ops.linalg import parse
from mlcore.networks.passes._rewrite import all_graphs
from mlcore.networks.passes.sink_transposes import transposed

_TYPES = (DType.FLOAT32, DType.FLOAT64)


def lower_einsum(graph: Graph) -> None:
    """Lower in each graph by itself."""
    for one in all_graphs(graph):
        one.nodes[:] = [new for node in one.nodes for new in (_lowered(node) or [node])]


@dataclass(frozen=True)
class _Groups:
    """The labels of a product of two operands, by what becomes of them."""

    batch: tuple[str, ...]
    left: tuple[str, ...]
    inner: tuple[str, ...]
    right: tuple[str, ...]


def _lowered(node: Node) -> list[Node] | None:
    if node.kind != "Einsum" or len(node.inputs) != 2 or node.output.dtype not in _TYPES or node.output.tensor.is_late:
        return None
    equation = parse(node)
    sizes: dict[str, Size] = {}
    for value, labels in zip(node.present(), equation.operands, strict=True):
        if len(set(labels)) != len(labels) or value.tensor.is_late:
            return None
        for label, size in zip(labels, value.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                return None  # one of them broadcasts
    first, second = equation.operands
    result = equation.result
    groups = _Groups(
        batch=tuple(label for label in result if label in first and label in second),
        left=tuple(label for label in result if label in first and label not in second),
        inner=tuple(label for label in first if label in second and label not in result),
        right=tuple(label for label in result if label in second and label not in first),
    )
    if not groups.inner or any(label not in result and label not in groups.inner for label in (*first, *second)):
        return None
    return _Lowering(node, sizes).nodes(first, second, result, groups)


class _Lowering:
    """The nodes that take an Einsum's place."""

    def __init__(self, node: Node, sizes: Mapping[str, Size]) -> None:
        self.node = node
        self.sizes = sizes
        self.made: list[Node] = []

    def nodes(self, first: Sequence[str], second: Sequence[str], result: Sequence[str], groups: _Groups) -> list[Node] | None:
        a, b = self.node.input(0), self.node.input(1)
        # Without a batch the rows of the left operand may keep their axes.
        left = [(label,) for label in groups.left] if not groups.batch and groups.left else [groups.left]
        batch = [(label,) for label in groups.batch]
        matrices = [
            self.arranged(a, first, [*batch, *left, groups.inner]),
            self.arranged(b, second, [*batch, groups.inner, groups.right]),
        ]
        axes = [*batch, *left, groups.right]
        labels = [label for group in axes for label in group]
        shape = tuple(self.size(group) for group in axes)
        full = tuple(self.sizes[label] for label in labels)
        output = self.node.output
        in_order = list(labels) == list(result)
        raw = output if in_order and shape == full else Value(f"{output.name}, as matrices", TensorType(output.dtype, shape))
        if any(matrix is None for matrix in matrices):
            return None
        self.made.append(Node(find("", "MatMul"), 13, list(matrices), [raw], {}, self.node.name))
        if shape != full:
            plain = output if in_order else Value(f"{output.name}, before its transpose", TensorType(output.dtype, full))
            if not self.reshape(raw, plain):
                return None
            raw = plain
        if not in_order:
            order = [labels.index(label) for label in result]
            self.made.append(Node(find("", "Transpose"), 13, [raw], [output], {"perm": order}, ""))
        return self.made

    def size(self, group: Sequence[str]) -> Size:
        return product(self.sizes[label] for label in group)

    def arranged(self, value: Value, labels: Sequence[str], groups: Sequence[Sequence[str]]) -> Value | None:
        """An operand with its labels in order, each group as one axis."""
        order = [list(labels).index(label) for group in groups for label in group]
        if order != sorted(order):
            value, node = transposed(value, order)
            self.made += [node] if node is not None else []
        shape = tuple(self.size(group) for group in groups)
        if shape == value.shape:
            return value
        if value.constant is not None:
            return constant(value.name, np.ascontiguousarray(value.constant.reshape(shape)))  # type: ignore[arg-type]
        merged = Value(f"{value.name}, as matrices", TensorType(value.dtype, shape))
        return merged if self.reshape(value, merged) else None

    def reshape(self, value: Value, target: Value) -> bool:
        """A Reshape between them; whether numbers can say so: sizes that stay are 0, one that is not known is -1."""
        wanted = _wanted(value.shape, target.shape)
        if wanted is None:
            return False
        shape = constant("shape", np.array(wanted, np.int64))
        self.made.append(Node(find("", "Reshape"), 14, [value, shape], [target], {}, ""))
        return True


def _wanted(shape: Shape, target: Shape) -> list[int] | None:
    result: list[int] = []
    for axis, size in enumerate(target):
        if isinstance(size, int) and size > 0:
            result.append(size)
        elif axis < len(shape) and shape[axis] == size:
            result.append(0)
        elif isinstance(size, int) or -1 in result:
            return None
        else:
            result.append(-1)
    return result
