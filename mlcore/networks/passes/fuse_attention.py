"""Scaled dot-product attention: two matrix products with a softmax between them become one node that keeps the scores in cache.

A. Vaswani et al., arXiv:1706.03762, equation (1): softmax(Q K^T / sqrt(d)) V. Scales may stand on Q, K or the scores, to which
something may be added. Queries, keys and values are read where they lie: behind slices, transposes and reshapes of one product.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcore.networks.ir import DType, Graph, Node, Shape, Value
from mlcore.networks.ops._products import ATTENTION
from mlcore.networks.ops._strided import Strided, dense, view
from mlcore.networks.passes._rewrite import Uses, all_graphs
from mlcore.networks.passes.eliminate_dead import eliminate_dead


def fuse_attention(graph: Graph) -> None:
    """Fuse in each graph by itself."""
    changed = [_fuse(one) for one in all_graphs(graph)]
    if any(changed):
        eliminate_dead(graph)


@dataclass(frozen=True)
class _Scores:
    """What a softmax is taken of: a product, a factor, something added."""

    product: Node
    scale: float
    added: Value | None


def _fuse(graph: Graph) -> bool:
    uses = Uses.of(graph)
    replaced: dict[Node, Node] = {}
    for node in graph.nodes:
        made = _attention(node, uses)
        if made is not None:
            last, fused = made
            replaced[last] = fused
    graph.nodes[:] = [replaced.get(node, node) for node in graph.nodes]
    return bool(replaced)


def _attention(last: Node, uses: Uses) -> tuple[Node, Node] | None:
    if last.kind != "MatMul" or last.output.dtype is not DType.FLOAT32 or last.output.tensor.is_late or last.output.rank < 2:
        return None
    softmax = _sole_producer(last.input(0), uses)
    if softmax is None or softmax.kind != "Softmax" or softmax.version < 13:
        return None
    if softmax.integer("axis", -1) not in (-1, softmax.output.rank - 1):
        return None
    scores = _scores(softmax.input(0), uses)
    if scores is None:
        return None
    q, q_scale = _unscaled(scores.product.input(0), uses)
    k, k_scale = _unscaled(scores.product.input(1), uses)
    views = [view(value, uses.producer.get) for value in (q, k, last.input(1))]
    lead = last.output.shape[:-2]
    if any(item.shape[:-2] != lead for item in views):
        return None
    queries, keys, values = views
    keys = Strided(
        keys.base, keys.offset, (*lead, keys.shape[-1], keys.shape[-2]), (*keys.strides[:-2], keys.strides[-1], keys.strides[-2])
    )
    if any(item.strides[-1] != 1 for item in (queries, keys, values)):
        return None
    added = scores.added
    if added is not None and (added.dtype is not DType.FLOAT32 or not _broadcasts(added.shape, scores.product.output.shape)):
        return None
    output, out_view, end = last.output, dense(last.output), last
    turned = uses.only(last.output)
    if turned is not None and turned.kind == "Transpose":
        order = turned.integers("perm") or list(range(last.output.rank))[::-1]
        laid = dense(turned.output)
        strides = tuple(laid.strides[order.index(axis)] for axis in range(last.output.rank))
        if strides[-1] == 1:
            output, end = turned.output, turned
            out_view = Strided(turned.output, 0, last.output.shape, strides)
    inputs = list(dict.fromkeys([queries.base, keys.base, values.base, *([added] if added is not None else [])]))
    attributes = {
        "queries": queries,
        "keys": keys,
        "values": values,
        "result": out_view,
        "scale": scores.scale * q_scale * k_scale,
        "added": added,
    }
    return end, Node(ATTENTION, 1, list(inputs), [output], attributes, last.name)


def _sole_producer(value: Value, uses: Uses) -> Node | None:
    """The node that computes a value which is read once."""
    node = uses.producer.get(value)
    return node if node is not None and uses.only(value) is not None else None


def _scores(value: Value, uses: Uses) -> _Scores | None:
    scale, added = 1.0, None
    while True:
        node = _sole_producer(value, uses)
        if node is None:
            return None
        if node.kind == "MatMul":
            return _Scores(node, scale, added)
        factor = _factor(node)
        if factor is not None:
            if added is not None:
                return None  # what is added would be scaled too
            scale, value = scale * factor[1], factor[0]
        elif node.kind == "Add" and added is None:
            left, right = node.input(0), node.input(1)
            inner = left if _leads_to_product(left, uses) else right
            added, value = (right if inner is left else left), inner
        else:
            return None


def _leads_to_product(value: Value, uses: Uses) -> bool:
    node = uses.producer.get(value)
    while node is not None:
        if node.kind == "MatMul":
            return True
        factor = _factor(node)
        if factor is None:
            return False
        node = uses.producer.get(factor[0])
    return False


def _factor(node: Node) -> tuple[Value, float] | None:
    """The other operand and the number of a product with, or a quotient by, one known number."""
    if node.kind == "Mul":
        for one, other in ((0, 1), (1, 0)):
            known = node.constant(one)
            if known is not None and known.size == 1 and node.input(other).type == node.output.type:
                return node.input(other), float(known.reshape(-1)[0])
    if node.kind == "Div":
        known = node.constant(1)
        if (
            known is not None
            and known.size == 1
            and float(known.reshape(-1)[0]) != 0.0
            and node.input(0).type == node.output.type
        ):
            return node.input(0), 1.0 / float(known.reshape(-1)[0])
    return None


def _unscaled(value: Value, uses: Uses) -> tuple[Value, float]:
    """A value without the factors on it."""
    scale = 1.0
    while True:
        node = uses.producer.get(value)
        factor = None if node is None else _factor(node)
        if factor is None:
            return value, scale
        value, scale = factor[0], scale * factor[1]


def _broadcasts(shape: Shape, to: Shape) -> bool:
    return len(shape) <= len(to) and all(mine in (1, theirs) for mine, theirs in zip(reversed(shape), reversed(to), strict=False))
