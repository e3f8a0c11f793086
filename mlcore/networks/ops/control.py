"""Control flow: If, Loop and Scan, whose bodies are graphs that use the values around them.

What a loop carries from one round to the next lies in the memory of its output: a round reads it and overwrites it at its end.
Where a carried tensor's sizes change from round to round they become symbols of the loop, variables that each round assigns anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlcore.errors import InputError
from mlcore.networks.code import Writer, cpp_size, object_type
from mlcore.networks.ir import (
    Body,
    DType,
    Expr,
    Graph,
    Node,
    OptionalType,
    SequenceType,
    Shape,
    Size,
    Symbol,
    TensorType,
    Value,
    ValueType,
    joined,
    joined_sequences,
    product,
)
from mlcore.networks.ops import Facts, Operator, operator

MOST_ROUNDS = 16
"""Of inference, until the types of what a loop carries stay as they are."""


def body_of(node: Node, key: str, types: Sequence[ValueType]) -> Graph:
    """The subgraph of an attribute, read for inputs of some types."""
    found = node.attributes.get(key)
    if isinstance(found, Graph):
        return found
    if not isinstance(found, Body):
        raise InputError(f"{node.where} has no graph {key!r}", code="network.attribute")
    if found.n_inputs != len(types):
        raise InputError(f"the body of {node.where} has {found.n_inputs} inputs, and is given {len(types)}", code="network.body")
    return found.read(types)


def _merged(left: ValueType, right: ValueType, facts: Facts, keep: set[Symbol]) -> ValueType:
    """A type for values of two types: sizes that differ become symbols; those in `keep` stay as they are."""
    if isinstance(left, OptionalType) or isinstance(right, OptionalType):
        one, other = (kind.element if isinstance(kind, OptionalType) else kind for kind in (left, right))
        if isinstance(one, TensorType) and isinstance(other, TensorType) and one.dtype is other.dtype:
            return OptionalType(joined(one, other))
        inner = _merged(one, other, facts, keep)
        return OptionalType(inner) if isinstance(inner, TensorType | SequenceType) else left
    if isinstance(left, SequenceType) and isinstance(right, SequenceType):
        if left.element.dtype is not right.element.dtype:
            raise InputError(f"sequences of {left.element.dtype} and {right.element.dtype} meet", code="network.body")
        return joined_sequences(left, right)
    if not isinstance(left, TensorType) or not isinstance(right, TensorType) or left.dtype is not right.dtype:
        raise InputError(f"values of the types {left} and {right} meet", code="network.body")
    if left.shape is None or right.shape is None or len(left.shape) != len(right.shape):
        return TensorType(left.dtype)
    sizes: list[Size] = []
    for a, b in zip(left.shape, right.shape, strict=True):
        if a == b or _symbol(a) in keep:
            sizes.append(a)
        else:
            fresh = facts.late()
            keep.add(_symbol(fresh))  # type: ignore[arg-type]
            sizes.append(fresh)
    return TensorType(left.dtype, tuple(sizes))


def _padded(left: Value, right: Value) -> Shape | None:
    """The shape of both with axes of size 1 in front, where they differ in nothing else."""
    shapes: list[Shape] = []
    for value in (left, right):
        shape = value.padded or (value.type.shape if isinstance(value.type, TensorType) else None)
        if shape is None:
            return None
        shapes.append(shape)
    short, long = sorted(shapes, key=len)
    return long if long == (1,) * (len(long) - len(short)) + short else None


def _symbol(size: Size) -> Symbol | None:
    """The symbol that a size is, if it is nothing else."""
    if isinstance(size, Expr) and len(size.terms) == 1:
        ((monomial, factor),) = size.terms
        if factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            return monomial[0]
    return None


def _is_object(kind: ValueType) -> bool:
    return not isinstance(kind, TensorType) or kind.shape is None


def write_move(code: Writer, moves: Sequence[tuple[Value, Value]]) -> None:
    """Write ``target = source`` for some pairs at once: sources may be other pairs' targets.

    Late sizes of targets are assigned, and their memory is got.
    """
    moves = [(source, target) for source, target in moves if code.ref(source) != code.ref(target)]
    targets = {code.ref(target) for _, target in moves}
    sizes: list[tuple[Symbol, str]] = []
    for source, target in moves:
        if isinstance(target.type, TensorType) and target.type.shape is not None:
            for mine, theirs in zip(target.type.shape, source.shape, strict=True):
                symbol = _symbol(mine)
                if symbol is not None and symbol.late and mine != theirs:
                    name = code.fresh("n")
                    code.line(f"const std::int64_t {name} = {cpp_size(theirs)};")
                    sizes.append((symbol, name))
    sources = []
    for source, target in moves:
        name = code.ref(source)
        if len(moves) > 1 and name in targets and not _is_object(source.type) and source.dtype is DType.STRING:
            copied = code.fresh("held")
            code.line(f"std::vector<std::string> {copied}({name}, {name} + {cpp_size(source.count)});")
            name = f"{copied}.data()"
        elif len(moves) > 1 and name in targets and not _is_object(source.type):
            copied = code.scratch(source.dtype.cpp, source.count, source.dtype.bytes)
            code.line(f"nn::copy({name}, {cpp_size(source.count)}, {copied});")
            name = copied
        elif len(moves) > 1 and name in targets:
            copied = code.fresh("held")
            code.line(f"const auto {copied} = {name};")
            name = copied
        sources.append((name, target))
    for symbol, name in dict(sizes).items():
        code.line(f"{symbol.name} = {name};")
    for (source, target), (name, _) in zip(moves, sources, strict=True):
        _write_one(code, source, name, target)


def _write_one(code: Writer, source: Value, name: str, target: Value) -> None:
    kind = target.type
    if not _is_object(kind):
        code.allocate(target)
        code.line(f"nn::copy({name}, {cpp_size(target.count)}, {code.ref(target)});")
        return
    to = code.ref(target)
    if isinstance(kind, OptionalType) and not isinstance(source.type, OptionalType):
        code.line(f"{to}.has = true;")
        to = f"{to}.value"
    if isinstance(source.type, TensorType) and source.type.shape is not None:
        sizes = ", ".join(map(cpp_size, source.shape))
        code.line(f"nn::copy({name}, {cpp_size(source.count)}, {to}.resize({{{sizes}}}));")
        return
    code.line(f"{to} = {name};")


@operator("If", since=(1, 11, 13, 16, 19, 21, 23, 24, 25))
class If(Operator):
    """One of two graphs."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        branches = [body_of(node, key, []) for key in ("then_branch", "else_branch")]
        node.attributes["then_branch"], node.attributes["else_branch"] = branches
        if node.input(0).count != 1:
            raise InputError(f"{node.where} needs one condition, and is given {node.input(0).tensor}", code="network.shape")
        counts = {len(branch.outputs) for branch in branches} | {len(node.outputs)}
        if len(counts) != 1:
            raise InputError(f"{node.where} and its branches have different numbers of outputs", code="network.body")
        pairs = list(zip(branches[0].outputs, branches[1].outputs, strict=True))
        for output, (one, other) in zip(node.outputs, pairs, strict=True):
            output.padded = _padded(one, other)
        return [_merged(one.type, other.type, facts, set()) for one, other in pairs]

    def write(self, node: Node, code: Writer) -> None:
        for head, key in ((f"if ({code.ref(node.input(0))}[0])", "then_branch"), ("else", "else_branch")):
            branch = node.graph(key)
            with code.block(head):
                code.write_nodes(branch)
                moves = [(source, target) for source, target in zip(branch.outputs, node.outputs, strict=True) if target.name]
                for move in moves:
                    write_move(code, [move])


