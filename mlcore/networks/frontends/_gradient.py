"""Gradient of the domain ai.onnx.preview.training: the backward pass as nodes of its own, behind those of the forward pass.

Each node hands back what the gradients of its outputs make of it (`mlcore.networks.ops._derivatives`). Where a Gradient is given
other values than those it names, what lies between these and ``y`` is computed again from what is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.ir import Node, TensorType, Value
from mlcore.networks.ops import Facts, find
from mlcore.networks.ops._derivatives import RULES, Step, Tape, Term
from mlcore.networks.ops._inference import infer_node

DOMAIN = "ai.onnx.preview.training"


def variables(model: Any) -> frozenset[str]:
    """The names that Gradient nodes of a model take for independent variables: what depends on them is not to be folded."""
    if all(item.domain != DOMAIN for item in (*model.opset_import, *(one for f in model.functions for one in f.opset_import))):
        return frozenset()
    found: set[str] = set()
    waiting = [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        for node in waiting.pop():
            for attribute in node.attribute:
                if node.domain == DOMAIN and node.op_type == "Gradient" and attribute.name in ("xs", "zs"):
                    found.update(item.decode("utf-8", "replace") for item in attribute.strings)
                waiting += [graph.node for graph in (attribute.g, *attribute.graphs)]
    return frozenset(found)


def open_constant(value: Value) -> Node:
    """A node that stands before a constant, so that nothing behind it is folded."""
    return Node(find("", "Identity"), 14, [value], [Value(value.name, value.type)])


def gradients(
    gradient: Node, nodes: Sequence[Node], y: Value, variables: Mapping[Value, Value], wanted: Sequence[Value], facts: Facts
) -> Iterator[Node]:
    """The nodes that compute gradients.

    Parameters
    ----------
    gradient
        The node that asks for them; its outputs are computed, one for each of `wanted`.
    nodes
        Those of the graph, in order.
    variables
        The independent variables, and what is given for each.
    wanted
        Those of them that are differentiated by.

    Raises
    ------
    InputError
        Something is no tensor of floating-point numbers.
    UnsupportedOperatorError
        No derivative of an operator on the way is known.
    """
    for value in (y, *wanted):
        if not _is_float(value):
            raise InputError(f"{gradient.where} differentiates {value!r}", code="network.dtype")
    replaced = {named: given for named, given in variables.items() if named is not given}
    path = _path(nodes, y, variables)
    forward = [_again(node, replaced, facts, gradient) for node in path]
    yield from (node for node, old in zip(forward, path, strict=True) if node is not old)
    given = [variables[value] for value in wanted]
    path, tape = forward, Tape(facts, f"{gradient.name}/")
    found = _backwards(gradient, path, replaced.get(y, y), given, tape)
    yield from tape.nodes
    for output, value in zip(gradient.outputs, given, strict=False):
        term = found.get(value)
        made = Tape(facts, tape.prefix)
        source = (term if term is not None else made.filled(value, 0.0)).value
        output.type = source.type
        yield from made.nodes
        yield Node(find("", "Identity"), 14, [source], [output], {}, f"{gradient.name}/{output.name}")


def _is_float(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype.is_float


def _path(nodes: Sequence[Node], y: Value, variables: Iterable[Value]) -> Sequence[Node]:
    """The nodes that `y` is computed by, in order, from the variables on."""
    ends, needed = set(variables), {y}
    path = []
    for node in reversed(nodes):
        if any(value in needed and value not in ends for value in node.outputs):
            path.append(node)
            needed.update(_read(node))
    return path[::-1]


def _read(node: Node) -> Iterator[Value]:
    """Every value that a node reads, its subgraphs too."""
    yield from node.present()
    for graph in node.graphs:
        yield from graph.used()


def _again(node: Node, replaced: dict[Value, Value], facts: Facts, gradient: Node) -> Node:
    """A node once more, where it depends on what is replaced; what it computes joins `replaced`."""
    if not any(value in replaced for value in _read(node)):
        return node
    if any(True for _ in node.graphs):
        raise _unsupported(gradient, node, "it has subgraphs that would be computed again")
    outputs = [Value(value.name, value.type) for value in node.outputs]
    inputs = [value if value is None else replaced.get(value, value) for value in node.inputs]
    copied = Node(node.operator, node.version, inputs, outputs, dict(node.attributes), f"{gradient.name}/{node.name}")
    infer_node(copied, facts)
    replaced.update((old, new) for old, new in zip(node.outputs, outputs, strict=True) if old not in replaced)
    return copied


def _backwards(gradient: Node, path: Sequence[Node], y: Value, wanted: Sequence[Value], tape: Tape) -> dict[Value, Term]:
    """The gradients of `y`, a sum where it has several elements, by what depends on what is wanted."""
    active = set(wanted)
    for node in path:
        if any(value in active for value in _read(node)):
            active.update(value for value in node.outputs if _is_float(value))
    found = {y: tape.filled(y, 1.0)}
    for node in reversed(path):
        terms = [found.get(value) if value in active else None for value in node.outputs]
        if all(term is None for term in terms) or not any(value in active for value in _read(node)):
            continue
        rule = RULES.get(node.kind)
        if rule is None:
            raise _unsupported(gradient, node, "no derivative of it is known")
        for value, term in zip(node.inputs, rule(Step(node, tape, terms)), strict=False):
            if value is not None and term is not None and value in active:
                mine = tape.summed(term, value)
                found[value] = found[value] + mine if value in found else mine
    return found


def _unsupported(gradient: Node, node: Node, why: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{DOMAIN}::Gradient",
        gradient.version,
        gradient.name,
        f"it differentiates through the {node.where}, and {why}",
        hint="docs/reference/networks.md lists what has derivatives. Or export the graph of the backward pass itself.",
    )
