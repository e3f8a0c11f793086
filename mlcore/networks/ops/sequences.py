"""Sequences of tensors, and values that may be absent.

They are objects of the workspace. What comes out of one is a tensor whose sizes the code reads from the object, so that every
operator can go on with it as long as its rank is known: from the tensors that went in, or from what the model declares.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from mlcore.errors import InputError
from mlcore.networks.code import Writer, cpp_size
from mlcore.networks.ir import (
    REQUIRED,
    VARIES,
    DType,
    Expr,
    Node,
    OptionalType,
    SequenceType,
    Size,
    Symbol,
    TensorType,
    Value,
    ValueType,
    joined,
    stored,
)
from mlcore.networks.ops import Facts, Operator, operator

_HEADER = "kernels/nn/sequences.hpp"


def _sequence(node: Node, index: int) -> SequenceType:
    kind = node.input(index).type
    if not isinstance(kind, SequenceType):
        raise InputError(f"{node.where} needs a sequence, and is given {kind}", code="network.type")
    return kind


def _taken_out(element: TensorType, facts: Facts) -> TensorType:
    """The type of a tensor that comes out of an object: what varies is found out when it does."""
    if element.shape is None:
        return element
    return TensorType(element.dtype, tuple(facts.late() if size == VARIES else size for size in element.shape))


def _same_type(node: Node, *kinds: TensorType) -> DType:
    dtypes = {kind.dtype for kind in kinds}
    if len(dtypes) > 1:
        raise InputError(
            f"{node.where} mixes {', '.join(sorted(map(str, dtypes)))}",
            hint="The tensors of a sequence have one element type.",
            code="network.dtype",
        )
    return kinds[0].dtype


def _position(code: Writer, value: Value | None, default: str) -> str:
    return default if value is None else f"static_cast<std::int64_t>({code.ref(value)}[0])"


def _check_position(node: Node, index: int) -> None:
    value = node.optional(index)
    if value is not None and (value.count != 1 or not value.dtype.is_integer):
        raise InputError(f"{node.where} needs one number for a place, and is given {value.tensor}", code="network.shape")


def write_put(code: Writer, value: Value, target: str) -> None:
    """Write a copy of a tensor into an ``nn::Tensor``."""
    code.include(_HEADER)
    if value.tensor.shape is None:
        code.line(f"{target} = {code.ref(value)};")
    else:
        code.line(f"nn::put({code.ref(value)}, {{{', '.join(map(cpp_size, value.shape))}}}, {target});")


def write_room(code: Writer, output: Value, shape: str, what: str) -> str:
    """Write memory for an output of a shape that only the code knows, checked against what is known of it.

    Parameters
    ----------
    shape
        Name of a ``std::vector<std::int64_t>``.
    what
        The output in words, for messages of the code.

    Returns
    -------
    str
        C++ of a pointer to the elements.
    """
    known = output.tensor.shape
    if known is None:
        code.line(f"{code.ref(output)}.resize({shape});")
        return f"{code.ref(output)}.data()"
    code.line(f'nn::require({shape}.size() == {len(known)}, "{what} has another number of axes than the model says");')
    for axis, size in enumerate(known):
        if _is_own(size):
            code.assign(size, f"{shape}[{axis}]")
        else:
            code.line(f'nn::require({shape}[{axis}] == {cpp_size(size)}, "{what} has another shape than the model says");')
    code.allocate(output)
    return code.ref(output)


def _is_own(size: Size) -> bool:
    """Whether a size is a symbol that the node assigns."""
    if not isinstance(size, Expr) or len(size.terms) != 1:
        return False
    ((monomial, factor),) = size.terms
    return factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol) and monomial[0].late


def _write_out(code: Writer, source: str, output: Value, what: str) -> None:
    """Write a tensor that comes out of an ``nn::Tensor``."""
    if output.tensor.shape is None:
        code.line(f"{code.ref(output)} = {source};")
        return
    name = code.fresh("taken")
    code.line(f"const auto& {name} = {source};")
    target = write_room(code, output, f"{name}.shape", what)
    code.line(f"nn::copy({name}.data(), {name}.count(), {target});")


# Sequences.


@operator("SequenceConstruct", since=(11,))
class SequenceConstruct(Operator):
    """A sequence of some tensors."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        kinds = [value.tensor for value in node.present()]
        if not kinds:
            raise InputError(f"{node.where} has no inputs", hint="SequenceEmpty makes an empty sequence.", code="network.input")
        _same_type(node, *kinds)
        return [SequenceType(reduce(joined, kinds[1:], stored(kinds[0])))]

    def write(self, node: Node, code: Writer) -> None:
        output = code.ref(node.output)
        code.line(f"{output}.resize({len(node.present())});")
        for i, value in enumerate(node.present()):
            write_put(code, value, f"{output}[{i}]")