@dataclass(frozen=True)
class _Carried:
    """What a loop carries: the value inside, the value outside, and what it starts as."""

    initial: Value
    inner: Value
    result: Value


def _infer_carried(
    node: Node,
    key: str,
    facts: Facts,
    initial: Sequence[ValueType],
    before: Sequence[ValueType],
    after: Sequence[ValueType],
    n_first: int,
) -> tuple[Graph, list[ValueType]]:
    """Read a body until the types of what it carries stay as they are.

    Parameters
    ----------
    initial
        Types of what is carried, as it starts.
    before, after
        Types of the body's inputs before and behind those.
    n_first
        Outputs of the body before those that are carried.
    """
    types, keep = list(initial), set[Symbol]()
    for _ in range(MOST_ROUNDS):
        graph = body_of(node, key, [*before, *types, *after])
        found = [value.type for value in graph.outputs[n_first : n_first + len(types)]]
        if len(found) != len(types):
            raise InputError(f"the body of {node.where} has too few outputs", code="network.body")
        merged = [_merged(mine, theirs, facts, keep) for mine, theirs in zip(types, found, strict=True)]
        if merged == types:
            node.attributes[key] = graph
            return graph, types
        types = merged
    raise InputError(f"{node.where} carries a value whose type is another in each round", code="network.body")


