"""Operators that read and write elements by number, and those that select: gathers, scatters, TopK, Unique and others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import REQUIRED, DType, Node, Shape, Size, TensorType, Value, ValueType, product
from mlcore.networks.ops import Facts, Operator, operator

_HEADER = "kernels/nn/indexing.hpp"

_NUMBERS = {DType.FLOAT32, DType.FLOAT64, DType.BOOL, DType.INT8, DType.INT16, DType.INT32, DType.INT64}
"""Types whose numbers C++ can be told as they are."""

_REDUCTIONS = {"none": "Replace", "add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}


def _around(shape: Shape, axis: int) -> tuple[Size, Size, Size]:
    """The elements before an axis, its size, the elements behind it."""
    return product(shape[:axis]), shape[axis], product(shape[axis + 1 :])


def _flag(value: object) -> str:
    return "true" if value else "false"


def _scattering(node: Node) -> str:
    """The C++ type of what becomes of elements that are hit."""
    name = node.text("reduction", "none")
    if name not in _REDUCTIONS:
        raise InputError(
            f"{node.where} has the unknown reduction {name!r}", hint=f"One of {', '.join(_REDUCTIONS)}.", code="network.attribute"
        )
    if name != "none" and node.input(0).dtype is DType.STRING:
        raise InputError(f"{node.where} reduces texts", code="network.dtype")
    return f"nn::scattering::{_REDUCTIONS[name]}"


def _same_type(node: Node, left: Value, right: Value) -> None:
    if left.dtype is not right.dtype:
        raise InputError(f"{node.where} puts {right.dtype} into {left.dtype}", code="network.dtype")


# By number along an axis.


def _element_axis(node: Node, facts: Facts) -> int:
    """The axis of operators that take one index for each element; other axes of the indices fit into those of the data."""
    data, indices = node.input(0), node.input(1)
    axis = node.axis(node.integer("axis", 0), data.rank)
    if indices.rank != data.rank:
        raise InputError(f"{node.where} has indices {indices.tensor} for {data.tensor}", code="network.shape")
    for i, (size, count) in enumerate(zip(data.shape, indices.shape, strict=True)):
        if i != axis:
            facts.nonnegative(size - count, f"{node.where} has indices that reach beyond axis {i}")
    return axis


@operator("GatherElements", since=(11, 13))
class GatherElements(Operator):
    """One element for each index, from the place of the index but along one axis."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        _element_axis(node, facts)
        return [TensorType(node.input(0).dtype, node.input(1).shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, indices = node.input(0), node.input(1)
        axis = node.axis(node.integer("axis", 0), data.rank)
        code.line(
            f"nn::gather_elements({code.ref(data)}, {code.sizes(data.shape)}, {axis}, {code.ref(indices)}, "
            f"{code.sizes(indices.shape)}, {code.ref(node.output)});"
        )


@operator("Scatter", since=(9, 11))
@operator("ScatterElements", since=(11, 13, 16, 18))
class ScatterElements(Operator):
    """The data, with one element for each index replaced by an update, or combined with it."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, indices, updates = node.input(0), node.input(1), node.input(2)
        _same_type(node, data, updates)
        _element_axis(node, facts)
        if updates.rank != indices.rank:
            raise InputError(f"{node.where} has updates {updates.tensor} for {indices.tensor}", code="network.shape")
        for count, size in zip(indices.shape, updates.shape, strict=True):
            facts.same(count, size, f"{node.where} has one update for each index")
        _scattering(node)
        return [data.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, indices, output = node.input(0), node.input(1), node.output
        axis = node.axis(node.integer("axis", 0), data.rank)
        _start(data, output, code)
        code.line(
            f"nn::scatter_elements<{_scattering(node)}>({code.ref(node.input(2))}, {code.sizes(data.shape)}, {axis}, "
            f"{code.ref(indices)}, {code.sizes(indices.shape)}, {code.ref(output)});"
        )


def _start(data: Value, output: Value, code: Writer) -> None:
    """The output begins as the data."""
    number = _uniform(data)
    if number is None:
        code.line(f"nn::copy({code.ref(data)}, {code.size(data.count)}, {code.ref(output)});")
    else:
        code.line(f"nn::fill({code.ref(output)}, {code.size(output.count)}, {number});")


def _uniform(value: Value) -> str | None:
    """The number, in C++, that a constant has everywhere; such a one need not lie among the weights."""
    array = value.constant
    if array is None or array.size < 2 or value.dtype not in _NUMBERS:
        return None
    # Bit by bit: zeros of both signs are different.
    raw = np.ascontiguousarray(array).reshape(-1).view(f"V{array.itemsize}")
    return literal(array.reshape(-1)[0], value.dtype) if bool((raw == raw[0]).all()) else None


# By tuples of numbers.


def _depth(node: Node, batch: int) -> int:
    """How many axes a tuple of indices goes through."""
    data, indices = node.input(0), node.input(1)
    if data.rank < 1 or indices.rank < 1:
        raise InputError(f"{node.where} needs axes, and is given {data.tensor} and {indices.tensor}", code="network.shape")
    depth = indices.shape[-1]
    if not isinstance(depth, int):
        raise InputError(f"{node.where} has a result whose rank is not known before it runs", code="network.rank")
    if not (0 <= batch < min(data.rank, indices.rank) and depth <= data.rank - batch):
        raise InputError(
            f"{node.where} has tuples of {depth} numbers and {batch} axes of a batch, for {data.rank} axes", code="network.shape"
        )
    return depth


@operator("GatherND", since=(11, 12, 13))
class GatherND(Operator):
    """Slices that tuples of numbers point to."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, indices, batch = node.input(0), node.input(1), node.integer("batch_dims", 0)
        depth = _depth(node, batch)
        lead = [
            facts.same(mine, other, f"{node.where} has batches of equal sizes")
            for mine, other in zip(data.shape[:batch], indices.shape[:batch], strict=True)
        ]
        return [TensorType(data.dtype, (*lead, *indices.shape[batch:-1], *data.shape[batch + depth :]))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, indices, batch = node.input(0), node.input(1), node.integer("batch_dims", 0)
        depth = _depth(node, batch)
        code.line(
            f"nn::gather_nd({code.ref(data)}, {code.size(product(data.shape[:batch]))}, "
            f"{code.sizes(data.shape[batch : batch + depth])}, {code.size(product(data.shape[batch + depth :]))}, "
            f"{code.ref(indices)}, {code.size(product(indices.shape[batch:-1]))}, {code.ref(node.output)});"
        )


@operator("ScatterND", since=(11, 13, 16, 18))
class ScatterND(Operator):
    """The data, with slices that tuples of numbers point to replaced by updates, or combined with them."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, indices, updates = node.input(0), node.input(1), node.input(2)
        _same_type(node, data, updates)
        wanted = (*indices.shape[:-1], *data.shape[_depth(node, 0) :])
        if updates.rank != len(wanted):
            raise InputError(f"{node.where} has updates {updates.tensor} for the shape {list(wanted)}", code="network.shape")
        for mine, other in zip(updates.shape, wanted, strict=True):
            facts.same(mine, other, f"{node.where} has one update for each tuple of indices")
        _scattering(node)
        return [data.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, indices, output = node.input(0), node.input(1), node.output
        depth = _depth(node, 0)
        _start(data, output, code)
        number = _uniform(node.input(2))
        code.line(
            f"nn::scatter_nd{'' if number is None else '_number'}<{_scattering(node)}>("
            f"{code.ref(node.input(2)) if number is None else number}, {code.sizes(data.shape[:depth])}, "
            f"{code.size(product(data.shape[depth:]))}, {code.ref(indices)}, {code.size(product(indices.shape[:-1]))}, "
            f"{code.ref(output)});"
        )


@operator("TensorScatter", since=(24,))
class TensorScatter(Operator):
    """A cache of sequences with new elements written into it, from a place on that each sequence has."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        cache, update = node.input(0), node.input(1)
        _same_type(node, cache, update)
        axis = node.axis(node.integer("axis", -2), cache.rank)
        if axis == 0 or update.rank != cache.rank:
            raise InputError(f"{node.where} writes {update.tensor} into {cache.tensor} along axis {axis}", code="network.shape")
        if node.text("mode", "linear") not in ("linear", "circular"):
            raise InputError(f"{node.where} has the unknown mode {node.text('mode')!r}", code="network.attribute")
        for i, (mine, other) in enumerate(zip(cache.shape, update.shape, strict=True)):
            if i != axis:
                facts.same(mine, other, f"{node.where} writes what has the cache's sizes")
        facts.nonnegative(cache.shape[axis] - update.shape[axis], f"{node.where} writes no more than the cache has room for")
        if node.has(2):
            facts.same(node.input(2).count, cache.shape[0], f"{node.where} has one place for each sequence")
        return [cache.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        cache, update, output = node.input(0), node.input(1), node.output
        axis = node.axis(node.integer("axis", -2), cache.rank)
        _, size, inner = _around(cache.shape, axis)
        sizes = [cache.shape[0], product(cache.shape[1:axis]), update.shape[axis], size, inner]
        places = code.ref(node.input(2)) if node.has(2) else "nullptr"
        circular = _flag(node.text("mode", "linear") == "circular")
        code.line(f"nn::copy({code.ref(cache)}, {code.size(cache.count)}, {code.ref(output)});")
        listed = ", ".join(map(code.size, sizes))
        code.line(f"nn::tensor_scatter({code.ref(update)}, {listed}, {places}, {circular}, {code.ref(output)});")


# Numbers as places.


@operator("OneHot", since=(9, 11, 28))
class OneHot(Operator):
    """A new axis, with one value where the index stands and another elsewhere."""

    def _axis(self, node: Node) -> int:
        return node.axis(node.integer("axis", -1), node.input(0).rank + 1)

    def _depth(self, node: Node) -> Size | None:
        depth = node.input(1)
        if depth.elements is not None:
            return depth.elements[0]
        return None if depth.constant is None else int(depth.constant.reshape(-1)[0])

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        indices, depth, values, axis = node.input(0), node.input(1), node.input(2), self._axis(node)
        for value, count, what in ((depth, 1, "one depth"), (values, 2, "two values")):
            facts.same(value.count, count, f"{node.where} has {what}")
        known = self._depth(node)
        size = facts.late() if known is None else facts.nonnegative(known, f"{node.where} needs a depth of 0 or more")
        return [TensorType(values.dtype, (*indices.shape[:axis], size, *indices.shape[axis:]))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        indices, output, axis = node.input(0), node.output, self._axis(node)
        if self._depth(node) is None:
            code.assign(output.shape[axis], f"nn::as_index({code.ref(node.input(1))}[0])")
            code.line(f'nn::require({code.size(output.shape[axis])} >= 0, "OneHot is given a negative depth");')
            code.allocate(output)
        sizes = ", ".join(map(code.size, (product(indices.shape[:axis]), product(indices.shape[axis:]), output.shape[axis])))
        code.line(f"nn::one_hot({code.ref(indices)}, {sizes}, {code.ref(node.input(2))}, {code.ref(output)});")


@operator("NonZero", since=(9, 13))
class NonZero(Operator):
    """The places of elements that are not zero, one row for each axis."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        return [TensorType(DType.INT64, (node.input(0).rank, facts.late()))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output = node.input(0), node.output
        found = output.shape[1]
        code.assign(found, f"nn::count_nonzero({code.ref(data)}, {code.size(data.count)})")
        code.allocate(output)
        code.line(f"nn::nonzero({code.ref(data)}, {code.sizes(data.shape)}, {code.size(found)}, {code.ref(output)});")


@operator("Compress", since=(9, 11, 28))
class Compress(Operator):
    """The slices of an axis for which a condition holds; without an axis the elements."""

    def _axis(self, node: Node) -> int | None:
        axis = node.integer("axis")
        return None if axis is None else node.axis(axis, node.input(0).rank)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, condition, axis = node.input(0), node.input(1), self._axis(node)
        if condition.dtype is not DType.BOOL or condition.rank != 1:
            raise InputError(f"{node.where} has the condition {condition.tensor}", code="network.dtype")
        if axis is None:
            return [TensorType(data.dtype, (facts.late(),))]
        return [TensorType(data.dtype, (*data.shape[:axis], facts.late(), *data.shape[axis + 1 :]))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, condition, output, axis = node.input(0), node.input(1), node.output, self._axis(node)
        outer, size, inner = (1, data.count, 1) if axis is None else _around(data.shape, axis)
        given = f"{code.ref(condition)}, {code.size(condition.count)}"
        code.assign(output.shape[axis or 0], f"nn::count_selected({given}, {code.size(size)})")
        code.allocate(output)
        sizes = ", ".join(map(code.size, (outer, size, inner)))
        code.line(f"nn::compress({code.ref(data)}, {sizes}, {given}, {code.ref(output)});")


@operator("Unique", since=(11, 28))
class Unique(Operator):
    """The elements or slices that differ, where each stands first, which of them each is, how often each is there."""

    def _axis(self, node: Node) -> int | None:
        axis = node.integer("axis")
        return None if axis is None else node.axis(axis, node.input(0).rank)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, axis, found = node.input(0), self._axis(node), facts.late()
        count = TensorType(DType.INT64, (found,))
        if axis is None:
            return [TensorType(data.dtype, (found,)), count, TensorType(DType.INT64, (data.count,)), count]
        shape = (*data.shape[:axis], found, *data.shape[axis + 1 :])
        return [TensorType(data.dtype, shape), count, TensorType(DType.INT64, (data.shape[axis],)), count]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, axis = node.input(0), self._axis(node)
        outer, size, inner = (1, data.count, 1) if axis is None else _around(data.shape, axis)
        first, inverse, counts, order = (code.scratch("std::int64_t", size, 8) for _ in range(4))
        sizes = ", ".join(map(code.size, (outer, size, inner)))
        ordered = _flag(node.integer("sorted", 1))
        found = node.output.shape[axis or 0]
        code.assign(found, f"nn::unique({code.ref(data)}, {sizes}, {ordered}, {first}, {inverse}, {counts}, {order})")
        code.allocate(node.output)
        code.line(
            f"nn::gather({code.ref(data)}, {sizes}, static_cast<const std::int64_t*>({first}), {code.size(found)}, "
            f"{code.ref(node.output)});"
        )
        for value, source in zip(node.outputs[1:], (first, inverse, counts), strict=False):
            if value.name:
                if source != inverse:
                    code.allocate(value)
                code.line(f"nn::copy({source}, {code.size(value.count)}, {code.ref(value)});")


@operator("TopK", since=(1, 10, 11, 24))
class TopK(Operator):
    """The largest or smallest elements of an axis, in order, and where they stand."""

    def _count(self, node: Node) -> Size | None:
        if node.version < 10:
            return int(node.integer("k", REQUIRED))
        known = node.input(1).elements
        return None if known is None else known[0]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        axis = node.axis(node.integer("axis", -1), data.rank)
        if node.version >= 10:
            facts.same(node.input(1).count, 1, f"{node.where} has one number k")
        k = self._count(node)
        if k is None:
            k = facts.late()
        else:
            facts.nonnegative(k, f"{node.where} takes 0 or more elements")
            facts.nonnegative(data.shape[axis] - k, f"{node.where} takes no more elements than axis {axis} has")
        shape = (*data.shape[:axis], k, *data.shape[axis + 1 :])
        return [TensorType(data.dtype, shape), TensorType(DType.INT64, shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/top_k.hpp")
        data, values = node.input(0), node.output
        axis = node.axis(node.integer("axis", -1), data.rank)
        outer, size, inner = _around(data.shape, axis)
        k = values.type.dims[axis] if isinstance(values.type, TensorType) else 0
        if self._count(node) is None:
            given = f"{code.ref(node.input(1))}[0]"
            code.line(f'nn::require({given} >= 0 && {given} <= {code.size(size)}, "TopK takes more elements than its axis has");')
            code.assign(k, given)
        pointers = []
        for value in node.outputs[:2]:
            if not value.name:
                pointers.append(code.scratch(value.dtype.cpp, value.count, value.dtype.bytes))
                continue
            if self._count(node) is None:
                code.allocate(value)
            pointers.append(code.ref(value))
        if len(pointers) == 1:
            pointers.append(code.scratch("std::int64_t", values.count, 8))
        row = code.scratch(data.dtype.cpp, size + k if inner != 1 else 1, data.dtype.bytes)
        order = code.scratch("std::int64_t", size + k, 8)
        sizes = ", ".join(map(code.size, (outer, size, inner, k)))
        largest = _flag(node.integer("largest", 1))
        code.line(f"nn::top_k<{largest}>({code.ref(data)}, {sizes}, {', '.join(pointers)}, {row}, {order});")


@operator("NonMaxSuppression", since=(10, 11))
class NonMaxSuppression(Operator):
    """Boxes of the highest scores, without those that overlap one that is taken."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        boxes, scores = node.input(0), node.input(1)
        if boxes.rank != 3 or scores.rank != 3:
            raise InputError(f"{node.where} is given {boxes.tensor} and {scores.tensor}", code="network.shape")
        for mine, other in ((boxes.shape[0], scores.shape[0]), (boxes.shape[1], scores.shape[2]), (boxes.shape[2], 4)):
            facts.same(mine, other, f"{node.where} has one score for each box of four numbers")
        for index in (2, 3, 4):
            if self._given(node, index):
                facts.same(node.input(index).count, 1, f"{node.where} has one number for its limits")
        return [TensorType(DType.INT64, (facts.late(), 3))]

    @staticmethod
    def _given(node: Node, index: int) -> bool:
        """Whether an optional number is there: it may be a tensor without elements."""
        value = node.optional(index)
        return value is not None and value.count != 0

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        boxes, scores, output = node.input(0), node.input(1), node.output
        n_batches, n_classes, n_boxes = scores.shape
        most = code.fresh("most")
        given = f"nn::larger({code.ref(node.input(2))}[0], 0)" if self._given(node, 2) else "0"
        code.line(f"const std::int64_t {most} = nn::smaller({given}, {code.size(n_boxes)});")
        found = output.shape[0]
        # Room for the most that there can be; then the number that there are.
        code.assign(found, f"nn::elements(nn::sizes({code.size(n_batches)}, {code.size(n_classes)}, {most}))")
        code.allocate(output)
        order = code.scratch("std::int64_t", n_boxes, 8)
        limit = f"{code.ref(node.input(3))}[0]" if self._given(node, 3) else "0.0f"
        score = code.ref(node.input(4)) if self._given(node, 4) else "nullptr"
        sizes = ", ".join(map(code.size, (n_batches, n_classes, n_boxes)))
        center = _flag(node.integer("center_point_box", 0))
        code.assign(
            found,
            f"nn::non_max_suppression({code.ref(boxes)}, {code.ref(scores)}, {sizes}, {center}, {most}, {limit}, {score}, "
            f"{order}, {code.ref(output)})",
        )


@operator("ArrayFeatureExtractor", since=(1,), domain="ai.onnx.ml")
class ArrayFeatureExtractor(Operator):
    """Elements of the last axis by number."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, indices = node.input(0), node.input(1)
        if data.rank == 0:
            raise InputError(f"{node.where} needs an axis", code="network.shape")
        lead = data.shape[:-1] if data.rank > 1 else (1,)
        return [TensorType(data.dtype, (*lead, indices.count))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/movement.hpp")
        data, indices = node.input(0), node.input(1)
        sizes = ", ".join(map(code.size, (product(data.shape[:-1]), data.shape[-1], 1)))
        code.line(
            f"nn::gather({code.ref(data)}, {sizes}, {code.ref(indices)}, {code.size(indices.count)}, {code.ref(node.output)});"
        )
