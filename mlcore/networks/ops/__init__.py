"""Operators: one class each, found by standing in a module of this folder.

A class derives from `Operator` and says which versions of the operator's definition it knows (`since`), what comes out of what
goes in (`infer`, `elements`) and how it is written in C++ (`write`). The newest version not above a model's opset holds. Modules
whose name begins with an underscore are shared by several families.

    @operator("Trilu", since=(14,))
    class Trilu(Operator):
        def infer(self, node, facts):
            return [node.input(0).tensor]

        def write(self, node, code):
            ...

An operator without a class here whose definition in ONNX has a body (a *function*) is read as the nodes of that body.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, TypeVar

from mlcore.errors import InputError
from mlcore.networks.ir import Constraint, Expr, Graph, Node, Size, Symbols, Value, ValueType, larger, smaller
from mlcore.networks.ir.sizes import is_nonnegative

if TYPE_CHECKING:
    from mlcore.networks.code import Writer


class Facts:
    """What inference may ask of the graph around a node, and tell it."""

    def __init__(self, graph: Graph, symbols: Symbols) -> None:
        self.graph = graph
        self.symbols = symbols

    def late(self, hint: str = "u") -> Expr:
        """A size that only running the node tells."""
        return self.symbols.late(hint)

    def same(self, left: Size, right: Size, why: str) -> Size:
        """Two sizes that have to be equal; the one that says more.

        Raises
        ------
        InputError
            They are different numbers.
        """
        if left == right:
            return left
        if isinstance(left, int) and isinstance(right, int):
            raise InputError(f"{why}: {left} and {right} differ", code="network.shape")
        self.graph.constraints.append(Constraint(left, right, why))
        return left if isinstance(left, int) else right

    def nonnegative(self, size: Size, why: str) -> Size:
        """A size that may come out below zero, which is refused: here, or when the code runs.

        Raises
        ------
        InputError
            It is a negative number.
        """
        if isinstance(size, int):
            if size < 0:
                raise InputError(f"{why}, and is given {size}", code="network.shape")
        elif not is_nonnegative(size):
            self.graph.constraints.append(Constraint(larger(-size, 0), 0, why))
        return size

    def other_than_one(self, size: Size, why: str) -> None:
        """A size with symbols that must not come out as 1, which is refused when the code runs."""
        few = smaller(size, 2)
        self.graph.constraints.append(Constraint(few * (2 - few), 0, why))

    def broadcast(self, *shapes: Sequence[Size], why: str) -> tuple[Size, ...]:
        """The shape that some shapes broadcast to.

        Sizes with symbols are taken to be equal to what they meet, unless that is 1; the code checks it when it runs.
        """
        rank = max((len(shape) for shape in shapes), default=0)
        result: list[Size] = []
        for axis in range(rank):
            size: Size = 1
            for shape in shapes:
                position = axis - rank + len(shape)
                if position >= 0 and shape[position] != 1:
                    size = shape[position] if size == 1 else self.same(size, shape[position], f"{why}, axis {axis}")
            result.append(size)
        return tuple(result)


class Operator(ABC):
    """One operator of ONNX.

    Attributes
    ----------
    name, domain, since
        Set by the decorator `operator`.
    deterministic
        Whether equal inputs give equal outputs; others are never folded or shared.
    draws
        Whether it draws random numbers, which no two implementations share: nothing computed from them can be compared.
    refusal
        Of an operator that is known and never supported: why, in words; ``hint`` says what to do instead.
    takes_declared
        Whether the shape that the model declares for an output, whose rank nothing else tells, may be taken for it: `write` then
        checks what comes out against it.
    """

    name: ClassVar[str]
    domain: ClassVar[str]
    since: ClassVar[tuple[int, ...]]
    deterministic: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    takes_declared: ClassVar[bool] = False
    refusal: ClassVar[str] = ""
    hint: ClassVar[str] = ""

    @property
    def full_name(self) -> str:
        return f"{self.domain}::{self.name}" if self.domain else self.name

    @abstractmethod
    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        """The types of the outputs, from the types of the inputs and the attributes.

        Raises
        ------
        InputError
            The node contradicts itself or its inputs.
        """

    def elements(self, node: Node) -> tuple[Size | None, ...] | None:
        """The numbers in the first output as expressions, where it is a small tensor of whole numbers and they are known.

        None stands for a number that is not known, where others are.
        """
        del node
        return None

    def view_of(self, node: Node) -> int | None:
        """The input whose memory is the first output, where the operator only gives it another shape."""
        del node
        return None

    def write_sizes(self, node: Node, code: Writer) -> None:
        """Of an operator with views: write code that assigns the output's late sizes. There are none by default."""
        del node, code

    @abstractmethod
    def write(self, node: Node, code: Writer) -> None:
        """Write C++ that fills the outputs.

        Memory of outputs whose shapes are known stands ready; for the others see `Writer.allocate`.
        """


_REGISTRY: dict[tuple[str, str], Operator] = {}
Class = TypeVar("Class", bound=type[Operator])


def operator(name: str, *, since: Sequence[int], domain: str = "") -> Callable[[Class], Class]:
    """Register a class for an operator; one class may serve several."""

    def register(cls: Class) -> Class:
        key = (domain, name)
        if key in _REGISTRY:
            raise ValueError(f"the operator {name!r} of domain {domain!r} is defined twice")
        specific = type(f"{cls.__name__}[{name}]", (cls,), {"name": name, "domain": domain, "since": tuple(sorted(since))})
        _REGISTRY[key] = specific()
        return cls

    return register


@cache
def registry() -> dict[tuple[str, str], Operator]:
    """All operators by domain and name; ONNX's own domain is ""."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        if not module.name.rpartition(".")[2].startswith("_"):
            import_module(module.name)
    return dict(sorted(_REGISTRY.items()))


def find(domain: str, name: str) -> Operator | None:
    """The operator of a name, where there is a class for it."""
    return registry().get(("" if domain == "ai.onnx" else domain, name))


def outputs_named(node: Node) -> list[Value]:
    """The outputs that the node really has: those left out have no name and no uses."""
    return [value for value in node.outputs if value.name]
