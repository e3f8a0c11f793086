"""Operators along axes: sums and other reductions, places of extremes, running sums, softmax and norms."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import DType, Node, Size, TensorType, ValueType, larger, product, smaller
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops.views import axes_of, late_axes, n_axes

_HEADER = "kernels/nn/reduce.hpp"

_REDUCTIONS: dict[str, tuple[int, ...]] = {
    "ReduceSum": (1, 11, 13),
    "ReduceMean": (1, 11, 13, 18),
    "ReduceMax": (1, 11, 12, 13, 18, 20),
    "ReduceMin": (1, 11, 12, 13, 18, 20),
    "ReduceProd": (1, 11, 13, 18),
    "ReduceL1": (1, 11, 13, 18),
    "ReduceL2": (1, 11, 13, 18),
    "ReduceLogSum": (1, 11, 13, 18, 28),
    "ReduceLogSumExp": (1, 11, 13, 18, 28),
    "ReduceSumSquare": (1, 11, 13, 18),
}

MOST_AXES = 16
"""Of a tensor that is reduced (`kernels/nn/reduce.hpp`)."""


class Reduction(Operator):
    """Some axes become one number each; none are named: all of them, or none (`noop_with_empty_axes`)."""

    def _late(self, node: Node) -> bool:
        """Whether only running tells which axes."""
        return late_axes(node, 1) and node.input(1).count != 0

    def _reduced(self, node: Node) -> list[bool]:
        rank = node.input(0).rank
        axes = axes_of(node, 1) if node.has(1) else node.integers("axes")
        if not axes:
            return [not node.integer("noop_with_empty_axes", 0)] * rank
        named = [node.axis(axis, rank) for axis in axes]
        if len(set(named)) != len(named):
            raise InputError(f"{node.where} names an axis twice: {list(axes)}", code="network.axis")
        return [axis in named for axis in range(rank)]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.dtype is DType.STRING or (data.dtype is DType.BOOL and self.name not in ("ReduceMax", "ReduceMin")):
            raise InputError(f"{node.where} is given {data.dtype}", code="network.dtype")
        if data.rank > MOST_AXES:
            raise InputError(f"{node.where} has {data.rank} axes; {MOST_AXES} are the most", code="network.rank")
        keep = bool(node.integer("keepdims", 1))
        if self._late(node):
            rank = data.rank if keep else data.rank - n_axes(node, 1)
            if rank < 0:
                raise InputError(f"{node.where} names more axes than {data.tensor} has", code="network.axis")
            return [TensorType(data.dtype, tuple(facts.late() for _ in range(rank)))]
        flags = self._reduced(node)
        shape = [1 if gone else size for size, gone in zip(data.shape, flags, strict=True) if keep or not gone]
        return [TensorType(data.dtype, tuple(shape))]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        known = node.input(0).elements
        if not known or self._late(node) or not all(self._reduced(node)):
            return None
        if self.name == "ReduceProd":
            return (product(known),)
        if self.name == "ReduceSum":
            return (sum(known[1:], known[0]),)
        if self.name in ("ReduceMax", "ReduceMin"):
            result = known[0]
            for item in known[1:]:
                result = larger(result, item) if self.name == "ReduceMax" else smaller(result, item)
            return (result,)
        return None

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output = node.input(0), node.output
        shape = code.sizes(data.shape)
        if self._late(node):
            reduced, sizes = code.fresh("reduced"), code.fresh("shape")
            axes = node.input(1)
            noop = "true" if node.integer("noop_with_empty_axes", 0) else "false"
            code.line(f"const auto {reduced} = nn::reduced_axes<{data.rank}>({code.ref(axes)}, {code.size(axes.count)}, {noop});")
            code.line(f"std::int64_t {sizes}[{data.rank + 1}];")
            keep = "true" if node.integer("keepdims", 1) else "false"
            code.line(f"nn::reduced_shape({shape}, {reduced}, {keep}, {sizes});")
            for axis, size in enumerate(output.shape):
                code.assign(size, f"{sizes}[{axis}]")
            code.allocate(output)
        else:
            reduced = f"nn::mask({', '.join('true' if gone else 'false' for gone in self._reduced(node))})"
        kind = f"nn::reduction::{self.name.removeprefix('Reduce')}"
        code.line(f"nn::reduce<{kind}>({code.ref(data)}, {shape}, {reduced}, {code.ref(output)});")


for _name, _since in _REDUCTIONS.items():
    operator(_name, since=_since)(Reduction)


def _around(node: Node, axis: int) -> tuple[Size, Size, Size]:
    """The elements before an axis, its size, the elements behind it."""
    shape = node.input(0).shape
    return product(shape[:axis]), shape[axis], product(shape[axis + 1 :])


@operator("ArgMax", since=(1, 11, 12, 13))
@operator("ArgMin", since=(1, 11, 12, 13))
class Arg(Operator):
    """Where the largest or smallest number of an axis stands."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        axis = node.axis(node.integer("axis", 0), data.rank)
        if data.shape[axis] == 0:
            raise InputError(f"{node.where} looks along axis {axis}, which is empty", code="network.shape")
        kept = (1,) if node.integer("keepdims", 1) else ()
        return [TensorType(DType.INT64, (*data.shape[:axis], *kept, *data.shape[axis + 1 :]))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data = node.input(0)
        sizes = ", ".join(map(code.size, _around(node, node.axis(node.integer("axis", 0), data.rank))))
        largest = "true" if self.name == "ArgMax" else "false"
        last = "true" if node.integer("select_last_index", 0) else "false"
        code.line(f"nn::arg<{largest}, {last}>({code.ref(data)}, {sizes}, {code.ref(node.output)});")


@operator("CumSum", since=(11, 14))
@operator("CumProd", since=(26,))
class Cumulative(Operator):
    """Running sums or products."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, axis = node.input(0), node.input(1)
        facts.same(axis.count, 1, f"{node.where} has one axis")
        if axis.elements is not None and isinstance(axis.elements[0], int):
            node.axis(axis.elements[0], data.rank)
        return [data.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, axis = node.input(0), node.input(1)
        if axis.elements is not None and isinstance(axis.elements[0], int):
            sizes = ", ".join(map(code.size, _around(node, node.axis(axis.elements[0], data.rank))))
            place = f"nn::AxisSplit{{{sizes}}}"
        else:
            place = f"nn::split_at({code.sizes(data.shape)}, {code.ref(axis)}[0])"
        flags = ", ".join("true" if node.integer(key, 0) else "false" for key in ("exclusive", "reverse"))
        kind = self.name.removeprefix("Cum")
        code.line(f"nn::cumulate<nn::reduction::{kind}>({code.ref(data)}, {place}, {flags}, {code.ref(node.output)});")


class Normalizing(Operator):
    """Numbers along an axis, by what they are together."""

    function: str

    def _sizes(self, node: Node) -> tuple[Size, Size, Size]:
        return _around(node, node.axis(node.integer("axis", -1), node.input(0).rank))

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        if not node.input(0).dtype.is_float:
            raise InputError(f"{node.where} is given {node.input(0).dtype}", code="network.dtype")
        self._sizes(node)
        return [node.input(0).tensor]

    def kernel(self, node: Node) -> str:
        """The C++ function."""
        del node
        return self.function

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/softmax.hpp")
        sizes = ", ".join(map(code.size, self._sizes(node)))
        code.line(f"nn::{self.kernel(node)}({code.ref(node.input(0))}, {sizes}, {code.ref(node.output)});")


class SoftmaxLike(Normalizing):
    """Before version 13 all axes from `axis` on are taken as one."""

    def _sizes(self, node: Node) -> tuple[Size, Size, Size]:
        if node.version >= 13:
            return super()._sizes(node)
        data, axis = node.input(0), node.integer("axis", 1)
        if not -data.rank <= axis <= data.rank:
            raise InputError(f"{node.where} has the axis {axis}, but its tensor {data.rank} axes", code="network.axis")
        axis = axis + data.rank if axis < 0 else axis
        return product(data.shape[:axis]), product(data.shape[axis:]), 1


@operator("Softmax", since=(1, 11, 13))
class Softmax(SoftmaxLike):
    function = "normalize<nn::normalizing::Softmax>"


@operator("LogSoftmax", since=(1, 11, 13))
class LogSoftmax(SoftmaxLike):
    function = "normalize<nn::normalizing::LogSoftmax>"


@operator("Hardmax", since=(1, 11, 13))
class Hardmax(SoftmaxLike):
    function = "hardmax"


@operator("LpNormalization", since=(1, 22))
class LpNormalization(Normalizing):
    """Divided by the sum of magnitudes, or the root of the sum of squares."""

    def kernel(self, node: Node) -> str:
        p = node.integer("p", 2)
        if p not in (1, 2):
            raise InputError(f"{node.where} has the norm of order {p}", hint="1 and 2 are defined.", code="network.attribute")
        return f"normalize<nn::normalizing::Lp<{p}>>"
