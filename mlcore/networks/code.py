"""Writing C++: names of values, sizes as expressions, memory that a node asks for.

Operators write through a `Writer`. It hands out names only; where a tensor lies is decided when all is written, by
`mlcore.networks.emit.memory`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mlcore.networks.ir import (
    Array,
    Constraint,
    DType,
    Graph,
    Names,
    Node,
    OptionalType,
    SequenceType,
    Size,
    TensorType,
    Value,
    ValueType,
)
from mlcore.networks.ir.sizes import Call, Expr, Symbol, symbols


@dataclass(eq=False)
class Storage:
    """Memory that somebody asked for.

    Attributes
    ----------
    kind
        ``"constant"``: in the weights; ``"input"`` and ``"output"``: the caller's; ``"planned"``: in the arena, at a place that
        liveness gives; ``"late"``: a buffer of its own that grows, since its size is found out on the way; ``"object"``: an
        object in the workspace (sequences, texts, tensors of unknown rank); ``"alias"``: a place inside other memory.
    first, last
        Positions of the first write and the last read.
    """

    name: str
    kind: str
    cpp: str
    count: Size
    element_bytes: int
    first: int
    last: int
    value: Value | None = None


class Writer:
    """Collects the text of one function, and what it needs.

    Parameters
    ----------
    taken
        Names that stand for something else in it.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.lines: list[str] = []
        self.headers: set[str] = {"kernels/nn/tensor.hpp", "kernels/nn/types.hpp"}
        self.storages: list[Storage] = []
        self.constants: list[tuple[str, Array]] = []
        self.functions: dict[str, str] = {}
        self._function_names = Names()
        self.position = 0
        self.known: set[Symbol] = set()
        self.constraints: list[Constraint] = []
        self._storage: dict[Value, Storage] = {}
        self._bound: set[Storage] = set()
        self._names = 0
        self._taken = frozenset(taken)
        self._indent = 1
        self._loops: list[int] = []

    # Text.

    def line(self, text: str = "") -> None:
        """One line of code, indented."""
        self.lines.append("  " * self._indent + text if text else "")

    def comment(self, text: str) -> None:
        """A comment; what would end it or join it to the next line is taken out."""
        kept = "".join(c if c.isprintable() else "?" for c in text.encode("ascii", "replace").decode())
        self.line(f"// {kept.replace(chr(92), '/')}")

    def include(self, *names: str) -> None:
        """Headers that the code needs, as others include them."""
        self.headers.update(names)

    def function(self, text: str) -> str:
        """The name of what a product does with its results, from a lambda without captures: with equal ones it is one kernel."""
        if text not in self.functions:
            self.functions[text] = self._function_names.fresh("_".join(re.findall(r"nn::fn::(\w+)", text)[:6]) or "nothing")
        return f"after::{self.functions[text]}"

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """A block in braces behind a head such as ``for (...)``."""
        self.line(f"{head} {{" if head else "{")
        self._indent += 1
        yield
        self._indent -= 1
        self.line("}")

    @contextmanager
    def loop(self, head: str) -> Iterator[None]:
        """A block that is run again and again: what it reads from outside stays alive to its end."""
        start = self.position
        self._loops.append(start)
        with self.block(head):
            yield
        self._loops.pop()
        self.position += 1
        for storage in self._touched_since(start):
            if storage.first < start <= storage.last:
                storage.last = self.position

    def _touched_since(self, start: int) -> list[Storage]:
        return [storage for storage in self.storages if storage.last >= start]

    def fresh(self, prefix: str = "v") -> str:
        """A name that nothing else has."""
        self._names += 1
        name = f"{prefix}{self._names}"
        return self.fresh(prefix) if name in self._taken else name

    # Sizes.

    def size(self, size: Size) -> str:
        """A size as a C++ expression of type std::int64_t."""
        return cpp_size(size)

    def fixed(self, size: Size) -> str:
        """A size as an argument that a kernel can be compiled for: ``nn::fixed<64>{}``, or an expression."""
        return f"nn::fixed<{size}>{{}}" if isinstance(size, int) and size >= 0 else cpp_size(size)

    def sizes(self, values: Iterable[Size]) -> str:
        """Sizes as a C++ array: ``nn::sizes(2, 3, n)``."""
        listed = ", ".join(map(cpp_size, values))
        return f"nn::sizes({listed})"

    # Values.

    def bind(self, value: Value, storage: Storage) -> None:
        """Say where a value lies."""
        self._storage[value] = storage
        if storage not in self._bound:
            self._bound.add(storage)
            self.storages.append(storage)

    def alias(self, value: Value, place: str, *, constant: bool = False) -> None:
        """Say that a value lies at a place inside another's memory, which has to be kept alive by who says so."""
        dtype = value.dtype
        name = self.fresh("t")
        self.line(f"{'const ' if constant else ''}{dtype.cpp}* const {name} = {place};")
        self._storage[value] = Storage(name, "alias", dtype.cpp, value.count, dtype.bytes, self.position, self.position, value)

    def storage(self, value: Value) -> Storage:
        """Where a value lies; constants get their place when they are first asked for."""
        found = self._storage.get(value)
        if found is None:
            if value.constant is None:
                raise AssertionError(f"{value!r} is read before it is written")
            found = self._constant(value)
        found.last = max(found.last, self.position)
        return found

    def has_storage(self, value: Value) -> bool:
        return value in self._storage

    def _constant(self, value: Value) -> Storage:
        assert value.constant is not None  # noqa: S101 - told by the caller
        name = self.fresh("w")
        dtype = value.dtype
        storage = Storage(name, "constant", dtype.cpp, value.count, dtype.bytes, self.position, self.position, value)
        self.constants.append((name, value.constant))
        self.bind(value, storage)
        return storage

    def weights(self, array: Array) -> str:
        """Store an array with the weights; the name of a pointer to it. For packed forms of constants."""
        name = self.fresh("w")
        dtype = DType.of(array)
        self.storages.append(Storage(name, "constant", dtype.cpp, int(array.size), dtype.bytes, self.position, self.position))
        self.constants.append((name, np.ascontiguousarray(array)))
        return name

    def ref(self, value: Value) -> str:
        """The name of a value's pointer, or of its object where it is no tensor whose shape is known."""
        storage = self.storage(value)
        held = storage.cpp == "nn::Strings" and storage.kind == "object"
        return f"{storage.name}.values.data()" if held else storage.name

    def refs(self, values: Iterable[Value]) -> str:
        return ", ".join(map(self.ref, values))

    def declare(self, value: Value) -> None:
        """Make room for a value that a node is about to compute."""
        kind = value.type
        if isinstance(kind, TensorType) and kind.shape is not None and kind.dtype is not DType.STRING:
            late = kind.is_late
            storage = Storage(
                self.fresh("t"),
                "late" if late else "planned",
                kind.dtype.cpp,
                kind.count,
                kind.dtype.bytes,
                self.position,
                self.position,
                value,
            )
            self.bind(value, storage)
            if late:
                self.line(f"{kind.dtype.cpp}* {storage.name} = nullptr;")
                pending = self._pending(kind.shape)
                for item in pending:
                    self.line(f"std::int64_t {item.name} = 0;")
                if not pending:
                    self.allocate(value)
            return
        storage = Storage(self.fresh("o"), "object", object_type(kind), 0, 0, self.position, self.position, value)
        self.bind(value, storage)
        if isinstance(kind, TensorType) and kind.shape is not None:
            pending = self._pending(kind.shape)
            for item in pending:
                self.line(f"std::int64_t {item.name} = 0;")
            if not pending:
                self.allocate(value)

    def _pending(self, shape: Sequence[Size]) -> list[Symbol]:
        found = {item for size in shape for item in symbols(size)} - self.known
        self.known |= found
        return sorted(found)

    def allocate(self, value: Value) -> None:
        """Get memory for an output whose sizes the node has just found out and assigned to its symbols."""
        storage = self.storage(value)
        if storage.kind == "late":
            count = f"nn::elements({self.sizes(value.shape)})"
            self.line(f"{storage.name} = workspace.{storage.name}.template get<{storage.cpp}>({count});")
        elif storage.cpp == "nn::Strings":
            self.line(f"{storage.name}.get(nn::elements({self.sizes(value.shape)}));")

    def is_late(self, value: Value) -> bool:
        """Whether a value's memory is got on the way."""
        return self.storage(value).kind == "late"

    def assign(self, size: Size, text: str) -> None:
        """Give a late symbol its number; the size has to be the symbol alone."""
        ((monomial, factor),) = size.terms if isinstance(size, Expr) else (((), 0),)
        if factor != 1 or len(monomial) != 1:
            raise AssertionError(f"{size!r} is no symbol")
        self.line(f"{monomial[0]} = {text};")

    def scratch(self, cpp: str, count: Size, element_bytes: int) -> str:
        """Memory for this node alone; the name of a pointer to it."""
        name = self.fresh("s")
        late = any(item.late for item in symbols(count))
        storage = Storage(name, "late" if late else "planned", cpp, count, element_bytes, self.position, self.position)
        self.storages.append(storage)
        if late:
            self.line(f"{cpp}* const {name} = workspace.{name}.template get<{cpp}>({cpp_size(count)});")
        return name

    def object(self, cpp: str) -> str:
        """An object of the workspace for this node alone, which it finds again in the next call; its name."""
        name = self.fresh("o")
        self.storages.append(Storage(name, "object", cpp, 0, 0, self.position, self.position))
        return name

    def shared(self, cpp: str, name: str) -> str:
        """An object of the workspace that nodes share, under a name that users see."""
        if not any(storage.name == name for storage in self.storages):
            self.storages.append(Storage(name, "object", cpp, 0, 0, 0, 0))
        return name

    def write_nodes(self, graph: Graph) -> None:
        """Write a graph's nodes in order, each with a comment that says what it is."""
        for node in graph.nodes:
            self.write_node(node)
        self.check_constraints()

    def write_node(self, node: Node) -> None:
        """Write one node: a comment, memory for what it computes, its code."""
        self.position += 1
        self.line()
        self.comment(describe(node))
        self.check_constraints()
        source = node.operator.view_of(node)
        if source is not None and self._is_plain(node.output):
            self._view(node, node.input(source))
            return
        for value in node.outputs:
            if value.name and not self.has_storage(value):
                self.declare(value)
            elif self.has_storage(value):
                self.storage(value)
        node.operator.write(node, self)
        for value in node.outputs:
            if value.name:
                self.storage(value)
        self.position += 1

    def check_constraints(self) -> None:
        """Write the checks of sizes that have to be equal, once all that they are made of is known."""
        waiting = []
        for item in self.constraints:
            if all(one in self.known for size in (item.left, item.right) for one in symbols(size)):
                self.line(f"nn::require({cpp_size(item.left)} == {cpp_size(item.right)}, {text_literal(item.why)});")
            else:
                waiting.append(item)
        self.constraints = waiting

    @staticmethod
    def _is_plain(value: Value) -> bool:
        kind = value.type
        return isinstance(kind, TensorType) and kind.shape is not None and kind.dtype is not DType.STRING

    def _view(self, node: Node, source: Value) -> None:
        """The output is the input's memory, unless it has a place of its own (the caller's)."""
        for item in self._pending(node.output.shape):
            self.line(f"std::int64_t {item.name} = 0;")
        node.operator.write_sizes(node, self)
        if self.has_storage(node.output):
            target = self.ref(node.output)
            self.include("kernels/nn/tensor.hpp")
            self.line(f"nn::copy({self.ref(source)}, {self.size(source.count)}, {target});")
        else:
            self._storage[node.output] = self.storage(source)


