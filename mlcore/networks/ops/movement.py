"""Operators that move elements: transpose, slice, join, repeat, pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mlcore.errors import InputError
from mlcore.networks.code import Writer, cpp_size, literal
from mlcore.networks.ir import REQUIRED, DType, Node, Shape, Size, TensorType, ValueType, larger, product, smaller
from mlcore.networks.ir.sizes import floordiv, is_nonnegative
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._strided import dense
from mlcore.networks.ops.views import axes_of, late_axes

_HEADER = "kernels/nn/movement.hpp"
_FAR = 2**31 - 1
"""From here on an end means "to the end"."""


def write_strided(code: Writer, source: str, shape: Sequence[Size], strides: Sequence[Size], target: str) -> None:
    """Write a copy of a strided view into dense memory; axes that lie as one are merged."""
    code.include(_HEADER)
    sizes: list[Size] = []
    steps: list[Size] = []
    for size, step in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if sizes and steps[-1] == step * size:
            sizes[-1] = sizes[-1] * size
            steps[-1] = step
        else:
            sizes.append(size)
            steps.append(step)
    if not sizes or (len(sizes) == 1 and steps[0] == 1):
        code.line(f"nn::copy({source}, {code.size(product(sizes))}, {target});")
    else:
        code.line(f"nn::strided_copy({source}, {code.sizes(sizes)}, {code.sizes(steps)}, {target});")


@operator("Transpose", since=(1, 13, 21, 23, 24, 25))
class Transpose(Operator):
    """The axes in another order; by default reversed."""

    def _order(self, node: Node) -> list[int]:
        rank = node.input(0).rank
        order: list[int] = node.integers("perm") or list(range(rank))[::-1]
        if sorted(order) != list(range(rank)):
            raise InputError(f"{node.where} has the order {order} for {rank} axes", code="network.axis")
        return order

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        shape = node.input(0).shape
        return [TensorType(node.input(0).dtype, tuple(shape[axis] for axis in self._order(node)))]

    def view_of(self, node: Node) -> int | None:
        shape = node.input(0).shape
        moved = [axis for axis in self._order(node) if shape[axis] != 1]
        return 0 if moved == sorted(moved) else None

    def elements(self, node: Node) -> tuple[Size | None, ...] | None:
        return node.input(0).parts

    def write(self, node: Node, code: Writer) -> None:
        view = dense(node.input(0))
        strides = [view.strides[axis] for axis in self._order(node)]
        write_strided(code, code.ref(node.input(0)), node.output.shape, strides, code.ref(node.output))


@operator("Expand", since=(8, 13))
class Expand(Operator):
    """Broadcast to a shape, which may itself broadcast."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, wanted = node.input(0), node.input(1).elements
        for size in node.input(1).parts or ():
            if size is not None:
                facts.nonnegative(size, f"{node.where} broadcasts to sizes of 0 or more")
        if wanted is None:
            told = self._told(node)
            return [TensorType(data.dtype, tuple(facts.late() if size is None else size for size in told))]
        return [TensorType(data.dtype, facts.broadcast(data.shape, wanted, why=f"{node.where} broadcasts"))]

    @staticmethod
    def _told(node: Node) -> list[Size | None]:
        """Of sizes that only running tells, those that are known all the same; it checks them."""
        own, parts = node.input(0).shape, node.input(1).parts or (None,) * node.rank_told_by(1)
        rank = max(len(own), len(parts))
        pairs = zip((1,) * (rank - len(own)) + own, (1,) * (rank - len(parts)) + parts, strict=True)
        return [_broadcast_size(mine, wanted) for mine, wanted in pairs]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        known, count = node.input(0).elements, node.output.count
        if known is None or not isinstance(count, int):
            return None
        return known if len(known) == count else known * count if len(known) == 1 else None

    def write(self, node: Node, code: Writer) -> None:
        data, output = node.input(0), node.output
        padding = output.rank - data.rank
        shape = (1,) * padding + tuple(data.shape)
        own = (0,) * padding + dense(data).strides
        if node.input(1).elements is not None:
            strides = [0 if size == 1 else step for size, step in zip(shape, own, strict=True)]
            write_strided(code, code.ref(data), output.shape, strides, code.ref(output))
            return
        rank, given = node.rank_told_by(1), code.ref(node.input(1))
        for axis, (size, known) in enumerate(zip(output.shape, self._told(node), strict=True)):
            position = axis - output.rank + rank
            wanted = f"{given}[{position}]" if position >= 0 else "1"
            text = f"nn::broadcast_size({cpp_size(shape[axis])}, {wanted})"
            if known is None:
                code.assign(size, text)
            else:
                code.line(f'nn::require({text} == {cpp_size(size)}, "Expand broadcasts sizes that differ");')
        code.allocate(output)
        code.include(_HEADER)
        steps = ", ".join(f"{cpp_size(size)} == 1 ? 0 : {cpp_size(step)}" for size, step in zip(shape, own, strict=True))
        code.line(f"nn::strided_copy({code.ref(data)}, {code.sizes(output.shape)}, nn::sizes({steps}), {code.ref(output)});")


