"""Operators that give a tensor another shape without moving an element, and those that ask for a shape."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import DType, Node, Size, TensorType, ValueType, product
from mlcore.networks.ops import Facts, Operator, operator


class View(Operator):
    """The output is the input's memory under another shape."""

    def view_of(self, node: Node) -> int | None:
        return 0

    def elements(self, node: Node) -> tuple[Size | None, ...] | None:
        return node.input(0).parts

    def write(self, node: Node, code: Writer) -> None:
        # Texts only come here; all else is the input's memory.
        self.write_sizes(node, code)
        code.allocate(node.output)
        code.line(f"nn::copy({code.ref(node.input(0))}, {code.size(node.input(0).count)}, {code.ref(node.output)});")


@operator("Identity", since=(1, 13, 14, 16, 19, 21, 23, 24, 25))
class Identity(View):
    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        return [node.input(0).type]

    def write(self, node: Node, code: Writer) -> None:
        if isinstance(node.output.type, TensorType) and node.output.type.shape is not None:
            super().write(node, code)
        else:
            code.line(f"{code.ref(node.output)} = {code.ref(node.input(0))};")


@operator("Reshape", since=(5, 13, 14, 19, 21, 23, 24, 25))
class Reshape(View):
    """Sizes of 0 are the input's at that place (unless `allowzero`), one of -1 is what is left."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        wanted = node.input(1).elements
        if wanted is None:
            told = self._told(node)
            return [TensorType(data.dtype, tuple(facts.late() if size is None else size for size in told))]
        keep_zero = bool(node.integer("allowzero", 0))
        sizes: list[Size] = []
        for axis, size in enumerate(wanted):
            if size == 0 and not keep_zero:
                if axis >= data.rank:
                    raise InputError(f"{node.where} keeps axis {axis} of a tensor with {data.rank} axes", code="network.shape")
                sizes.append(data.shape[axis])
            else:
                sizes.append(size)
        unknown = [axis for axis, size in enumerate(sizes) if size == -1]
        if len(unknown) > 1 or any(isinstance(size, int) and size < -1 for size in sizes):
            raise InputError(f"{node.where} wants the shape {list(wanted)}", hint="One size may be -1.", code="network.shape")
        if unknown:
            rest = product(size for size in sizes if size != -1)
            if rest == 0:
                raise InputError(f"{node.where} wants the shape {list(wanted)}, of which -1 cannot be told", code="network.shape")
            sizes[unknown[0]] = data.count // rest
        facts.same(data.count, product(sizes), f"{node.where} keeps the number of elements")
        return [TensorType(data.dtype, tuple(sizes))]

    @staticmethod
    def _told(node: Node) -> list[Size | None]:
        """Of sizes that only running tells, those that are known all the same; it checks them."""
        shape, rank = node.input(0).shape, node.rank_told_by(1)
        told: list[Size | None] = [None] * rank
        for axis, size in enumerate(node.input(1).parts or ()):
            if isinstance(size, int) and size > 0:
                told[axis] = size
            elif size == 0 and (node.integer("allowzero", 0) or axis < len(shape)):
                told[axis] = 0 if node.integer("allowzero", 0) else shape[axis]
        return told

    def write_sizes(self, node: Node, code: Writer) -> None:
        if node.input(1).elements is not None:
            return
        data, (rank,) = node.input(0), node.input(1).shape
        name = code.fresh("shape")
        keep_zero = "true" if node.integer("allowzero", 0) else "false"
        code.line(f"std::int64_t {name}[{rank}];")
        given = code.sizes(data.shape)
        code.line(f"nn::reshape({given}, {code.ref(node.input(1))}, {rank}, {keep_zero}, {name});")
        for axis, (size, known) in enumerate(zip(node.output.shape, self._told(node), strict=True)):
            if known is None:
                code.assign(size, f"{name}[{axis}]")


@operator("Flatten", since=(1, 9, 11, 13, 21, 23, 24, 25))
class Flatten(View):
    """Two axes: the product of those before `axis`, and of the others."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, axis = node.input(0), node.integer("axis", 1)
        if not -data.rank <= axis <= data.rank:
            raise InputError(f"{node.where} has the axis {axis}, but its tensor {data.rank} axes", code="network.axis")
        axis = axis + data.rank if axis < 0 else axis
        return [TensorType(data.dtype, (product(data.shape[:axis]), product(data.shape[axis:])))]


