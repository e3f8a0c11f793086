"""Operators that passes put in the place of several: they are in no file and no registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from mlcore.networks.code import Writer
from mlcore.networks.ir import Node, Shape, TensorType, Value, ValueType
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


CHAIN = Chain()


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


class Reshaped(Fused):
    """The input's elements under the output's shape, of the same count."""

    name: ClassVar[str] = "View"

    def view_of(self, node: Node) -> int | None:
        return 0

    def write(self, node: Node, code: Writer) -> None:
        raise AssertionError("a view is no code of its own")


VIEW = Reshaped()


def view(value: Value, shape: Shape, name: str = "") -> Node:
    """A node that gives a value another shape."""
    return Node(VIEW, 1, [value], [Value(name or f"{value.name}, reshaped", TensorType(value.dtype, shape))])


class Padded(Fused):
    """The elements of a tensor whose rank is not known, under a shape that has all the axes it may have."""

    name: ClassVar[str] = "Padded"

    def write(self, node: Node, code: Writer) -> None:
        code.allocate(node.output)
        code.line(f"nn::copy({code.ref(node.input(0))}.data(), {code.size(node.output.count)}, {code.ref(node.output)});")


PADDED = Padded()


def padded(value: Value, shape: Shape) -> Node:
    """A node that puts back axes of size 1 in front of a tensor that may lack them."""
    return Node(PADDED, 1, [value], [Value(value.name, TensorType(value.dtype, shape))])
