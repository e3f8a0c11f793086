"""Graphs: nodes that compute values from values, in an order in which they can run.

The IR is what frontends make, passes change and emitters read. A node names its operator and the version of the operator's
definition that holds for it; its attributes are plain Python values. Control flow has subgraphs among its attributes, which use
the values around them directly.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.networks.ir.sizes import Expr, Size, symbol
from mlcore.networks.ir.types import DType, TensorType, ValueType

Array = npt.NDArray[Any]
Attribute = int | float | str | Array | list[int] | list[float] | list[str] | TensorType | Any


@dataclass(eq=False)
class Value:
    """Something that a node computes, a graph is given, or that is known.

    Attributes
    ----------
    name
        From the model; unique in no way, and foreign text.
    constant
        The value, where it is known when the code is written.
    elements
        The numbers in a small tensor of whole numbers as expressions, where they are known: shapes that are computed by
        nodes. A constant has its own.
    some_elements
        The same where only some are known: None stands for the others.
    padded
        Of a tensor whose rank is not known: the shape it has with axes of size 1 in front, of which some may be missing.
    """

    name: str
    type: ValueType
    constant: Array | None = None
    elements: tuple[Size, ...] | None = None
    some_elements: tuple[Size | None, ...] | None = None
    padded: tuple[Size, ...] | None = None

    @property
    def parts(self) -> tuple[Size | None, ...] | None:
        """The numbers of a small tensor one by one, None for each that is not known; None where not even their count is."""
        if self.elements is not None:
            return self.elements
        if self.some_elements is not None:
            return self.some_elements
        kind = self.type
        if not isinstance(kind, TensorType) or kind.shape is None or len(kind.shape) > 1:
            return None
        count = kind.count
        return (None,) * count if isinstance(count, int) and count <= MOST_ELEMENTS else None

    @property
    def tensor(self) -> TensorType:
        """Its type, of a tensor.

        Raises
        ------
        InputError
            It is a sequence or an optional value.
        """
        if not isinstance(self.type, TensorType):
            raise InputError(f"{self.name!r} is a {self.type}, where a tensor is needed", code="network.type")
        return self.type

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[Size, ...]:
        """Its shape.

        Raises
        ------
        InputError
            Its rank is not known.
        """
        shape = self.tensor.shape
        if shape is None:
            raise InputError(
                f"the rank of {self.name!r} is not known",
                hint="Give the shapes of the inputs when the model is read.",
                code="network.rank",
            )
        return shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def count(self) -> Size:
        return TensorType(self.dtype, self.shape).count

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(eq=False)
class Node:
    """One application of an operator.

    Attributes
    ----------
    operator
        An entry of the registry of operators.
    version
        The version of the operator's definition: the newest not above the model's opset.
    inputs
        None stands for an optional input that is left out.
    name
        From the model, for messages.
    """

    operator: Any
    version: int
    inputs: list[Value | None]
    outputs: list[Value]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    name: str = ""

    @property
    def kind(self) -> str:
        """The operator's name, with its domain where that is not ONNX's own."""
        return str(self.operator.full_name)

    @property
    def graphs(self) -> Iterator[Graph]:
        """The subgraphs among the attributes."""
        for attribute in self.attributes.values():
            if isinstance(attribute, Graph):
                yield attribute

    @property
    def where(self) -> str:
        """The node in words, for messages."""
        return f"{self.kind} node {self.name!r}" if self.name else f"{self.kind} node"

    # Inputs and outputs.

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Value:
        """An input that must be there.

        Raises
        ------
        InputError
            It is left out.
        """
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise InputError(f"{self.where} has no input {index}", code="network.input")
        return value

    def rank_told_by(self, index: int) -> int:
        """The rank of a result whose shape is an input.

        Raises
        ------
        InputError
            The input is no vector, or its length is not known.
        """
        shape = self.input(index).shape
        if len(shape) != 1:
            raise InputError(f"{self.where} needs a list of sizes, and is given {self.input(index).type}", code="network.shape")
        if not isinstance(shape[0], int):
            raise InputError(f"{self.where} has a result whose rank is not known before it runs", code="network.rank")
        return shape[0]

    def optional(self, index: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def present(self) -> list[Value]:
        """The inputs that are there."""
        return [value for value in self.inputs if value is not None]

    def constant(self, index: int) -> Array | None:
        """An input's value where it is known, else None."""
        value = self.optional(index)
        return None if value is None else value.constant

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    # Attributes.

    def _get(self, name: str, kinds: type | tuple[type, ...], default: Any, what: str) -> Any:
        value = self.attributes.get(name, default)
        if value is None and default is None:
            return None
        if not isinstance(value, kinds):
            problem = "is missing" if value is _REQUIRED else f"is {value!r:.80}"
            raise InputError(
                f"the attribute {name!r} of {self.where} {problem}, where {what} is needed", code="network.attribute"
            )
        return value

    def integer(self, name: str, default: Any = None) -> Any:
        """A whole number; `REQUIRED` as the default says that it has to be there."""
        return self._get(name, int, default, "a whole number")

    def number(self, name: str, default: Any = None) -> Any:
        return self._get(name, (float, int), default, "a number")

    def text(self, name: str, default: Any = None) -> Any:
        return self._get(name, str, default, "a text")

    def integers(self, name: str, default: Any = None) -> Any:
        return self._get(name, (list, tuple), default, "a list of whole numbers")

    def numbers(self, name: str, default: Any = None) -> Any:
        return self._get(name, (list, tuple), default, "a list of numbers")

    def texts(self, name: str, default: Any = None) -> Any:
        return self._get(name, (list, tuple), default, "a list of texts")

    def array(self, name: str, default: Any = None) -> Any:
        return self._get(name, np.ndarray, default, "a tensor")

    def graph(self, name: str) -> Graph:
        value: Graph = self._get(name, Graph, _REQUIRED, "a graph")
        return value

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front.

        Raises
        ------
        InputError
            There is no such axis.
        """
        if not -rank <= value < rank:
            raise InputError(f"{self.where} has the axis {value}, but its tensor {rank} axes", code="network.axis")
        return value % rank


class _Required:
    def __repr__(self) -> str:
        return "required"


_REQUIRED = _Required()
REQUIRED: Any = _REQUIRED
"""The default of an attribute that has to be there."""


@dataclass(frozen=True)
class Constraint:
    """Two sizes that must be equal when the code runs, and why."""

    left: Size
    right: Size
    why: str


@dataclass(eq=False)
class Graph:
    """Nodes in an order in which they can run, with the values that go in and come out.

    Attributes
    ----------
    constraints
        Sizes that have to be equal when the code runs.
    bounds
        The largest values of some symbols, by name: memory is planned for these.
    """

    name: str
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    bounds: dict[str, int] = field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        """Every node, those of subgraphs after the node that holds them."""
        for node in self.nodes:
            yield node
            for graph in node.graphs:
                yield from graph.walk()

    def used(self) -> Iterator[Value]:
        """Every value that is read, by nodes, subgraphs or as an output; some more than once."""
        yield from self.outputs
        for node in self.nodes:
            yield from node.present()
            for graph in node.graphs:
                yield from graph.used()


@dataclass(eq=False)
class Body:
    """A subgraph that is read once the types of its inputs are known: an attribute of control flow until inference reads it."""

    read: Callable[[Sequence[ValueType]], Graph]
    n_inputs: int
    names: tuple[str, ...]


class Names:
    """Gives names that are all different.

    Parameters
    ----------
    taken
        Names that are given already.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, name: str) -> str:
        """The name, or the name with a number where it is taken."""
        candidate, number = name, self._next.get(name, 2)
        while candidate in self._taken:
            candidate, number = f"{name}_{number}", number + 1
        self._next[name] = number
        self._taken.add(candidate)
        return candidate