def _declare_carried(code: Writer, node: Node, carried: Sequence[_Carried]) -> None:
    """Start values, in the memory of the outputs; the body's inputs are that memory."""
    for item in carried:
        if not item.result.name:
            item.result.name = "carried"
            code.declare(item.result)
        write_move(code, [(item.initial, item.result)])
        code.bind(item.inner, code.storage(item.result))


@operator("Loop", since=(1, 11, 13, 16, 19, 21, 23, 24, 25))
class Loop(Operator):
    """Rounds up to a number, as long as a condition holds; the outputs of each round may be stacked."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        initial = [node.input(index).type for index in range(2, len(node.inputs))]
        before = [TensorType(DType.INT64, ()), TensorType(DType.BOOL, ())]
        graph, types = _infer_carried(node, "body", facts, initial, before, [], 1)
        stacked = graph.outputs[1 + len(types) :]
        if len(node.outputs) > len(types) + len(stacked):
            raise InputError(f"{node.where} has more outputs than its body", code="network.body")
        known = self._rounds(node, graph)
        inside = _defined_in(graph)
        result: list[ValueType] = list(types)
        for value in stacked:
            count = known if known is not None else facts.late("rounds")
            sizes = tuple(facts.late() if _mentions(size, inside) else size for size in value.shape)
            result.append(TensorType(value.dtype, (count, *sizes)))
        return result

    @staticmethod
    def _rounds(node: Node, graph: Graph) -> Size | None:
        """How many rounds there will be, where no condition can end them early."""
        limit = node.optional(0)
        condition = node.constant(1)
        if limit is None or limit.elements is None or len(limit.elements) != 1:
            return None
        always = not node.has(1) or (condition is not None and bool(condition.reshape(-1)[0]))
        kept = graph.outputs[0]
        stays = kept is graph.inputs[1] or (kept.constant is not None and bool(kept.constant.reshape(-1)[0]))
        (rounds,) = limit.elements
        return rounds if always and stays and not (isinstance(rounds, int) and rounds < 0) else None

    def write(self, node: Node, code: Writer) -> None:
        graph = node.graph("body")
        n_carried = len(node.inputs) - 2
        carried = [
            _Carried(
                node.input(2 + i),
                graph.inputs[2 + i],
                node.outputs[i] if i < len(node.outputs) else Value("", graph.inputs[2 + i].type),
            )
            for i in range(n_carried)
        ]
        _declare_carried(code, node, carried)
        code.declare(graph.inputs[0])
        code.declare(graph.inputs[1])
        round_, keep = code.fresh("round"), code.ref(graph.inputs[1])
        limit, condition = node.optional(0), node.optional(1)
        code.line(f"{keep}[0] = {'true' if condition is None else code.ref(condition) + '[0]'};")
        stacks = [
            _Stack.begin(code, output, value, round_)
            for output, value in zip(node.outputs[n_carried:], graph.outputs[1 + n_carried :], strict=False)
            if output.name
        ]
        bound = "" if limit is None else f"{round_} < {code.ref(limit)}[0] && "
        rounds = code.fresh("rounds")
        code.line(f"std::int64_t {rounds} = 0;")
        with code.loop(f"for (std::int64_t {round_} = 0; {bound}{keep}[0]; ++{round_})"):
            code.line(f"{code.ref(graph.inputs[0])}[0] = {round_};")
            code.line(f"++{rounds};")
            code.write_nodes(graph)
            for stack in stacks:
                stack.add(code)
            next_condition = graph.outputs[0]
            moves = [(value, item.result) for value, item in zip(graph.outputs[1:], carried, strict=False)]
            if code.ref(next_condition) != keep:
                code.line(f"{keep}[0] = {code.ref(next_condition)}[0];")
            write_move(code, moves)
            # What the body reads and what is carried is read again in the next round.
            for value in (*graph.inputs, *(item.result for item in carried)):
                code.storage(value)
        for stack in stacks:
            stack.end(code, rounds)


def _defined_in(graph: Graph) -> set[Symbol]:
    """The symbols that a graph's nodes and inputs bring along."""
    from mlcore.networks.ir.sizes import symbols

    values = [*graph.inputs, *(value for node in graph.walk() for value in node.outputs)]
    return {
        item
        for value in values
        if isinstance(value.type, TensorType) and value.type.shape is not None
        for size in value.type.shape
        for item in symbols(size)
        if item.late
    }


