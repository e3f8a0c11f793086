"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Shape, Size, TensorType, Value, ValueType, product
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._map import broadcast_loops
from mlcore.networks.ops._products import BLOCK

_SOME_ROWS = 4
"""Rows of the left matrix from which on packing the right one pays."""


def computed(dtype: DType) -> DType:
    """The type that elements are computed in."""
    return DType.FLOAT32 if dtype.is_small else dtype


def write_batches(
    code: Writer, batch: Shape, inputs: Sequence[tuple[Value, Shape, Size]], output: tuple[Value, Size]
) -> tuple[list[str], list[str]]:
    """The heads of loops over a broadcast batch, and the pointers of each input and the output within them.

    Parameters
    ----------
    batch
        The axes of the batch, of the result.
    inputs
        Each with its own axes of the batch, and the elements of one matrix.
    output
        With the elements of one matrix.
    """
    loops, steps = broadcast_loops(batch, [own for _, own, _ in inputs])
    heads, indices = [], []
    for size in loops:
        if size == 1:
            continue
        name = code.fresh("b")
        indices.append(name)
        heads.append(f"for (std::int64_t {name} = 0; {name} < {code.size(size)}; ++{name})")
    if not indices:
        return [], [code.ref(value) for value, _, _ in inputs] + [code.ref(output[0])]
    pointers = []
    for (value, _, elements), own in zip(inputs, steps, strict=True):
        parts = [f"{name} * {code.size(step * elements)}" for name, step in zip(indices, own, strict=True) if step != 0]
        pointers.append(" + ".join([code.ref(value), *parts]))
    own_steps = [product(loops[axis + 1 :]) * output[1] for axis in range(len(loops))]
    parts = [f"{name} * {code.size(step)}" for name, step in zip(indices, own_steps, strict=True)]
    pointers.append(" + ".join([code.ref(output[0]), *parts]))
    return heads, pointers


@operator("MatMul", since=(1, 9, 13))
class MatMul(Operator):
    """NumPy's matmul: the last two axes are matrices, those before are a batch that broadcasts."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        left, right = node.input(0), node.input(1)
        if left.dtype is not right.dtype:
            raise InputError(f"{node.where} multiplies {left.dtype} by {right.dtype}", code="network.dtype")
        return [TensorType(left.dtype, matmul_shape(node, left.shape, right.shape, facts))]

    def write(self, node: Node, code: Writer) -> None:
        left, right, output = node.input(0), node.input(1), node.output
        write_matmul(code, left, right, output)


def matmul_shape(node: Node, left: Shape, right: Shape, facts: Facts) -> Shape:
    """The shape of a product, by NumPy's rules."""
    if not left or not right:
        raise InputError(f"{node.where} multiplies a single number", hint="Use Mul.", code="network.shape")
    rows = left[-2:-1]
    columns = right[-1:] if len(right) > 1 else ()
    facts.same(left[-1], right[-2] if len(right) > 1 else right[0], f"{node.where} sums over one axis")
    batch = facts.broadcast(left[:-2], right[:-2], why=f"{node.where} broadcasts")
    return (*batch, *rows, *columns)


def write_matmul(code: Writer, left: Value, right: Value, output: Value) -> None:
    """Write ``output = left @ right``."""
    few = left.rank > 1 and isinstance(left.shape[-2], int) and left.shape[-2] < _SOME_ROWS
    if left.rank > 1 and right.rank > 1 and output.dtype in (DType.FLOAT32, DType.FLOAT64) and not few:
        _write_packed(code, left, right, output)
        return
    code.include("kernels/nn/matmul.hpp")
    m: Size = left.shape[-2] if left.rank > 1 else 1
    k = left.shape[-1]
    n: Size = right.shape[-1] if right.rank > 1 else 1
    dtype = computed(output.dtype)
    row = code.scratch(dtype.cpp, n, dtype.bytes)
    n_vectors = (left.rank == 1) + (right.rank == 1)
    batch = output.shape[: output.rank - 2 + n_vectors] if n_vectors else output.shape[:-2]
    if n_vectors:
        batch = output.shape[: max(left.rank, right.rank) - 2] if max(left.rank, right.rank) > 2 else ()
    heads, (a, b, c) = write_batches(
        code, batch, [(left, left.shape[:-2], m * k), (right, right.shape[:-2], k * n)], (output, m * n)
    )
    sizes = ", ".join(map(code.size, (m, k, n)))
    code.line(" ".join([*heads, f"nn::matmul({sizes}, {a}, {code.size(k)}, 1, {b}, {code.size(n)}, 1, {c}, {row});"]))