def _broadcast_size(*sizes: Size | None) -> Size | None:
    """What two sizes broadcast to, one of which may not be known; None where that may be told in more than one way."""
    for size in sizes:
        if isinstance(size, int) and size != 1:
            return size
    left, right = sizes
    if left == 1 or left == right:
        return right
    return left if right == 1 else None


@operator("Tile", since=(1, 6, 13))
class Tile(Operator):
    """Each axis repeated as a whole."""

    def _repeats(self, node: Node) -> tuple[Size, ...] | None:
        """How often, axis by axis; None where only running tells."""
        if node.version >= 6:
            return node.input(1).elements
        # The first version has a number and an axis, each a tensor of one element.
        known = [node.constant(index) for index in (1, 2)]
        if any(array is None or array.size != 1 for array in known):
            raise InputError(f"{node.where} computes its axis", hint="Convert the model to opset 13.", code="network.unsupported")
        count, axis = (int(array.reshape(-1)[0]) for array in known if array is not None)
        rank = node.input(0).rank
        axis = node.axis(axis, rank)
        return tuple(count if i == axis else 1 for i in range(rank))

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, repeats = node.input(0), self._repeats(node)
        if repeats is None:
            facts.same(node.input(1).count, data.rank, f"{node.where} has one number for each axis")
            return [TensorType(data.dtype, tuple(facts.late() for _ in range(data.rank)))]
        if len(repeats) != data.rank:
            raise InputError(f"{node.where} repeats {data.rank} axes {list(repeats)} times", code="network.shape")
        for item in repeats:
            facts.nonnegative(item, f"{node.where} repeats its axes 0 or more times")
        return [TensorType(data.dtype, tuple(size * count for size, count in zip(data.shape, repeats, strict=True)))]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        known, repeats = node.input(0).elements, self._repeats(node)
        if known is None or repeats is None:
            return None
        count = product(repeats)
        return known * count if isinstance(count, int) else None

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output = node.input(0), node.output
        repeats: Sequence[Size | str] | None = self._repeats(node)
        if repeats is None:
            name = code.ref(node.input(1))
            for axis, size in enumerate(output.shape):
                code.assign(size, f"nn::repeated({cpp_size(data.shape[axis])}, {name}[{axis}])")
            code.allocate(output)
            repeats = [f"{name}[{axis}]" for axis in range(data.rank)]
        sizes, steps = [], []
        for count, size, step in zip(repeats, data.shape, dense(data).strides, strict=True):
            sizes += [count if isinstance(count, str) else cpp_size(count), cpp_size(size)]
            steps += ["0", cpp_size(step)]
        shape = f"nn::sizes({', '.join(sizes)})"
        code.line(f"nn::strided_copy({code.ref(data)}, {shape}, nn::sizes({', '.join(steps)}), {code.ref(output)});")