class Symbols:
    """Gives names to the sizes of a graph that are not known."""

    def __init__(self) -> None:
        self._names = Names(AROUND_SIZES)
        self._counter = itertools.count()
        self.named: dict[str, Expr] = {}

    def of_input(self, name: str) -> Expr:
        """The size that a model calls by a name; equal names are equal sizes."""
        if name not in self.named:
            found = identifier(name) or "n"
            self.named[name] = symbol(self._names.fresh(f"{found}_" if _NUMBERED.fullmatch(found) else found))
        return self.named[name]

    def late(self, hint: str = "u") -> Expr:
        """A size that a node will find out."""
        return symbol(self._names.fresh(f"{hint}{next(self._counter)}"), late=True)


def identifier(text: str, *, most: int = 40) -> str:
    """A C++ identifier made of a foreign name: lower-case letters, digits, single underscores, no keyword; or ""."""
    kept = "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())
    name = "_".join(part for part in kept.split("_") if part)[:most].strip("_")
    if name and not name[0].isalpha():
        name = f"n_{name}"
    return f"{name}_" if name in _KEYWORDS else name


_KEYWORDS = frozenset(
    [
        "alignas",
        "alignof",
        "and",
        "and_eq",
        "asm",
        "auto",
        "bitand",
        "bitor",
        "bool",
        "break",
        "case",
        "catch",
        "char",
        "char16_t",
        "char32_t",
        "class",
        "compl",
        "const",
        "constexpr",
        "const_cast",
        "continue",
        "decltype",
        "default",
        "delete",
        "do",
        "double",
        "dynamic_cast",
        "else",
        "enum",
        "explicit",
        "export",
        "extern",
        "false",
        "float",
        "for",
        "friend",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "mutable",
        "namespace",
        "new",
        "noexcept",
        "not",
        "not_eq",
        "nullptr",
        "operator",
        "or",
        "or_eq",
        "private",
        "protected",
        "public",
        "register",
        "reinterpret_cast",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "static_assert",
        "static_cast",
        "struct",
        "switch",
        "template",
        "this",
        "thread_local",
        "throw",
        "true",
        "try",
        "typedef",
        "typeid",
        "typename",
        "union",
        "unsigned",
        "using",
        "virtual",
        "void",
        "volatile",
        "wchar_t",
        "while",
        "xor",
        "xor_eq",
        "nn",
        "std",
        "session",
        "workspace",
        "weights",
        "sizes",
        "infer",
        "arena",
        "random",
        "main",
    ]
)


AROUND_PORTS = frozenset(
    [
        *("after", "clock", "message", "message_size", "now", "run"),
        *(f"{kind}{bits}_t" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    ]
)
"""Names that generated code has for things of its own, where inputs and outputs have names too."""
AROUND_SIZES = AROUND_PORTS | {"compare", "file", "handle", "in", "opaque", "out", "read", "result", "slot", "wrong"}
"""The same where sizes have names."""
_NUMBERED = re.compile(r"(x|y|expected)[0-9]+")


def constant(name: str, array: Array) -> Value:
    """A value that is known."""
    array = np.asarray(array)
    if array.dtype.kind in "US":
        array = array.astype(np.object_)
    elements = None
    if array.ndim <= 1 and array.size <= MOST_ELEMENTS and array.dtype.kind in "iu":
        elements = tuple(int(item) for item in array.reshape(-1))
    return Value(name, TensorType(DType.of(array), array.shape), array, elements)


MOST_ELEMENTS = 64
"""Largest tensor whose numbers are followed as expressions."""


def sizes_of(value: Value) -> Sequence[Size] | None:
    """The whole numbers in a small tensor, where they are known."""
    return value.elements