def _mentions(size: Size, some: set[Symbol]) -> bool:
    from mlcore.networks.ir.sizes import symbols

    return any(item in some for item in symbols(size))


@dataclass(frozen=True)
class _Stack:
    """An output made of one tensor of each round."""

    output: Value
    value: Value
    round: str
    held: str | None

    @classmethod
    def begin(cls, code: Writer, output: Value, value: Value, round_: str) -> _Stack:
        if not code.is_late(output):
            return cls(output, value, round_, None)
        name = code.object(object_type(TensorType(output.dtype)))
        code.line(f"{name}.values.clear(), {name}.shape.clear();")
        return cls(output, value, round_, name)

    def add(self, code: Writer) -> None:
        count, source = cpp_size(self.value.count), code.ref(self.value)
        if self.held is None:
            code.line(f"nn::copy({source}, {count}, {code.ref(self.output)} + {self.round} * {count});")
        else:
            sizes = ", ".join(map(cpp_size, self.value.shape))
            code.line(f"nn::stack({source}, {{{sizes}}}, {self.held});")

    def end(self, code: Writer, rounds: str) -> None:
        name = self.held
        if name is None:
            return
        for axis, size in enumerate(self.output.shape):
            if _symbol(size) is not None and _symbol(size).late:  # type: ignore[union-attr]
                text = rounds if axis == 0 else f"{rounds} ? {name}.shape[{axis - 1}] : 0"
                code.assign(size, text)
        code.allocate(self.output)
        code.line(f"nn::copy({name}.data(), {cpp_size(self.output.count)}, {code.ref(self.output)});")


