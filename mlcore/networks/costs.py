"""What a graph costs: multiplications with additions, floating-point operations, bytes read and written; an estimate before
anything is compiled.

Sizes that are symbols stay symbols. Products count two operations for each multiplication with its addition; an elementwise node
counts one for each element, whatever its function; nodes that only move data or give it another shape count none. Bytes are those
of all inputs and outputs, as if nothing stayed in a cache; views count none. The body of a loop counts once, both branches of an
If count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mlcore.errors import InputError
from mlcore.networks.ir import Graph, Node, Size, TensorType, Value, product

PER_ELEMENT = {
    "Softmax": 4, "LogSoftmax": 4, "LayerNormalization": 7, "RMSNormalization": 5, "InstanceNormalization": 7,
    "GroupNormalization": 7, "BatchNormalization": 2, "LpNormalization": 3, "MeanVarianceNormalization": 6, "LRN": 8, "Resize": 8,
    "CumSum": 1, "ArgMax": 1, "ArgMin": 1,
}  # fmt: skip
"""Operations for each element of the input, of what is neither a product nor elementwise."""


@dataclass(frozen=True)
class Cost:
    """Of one call: multiplications with their additions, operations in all, bytes."""

    macs: Size = 0
    flops: Size = 0
    bytes: Size = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.flops + other.flops, self.bytes + other.bytes)


def cost_by_kind(graph: Graph) -> dict[str, tuple[int, Cost]]:
    """Number of nodes and cost by operator, the costliest first as far as that can be told of symbols."""
    found: dict[str, tuple[int, Cost]] = {}
    for node in graph.walk():
        count, total = found.get(node.kind, (0, Cost()))
        found[node.kind] = (count + 1, total + cost(node))
    return dict(sorted(found.items(), key=lambda item: (-_weight(item[1][1].flops), -_weight(item[1][1].bytes), item[0])))


def _weight(size: Size) -> float:
    """A number to sort sizes by: symbols are taken to be 16."""
    from mlcore.networks.ir.sizes import evaluate, symbols

    return float(evaluate(size, {item.name: 16 for item in symbols(size)}))


def cost(node: Node) -> Cost:
    """The cost of a node, without that of its subgraphs."""
    if any(True for _ in node.graphs) or node.operator.view_of(node) is not None:
        return Cost()
    moved: Size = 0
    for value in (*node.present(), *(value for value in node.outputs if value.name)):
        moved = moved + _bytes(value)
    try:
        macs = _MACS[node.kind](node) if node.kind in _MACS else 0
        flops = macs * 2 if macs != 0 else _operations(node)
    except (InputError, IndexError, ValueError):  # a tensor of unknown rank, or a form that is not counted
        macs = flops = 0
    return Cost(macs, flops, moved)


def _bytes(value: Value) -> Size:
    kind = value.type
    return kind.count * kind.dtype.bytes if isinstance(kind, TensorType) and kind.shape is not None else 0


def _operations(node: Node) -> Size:
    from mlcore.networks.ops.elementwise import Elementwise

    if isinstance(node.operator, Elementwise):
        return node.output.count
    if node.kind in PER_ELEMENT:
        return node.input(0).count * PER_ELEMENT[node.kind]
    if node.kind.startswith(("Reduce", "Global")):
        return node.input(0).count
    if node.kind.endswith("Pool"):
        window: list[int] = node.integers("kernel_shape") or [1]
        return node.output.count * math.prod(window)
    return 0


def _matmul(node: Node) -> Size:
    left = node.input(0)
    return node.output.count * left.shape[-1]


def _gemm(node: Node) -> Size:
    rows, columns = node.input(0).shape
    return node.output.count * (rows if node.integer("transA", 0) else columns)


def _convolution(weights: int) -> Callable[[Node], Size]:
    return lambda node: node.output.count * product(node.input(weights).shape[1:])


def _transposed_convolution(node: Node) -> Size:
    return node.input(0).count * product(node.input(1).shape[1:])


def _recurrent(node: Node) -> Size:
    steps = product(node.input(0).shape[:2])
    return steps * (node.input(1).count + node.input(2).count)


def _attention(node: Node) -> Size:
    return (node.input(0).count + node.output.count) * node.input(1).shape[-2]


def _einsum(node: Node) -> Size:
    equation = node.text("equation", "").replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if "." in equation or len(terms) < 2:
        return 0
    sizes: dict[str, Size] = {}
    for term, value in zip(terms, node.present(), strict=True):
        sizes.update(zip(term, value.shape, strict=True))
    return product(sizes.values())


_MACS: dict[str, Callable[[Node], Size]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Attention": _attention,
}