@operator("Concat", since=(1, 4, 11, 13))
class Concat(Operator):
    """Tensors side by side along an axis."""

    def _axis(self, node: Node) -> int:
        default = 1 if node.version < 4 else REQUIRED
        return node.axis(node.integer("axis", default), node.input(0).rank)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        values = node.present()
        axis = self._axis(node)
        shape = list(values[0].shape)
        for value in values[1:]:
            if value.rank != len(shape) or value.dtype is not values[0].dtype:
                raise InputError(f"{node.where} joins {values[0].tensor} and {value.tensor}", code="network.shape")
            for i, size in enumerate(value.shape):
                if i == axis:
                    shape[i] = shape[i] + size
                else:
                    shape[i] = facts.same(shape[i], size, f"{node.where} joins tensors, axis {i}")
        return [TensorType(values[0].dtype, tuple(shape))]

    def elements(self, node: Node) -> tuple[Size | None, ...] | None:
        parts = [value.parts for value in node.present()]
        if any(part is None for part in parts):
            return None
        return tuple(item for part in parts if part is not None for item in part)

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        axis = self._axis(node)
        inner = product(node.output.shape[axis + 1 :])
        outer, pitch = product(node.output.shape[:axis]), product(node.output.shape[axis:])
        offset: Size = 0
        for value in node.present():
            width = value.shape[axis] * inner
            target = f"{code.ref(node.output)} + {code.size(offset)}" if offset != 0 else code.ref(node.output)
            code.line(f"nn::put_part({code.ref(value)}, {code.size(outer)}, {code.size(width)}, {target}, {code.size(pitch)});")
            offset = offset + width


