"""A product of what was gathered, repeated and put together becomes products of its parts, taken before there were many.

An edge network multiplies ``[x_i, x_j - x_i] W`` for every edge (Wang et al., arXiv:1801.07829, Eq. 8; Qu and Gouskos,
arXiv:1902.08570, Sec. II): that is ``x_i (W_1 - W_2) + x_j W_2``, two products for each node, of which edges read rows. It is
done where it saves multiplications. Differences of weights are taken in float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlcore.networks.ir import Array, DType, Graph, Node, Shape, Size, TensorType, Value, constant, product
from mlcore.networks.ops import find
from mlcore.networks.ops._fused import view
from mlcore.networks.passes._rewrite import Uses, all_graphs
from mlcore.networks.passes.drop_expansions import repeated
from mlcore.networks.passes.lift_transposes import amount

MOST_TERMS = 4
GAIN = 0.6
"""The most that may be left of the multiplications."""


@dataclass(frozen=True)
class Term:
    """``wrap(base @ weights)``: the wrappers, innermost first, are nodes that move rows about."""

    base: Value
    wrappers: tuple[Node, ...]
    weights: Array

    @property
    def rows(self) -> Shape:
        """The shape of what is multiplied, without its last axis."""
        value = self.wrappers[-1].output if self.wrappers else self.base
        return tuple(value.shape[:-1])


def distribute_products(graph: Graph) -> None:
    """Distribute in each graph by itself."""
    for one in all_graphs(graph):
        uses = Uses.of(one)
        one.nodes[:] = [new for node in one.nodes for new in (_distributed(node, uses) or [node])]


def _distributed(node: Node, uses: Uses) -> list[Node] | None:
    weights = _weights(node)
    if weights is None or node.output.dtype not in (DType.FLOAT32, DType.FLOAT64) or node.input(0).rank < 2:
        return None
    if node.output.tensor.is_late:
        return None
    found = _terms(node.input(0), weights, uses, 0)
    if found is None:
        return None
    terms = _joined(found)
    columns = weights.shape[1]
    old = amount(node.output.count) * weights.shape[0]
    new = sum(amount(product(term.base.shape[:-1])) * columns * term.weights.shape[0] for term in terms)
    if len(terms) > MOST_TERMS or new > GAIN * old:
        return None
    nodes: list[Node] = []
    results = [_written(term, node, nodes) for term in terms]
    shape: Shape = ()
    total: Value | None = None
    for result in results:
        shape = _broadcast(shape, result.shape)
        if total is None:
            total = result
            continue
        summed = Value(f"{node.output.name}, in part", TensorType(node.output.dtype, shape))
        nodes.append(Node(find("", "Add"), 14, [total, result], [summed], {}, node.name))
        total = summed
    if shape != tuple(node.output.shape) or total is None:
        return None
    bias = node.optional(2) if node.kind == "Gemm" else None
    if bias is not None:
        summed = Value(f"{node.output.name}, with its bias", TensorType(node.output.dtype, shape))
        nodes.append(Node(find("", "Add"), 14, [total, bias], [summed], {}, node.name))
    nodes[-1].outputs[0] = node.output
    return nodes


def _weights(node: Node) -> Array | None:
    """Of a MatMul or a Gemm of rows with constant weights: float64, shape (k, n)."""
    if node.kind not in ("MatMul", "Gemm"):
        return None
    weights = node.constant(1)
    if weights is None or weights.ndim != 2:
        return None
    weights = weights.astype(np.float64)
    if node.kind == "MatMul":
        return weights
    if node.integer("transA", 0) or (node.optional(2) is not None and node.number("beta", 1.0) != 1.0):
        return None
    turned: Array = weights.T if node.integer("transB", 0) else weights
    return turned * float(node.number("alpha", 1.0))


def _terms(value: Value, weights: Array, uses: Uses, depth: int) -> list[Term] | None:
    """What ``value @ weights`` is the sum of; None where a part is no product of this kind."""
    if value.constant is not None or value.rank < 1 or value.shape[-1] != len(weights) or depth > 16:
        return None
    node = uses.producer.get(value)
    if node is None:
        return [Term(value, (), weights)]
    whole = [Term(value, (), weights)]
    if node.kind == "Concat" and node.axis(node.integer("axis", 0), value.rank) == value.rank - 1:
        sizes = [item.shape[-1] for item in node.present()]
        if not all(isinstance(size, int) for size in sizes):
            return whole
        ends = np.cumsum([size for size in sizes if isinstance(size, int)])
        parts = [
            _terms(item, part, uses, depth + 1) for item, part in zip(node.present(), np.split(weights, ends[:-1]), strict=True)
        ]
        return None if any(part is None for part in parts) else [term for part in parts for term in part or []]
    if node.kind in ("Add", "Sub"):
        left = _terms(node.input(0), weights, uses, depth + 1)
        right = _terms(node.input(1), weights if node.kind == "Add" else -weights, uses, depth + 1)
        return whole if left is None or right is None else left + right
    plain = repeated(node)
    if plain is not None:
        inner = _terms(plain, weights, uses, depth + 1)
        return whole if inner is None else inner
    moves = node.kind == "Gather" and node.axis(node.integer("axis", 0), node.input(0).rank) < node.input(0).rank - 1
    is_view = node.operator.view_of(node) == 0 and not value.tensor.is_late and node.input(0).rank > 0
    if moves or (is_view and node.input(0).shape[-1] == value.shape[-1]):
        inner = _terms(node.input(0), weights, uses, depth + 1)
        # More than one part would have to be moved each by itself, and a part that is no longer repeated is not what is moved.
        if inner is None or len(inner) > 1 or inner[0].rows != tuple(node.input(0).shape[:-1]):
            return whole
        return [replace(inner[0], wrappers=(*inner[0].wrappers, node))]
    return whole


def _joined(terms: list[Term]) -> list[Term]:
    """Terms of the same rows as one; those that fill the largest shape first."""
    found: dict[tuple[Value, tuple[Node, ...]], Term] = {}
    for term in terms:
        key = (term.base, term.wrappers)
        other = found.get(key)
        found[key] = term if other is None else replace(other, weights=other.weights + term.weights)
    return list(found.values())


def _written(term: Term, node: Node, nodes: list[Node]) -> Value:
    """The nodes of a term; its result."""
    columns = term.weights.shape[1]
    kind = TensorType(node.output.dtype, (*term.base.shape[:-1], columns))
    result = Value(f"{term.base.name}, times a part of {node.input(1).name}", kind)
    matrix = constant(node.input(1).name, term.weights.astype(node.output.dtype.numpy))
    nodes.append(Node(find("", "MatMul"), 13, [term.base, matrix], [result], {}, node.name))
    for wrapper in term.wrappers:
        shape = (*wrapper.output.shape[:-1], columns)
        if wrapper.kind == "Gather":
            moved = Value(f"{result.name}, gathered", TensorType(result.dtype, shape))
            nodes.append(
                Node(
                    wrapper.operator, wrapper.version, [result, wrapper.input(1)], [moved], dict(wrapper.attributes), wrapper.name
                )
            )
        else:
            nodes.append(view(result, shape))
        result = nodes[-1].output
    return result


def _broadcast(left: Shape, right: Shape) -> tuple[Size, ...]:
    rank = max(len(left), len(right))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in (left, right)]
    return tuple(b if a == 1 else a for a, b in zip(*padded, strict=True))
