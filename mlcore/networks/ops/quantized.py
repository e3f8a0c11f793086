"""Quantised numbers: from and to real ones, products and convolutions of them."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Shape, Size, TensorType, Value, ValueType, product
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._windows import MOST, same_sizes
from mlcore.networks.ops.convolution import Convolution, check_bias, check_zero_point, pointer, zero_point, zero_points
from mlcore.networks.ops.matmul import matmul_shape, write_batches
from mlcore.networks.ops.pooling import written

RANGES: dict[DType, tuple[int, int]] = {
    DType.UINT8: (0, 255),
    DType.INT8: (-128, 127),
    DType.UINT16: (0, 65535),
    DType.INT16: (-32768, 32767),
    DType.UINT4: (0, 15),
    DType.INT4: (-8, 7),
    DType.UINT2: (0, 3),
    DType.INT2: (-2, 1),
}
"""Whole numbers that real ones are quantised to."""

FLOATS = (DType.FLOAT8E4M3FN, DType.FLOAT8E4M3FNUZ, DType.FLOAT8E5M2, DType.FLOAT8E5M2FNUZ, DType.FLOAT4E2M1)
"""Floating-point numbers that real ones are quantised to."""


def encoder(dtype: DType, *, saturate: bool = True) -> str:
    """The C++ function that rounds a float to a floating-point number of few bits."""
    if dtype in (DType.FLOAT4E2M1, DType.FLOAT8E8M0) or saturate:
        return f"[](float x) {{ return {dtype.cpp}(x); }}"
    return f"[](float x) {{ {dtype.cpp} y; y.bits = {dtype.cpp}::encoded(x, false); return y; }}"


class Scaled(Operator):
    """Elements that share scales and zero points: all of them, those at each place of an axis, or blocks along an axis."""

    def kind(self, node: Node) -> str:
        """How fine the scales are: ``"tensor"``, ``"axis"`` or ``"block"``."""
        scale = node.input(1)
        if scale.count == 1 and not node.integer("block_size", 0):
            return "tensor"
        if scale.rank == 1 and not node.integer("block_size", 0):
            return "axis"
        return "block"

    def axis(self, node: Node) -> int:
        """The axis along which scales differ."""
        rank = node.input(0).rank
        if rank == 1:
            return 0
        axis: int = node.integer("axis", 1)
        return node.axis(axis, rank)

    def check(self, node: Node, facts: Facts) -> None:
        """Check that scales and zero points fit the data."""
        data, scale, kind = node.input(0), node.input(1), self.kind(node)
        if node.has(2) and node.input(2).count != 1:
            same_sizes(facts, node.input(2).shape, scale.shape, f"{node.where} has a zero point for each scale")
        if kind == "tensor":
            return
        axis = self.axis(node)
        if kind == "axis":
            facts.same(scale.shape[0], data.shape[axis], f"{node.where} has a scale for each place of axis {axis}")
            return
        if scale.rank != data.rank:
            raise InputError(f"{node.where} scales {data.tensor} by blocks of {scale.tensor}", code="network.shape")
        block = node.integer("block_size", 0)
        if not 1 <= block < MOST:
            raise InputError(
                f"{node.where} has blocks of {block}", hint="block_size has to be positive.", code="network.attribute"
            )
        for other in range(data.rank):
            wanted = floordiv(data.shape[other] + block - 1, block) if other == axis else data.shape[other]
            facts.same(scale.shape[other], wanted, f"{node.where} has a scale for each block of {block} along axis {axis}")

    def granularity(self, node: Node, code: Writer) -> str:
        """As an argument of a kernel."""
        data, kind = node.input(0), self.kind(node)
        if kind == "tensor":
            return f"nn::Granularity{{1, 1, {code.size(data.count)}, 1, 0, 0, 0}}"
        axis = self.axis(node)
        inner = product(data.shape[axis + 1 :])
        sizes: list[Size] = [product(data.shape[:axis]), data.shape[axis], inner]
        if kind == "axis":
            sizes += [1, 0, 1, 0]
        else:
            sizes += [node.integer("block_size", 0), node.input(1).shape[axis] * inner, inner, 1]
        return f"nn::Granularity{{{', '.join(code.size(size) for size in sizes)}}}"

    def zero(self, node: Node, code: Writer, dtype: DType) -> str:
        """The zero points: as many as there are scales."""
        value, scale = node.optional(2), node.input(1)
        if value is None:
            return f"static_cast<const {dtype.cpp}*>(nullptr)"
        if value.count == scale.count:
            return code.ref(value)
        # One zero point for many scales.
        name = code.scratch(dtype.cpp, scale.count, dtype.bytes)
        code.line(f"nn::fill({name}, {code.size(scale.count)}, {code.ref(value)}[0]);")
        return f"static_cast<const {dtype.cpp}*>({name})"


@operator("QuantizeLinear", since=(10, 13, 19, 21, 23, 24, 25, 28))
class QuantizeLinear(Scaled):
    """``saturate(round(x / scale) + zero point)``."""

    def _result(self, node: Node) -> DType:
        if node.has(2):
            return node.input(2).dtype
        number = node.integer("output_dtype", 0)
        dtype = DType.of_number(number) if number else DType.UINT8
        if dtype is None:
            raise InputError(f"{node.where} has results of the unsupported type {number}", code="network.dtype")
        return dtype

    def _precision(self, node: Node) -> DType:
        """The type that quotients are rounded to."""
        number = node.integer("precision", 0)
        if number:
            said = DType.of_number(number)
            if said not in (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64):
                raise InputError(f"{node.where} divides with the precision {number}", code="network.attribute")
            return said
        kinds = {node.input(0).dtype, node.input(1).dtype}
        if DType.INT32 in kinds:
            return DType.FLOAT64
        if len(kinds) == 1 and node.input(0).dtype.is_float:
            return node.input(0).dtype
        return DType.FLOAT32

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, dtype = node.input(0), self._result(node)
        if dtype not in RANGES and dtype not in FLOATS:
            raise InputError(f"{node.where} quantises to {dtype}", code="network.dtype")
        for index in (0, 1):
            kind = node.input(index).dtype
            if not (kind.is_float or kind is DType.INT32):
                raise InputError(f"{node.where} has {kind} as input {index}", code="network.dtype")
        self._precision(node)
        self.check(node, facts)
        return [TensorType(dtype, data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/quantized.hpp")
        dtype, precision = node.output.dtype, self._precision(node)
        real = DType.FLOAT64 if precision is DType.FLOAT64 else DType.FLOAT32
        types = f"<{real.cpp}, {precision.cpp}>"
        inputs = f"{self.granularity(node, code)}, {code.refs([node.input(0), node.input(1)])}, {self.zero(node, code, dtype)}"
        if dtype in RANGES:
            low, high = (literal(bound, real) for bound in RANGES[dtype])
            code.line(f"nn::quantize{types}({inputs}, {low}, {high}, {code.ref(node.output)});")
        else:
            encode = encoder(dtype, saturate=bool(node.integer("saturate", 1)))
            code.line(f"nn::quantize_float{types}({inputs}, {encode}, {code.ref(node.output)});")


@operator("DequantizeLinear", since=(10, 13, 19, 21, 23, 24, 25, 28))
class DequantizeLinear(Scaled):
    """``(x - zero point) * scale``."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.dtype not in RANGES and data.dtype not in FLOATS and data.dtype is not DType.INT32:
            raise InputError(f"{node.where} is given {data.dtype}", code="network.dtype")
        if node.has(2) and node.input(2).dtype is not data.dtype:
            raise InputError(f"{node.where} has a zero point of {node.input(2).dtype} for {data.dtype}", code="network.dtype")
        number = node.integer("output_dtype", 0)
        dtype = DType.of_number(number) if number else node.input(1).dtype
        if dtype is None or not dtype.is_float:
            raise InputError(f"{node.where} has results of the type {number or dtype}", code="network.dtype")
        self.check(node, facts)
        return [TensorType(dtype, data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/quantized.hpp")
        real = "double" if node.output.dtype is DType.FLOAT64 else "float"
        inputs = f"{code.refs([node.input(0), node.input(1)])}, {self.zero(node, code, node.input(0).dtype)}"
        code.line(f"nn::dequantize<{real}>({self.granularity(node, code)}, {inputs}, {code.ref(node.output)});")


@operator("DynamicQuantizeLinear", since=(11,))
class DynamicQuantizeLinear(Operator):
    """To 8 bits, with the scale and zero point that the tensor's range gives. A tensor of zeros has the scale 1."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.dtype is not DType.FLOAT32:
            raise InputError(f"{node.where} is given {data.dtype}, where float32 is needed", code="network.dtype")
        return [TensorType(DType.UINT8, data.shape), TensorType(DType.FLOAT32, ()), TensorType(DType.UINT8, ())]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/quantized.hpp")
        data = node.input(0)
        outputs = [written(node, 0, code)]
        for index, dtype in ((1, DType.FLOAT32), (2, DType.UINT8)):
            there = index < len(node.outputs) and node.outputs[index].name
            outputs.append(code.ref(node.outputs[index]) if there else code.scratch(dtype.cpp, 1, dtype.bytes))
        code.line(f"nn::dynamic_quantize({code.size(data.count)}, {code.ref(data)}, {', '.join(outputs)});")


@operator("QLinearConv", since=(10,))
class QLinearConv(Convolution):
    """The convolution of 8-bit numbers, quantised again."""

    weight_index = 3

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        shape = self.shape(node, facts)
        for index in (1, 2, 6, 7):
            check_zero_point(node, index, None, facts)
        for index in (4, 5):
            check_zero_point(node, index, shape[1], facts)
        check_bias(node, 8, shape[1], facts)
        dtype = node.input(7).dtype
        if dtype not in (DType.UINT8, DType.INT8):
            raise InputError(f"{node.where} quantises to {dtype}", code="network.dtype")
        return [TensorType(dtype, shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/quantized.hpp")
        row = self.row(node, code, "std::int32_t", 4)
        w_scale = node.input(4)
        arguments = [
            self.windows(node).cpp(code),
            self.channels(node, code),
            code.refs([node.input(0), node.input(3)]),
            zero_point(node, 2, code),
            zero_points(node, 5, code),
            code.ref(node.input(1)),
            f"nn::lines({code.ref(w_scale)}, {0 if w_scale.count == 1 else 1})",
            code.refs([node.input(6), node.input(7)]),
            pointer(node, 8, code, "std::int32_t"),
            code.ref(node.output),
            row,
        ]
        code.line(f"nn::qlinear_conv({', '.join(arguments)});")


class QuantizedProduct(Operator):
    """Matrices of quantised numbers; zero points and scales are one number, or one for each row of A and column of B."""

    def lines_shape(
        self, node: Node, value: Value, matrix: Value, *, rows: bool, facts: Facts | None = None
    ) -> tuple[Shape, Size]:
        """The batch axes of zero points or scales, and how many each matrix has: 1, or as many as rows or columns."""
        if value.count == 1:
            return (), 1
        length = matrix.shape[-2 if rows else -1] if matrix.rank > 1 else 1
        if value.rank == 1:
            if facts is not None:
                facts.same(value.shape[0], length, f"{node.where} has a zero point for each {'row' if rows else 'column'}")
            return (), length
        wanted = (length, 1) if rows else (1, length)
        own = value.shape[-2:]
        if facts is not None:
            if value.rank > matrix.rank:
                raise InputError(f"{node.where} has zero points {value.tensor} for {matrix.tensor}", code="network.shape")
            if own != (1, 1):
                same_sizes(facts, own, wanted, f"{node.where} has a zero point for each {'row' if rows else 'column'}")
        return value.shape[:-2], 1 if own == (1, 1) else length

    def write_product(
        self, node: Node, code: Writer, matrices: tuple[Value, Value], extra: Sequence[tuple[Value, bool]], text: str
    ) -> None:
        """Write the loop over the batch.

        Parameters
        ----------
        extra
            Zero points and scales, each with whether it is of the rows.
        text
            The call, with ``{a}``, ``{b}``, ``{y}``, ``{sizes}`` and ``{0}``, ``{1}``, ... for the extra operands.
        """
        left, right = matrices
        output = node.output
        m: Size = left.shape[-2] if left.rank > 1 else 1
        k = left.shape[-1]
        n: Size = right.shape[-1] if right.rank > 1 else 1
        rank = max(left.rank, right.rank)
        batch = output.shape[: rank - 2] if rank > 2 else ()
        operands: list[tuple[Value, Shape, Size]] = [(left, left.shape[:-2], m * k), (right, right.shape[:-2], k * n)]
        steps = []
        for value, rows in extra:
            own, count = self.lines_shape(node, value, left if rows else right, rows=rows)
            operands.append((value, own, count))
            steps.append("0" if count == 1 and value.count == 1 else "1" if count != 1 else "0")
        heads, pointers = write_batches(code, batch, operands, (output, m * n))
        a, b, *others, y = pointers
        found = [f"nn::lines({name}, {step})" for name, step in zip(others, steps, strict=True)]
        sizes = ", ".join(code.size(size) for size in (m, k, n))
        code.line(" ".join([*heads, text.format(*found, a=a, b=b, y=y, sizes=sizes)]))

    @staticmethod
    def columns(right: Value) -> Size:
        return right.shape[-1] if right.rank > 1 else 1


@operator("MatMulInteger", since=(10,))
class MatMulInteger(QuantizedProduct):
    """Of 8-bit numbers less their zero points, as 32-bit numbers."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        left, right = node.input(0), node.input(1)
        for index, matrix in ((2, left), (3, right)):
            if node.has(index):
                self.lines_shape(node, node.input(index), matrix, rows=index == 2, facts=facts)
                if node.input(index).dtype is not matrix.dtype:
                    raise InputError(f"{node.where} has a zero point of {node.input(index).dtype}", code="network.dtype")
        return [TensorType(DType.INT32, matmul_shape(node, left.shape, right.shape, facts))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/quantized.hpp")
        left, right = node.input(0), node.input(1)
        row = code.scratch("std::int32_t", self.columns(right), 4)
        extra: list[tuple[Value, bool]] = []
        names: list[str] = []
        for index, matrix in ((2, left), (3, right)):
            value = node.optional(index)
            if value is None:
                names.append(f"nn::lines(static_cast<const {matrix.dtype.cpp}*>(nullptr), 0)")
            else:
                names.append(f"{{{len(extra)}}}")
                extra.append((value, index == 2))
        text = f"nn::matmul_integer({{sizes}}, {{a}}, {{b}}, {', '.join(names)}, {{y}}, {row});"
        self.write_product(node, code, (left, right), extra, text)


@operator("QLinearMatMul", since=(10, 21))
class QLinearMatMul(QuantizedProduct):
    """The product of quantised matrices, quantised again."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        left, right = node.input(0), node.input(3)
        for index in (1, 2):
            self.lines_shape(node, node.input(index), left, rows=True, facts=facts)
        for index in (4, 5):
            self.lines_shape(node, node.input(index), right, rows=False, facts=facts)
        for index in (6, 7):
            if node.input(index).count != 1:
                raise UnsupportedOperatorError(
                    node.kind,
                    node.version,
                    node.name,
                    "the result has more than one scale",
                    hint="Quantise it with QuantizeLinear.",
                )
        dtype = node.input(7).dtype
        if dtype not in RANGES and dtype not in FLOATS:
            raise InputError(f"{node.where} quantises to {dtype}", code="network.dtype")
        return [TensorType(dtype, matmul_shape(node, left.shape, right.shape, facts))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/quantized.hpp")
        left, right, dtype = node.input(0), node.input(3), node.output.dtype
        whole = all(value.dtype.is_integer and value.dtype.bytes == 1 for value in (left, right))
        row = code.scratch("std::int32_t" if whole else "float", self.columns(right), 4)
        if dtype in RANGES:
            low, high = (literal(bound, DType.FLOAT32) for bound in RANGES[dtype])
            encode = (
                f"[](float x, float zero) {{{{ return static_cast<{dtype.cpp}>(nn::rounded_into(x, zero, {low}, {high})); }}}}"
            )
        else:
            encode = f"[](float x, float zero) {{{{ return {dtype.cpp}(x + zero); }}}}"
        extra = [(node.input(2), True), (node.input(5), False), (node.input(1), True), (node.input(4), False)]
        text = (
            f"nn::qlinear_matmul({{sizes}}, {{a}}, {{b}}, {{0}}, {{1}}, {{2}}, {{3}}, "
            f"{code.refs([node.input(6), node.input(7)])}, {encode}, {{y}}, {row});"
        )
        self.write_product(node, code, (left, right), extra, text)