def axes_of(node: Node, index: int, key: str = "axes") -> list[int] | None:
    """Axes from an attribute, or in later versions from an input.

    Returns
    -------
    list or None
        None where there are none, and where they are known only when the code runs (`late_axes` tells).
    """
    if not node.has(index):
        listed: list[int] | None = node.integers(key)
        return listed
    elements = node.input(index).elements or ()
    return None if late_axes(node, index) else [item for item in elements if isinstance(item, int)]


def late_axes(node: Node, index: int) -> bool:
    """Whether axes are an input that is not known before the code runs."""
    value = node.optional(index)
    if value is None:
        return False
    return value.elements is None or not all(isinstance(item, int) for item in value.elements)


def n_axes(node: Node, index: int) -> int:
    """How many axes an input names.

    Raises
    ------
    InputError
        Not even that is known.
    """
    count = node.input(index).count
    if not isinstance(count, int):
        raise InputError(f"{node.where} has a result whose rank is not known before it runs", code="network.rank")
    return count


class Axes(View):
    """Axes of size 1 come or go; where the model computes which, the sizes are found out when the code runs."""

    function: str

    def write_sizes(self, node: Node, code: Writer) -> None:
        if not late_axes(node, 1):
            return
        name, shape = code.fresh("shape"), node.output.shape
        code.line(f"std::int64_t {name}[{max(1, len(shape))}];")
        given, axes = code.sizes(node.input(0).shape), node.input(1)
        code.line(f"nn::{self.function}({given}, {code.ref(axes)}, {n_axes(node, 1)}, {name});")
        for axis, size in enumerate(shape):
            code.assign(size, f"{name}[{axis}]")


@operator("Squeeze", since=(1, 11, 13, 21, 23, 24, 25))
class Squeeze(Axes):
    """Without axes of size 1: those that are named, or all."""

    function = "squeeze"

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if late_axes(node, 1):
            return [TensorType(data.dtype, tuple(facts.late() for _ in range(data.rank - n_axes(node, 1))))]
        axes = axes_of(node, 1)
        if axes is None:
            for axis, size in enumerate(data.shape):
                if not isinstance(size, int):
                    why = (
                        f"{node.where} takes out every axis of size 1, and axis {axis}, whose size is open, is one: name the axes"
                    )
                    facts.other_than_one(size, why)
            return [TensorType(data.dtype, tuple(size for size in data.shape if size != 1))]
        gone = {node.axis(axis, data.rank) for axis in axes}
        for axis in gone:
            facts.same(data.shape[axis], 1, f"{node.where} takes out axis {axis}, which has to be of size 1")
        return [TensorType(data.dtype, tuple(size for axis, size in enumerate(data.shape) if axis not in gone))]


@operator("Unsqueeze", since=(1, 11, 13, 21, 23, 24, 25))
class Unsqueeze(Axes):
    """With more axes of size 1."""

    function = "unsqueeze"

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if late_axes(node, 1):
            return [TensorType(data.dtype, tuple(facts.late() for _ in range(data.rank + n_axes(node, 1))))]
        axes = axes_of(node, 1)
        if axes is None:
            raise InputError(f"{node.where} names no axes", code="network.attribute")
        rank = data.rank + len(axes)
        added = {node.axis(axis, rank) for axis in axes}
        if len(added) != len(axes):
            raise InputError(f"{node.where} names an axis twice: {axes}", code="network.axis")
        rest = iter(data.shape)
        return [TensorType(data.dtype, tuple(1 if axis in added else next(rest) for axis in range(rank)))]


@operator("Shape", since=(1, 13, 15, 19, 21, 23, 24, 25))
class ShapeOf(Operator):
    """The sizes of a tensor, from `start` to before `end`."""

    def _axes(self, node: Node) -> range:
        rank = node.input(0).rank
        start, end = node.integer("start", 0), node.integer("end", rank)
        start, end = (min(max(item + rank if item < 0 else item, 0), rank) for item in (start, end))
        return range(start, end)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        return [TensorType(DType.INT64, (len(self._axes(node)),))]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        return tuple(node.input(0).shape[axis] for axis in self._axes(node))

    def write(self, node: Node, code: Writer) -> None:
        for i, axis in enumerate(self._axes(node)):
            code.line(f"{code.ref(node.output)}[{i}] = {code.size(node.input(0).shape[axis])};")


@operator("Size", since=(1, 13, 19, 21, 23, 24, 25))
class SizeOf(Operator):
    """The number of elements of a tensor."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        return [TensorType(DType.INT64, ())]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        return (node.input(0).count,)

    def write(self, node: Node, code: Writer) -> None:
        code.line(f"{code.ref(node.output)}[0] = {code.size(node.input(0).count)};")