def describe(node: Node) -> str:
    """A node in a line: operator, name, types."""
    inputs = ", ".join("-" if value is None else str(value.type) for value in node.inputs)
    outputs = ", ".join(str(value.type) for value in node.outputs if value.name)
    name = f' "{node.name}"' if node.name else ""
    return f"{node.kind}{name} ({inputs}) -> {outputs}"


def object_type(kind: ValueType) -> str:
    """The C++ type of a value that is an object in the workspace."""
    if isinstance(kind, SequenceType):
        return f"nn::Sequence<{kind.element.dtype.cpp}>"
    if isinstance(kind, OptionalType):
        # What may be absent is no tensor of the graph, so that texts too are in an object that knows its shape.
        inner = kind.element
        return f"nn::Optional<{object_type(TensorType(inner.dtype) if isinstance(inner, TensorType) else inner)}>"
    if kind.dtype is DType.STRING and kind.shape is not None:
        return "nn::Strings"
    return f"nn::Tensor<{kind.dtype.cpp}>"


def cpp_size(size: Size) -> str:
    """A size as a C++ expression of type std::int64_t."""
    if isinstance(size, int):
        return f"std::int64_t({size})" if size < 0 else str(size)
    parts = []
    for monomial, factor in size.terms:
        factors = [_atom(atom) for atom in monomial]
        if factor != 1 or not factors:
            factors.insert(0, str(factor))
        parts.append(" * ".join(factors))
    joined = " + ".join(parts)
    return joined if len(parts) == 1 and "*" not in joined else f"({joined})"