@operator("Scan", since=(8, 9, 11, 16, 19, 21, 23, 24, 25))
class Scan(Operator):
    """Rounds over the slices of some inputs; outputs of each round are stacked.

    Version 8 has a batch in front of everything, each row of which is scanned by itself.
    """

    def _parts(self, node: Node) -> tuple[list[Value], list[Value], int]:
        """What is carried, what is scanned, and the axes of the batch in front (0 or 1)."""
        first = 1 if node.version == 8 else 0
        if first and node.has(0):
            raise InputError(
                f"{node.where} is given lengths of sequences", hint="Leave them out: all rows are scanned to their ends."
            )
        n_scanned = node.integer("num_scan_inputs", 0)
        values = [node.input(index) for index in range(first, len(node.inputs))]
        if not 0 < n_scanned <= len(values):
            raise InputError(f"{node.where} scans {n_scanned} of {len(values)} inputs", code="network.attribute")
        return values[: len(values) - n_scanned], values[len(values) - n_scanned :], first

    def _axes(self, node: Node, key: str, ranks: Sequence[int]) -> list[int]:
        axes = node.integers(key) or [0] * len(ranks)
        if len(axes) != len(ranks):
            raise InputError(f"{node.where} has {len(axes)} {key} for {len(ranks)} values", code="network.attribute")
        return [node.axis(axis, rank) for axis, rank in zip(axes, ranks, strict=True)]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        carried, scanned, batch = self._parts(node)
        axes = self._axes(node, "scan_input_axes", [value.rank - batch for value in scanned])
        rounds: Size = scanned[0].shape[axes[0] + batch]
        for value, axis in zip(scanned, axes, strict=True):
            facts.same(rounds, value.shape[axis + batch], f"{node.where} scans axes of one length")
        slices = [TensorType(v.dtype, _without(v.shape[batch:], axis)) for v, axis in zip(scanned, axes, strict=True)]
        initial = [TensorType(value.dtype, value.shape[batch:]) for value in carried]
        graph, types = _infer_carried(node, "body", facts, initial, [], slices, 0)
        if types != initial:
            raise InputError(f"{node.where} carries tensors whose shapes change", code="network.body")
        stacked = graph.outputs[len(types) :]
        out_axes = self._axes(node, "scan_output_axes", [value.rank + 1 for value in stacked])
        inside = _defined_in(graph)
        result: list[ValueType] = []
        lead = scanned[0].shape[:batch]
        result += [TensorType(kind.dtype, (*lead, *kind.dims)) for kind in initial]
        for value, axis in zip(stacked, out_axes, strict=True):
            if any(_mentions(size, inside) for size in value.shape):
                raise InputError(f"{node.where} stacks tensors whose shape is not known before it runs", code="network.body")
            result.append(TensorType(value.dtype, (*lead, *value.shape[:axis], rounds, *value.shape[axis:])))
        return result

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/tensor.hpp")
        carried, scanned, batch = self._parts(node)
        graph = node.graph("body")
        axes = self._axes(node, "scan_input_axes", [value.rank - batch for value in scanned])
        stacked = graph.outputs[len(carried) :]
        out_axes = self._axes(node, "scan_output_axes", [value.rank + 1 for value in stacked])
        back = node.integers("scan_input_directions") or [0] * len(scanned)
        out_back = node.integers("scan_output_directions") or [0] * len(stacked)
        if batch:
            back = node.integers("directions") or [0] * len(scanned)
        rounds = scanned[0].shape[axes[0] + batch]
        for value in graph.inputs:
            code.declare(value)
        row = code.fresh("row")
        n_rows = cpp_size(scanned[0].shape[0]) if batch else "1"
        with code.loop(f"for (std::int64_t {row} = 0; {row} < {n_rows}; ++{row})"):
            for value, inner in zip(carried, graph.inputs, strict=False):
                code.line(
                    f"nn::copy({code.ref(value)} + {row} * {cpp_size(inner.count)}, {cpp_size(inner.count)}, {code.ref(inner)});"
                )
            step = code.fresh("round")
            with code.loop(f"for (std::int64_t {step} = 0; {step} < {cpp_size(rounds)}; ++{step})"):
                for value, inner, axis, reverse in zip(scanned, graph.inputs[len(carried) :], axes, back, strict=True):
                    where = f"{cpp_size(rounds)} - 1 - {step}" if reverse else step
                    outer, rest = _around(inner.shape, axis)
                    start = f"{code.ref(value)} + {row} * {cpp_size(inner.count * rounds)}"
                    code.line(f"nn::take_slice({start}, {outer}, {cpp_size(rounds)}, {rest}, {where}, {code.ref(inner)});")
                code.write_nodes(graph)
                for value, output, axis, reverse in zip(stacked, node.outputs[len(carried) :], out_axes, out_back, strict=False):
                    if not output.name:
                        continue
                    where = f"{cpp_size(rounds)} - 1 - {step}" if reverse else step
                    outer, rest = _around(value.shape, axis)
                    start = f"{code.ref(output)} + {row} * {cpp_size(value.count * rounds)}"
                    code.line(f"nn::put_slice({code.ref(value)}, {outer}, {cpp_size(rounds)}, {rest}, {where}, {start});")
                write_move(code, list(zip(graph.outputs, graph.inputs[: len(carried)], strict=False)))
                for value in graph.inputs:
                    code.storage(value)
            for inner, output in zip(graph.inputs, node.outputs[: len(carried)], strict=False):
                if output.name:
                    count = cpp_size(inner.count)
                    code.line(f"nn::copy({code.ref(inner)}, {count}, {code.ref(output)} + {row} * {count});")


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _around(shape: Shape, axis: int) -> tuple[str, str]:
    """How many elements lie before and behind an axis that is taken out of a tensor."""
    return cpp_size(product(shape[:axis])), cpp_size(product(shape[axis:]))
