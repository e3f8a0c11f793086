"""Parts of a network that treat every event of a batch alike run event by event: what they compute on the way stays in cache.

A node is *apart* along its first axis when a slice of its outputs takes the same slice of some inputs, and others whole. A run
of such nodes becomes one node with a body for a single event, where weights stay in cache from one event to the next, and the
rows of one event fill the tiles of a product as well as those of all. A batch of rows, (batch, features), is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlcore.networks.ir import DType, Graph, Node, Size, TensorType, Value, constant, product
from mlcore.networks.ops._fused import EVENTS
from mlcore.networks.ops.elementwise import Elementwise
from mlcore.networks.passes._rewrite import REDUCTIONS, all_graphs, axes_of

LEAST_ROWS = 24
"""Of a product with constant weights, for each event: fewer would leave registers empty."""

MOST_WEIGHTS = 512 * 1024
"""Bytes of constants that each event reads anew: half of a second-level cache."""

Apart = Callable[[Node, Size], Sequence[bool] | None]


def split_batch(graph: Graph) -> None:
    """Split each graph by itself."""
    for one in list(all_graphs(graph)):
        _split(one)


@dataclass
class _Run:
    """Nodes that are apart along first axes of one size.

    Attributes
    ----------
    sliced
        Of each node, which inputs go along.
    made
        What the nodes compute.
    """

    size: Size = 0
    nodes: list[Node] = field(default_factory=list)
    sliced: list[Sequence[bool]] = field(default_factory=list)
    made: set[Value] = field(default_factory=set)

    def takes(self, node: Node, flags: Sequence[bool]) -> bool:
        """Whether a node may join: what the run computes is there for one event only."""
        if self.nodes and node.output.shape[0] != self.size:
            return False
        return not any(
            value in self.made for value, flag in zip(node.inputs, flags, strict=True) if not flag and value is not None
        )

    def add(self, node: Node, flags: Sequence[bool]) -> None:
        self.size = node.output.shape[0]
        self.nodes.append(node)
        self.sliced.append(flags)
        self.made.update(node.outputs)

    def is_read_by(self, node: Node) -> bool:
        inner = (value for graph in node.graphs for value in graph.used())
        return any(value in self.made for value in (*node.present(), *inner))

    @property
    def pays(self) -> bool:
        """Whether there are products enough to split for, and no more constants than stay in cache."""
        products = [node.constant(1) is not None for node in self.nodes if node.kind == "MatMul"]
        constants = {value for node in self.nodes for value in node.present() if value.constant is not None}
        n_bytes = sum(value.constant.nbytes for value in constants if value.constant is not None)
        return len(products) >= 2 and any(products) and n_bytes <= MOST_WEIGHTS


def _split(graph: Graph) -> None:
    done: list[Node] = []
    run = _Run()

    def close() -> None:
        nonlocal run
        done.extend([_of_events(run, graph)] if run.pays else run.nodes)
        run = _Run()

    for node in graph.nodes:
        flags = _apart(node)
        if flags is not None and run.takes(node, flags):
            run.add(node, flags)
        elif not run.is_read_by(node):
            done.append(node)  # in front of the run
        else:
            close()
            if flags is None:
                done.append(node)
            else:
                run.add(node, flags)
    close()
    graph.nodes[:] = done


def _of_events(run: _Run, graph: Graph) -> Node:
    """One node that runs the nodes for each event."""
    inner: dict[Value, Value] = {}
    sources: list[Value] = []
    whole: list[Value] = []
    body = Graph("event")
    for node, flags in zip(run.nodes, run.sliced, strict=True):
        inputs: list[Value | None] = []
        for value, flag in zip(node.inputs, flags, strict=True):
            if value is None or not flag:
                inputs.append(value)
                whole += [value] if value is not None and value.constant is None else []
                continue
            if value not in inner:
                inner[value] = _slice(value)
                sources.append(value)
            inputs.append(inner[value])
        outputs = [_slice(value) for value in node.outputs]
        if node.kind == "Reshape":
            inputs[1] = constant("shape", np.array(outputs[0].shape, np.int64))
        inner.update(zip(node.outputs, outputs, strict=True))
        body.nodes.append(Node(node.operator, node.version, inputs, outputs, dict(node.attributes), node.name))
    outside = set(graph.outputs)
    mine = set(run.nodes)
    for node in graph.nodes:
        if node not in mine:
            outside.update(node.present())
            outside.update(value for one in node.graphs for value in one.used())
    results = [value for node in run.nodes for value in node.outputs if value in outside]
    body.inputs = [inner[value] for value in sources]
    body.outputs = [inner[value] for value in results]
    return Node(EVENTS, 1, [*sources, *dict.fromkeys(whole)], results, {"body": body}, "")


def _slice(value: Value) -> Value:
    return Value(value.name, TensorType(value.dtype, (1, *value.shape[1:])))


def _apart(node: Node) -> Sequence[bool] | None:
    """Which inputs go along the first axis of the outputs; None where a node is not apart."""
    for value in node.outputs:
        kind = value.type
        if not isinstance(kind, TensorType) or kind.is_late or not kind.shape:
            return None
        if not (kind.dtype.is_float or kind.dtype is DType.BOOL) or kind.shape[0] != node.output.shape[0]:
            return None
    if any(not isinstance(value.type, TensorType) or value.type.shape is None for value in node.present()):
        return None
    size = node.output.shape[0]
    if isinstance(size, int) and size < 2:
        return None
    if isinstance(node.operator, Elementwise):
        return _broadcasting(node, size)
    rule = _RULES.get(node.kind)
    return None if rule is None else rule(node, size)


def _broadcasting(node: Node, size: Size) -> Sequence[bool] | None:
    flags = []
    for value in node.inputs:
        along = value is not None and value.rank == node.output.rank and value.shape[0] == size
        if value is not None and not along and value.rank >= node.output.rank and value.shape[0] != 1:
            return None
        flags.append(along)
    return flags


def _first(node: Node, size: Size) -> Sequence[bool] | None:
    """The first input goes along, what else there is says how."""
    if not node.input(0).rank or node.input(0).shape[0] != size:
        return None
    return [index == 0 for index in range(len(node.inputs))]


def _matmul(node: Node, size: Size) -> Sequence[bool] | None:
    if node.output.rank < 3 or node.input(0).rank != node.output.rank:
        return None
    rows = product(node.output.shape[1:-1])
    if node.input(1).rank == 2 and not (isinstance(rows, int) and rows >= LEAST_ROWS):
        return None
    return _broadcasting(node, size)


def _not_over(default: int, *, since: int = 1) -> Apart:
    """Work along an axis that is not the first."""

    def rule(node: Node, size: Size) -> Sequence[bool] | None:
        rank = node.input(0).rank
        if node.version < since or not rank or node.axis(node.integer("axis", default), rank) == 0:
            return None
        return _first(node, size)

    return rule


def _concat(node: Node, size: Size) -> Sequence[bool] | None:
    if node.axis(node.integer("axis", 0), node.output.rank) == 0:
        return None
    return [True] * len(node.inputs) if all(value.shape[0] == size for value in node.present()) else None


def _transpose(node: Node, size: Size) -> Sequence[bool] | None:
    order = node.integers("perm")
    return _first(node, size) if order and order[0] == 0 else None


def _reshape(node: Node, size: Size) -> Sequence[bool] | None:
    return _first(node, size) if all(isinstance(item, int) for item in node.output.shape[1:]) else None


def _slice_of(node: Node, size: Size) -> Sequence[bool] | None:
    known = node.input(3).elements if node.has(3) else node.integers("axes")
    if not known or any(not isinstance(axis, int) or node.axis(axis, node.output.rank) == 0 for axis in known):
        return None
    return _first(node, size)


def _over_axes(node: Node, size: Size) -> Sequence[bool] | None:
    axes = axes_of(node)
    return _first(node, size) if axes and 0 not in axes else None


_RULES: dict[str, Apart] = {
    "Concat": _concat,
    "Gather": _not_over(0),
    "LayerNormalization": _not_over(-1),
    "LogSoftmax": _not_over(-1, since=13),
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Slice": _slice_of,
    "Softmax": _not_over(-1, since=13),
    "Split": _not_over(0),
    "Transpose": _transpose,
    **dict.fromkeys(REDUCTIONS, _over_axes),
}
