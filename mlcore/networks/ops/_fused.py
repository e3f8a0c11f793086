"""Operators that passes put in the place of several: they are in no file and no registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from mlcore.networks.code import Storage, Writer
from mlcore.networks.ir import Node, Value, ValueType
from mlcore.networks.ops import Facts, Operator
from mlcore.networks.ops._map import write_map


class Fused(Operator):
    """Base of operators that only passes make."""

    domain: ClassVar[str] = "fused"
    since: ClassVar[tuple[int, ...]] = (1,)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        return [value.type for value in node.outputs]


class Chain(Fused):
    """Elementwise nodes in one loop.

    Attribute ``steps``: the nodes, in an order in which they can run; the last computes the output.
    """

    name: ClassVar[str] = "Elementwise"

    def write(self, node: Node, code: Writer) -> None:
        steps = cast("list[Node]", node.attributes["steps"])
        for step in steps:
            code.comment(f"  {step.kind}{f' {step.name}' if step.name else ''}")
        inputs = node.present()
        names = [f"a{i}" for i in range(len(inputs))]
        statements, result = chain_statements(steps, dict(zip(inputs, names, strict=True)))
        write_map(code, result, names, inputs, node.output, statements=statements)


class Events(Fused):
    """Nodes that run for each slice of the first axis of their operands.

    Attribute ``body``: a graph for one slice, whose inputs are slices of the first inputs, and whose outputs are those of the
    outputs. Further inputs are what it reads besides.
    """

    name: ClassVar[str] = "Events"

    def write(self, node: Node, code: Writer) -> None:
        body = node.graph("body")
        index = code.fresh("event")
        with code.loop(f"for (std::int64_t {index} = 0; {index} < {code.size(node.output.shape[0])}; ++{index})"):
            for inner, outer in zip(body.inputs, node.present(), strict=False):
                _bind_slice(code, inner, outer, index, "input")
            again = []
            for inner, outer in zip(body.outputs, node.outputs, strict=True):
                if code.has_storage(inner):
                    again.append((inner, outer))
                else:
                    _bind_slice(code, inner, outer, index, "output")
            code.write_nodes(body)
            for inner, outer in again:
                count = code.size(inner.count)
                code.line(f"nn::copy({code.ref(inner)}, {count}, {code.ref(outer)} + {index} * {count});")


def _bind_slice(code: Writer, inner: Value, outer: Value, index: str, kind: str) -> None:
    name = code.fresh("e")
    const = "const " if kind == "input" else ""
    code.line(f"{const}{inner.dtype.cpp}* const {name} = {code.ref(outer)} + {index} * {code.size(inner.count)};")
    code.bind(inner, Storage(name, kind, inner.dtype.cpp, 0, 0, code.position, code.position, inner))


CHAIN = Chain()
EVENTS = Events()


def chain_statements(steps: Sequence[Node], names: Mapping[Value, str]) -> tuple[list[str], str]:
    """The body of a function of one element: statements, and the expression of its result.

    Parameters
    ----------
    names
        Names of the values that come from outside.
    """
    names = dict(names)
    statements: list[str] = []
    for number, step in enumerate(steps):
        operands = [names[value] for value in step.operator.operands(step)]
        text = step.operator.expression(step, operands)
        if number + 1 == len(steps):
            return statements, text
        names[step.output] = f"v{number}"
        statements.append(f"const auto v{number} = {text};")
    raise ValueError("a chain has no steps")