@operator("SequenceEmpty", since=(11,))
class SequenceEmpty(Operator):
    """A sequence of no tensors, of an element type."""

    deterministic = False  # There is nothing to fold it to.

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        number = node.integer("dtype", DType.FLOAT32.number)
        dtype = DType.of_number(number)
        if dtype is None:
            raise InputError(f"{node.where} has the unsupported element type {number}", code="network.dtype")
        return [SequenceType(TensorType(dtype), is_empty=True)]

    def write(self, node: Node, code: Writer) -> None:
        code.line(f"{code.ref(node.output)}.clear();")


@operator("SequenceInsert", since=(11,))
class SequenceInsert(Operator):
    """A sequence with one more tensor, at its end or at a place."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        sequence, tensor = _sequence(node, 0), node.input(1).tensor
        _same_type(node, sequence.element, tensor)
        _check_position(node, 2)
        return [SequenceType(stored(tensor) if sequence.is_empty else joined(sequence.element, tensor))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        source, output = code.ref(node.input(0)), code.ref(node.output)
        position = _position(code, node.optional(2), f"static_cast<std::int64_t>({source}.size())")
        write_put(code, node.input(1), f"nn::insert({source}, {position}, {output})")


@operator("SequenceErase", since=(11,))
class SequenceErase(Operator):
    """A sequence without the tensor at its end, or at a place."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        _check_position(node, 1)
        return [SequenceType(_sequence(node, 0).element)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        position = _position(code, node.optional(1), "-1")
        code.line(f"nn::erase({code.ref(node.input(0))}, {position}, {code.ref(node.output)});")


@operator("SequenceAt", since=(11,))
class SequenceAt(Operator):
    """The tensor at a place."""

    takes_declared = True

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        _check_position(node, 1)
        return [_taken_out(_sequence(node, 0).element, facts)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        sequence = code.ref(node.input(0))
        place = f"nn::sequence_place({sequence}, {_position(code, node.input(1), '0')})"
        _write_out(code, f"{sequence}[{place}]", node.output, "an element of a sequence")


@operator("SequenceLength", since=(11,))
class SequenceLength(Operator):
    """The number of tensors."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        _sequence(node, 0)
        return [TensorType(DType.INT64, ())]

    def write(self, node: Node, code: Writer) -> None:
        code.line(f"{code.ref(node.output)}[0] = static_cast<std::int64_t>({code.ref(node.input(0))}.size());")


@operator("ConcatFromSequence", since=(11,))
class ConcatFromSequence(Operator):
    """All tensors side by side along an axis, or along a new one."""

    takes_declared = True

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        element, axis = _sequence(node, 0).element, node.integer("axis", REQUIRED)
        new_axis = self._new_axis(node)
        if element.shape is None:
            return [element]
        axis = node.axis(axis, len(element.shape) + new_axis)
        behind = element.shape[axis if new_axis else axis + 1 :]
        shape = (*element.shape[:axis], VARIES, *behind)
        return [_taken_out(TensorType(element.dtype, shape), facts)]

    @staticmethod
    def _new_axis(node: Node) -> bool:
        value = node.integer("new_axis", 0)
        if value not in (0, 1):
            raise InputError(f"{node.where} has new_axis={value}, which is 0 or 1", code="network.attribute")
        return bool(value)

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        sequence, name = code.ref(node.input(0)), code.fresh("shape")
        how = f"{node.integer('axis', REQUIRED)}, {'true' if self._new_axis(node) else 'false'}"
        code.line(f"const std::vector<std::int64_t> {name} = nn::joined_shape({sequence}, {how});")
        target = write_room(code, node.output, name, "a sequence whose tensors are joined")
        code.line(f"nn::join({sequence}, {how}, {target});")


@operator("SplitToSequence", since=(11, 24))
class SplitToSequence(Operator):
    """An axis cut into parts: single slices, parts of one size, or parts of given sizes."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        axis = node.axis(node.integer("axis", 0), data.rank)
        part = self._part(node, data.shape[axis])
        return [SequenceType(stored(TensorType(data.dtype, (*data.shape[:axis], *part, *data.shape[axis + 1 :]))))]

    @staticmethod
    def _part(node: Node, size: Size) -> tuple[Size, ...]:
        """What all parts have in place of the axis."""
        if not node.has(1):
            return (1,) if node.integer("keepdims", 1) else ()
        given = node.input(1)
        if given.rank > 1:
            raise InputError(f"{node.where} is given sizes of the shape {given.tensor}", code="network.shape")
        known = given.elements
        if not known or any(item != known[0] for item in known):
            return (VARIES,)
        part = known[0]
        even = isinstance(size, int) and isinstance(part, int) and part > 0 and size % part == 0
        return (part,) if given.rank == 1 or even else (VARIES,)

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data = node.input(0)
        axis = node.axis(node.integer("axis", 0), data.rank)
        keep = node.has(1) or bool(node.integer("keepdims", 1))
        name, shape = code.fresh("split"), ", ".join(map(cpp_size, data.shape))
        code.line(
            f"nn::Splitter<{data.dtype.cpp}> {name}({code.ref(data)}, {{{shape}}}, {axis}, {'true' if keep else 'false'}, "
            f"{code.ref(node.output)});"
        )
        if not node.has(1):
            code.line(f"{name}.every(1);")
        elif node.input(1).rank == 0:
            code.line(f"{name}.every({_position(code, node.input(1), '1')});")
        else:
            code.line(f"{name}.each({code.ref(node.input(1))}, {code.size(node.input(1).count)});")


# Values that may be absent.


@operator("Optional", since=(15, 28))
class Optional(Operator):
    """A value that is there, or the absence of one of a type."""

    deterministic = False  # There is nothing to fold it to.

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        kind = node.input(0).type if node.has(0) else node.attributes.get("type")
        if isinstance(kind, TensorType):
            return [OptionalType(stored(kind))]
        if isinstance(kind, SequenceType):
            return [OptionalType(kind)]
        raise InputError(f"{node.where} holds no tensor or sequence, but {kind}", code="network.type")

    def write(self, node: Node, code: Writer) -> None:
        value, output = node.optional(0), code.ref(node.output)
        code.line(f"{output}.has = {'false' if value is None else 'true'};")
        if value is None:
            return
        if isinstance(value.type, TensorType):
            write_put(code, value, f"{output}.value")
        else:
            code.line(f"{output}.value = {code.ref(value)};")


@operator("OptionalHasElement", since=(15, 18, 28))
class OptionalHasElement(Operator):
    """Whether a value is there."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        return [TensorType(DType.BOOL, ())]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        value = node.optional(0)
        if value is not None and isinstance(value.type, OptionalType):
            return None
        return (int(value is not None),)

    def write(self, node: Node, code: Writer) -> None:
        value = node.optional(0)
        held = value is not None and isinstance(value.type, OptionalType)
        text = f"{code.ref(node.input(0))}.has" if held else "false" if value is None else "true"
        code.line(f"{code.ref(node.output)}[0] = {text};")


@operator("OptionalGetElement", since=(15, 18, 28))
class OptionalGetElement(Operator):
    """The value itself, which has to be there."""

    takes_declared = True

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        kind = node.input(0).type
        if isinstance(kind, OptionalType):
            kind = kind.element
            return [_taken_out(kind, facts) if isinstance(kind, TensorType) else kind]
        return [kind]

    def write(self, node: Node, code: Writer) -> None:
        value, output = node.input(0), node.output
        source = code.ref(value)
        if isinstance(value.type, OptionalType):
            code.line(f'nn::require({source}.has, "an optional value that is asked for is absent");')
            source = f"{source}.value"
            if isinstance(output.type, TensorType):
                _write_out(code, source, output, "an optional value")
                return
        elif isinstance(value.type, TensorType) and value.type.shape is not None:
            code.line(f"nn::copy({source}, {code.size(value.count)}, {code.ref(output)});")
            return
        code.line(f"{code.ref(output)} = {source};")
