"""A look at a model before anything is compiled: what is supported, what passes make of it, what it costs.

`check` takes models that cannot be translated, too: it then says which nodes are the reason, all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlcore.errors import MLCoreError, UnsupportedOperatorError
from mlcore.inspection.drawing import Node as Box
from mlcore.inspection.drawing import draw
from mlcore.networks.compiler import read
from mlcore.networks.costs import Cost, cost_by_kind
from mlcore.networks.emit.cpp import Emitted, emit
from mlcore.networks.frontends import Shapes, as_onnx
from mlcore.networks.frontends._support import OperatorUse, Unsupported, scan
from mlcore.networks.frontends.onnx import parsed
from mlcore.networks.ir import Graph, Node, TensorType, Value
from mlcore.networks.ir.text import dump
from mlcore.networks.ir.verify import verify
from mlcore.networks.memory_map import MemoryMap
from mlcore.networks.oracle import chosen_sizes
from mlcore.networks.passes import PIPELINE
from mlcore.networks.profiling import SMALLEST, made_of


@dataclass(frozen=True)
class Problem:
    """Why a model cannot be translated: what is wrong, and what to do."""

    message: str
    hint: str
    code: str


@dataclass(frozen=True)
class KindCost:
    """What the nodes of one operator cost in a call; numbers, or expressions in the symbols as texts."""

    operator: str
    count: int
    macs: str
    flops: str
    bytes: str


@dataclass(frozen=True)
class PassEffect:
    """Nodes of a graph before and after a pass."""

    name: str
    nodes_before: int
    nodes_after: int


@dataclass(frozen=True)
class FusedNode:
    """A node that stands for several: its operator, its name, the operators that run in its loop."""

    operator: str
    name: str
    made_of: tuple[str, ...]


@dataclass(frozen=True)
class CheckReport:
    """What is known of a model without compiling it.

    Attributes
    ----------
    supported
        Whether the model can be compiled.
    operators
        Of ONNX models: every operator with its number of nodes.
    unsupported
        Of ONNX models: every node that cannot be translated.
    problem
        Where the model cannot be translated: the first reason.
    inputs, outputs
        Name and type.
    symbols
        Names of sizes that are given with each call.
    n_parameters, parameter_bytes
        Of all constants that nodes read, before the passes pack them.
    weights_bytes
        Of the file of weights.
    costs, total
        By operator, and their sum, of the graph as the model has it.
    passes
        Those that changed the number of nodes.
    fused
        Nodes that stand for several, in order.
    workspace
        Bytes of a call: a number, or an expression in the symbols.
    memory
        The memory of a call where the symbols have some numbers.
    drawing
        The graph after all passes as an SVG element.
    text
        The same as text, the graph before the passes above it.
    """

    supported: bool
    operators: tuple[OperatorUse, ...]
    unsupported: tuple[Unsupported, ...]
    problem: Problem | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    symbols: tuple[str, ...] = ()
    n_parameters: int = 0
    parameter_bytes: int = 0
    costs: tuple[KindCost, ...] = ()
    total: KindCost | None = None
    nodes_before: int = 0
    nodes_after: int = 0
    passes: tuple[PassEffect, ...] = ()
    fused: tuple[FusedNode, ...] = ()
    workspace: str = ""
    weights_bytes: int = 0
    memory: MemoryMap | None = None
    drawing: str = ""
    text: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without drawing and text."""
        values = asdict(self)
        del values["drawing"], values["text"]
        return values