def _write_packed(code: Writer, left: Value, right: Value, output: Value) -> None:
    """Write a product of matrices by packing the right one first, which some rows of the left one make up for."""
    code.include("kernels/nn/gemm.hpp")
    (m, k), n = left.shape[-2:], right.shape[-1]
    heads, (a, b, c) = write_batches(
        code, output.shape[:-2], [(left, left.shape[:-2], m * k), (right, right.shape[:-2], k * n)], (output, m * n)
    )
    name = code.scratch(output.dtype.cpp, floordiv(n + BLOCK - 1, BLOCK) * BLOCK * k, output.dtype.bytes)
    finish = f"nn::finish({c}, {code.fixed(n)}, {code.fixed(n)}, {code.function('[](auto sum) { return sum; }')})"
    sizes = ", ".join(map(code.fixed, (m, n, k)))
    pack = f"nn::pack({b}, {code.size(k)}, {code.size(n)}, {code.size(n)}, 1, {name});"
    multiply = f"nn::linear<false>({sizes}, {a}, {code.size(k)}, static_cast<const {output.dtype.cpp}*>({name}), {finish});"
    code.line(" ".join([*heads, f"{{ {pack} {multiply} }}"]))


@operator("Gemm", since=(7, 9, 11, 13))
class Gemm(Operator):
    """``alpha * A' @ B' + beta * C`` of matrices, A and B transposed where asked, C broadcast."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        left, right = node.input(0), node.input(1)
        if left.rank != 2 or right.rank != 2:
            raise InputError(f"{node.where} needs matrices, and is given {left.tensor} and {right.tensor}", code="network.shape")
        (m, k), (other, n) = self._matrix(node, 0, "transA"), self._matrix(node, 1, "transB")
        facts.same(k, other, f"{node.where} sums over one axis")
        shape = (m, n)
        if node.has(2):
            facts.broadcast(shape, node.input(2).shape, why=f"{node.where} adds C")
        return [TensorType(left.dtype, shape)]

    @staticmethod
    def _matrix(node: Node, index: int, key: str) -> Shape:
        shape = node.input(index).shape
        return shape[::-1] if node.integer(key, 0) else shape

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/matmul.hpp")
        left, right, output = node.input(0), node.input(1), node.output
        (m, k), (_, n) = self._matrix(node, 0, "transA"), self._matrix(node, 1, "transB")
        dtype = computed(output.dtype)
        row = code.scratch(dtype.cpp, n, dtype.bytes)
        steps = [f"1, {code.size(m)}" if node.integer("transA", 0) else f"{code.size(k)}, 1"]
        steps.append(f"1, {code.size(k)}" if node.integer("transB", 0) else f"{code.size(n)}, 1")
        code.line(
            f"nn::matmul({code.size(m)}, {code.size(k)}, {code.size(n)}, {code.ref(left)}, {steps[0]}, {code.ref(right)}, "
            f"{steps[1]}, {code.ref(output)}, {row});"
        )
        alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
        bias = node.optional(2) if beta != 0 else None
        if alpha == 1.0 and bias is None:
            return
        from mlcore.networks.ops._map import write_map

        text = "a" if alpha == 1.0 else f"nn::fn::mul(decltype(a)({literal(alpha, DType.FLOAT64)}), a)"
        if bias is None:
            write_map(code, text, ["a"], [output], output)
            return
        added = "b" if beta == 1.0 else f"nn::fn::mul(decltype(b)({literal(beta, DType.FLOAT64)}), b)"
        write_map(code, f"nn::fn::add({text}, {added})", ["a", "b"], [output, bias], output)
