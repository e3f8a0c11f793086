"""Elementwise nodes behind a matrix product or a convolution run on its results while they are in registers.

These are biases, activations, residuals, gates.
"""

from __future__ import annotations

from typing import cast

from mlcore.networks.ir import Graph, Node, Value
from mlcore.networks.ops._channels_last import CONVOLUTION
from mlcore.networks.ops._products import LINEAR
from mlcore.networks.ops.elementwise import Elementwise
from mlcore.networks.passes._rewrite import Uses, all_graphs

PRODUCTS = (LINEAR, CONVOLUTION)
"""Operators whose results elementwise steps may join."""

MOST_OPERANDS = 6
MOST_STEPS = 64


def fuse_epilogue(graph: Graph) -> None:
    """Fuse in each graph by itself."""
    for one in all_graphs(graph):
        _fuse(one)


def _fuse(graph: Graph) -> None:
    uses = Uses.of(graph)
    position = {node: i for i, node in enumerate(graph.nodes)}
    replaced: dict[Node, Node | None] = {}
    for node in graph.nodes:
        if node.operator not in PRODUCTS:
            continue
        steps: list[Node] = []
        value = node.output
        operands: list[Value] = []
        while True:
            step = uses.only(value)
            if step is None or len(steps) == MOST_STEPS or step in replaced or not _joins(step, value, node):
                break
            more = [item for item in step.operator.operands(step) if item is not value]
            if len(dict.fromkeys([*operands, *more])) > MOST_OPERANDS:
                break
            operands = list(dict.fromkeys([*operands, *more]))
            steps.append(step)
            value = step.output
        if not steps:
            continue
        attributes = {**node.attributes, "steps": steps, "raw": node.output}
        fused = Node(node.operator, node.version, [*node.inputs, *operands], [value], attributes, node.name)
        for step in steps[:-1]:
            replaced[step] = None
        replaced[steps[-1]] = fused
        replaced[node] = None
    if replaced:
        kept = [replaced.get(node, node) for node in sorted(graph.nodes, key=position.__getitem__)]
        graph.nodes[:] = [node for node in kept if node is not None]


def _joins(step: Node, value: Value, product: Node) -> bool:
    """Whether an elementwise node can run on the tiles of a product whose results are `value`."""
    if not isinstance(step.operator, Elementwise) or len(step.outputs) != 1 or step.output.type != value.type:
        return False
    others = [item for item in step.operator.operands(step) if item is not value]
    if len(others) + 1 != len(step.operator.operands(step)) and step.operator.operands(step).count(value) != 1:
        return False
    dtypes = {item.dtype for item in others} | {value.dtype}
    return len(dtypes) == 1 and cast("bool", product.operator.takes(product, others))