def _atom(atom: Symbol | Call) -> str:
    if isinstance(atom, Symbol):
        return atom.name
    return f"nn::{_FUNCTIONS[atom.function]}({cpp_size(atom.left)}, {cpp_size(atom.right)})"


_FUNCTIONS = {"floordiv": "floor_div", "mod": "floor_mod", "min": "smaller", "max": "larger"}


def literal(value: object, dtype: DType) -> str:
    """A number as C++ text of exactly that value."""
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype.is_float:
        number = float(value)  # type: ignore[arg-type]
        cpp = "double" if dtype is DType.FLOAT64 else "float"
        if np.isnan(number):
            return f"std::numeric_limits<{cpp}>::quiet_NaN()"
        if np.isinf(number):
            return f"{'-' if number < 0 else ''}std::numeric_limits<{cpp}>::infinity()"
        return f"{cpp}({(number if cpp == 'double' else float(np.float32(number))).hex()})"
    number = int(value)  # type: ignore[call-overload]
    if dtype is DType.INT64 and number == -(2**63):
        return "std::numeric_limits<std::int64_t>::min()"
    return f"{dtype.cpp}({number}{'u' if dtype in (DType.UINT64, DType.UINT32) else ''})"


def text_literal(text: str) -> str:
    """A C++ string literal of any text: everything but letters, digits and spaces is escaped."""
    escaped = "".join(
        chr(b) if chr(b).isascii() and (chr(b).isalnum() or chr(b) == " ") else f"\\{b:03o}"
        for b in text.encode("utf-8", "surrogateescape")
    )
    return f'"{escaped}"'