@operator("Split", since=(1, 2, 11, 13, 18))
class Split(Operator):
    """An axis cut into parts."""

    def _sizes(self, node: Node, facts: Facts | None) -> list[Size]:
        data = node.input(0)
        size = data.shape[node.axis(node.integer("axis", 0), data.rank)]
        given: Sequence[Size] | None = node.integers("split")
        if node.has(1):
            given = node.input(1).elements
            if given is None:
                if facts is None:
                    return []
                facts.same(node.input(1).count, len(node.outputs), f"{node.where} has one part for each output")
                return [facts.late() for _ in node.outputs]
        if given is not None:
            if len(given) != len(node.outputs):
                raise InputError(f"{node.where} has {len(node.outputs)} outputs for {len(given)} parts", code="network.shape")
            if facts is not None:
                total: Size = 0
                for part in given:
                    total = total + facts.nonnegative(part, f"{node.where} has parts of sizes of 0 or more")
                facts.same(total, size, f"{node.where} cuts an axis into parts")
            return list(given)
        n = len(node.outputs)
        if facts is not None and node.integer("num_outputs", n) != n:
            raise InputError(
                f"{node.where} has {n} outputs, and says that it has {node.integer('num_outputs')}", code="network.outputs"
            )
        # Equal parts, the last of which is smaller where that does not come out even.
        whole = floordiv(size + (n - 1), n) if node.version >= 18 else floordiv(size, n)
        rest = size - whole * (n - 1)
        if facts is not None:
            if node.version < 18:
                facts.same(rest, whole, f"{node.where} cuts an axis into equal parts")
            facts.nonnegative(rest, f"{node.where} cuts an axis into equal parts, of which the last is the smallest")
        return [*[whole] * (n - 1), rest]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        axis = node.axis(node.integer("axis", 0), data.rank)
        before, behind = data.shape[:axis], data.shape[axis + 1 :]
        return [TensorType(data.dtype, (*before, size, *behind)) for size in self._sizes(node, facts)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data = node.input(0)
        axis = node.axis(node.integer("axis", 0), data.rank)
        outer, inner, pitch = product(data.shape[:axis]), product(data.shape[axis + 1 :]), product(data.shape[axis:])
        if node.has(1) and node.input(1).elements is None:
            given = code.ref(node.input(1))
            code.line(f"nn::check_parts({given}, {len(node.outputs)}, {code.size(data.shape[axis])});")
            for i, value in enumerate(node.outputs):
                if value.name:
                    code.assign(value.shape[axis], f"{given}[{i}]")
            start = code.fresh("start")
            code.line(f"std::int64_t {start} = 0;")
            for i, value in enumerate(node.outputs):
                run = f"{given}[{i}] * {code.size(inner)}"
                if value.name:
                    code.allocate(value)
                    source = f"{code.ref(data)} + {start}"
                    code.line(f"nn::take_part({source}, {code.size(outer)}, {run}, {code.size(pitch)}, {code.ref(value)});")
                code.line(f"{start} += {run};")
            return
        offset: Size = 0
        for value, size in zip(node.outputs, self._sizes(node, None), strict=True):
            width = size * inner
            if value.name:
                source = f"{code.ref(data)} + {code.size(offset)}" if offset != 0 else code.ref(data)
                code.line(
                    f"nn::take_part({source}, {code.size(outer)}, {code.size(width)}, {code.size(pitch)}, {code.ref(value)});"
                )
            offset = offset + width


@operator("Slice", since=(1, 10, 11, 13))
class Slice(Operator):
    """Ranges of axes, with steps that may go backwards."""

    def _known(self, node: Node) -> tuple[Sequence[Size], Sequence[Size], list[int], list[int]] | None:
        """Starts, ends, axes and steps, where they are known; the axes and steps as numbers."""
        if node.version < 10:
            starts, ends = node.integers("starts", REQUIRED), node.integers("ends", REQUIRED)
            axes = node.integers("axes") or list(range(len(starts)))
            return self._checked(node, starts, ends, axes, [1] * len(starts))
        starts, ends = node.input(1).elements, node.input(2).elements
        if starts is None or ends is None or late_axes(node, 3):
            return None
        axes = axes_of(node, 3) if node.has(3) else list(range(len(starts)))
        steps: Sequence[Size] | None = node.input(4).elements if node.has(4) else [1] * len(starts)
        if steps is None or axes is None or not all(isinstance(step, int) for step in steps):
            return None
        return self._checked(node, starts, ends, axes, [step for step in steps if isinstance(step, int)])

    @staticmethod
    def _checked(
        node: Node, starts: Sequence[Size], ends: Sequence[Size], axes: Sequence[int], steps: list[int]
    ) -> tuple[Sequence[Size], Sequence[Size], list[int], list[int]]:
        if not len(starts) == len(ends) == len(axes) == len(steps):
            raise InputError(f"{node.where} has starts, ends, axes and steps of different lengths", code="network.shape")
        counted = [node.axis(axis, node.input(0).rank) for axis in axes]
        if len(set(counted)) != len(counted):
            raise InputError(f"{node.where} names an axis twice: {list(axes)}", code="network.axis")
        if 0 in steps:
            raise InputError(f"{node.where} has a step of zero", code="network.attribute")
        return starts, ends, counted, steps

    def _ranges(self, node: Node) -> list[tuple[Size, Size, int]] | None:
        """For each axis the first element, how many, and the step; None where only running tells."""
        known = self._known(node)
        if known is None:
            return None
        shape = node.input(0).shape
        ranges: list[tuple[Size, Size, int]] = [(0, size, 1) for size in shape]
        for start, end, axis, step in zip(*known, strict=True):
            found = _range(shape[axis], start, end, step)
            if found is None:
                return None
            ranges[axis] = (*found, step)
        return ranges

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, ranges = node.input(0), self._ranges(node)
        if ranges is not None:
            for place in (place for listed in (self._known(node) or ())[:2] for place in listed):
                # A place that is computed from sizes is taken to count from the front.
                if not isinstance(place, int):
                    facts.nonnegative(place, f"{node.where} counts from the front")
            return [TensorType(data.dtype, tuple(count for _, count, _ in ranges))]
        for index in (2, 3, 4):
            if node.has(index):
                facts.same(node.input(1).count, node.input(index).count, f"{node.where} has as many starts as ends, axes, steps")
        touched = set(range(data.rank))
        if not late_axes(node, 3):
            axes = axes_of(node, 3) if node.has(3) else None
            count = node.input(1).count
            if axes is None and isinstance(count, int):
                axes = list(range(count))
            if axes is not None:
                touched = {node.axis(axis, data.rank) for axis in axes}
        return [TensorType(data.dtype, tuple(facts.late() if axis in touched else size for axis, size in enumerate(data.shape)))]

    def elements(self, node: Node) -> tuple[Size | None, ...] | None:
        known, ranges = node.input(0).parts, self._ranges(node)
        if known is None or ranges is None or len(ranges) != 1:
            return None
        ((first, count, step),) = ranges
        if not isinstance(first, int) or not isinstance(count, int):
            return None
        return tuple(known[first + i * step] for i in range(count))

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output, ranges = node.input(0), node.output, self._ranges(node)
        own = dense(data).strides
        if ranges is not None:
            offset: Size = 0
            for (first, _, _), step in zip(ranges, own, strict=True):
                offset = offset + step * first
            source = f"{code.ref(data)} + {code.size(offset)}" if offset != 0 else code.ref(data)
            strides = [step * by for (_, _, by), step in zip(ranges, own, strict=True)]
            write_strided(code, source, output.shape, strides, code.ref(output))
            return
        name, count = code.fresh("slice"), code.size(node.input(1).count)
        pointers = [code.ref(node.input(i)) if node.has(i) else "nullptr" for i in range(1, 5)]
        kinds = f"{data.rank}, {node.input(1).dtype.cpp}"
        code.line(f"const auto {name} = nn::slice_range<{kinds}>({code.sizes(data.shape)}, {', '.join(pointers)}, {count});")
        for axis, size in enumerate(output.shape):
            if size != data.shape[axis]:
                code.assign(size, f"{name}.shape[{axis}]")
        code.allocate(output)
        code.line(f"nn::strided_copy({code.ref(data)} + {name}.offset, {name}.shape, {name}.strides, {code.ref(output)});")


def _range(size: Size, start: Size, end: Size, step: int) -> tuple[Size, Size] | None:
    """The first element and how many, of an axis; None where it cannot be told in advance."""
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        # Python's rule, but for starts before the axis of slices that go backwards: ONNX has them begin with the first element.
        found = range(size)[slice(max(start, -size), None if step < 0 and end < -size else end, step)]
        return (found.start if len(found) else 0), len(found)
    if step < 0:
        whole = isinstance(start, int) and isinstance(end, int) and (start == -1 or start >= _FAR) and end <= -_FAR
        return (size - 1, floordiv(size + (-step - 1), -step)) if whole else None
    first = _bounded(start, size)
    last = _bounded(end, size)
    if first is None or last is None:
        return None
    count = last - first
    if not is_nonnegative(count):
        count = larger(count, 0)
    return first, floordiv(count + (step - 1), step)


def _bounded(place: Size, size: Size) -> Size | None:
    """A start or end of an axis as a number from 0 to its size."""
    if isinstance(place, int):
        if place >= _FAR:
            return size
        if place == 0:
            return 0
        return larger(size + place, 0) if place < 0 else smaller(place, size)
    if isinstance(size - place, int):
        return place if cast("int", size - place) >= 0 else size
    return smaller(place, size) if is_nonnegative(place) else None


@operator("Gather", since=(1, 11, 13))
class Gather(Operator):
    """Slices of an axis by number."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, indices = node.input(0), node.input(1)
        axis = node.axis(node.integer("axis", 0), data.rank)
        return [TensorType(data.dtype, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))]

    def elements(self, node: Node) -> tuple[Size | None, ...] | None:
        known, indices = node.input(0).parts, node.input(1).elements
        if known is None or indices is None or node.input(0).rank != 1:
            return None
        if not all(isinstance(i, int) and -len(known) <= i < len(known) for i in indices):
            return None
        return tuple(known[i] for i in indices if isinstance(i, int))

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, indices = node.input(0), node.input(1)
        axis = node.axis(node.integer("axis", 0), data.rank)
        outer, inner = product(data.shape[:axis]), product(data.shape[axis + 1 :])
        code.line(
            f"nn::gather({code.ref(data)}, {code.size(outer)}, {code.size(data.shape[axis])}, {code.size(inner)}, "
            f"{code.ref(indices)}, {code.size(indices.count)}, {code.ref(node.output)});"
        )


@operator("Pad", since=(1, 2, 11, 13, 18, 19, 21, 23, 24, 25))
class Pad(Operator):
    """More elements, or fewer, at the ends of axes: a constant, the mirror image, the edge, or the other end."""

    def _amounts(self, node: Node) -> list[tuple[Size, Size]] | None:
        """Before and behind each axis; None where only running tells."""
        rank = node.input(0).rank
        key = "paddings" if node.version < 2 else "pads"
        given: Sequence[Size] | None = node.integers(key, REQUIRED) if node.version < 11 else node.input(1).elements
        if given is None or late_axes(node, 3):
            return None
        axes = [node.axis(axis, rank) for axis in (axes_of(node, 3) or [])] if node.has(3) else list(range(rank))
        if len(given) != 2 * len(axes) or len(set(axes)) != len(axes):
            raise InputError(f"{node.where} has {len(given)} amounts for {len(axes)} axes", code="network.shape")
        amounts: list[tuple[Size, Size]] = [(0, 0)] * rank
        for i, axis in enumerate(axes):
            amounts[axis] = (given[i], given[len(axes) + i])
        return amounts

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, amounts = node.input(0), self._amounts(node)
        if node.text("mode", "constant") not in ("constant", "reflect", "edge", "wrap"):
            raise InputError(f"{node.where} has the unknown mode {node.text('mode')!r}", code="network.attribute")
        if amounts is None:
            return [TensorType(data.dtype, tuple(facts.late() for _ in data.shape))]
        sizes = [
            facts.nonnegative(size + before + behind, f"{node.where} cuts off no more than there is")
            for size, (before, behind) in zip(data.shape, amounts, strict=True)
        ]
        return [TensorType(data.dtype, tuple(sizes))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output, amounts = node.input(0), node.output, self._amounts(node)
        mode = node.text("mode", "constant")
        if node.version < 11:
            value = f"{data.dtype.cpp}({literal(node.number('value', 0.0), DType.FLOAT32)})"
        else:
            value = f"{code.ref(node.input(2))}[0]" if node.has(2) else f"{data.dtype.cpp}{{}}"
        if amounts is not None:
            before = code.sizes(item for item, _ in amounts)
        else:
            name = code.fresh("pads")
            given, count = code.ref(node.input(1)), code.size(node.input(1).count)
            axes = code.ref(node.input(3)) if node.has(3) else "static_cast<const std::int64_t*>(nullptr)"
            code.line(f"const auto {name} = nn::pad_amounts({code.sizes(data.shape)}, {given}, {count}, {axes});")
            for axis, size in enumerate(output.shape):
                code.assign(size, f"{cpp_size(data.shape[axis])} + {name}.first[{axis}] + {name}.second[{axis}]")
            code.allocate(output)
            before = f"{name}.first"
        code.line(
            f"nn::pad({code.ref(data)}, {code.sizes(data.shape)}, {before}, nn::PadMode::{mode}, {value}, "
            f"{code.sizes(output.shape)}, {code.ref(output)});"
        )


@operator("Trilu", since=(14,))
class Trilu(Operator):
    """The upper or lower triangle of matrices."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        if node.input(0).rank < 2:
            raise InputError(f"{node.where} needs matrices", code="network.shape")
        return [node.input(0).tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data = node.input(0)
        shift = f"{code.ref(node.input(1))}[0]" if node.has(1) else "0"
        upper = "true" if node.integer("upper", 1) else "false"
        rows, columns = data.shape[-2:]
        code.line(
            f"nn::triangle({code.ref(data)}, {code.size(product(data.shape[:-2]))}, {code.size(rows)}, {code.size(columns)}, "
            f"{shift}, {upper}, {code.ref(node.output)});"
        )


@operator("ReverseSequence", since=(10, 28))
class ReverseSequence(Operator):
    """The beginnings of sequences in reverse order, of a length for each."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        axes = {node.integer("batch_axis", 1), node.integer("time_axis", 0)}
        if axes != {0, 1} or data.rank < 2:
            raise InputError(f"{node.where} needs batch and time for its first two axes", code="network.axis")
        facts.same(
            data.shape[node.integer("batch_axis", 1)], node.input(1).count, f"{node.where} has one length for each sequence"
        )
        return [data.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data = node.input(0)
        batch, time = node.integer("batch_axis", 1), node.integer("time_axis", 0)
        code.line(
            f"nn::reverse_sequence({code.ref(data)}, {code.size(data.shape[time])}, {code.size(data.shape[batch])}, "
            f"{code.size(product(data.shape[2:]))}, {'true' if time == 0 else 'false'}, {code.ref(node.input(1))}, "
            f"{code.ref(node.output)});"
        )


class _Blocks(Operator):
    """Squares of pixels against channels."""

    def _sizes(self, node: Node) -> tuple[Shape, int]:
        data, block = node.input(0), node.integer("blocksize", REQUIRED)
        if data.rank != 4 or block <= 0:
            raise InputError(
                f"{node.where} needs 4 axes and a positive block, and has {data.tensor} and {block}", code="network.shape"
            )
        return data.shape, block

    @staticmethod
    def _depth_first(node: Node) -> bool:
        """Whether the pixels of a square stand farther apart than the channels."""
        mode = node.text("mode", "DCR")
        if mode not in ("DCR", "CRD"):
            raise InputError(f"{node.where} has the unknown mode {mode!r}", hint="DCR or CRD.", code="network.attribute")
        return bool(mode == "DCR")


@operator("DepthToSpace", since=(1, 11, 13, 28))
class DepthToSpace(_Blocks):
    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        (n, c, h, w), block = self._sizes(node)
        facts.same(c % (block * block), 0, f"{node.where} makes squares of {block} x {block} channels")
        return [TensorType(node.input(0).dtype, (n, floordiv(c, block * block), h * block, w * block))]

    def write(self, node: Node, code: Writer) -> None:
        (n, c, h, w), block = self._sizes(node)
        depth = floordiv(c, block * block)
        if self._depth_first(node):
            _write_turned(node, code, (n, block, block, depth, h, w), (0, 3, 4, 1, 5, 2))
        else:
            _write_turned(node, code, (n, depth, block, block, h, w), (0, 1, 4, 2, 5, 3))


@operator("SpaceToDepth", since=(1, 13, 28))
class SpaceToDepth(_Blocks):
    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        (n, c, h, w), block = self._sizes(node)
        for size in (h, w):
            facts.same(size % block, 0, f"{node.where} takes squares of {block} x {block} pixels")
        return [TensorType(node.input(0).dtype, (n, c * (block * block), floordiv(h, block), floordiv(w, block)))]

    def write(self, node: Node, code: Writer) -> None:
        (n, c, h, w), block = self._sizes(node)
        order = (0, 3, 5, 1, 2, 4) if self._depth_first(node) else (0, 1, 3, 5, 2, 4)
        _write_turned(node, code, (n, c, floordiv(h, block), block, floordiv(w, block), block), order)


def _write_turned(node: Node, code: Writer, inner: Shape, order: Sequence[int]) -> None:
    """The input under another shape, its axes in another order."""
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(inner):
        strides.append(step)
        step = step * size
    strides.reverse()
    write_strided(code, code.ref(node.input(0)), [inner[i] for i in order], [strides[i] for i in order], code.ref(node.output))


@operator("CenterCropPad", since=(18,))
class CenterCropPad(Operator):
    """Axes cut or filled up with zeros at both ends, to sizes that are given."""

    def _targets(self, node: Node) -> dict[int, Size] | None:
        rank = node.input(0).rank
        wanted = node.input(1).elements
        axes = [node.axis(axis, rank) for axis in (node.integers("axes") or range(rank))]
        if wanted is None:
            return None
        if len(wanted) != len(axes):
            raise InputError(f"{node.where} has {len(wanted)} sizes for {len(axes)} axes", code="network.shape")
        return dict(zip(axes, wanted, strict=True))

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, targets = node.input(0), self._targets(node)
        if targets is None:
            axes = {node.axis(axis, data.rank) for axis in (node.integers("axes") or range(data.rank))}
            facts.same(node.input(1).count, len(axes), f"{node.where} has one size for each axis")
            return [TensorType(data.dtype, tuple(facts.late() if axis in axes else size for axis, size in enumerate(data.shape)))]
        for size in targets.values():
            facts.nonnegative(size, f"{node.where} needs sizes of 0 or more")
        return [TensorType(data.dtype, tuple(targets.get(axis, size) for axis, size in enumerate(data.shape)))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output = node.input(0), node.output
        if self._targets(node) is None:
            axes = [node.axis(axis, data.rank) for axis in (node.integers("axes") or range(data.rank))]
            for i, axis in enumerate(axes):
                code.assign(output.shape[axis], f"{code.ref(node.input(1))}[{i}]")
            code.allocate(output)
        # What is cut off or added in front is the smaller half, so that negative differences round towards zero too.
        before = ", ".join(
            "0" if mine == size else f"nn::center_shift({cpp_size(size)}, {cpp_size(mine)})"
            for size, mine in zip(data.shape, output.shape, strict=True)
        )
        code.line(
            f"nn::pad({code.ref(data)}, {code.sizes(data.shape)}, nn::sizes({before}), nn::PadMode::constant, "
            f"{data.dtype.cpp}{{}}, {code.sizes(output.shape)}, {code.ref(output)});"
        )
