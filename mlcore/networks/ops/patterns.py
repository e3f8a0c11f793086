"""Operators that make tensors of a pattern: one number everywhere, ranges, identity matrices."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Size, TensorType, ValueType, larger
from mlcore.networks.ir.graph import MOST_ELEMENTS
from mlcore.networks.ir.sizes import floordiv, is_nonnegative
from mlcore.networks.ops import Facts, Operator, operator

_HEADER = "kernels/nn/movement.hpp"


@operator("ConstantOfShape", since=(9, 20, 21, 23, 24, 25))
class ConstantOfShape(Operator):
    """One number in every element."""

    def _value(self, node: Node) -> tuple[DType, str, int | None]:
        array = node.array("value")
        if array is None:
            return DType.FLOAT32, "0.0f", None
        dtype = DType.of(array)
        if dtype is DType.STRING or array.size != 1:
            raise InputError(f"{node.where} repeats {array.size} x {dtype}, where one number is needed", code="network.attribute")
        number = array.reshape(-1)[0]
        known = int(number) if dtype.is_integer or dtype is DType.BOOL else None
        return (
            dtype,
            literal(number, dtype) if not dtype.is_small else f"{dtype.cpp}({literal(float(number), DType.FLOAT32)})",
            known,
        )

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        dtype, _, _ = self._value(node)
        wanted, why = node.input(0).parts or (None,) * node.rank_told_by(0), f"{node.where} needs sizes of 0 or more"
        return [TensorType(dtype, tuple(facts.late() if size is None else facts.nonnegative(size, why) for size in wanted))]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        _, _, known = self._value(node)
        count = node.output.count
        return (known,) * count if known is not None and isinstance(count, int) else None

    def write(self, node: Node, code: Writer) -> None:
        _, text, _ = self._value(node)
        if node.input(0).elements is None:
            known = node.input(0).parts
            for axis, size in enumerate(node.output.shape):
                if known is None or known[axis] is None:
                    code.assign(size, f"{code.ref(node.input(0))}[{axis}]")
            code.allocate(node.output)
        code.line(f"nn::fill({code.ref(node.output)}, {code.size(node.output.count)}, {text});")


@operator("Range", since=(11, 27))
class Range(Operator):
    """Numbers at equal distances."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        known = [node.input(i).elements for i in range(3)]
        if known[2] == (0,):
            raise InputError(f"{node.where} has a step of zero", code="network.attribute")
        if all(item is not None and len(item) == 1 for item in known):
            start, limit, delta = (item[0] for item in known if item is not None)
            if isinstance(delta, int):
                span, step = (limit - start, delta) if delta > 0 else (start - limit, -delta)
                count = floordiv(span + (step - 1), step)
                return [TensorType(node.input(0).dtype, (count if is_nonnegative(count) else larger(count, 0),))]
        return [TensorType(node.input(0).dtype, (facts.late(),))]

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        known = [node.input(i).elements for i in range(3)]
        (count,) = node.output.shape
        if not isinstance(count, int) or count > MOST_ELEMENTS or known[0] is None or known[2] is None:
            return None
        return tuple(known[0][0] + known[2][0] * i for i in range(count))

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        start, limit, delta = (code.ref(node.input(i)) for i in range(3))
        cpp = "float" if node.output.dtype.is_small else node.output.dtype.cpp
        (count,) = node.output.shape
        if node.output.tensor.is_late:
            code.assign(count, f"nn::range_count<{cpp}>({start}[0], {limit}[0], {delta}[0])")
            code.allocate(node.output)
        if cpp == node.output.dtype.cpp:
            code.line(f"nn::range<{cpp}>({start}[0], {delta}[0], {code.size(count)}, {code.ref(node.output)});")
            return
        name = code.fresh("i")
        with code.block(f"for (std::int64_t {name} = 0; {name} < {code.size(count)}; ++{name})"):
            code.line(f"{code.ref(node.output)}[{name}] = float({start}[0]) + float({name}) * float({delta}[0]);")


@operator("EyeLike", since=(9, 22))
class EyeLike(Operator):
    """Ones on a diagonal of a matrix of the input's shape."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        dtype = DType.of_number(node.integer("dtype", data.dtype.number))
        if data.rank != 2 or dtype is None or dtype is DType.STRING:
            raise InputError(f"{node.where} needs a matrix and an element type that is known", code="network.shape")
        return [TensorType(dtype, data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        rows, columns = node.output.shape
        code.line(f"nn::eye({code.size(rows)}, {code.size(columns)}, {node.integer('k', 0)}, {code.ref(node.output)});")
