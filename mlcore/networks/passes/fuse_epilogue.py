"""Elementwise nodes behind a matrix product or a convolution run on its results while they are in registers.

These are biases, activations, residuals, gates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
COSTLY = frozenset({"Erf"})
"""Written for each row of a tile, GELU's error function takes more than the loop of its own that it would save."""
MOST_BRANCHED = 8
"""Steps between a value that several read and the one that they end in."""


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
            joined = _joined(value, node, uses, position)
            if not joined or len(steps) + len(joined) > MOST_STEPS or any(step in replaced for step in joined):
                break
            inside = {value, *(step.output for step in joined)}
            more = [item for step in joined for item in step.operator.operands(step) if item not in inside]
            if len(dict.fromkeys([*operands, *more])) > MOST_OPERANDS:
                break
            operands = list(dict.fromkeys([*operands, *more]))
            steps += joined
            value = joined[-1].output
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


def _joined(value: Value, product: Node, uses: Uses, position: Mapping[Node, int]) -> list[Node]:
    """The next step, or those that read the value between them and end in one, as SiLU's; empty where there is none."""
    inside = [value]
    steps: list[Node] = []
    while len(steps) < MOST_BRANCHED:
        waiting = {reader for item in inside for reader in uses.nodes[item] if reader not in steps}
        if not waiting or any(item in uses.elsewhere for item in inside):
            return []
        step = min(waiting, key=position.__getitem__)
        if not _joins(step, inside, product):
            return []
        steps.append(step)
        inside.append(step.output)
        if all(reader in steps for item in inside[:-1] for reader in uses.nodes[item]):
            return [] if len(steps) > 1 and any(item.kind in COSTLY for item in steps) else steps
    return []


def _joins(step: Node, inside: Sequence[Value], product: Node) -> bool:
    """Whether an elementwise node can run on the tiles of a product, of which it reads what is `inside`."""
    value = inside[0]
    if not isinstance(step.operator, Elementwise) or len(step.outputs) != 1 or step.output.type != value.type:
        return False
    others = [item for item in step.operator.operands(step) if item not in inside]
    dtypes = {item.dtype for item in others} | {value.dtype}
    return len(dtypes) == 1 and cast("bool", product.operator.takes(product, others))