def check(source: Path | str | bytes | Any, *, shapes: Shapes | None = None, example: Any = None) -> CheckReport:
    """Say what a model needs, whether it can be compiled, and what would come out.

    Parameters
    ----------
    source, shapes, example
        As of `mlcore.networks.load`.

    Raises
    ------
    InputError
        It is no model at all.
    """
    operators: tuple[OperatorUse, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()
    try:
        model = as_onnx(source, shapes=shapes, example=example)
        operators, unsupported = scan(parsed(model)[0])
        graph = read(model, shapes=shapes)
    except MLCoreError as error:
        if isinstance(error, UnsupportedOperatorError) and not unsupported:
            unsupported = (Unsupported(error.operator, error.opset, error.node, error.why, error.hint),)
        elif not operators and not unsupported:
            raise
        return CheckReport(False, operators, unsupported, Problem(error.message, error.hint, error.code))
    before, nodes_before, costs = dump(graph), _n_nodes(graph), _costs(graph)
    constants = {value: value.constant for value in graph.used() if value.constant is not None}
    passes = tuple(_optimised(graph))
    verify(graph)
    problem, emitted = None, None
    try:
        emitted = emit(graph, "network")
    except MLCoreError as error:
        problem = Problem(error.message, error.hint, error.code)
    return CheckReport(
        supported=problem is None,
        operators=operators,
        unsupported=unsupported,
        problem=problem,
        inputs=_ports(graph.inputs),
        outputs=_ports(graph.outputs),
        symbols=tuple(chosen_sizes(graph, 1)),
        n_parameters=sum(array.size for array in constants.values()),
        parameter_bytes=sum(array.nbytes for array in constants.values()),
        costs=costs[:-1],
        total=costs[-1],
        nodes_before=nodes_before,
        nodes_after=_n_nodes(graph),
        passes=passes,
        fused=tuple(_fused(graph)),
        workspace=_workspace(emitted) if emitted else "",
        weights_bytes=len(emitted.weights) if emitted else 0,
        memory=MemoryMap.of(emitted, chosen_sizes(graph, SMALLEST) | graph.bounds) if emitted else None,
        drawing=drawing(graph),
        text=f"# As the model has it\n{before}\n\n# After all passes\n{dump(graph)}\n",
    )


def _n_nodes(graph: Graph) -> int:
    return sum(1 for _ in graph.walk())


def _ports(values: Sequence[Value]) -> tuple[tuple[str, str], ...]:
    return tuple((value.name, str(value.type)) for value in values)


def _costs(graph: Graph) -> tuple[KindCost, ...]:
    """By operator, and the sum at the end."""
    found, total, n_nodes = [], Cost(), 0
    for kind, (count, cost) in cost_by_kind(graph).items():
        found.append(KindCost(kind, count, repr(cost.macs), repr(cost.flops), repr(cost.bytes)))
        total, n_nodes = total + cost, n_nodes + count
    return (*found, KindCost("all", n_nodes, repr(total.macs), repr(total.flops), repr(total.bytes)))


def _optimised(graph: Graph) -> Iterator[PassEffect]:
    """Run all passes; those that changed the number of nodes."""
    for run in PIPELINE:
        before = _n_nodes(graph)
        run(graph)
        if (after := _n_nodes(graph)) != before:
            yield PassEffect(run.__name__, before, after)


def _fused(graph: Graph) -> Iterator[FusedNode]:
    for node in graph.walk():
        if made_of(node) or node.operator.domain == "fused":
            yield FusedNode(node.kind, node.name, made_of(node))


def _workspace(emitted: Emitted) -> str:
    """Bytes of the arena; what fills slots up to multiples of 64 is left out where there are symbols."""
    total: Any = emitted.memory.static_bytes
    for slot in emitted.memory.slots:
        total = total + slot.bytes
    return repr(total)


def drawing(graph: Graph) -> str:
    """A graph as an SVG element without any style of its own; subgraphs are folded into the nodes that hold them."""
    boxes: list[Box] = []
    edges: dict[int, list[int]] = {}
    made_by: dict[Value, int] = {}
    for value in graph.inputs:
        made_by[value] = len(boxes)
        boxes.append(Box(value.name, _shape(value), f"input {value.name}: {value.type}", terminal=True))
    for node in graph.nodes:
        number = len(boxes)
        boxes.append(_box(node))
        inner = (value for body in node.graphs for value in body.used())
        for value in {*node.present(), *inner}:
            if value in made_by:
                edges.setdefault(made_by[value], []).append(number)
        made_by.update(dict.fromkeys(node.outputs, number))
    for value in graph.outputs:
        if value in made_by:
            edges.setdefault(made_by[value], []).append(len(boxes))
        boxes.append(Box(value.name, _shape(value), f"output {value.name}: {value.type}", terminal=True))
    return draw(boxes, edges, title=f"Graph of {graph.name} after all passes: {len(graph.nodes)} nodes")


def _box(node: Node) -> Box:
    kind = node.kind.removeprefix("fused::")
    steps = Counter(made_of(node))
    joined = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in steps.items())
    detail = f"with {joined}" if joined else _shape(node.output)
    return Box(kind, detail, f"{node.where}: {', '.join(str(value.type) for value in node.outputs if value.name)}")


def _shape(value: Value) -> str:
    kind = value.type
    if not isinstance(kind, TensorType) or kind.shape is None:
        return str(kind)
    return " × ".join(map(repr, kind.shape)) or "scalar"
