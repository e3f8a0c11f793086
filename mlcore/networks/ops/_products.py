"""Products that passes make: matrices with constant weights, attention; what follows them is done on the tiles of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np

from mlcore.networks.code import Writer, cpp_size, literal
from mlcore.networks.ir import Array, DType, Node, Shape, Size, Value
from mlcore.networks.ops._fused import Fused, chain_statements
from mlcore.networks.ops._map import broadcast_loops
from mlcore.networks.ops._strided import Strided

BLOCK = 16
"""Columns of a block of packed weights, the same for every target (`kernels/nn/gemm.hpp`)."""


def packed(weights: Array) -> Array:
    """Weights of shape (K, N) in blocks of columns: shape (ceil(N / 16), K, 16), filled up with zeros."""
    depth, columns = weights.shape
    blocks = -(-columns // BLOCK)
    padded = np.zeros((depth, blocks * BLOCK), weights.dtype)
    padded[:, :columns] = weights
    return np.ascontiguousarray(padded.reshape(depth, blocks, BLOCK).transpose(1, 0, 2))


def packed_narrow(weights: Array, rows: int) -> Array:
    """The same with as few columns in the last block as a product of so many rows gains from: 4, 8 (one row), 16.

    A narrow block is filled up to a multiple of four rows.
    """
    depth, columns = weights.shape
    rest = columns % BLOCK
    if rest == 0 or rest > (8 if rows == 1 else 4):
        return packed(weights)
    last = np.zeros((-(-depth // 4) * 4, 8 if rest > 4 else 4), weights.dtype)
    last[:depth, :rest] = weights[:, columns - rest :]
    return np.concatenate([packed(weights[:, : columns - rest]).reshape(-1), last.reshape(-1)])


def steps_of(node: Node) -> list[Node]:
    """The elementwise nodes that join a product."""
    return cast("list[Node]", node.attributes.get("steps", []))


class Linear(Fused):
    """``x @ W`` with constant weights, and elementwise steps on the result.

    Inputs: x, of shape (..., K); W, of shape (K, N); what the steps read besides. Attributes, where there are steps: ``steps``,
    the nodes; ``raw``, the value that stands for the product in them.
    """

    name: ClassVar[str] = "Linear"

    def takes(self, node: Node, operands: Sequence[Value]) -> bool:
        """Whether the operands of a step can be read along with the tiles of the result."""
        return all(operand.rank <= node.output.rank for operand in operands)

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/gemm.hpp")
        x, weights, output = node.input(0), node.input(1), node.output
        if weights.constant is None:
            raise AssertionError("a Linear node has weights that are no constant")
        depth, columns = weights.constant.shape
        operands = node.present()[2:]
        for step in steps_of(node):
            code.comment(f"  {step.kind}")
        lead = output.shape[:-1]
        # As many axes make one run of rows as go along in every operand; steps are counted in rows.
        leads = [lead, lead, *(_lead(value, output.rank) for value in operands)]
        loops, (x_steps, out_steps, *operand_steps) = broadcast_loops(lead, leads)
        indices = []
        heads = []
        for size in loops[:-1]:
            name = code.fresh("b")
            indices.append(name)
            heads.append(f"for (std::int64_t {name} = 0; {name} < {code.size(size)}; ++{name})")
        columns_of = [_last(value) for value in operands]
        parts = [
            _operand(code, value, own, last, indices)
            for value, own, last in zip(operands, operand_steps, columns_of, strict=True)
        ]
        function = code.function(finish_function(node, operands))
        source = _at(code.ref(x), [step * depth for step in x_steps[:-1]], indices)
        target = _at(code.ref(output), [step * columns for step in out_steps[:-1]], indices)
        width, stored = code.fixed(columns), columns
        if loops == [1] and code.storage(output).kind == "planned" and all(value.constant is not None for value in operands):
            # Whole vectors: the 64 bytes behind a tensor in the arena, or behind a constant, are its own.
            lanes = 64 // output.dtype.bytes
            stored = -(-columns // lanes) * lanes
        finish = f"nn::finish({', '.join([target, code.fixed(columns), code.fixed(stored), function, *parts])})"
        rows = loops[-1]
        kernel, packing = (
            ("linear<true>", packed_narrow(weights.constant, rows))
            if isinstance(rows, int)
            else ("linear<false>", packed(weights.constant))
        )
        name = code.weights(packing)
        text = f"nn::{kernel}({code.fixed(rows)}, {width}, {code.fixed(depth)}, {source}, {depth}, {name}, {finish});"
        code.line(" ".join([*heads, text]))


def finish_function(node: Node, operands: Sequence[Value]) -> str:
    """The C++ function of what is done with each element of a product."""
    names = [f"p{i}" for i in range(len(operands))]
    steps = steps_of(node)
    if not steps:
        return "[](auto sum) { return sum; }"
    raw = cast("Value", node.attributes["raw"])
    statements, result = chain_statements(steps, {raw: "sum", **dict(zip(operands, names, strict=True))})
    arguments = ", ".join(f"auto {name}" for name in ["sum", *names])
    return f"[]({arguments}) {{ {' '.join([*statements, f'return {result};'])} }}"


def _lead(value: Value, rank: int) -> Shape:
    """The axes before the last, padded to those of the result."""
    shape = (1,) * (rank - value.rank) + tuple(value.shape)
    return shape[:-1]


def _last(value: Value) -> Size:
    return value.shape[-1] if value.rank else 1


def _operand(code: Writer, value: Value, steps: Sequence[Size], last: Size, indices: Sequence[str]) -> str:
    start = _at(code.ref(value), [step * last for step in steps[:-1]], indices)
    kind = "along" if last != 1 else "each"
    return f"nn::{kind}({start}, {code.fixed(steps[-1] * last)})"


def _at(name: str, steps: Sequence[Size], indices: Sequence[str]) -> str:
    parts = [f"{index} * {cpp_size(step)}" for index, step in zip(indices, steps, strict=True) if step != 0]
    return " + ".join([name, *parts])


class Attention(Fused):
    """softmax(scale Q K^T + added) V, of queries, keys and values that are read where they lie.

    Attributes: ``queries``, ``keys``, ``values`` and ``result`` (`Strided`, of shapes (..., T, d), (..., S, d), (..., S, e) and
    (..., T, e)); ``scale``; ``added``, a value that broadcasts to (..., T, S), or None.
    """

    name: ClassVar[str] = "Attention"

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/attention.hpp")
        views = [cast("Strided", node.attributes[key]) for key in ("queries", "keys", "values", "result")]
        queries, keys, values, _ = views
        rows, width, depth, columns = queries.shape[-2], keys.shape[-2], queries.shape[-1], values.shape[-1]
        added = cast("Value | None", node.attributes["added"])
        indices, heads = [], []
        for size in queries.shape[:-2]:
            name = code.fresh("b")
            indices.append(name)
            if size == 1:
                code.line(f"constexpr std::int64_t {name} = 0;")
            else:
                heads.append(f"for (std::int64_t {name} = 0; {name} < {code.size(size)}; ++{name})")
        parts = []
        for item in views:
            offset = [cpp_size(item.offset)] if item.offset != 0 else []
            parts.append(
                f"{_at(' + '.join([code.ref(item.base), *offset]), item.strides[:-2], indices)}, {cpp_size(item.strides[-2])}"
            )
        mask = "nullptr, 0, 0"
        if added is not None:
            shape = (1,) * (len(queries.shape) - added.rank) + tuple(added.shape)
            step: Size = 1
            steps: list[Size] = []
            for size in reversed(shape):
                steps.append(0 if size == 1 else step)
                step = step * size
            steps.reverse()
            mask = f"{_at(code.ref(added), steps[:-2], indices)}, {cpp_size(steps[-2])}, {cpp_size(steps[-1])}"
        sizes = [code.fixed(size) for size in (rows, width, depth, columns)]
        scratch = code.scratch("float", _attention_scratch(width, depth, columns), 4)
        scale = literal(cast("float", node.attributes["scale"]), DType.FLOAT32)
        code.line(" ".join([*heads, f"nn::attention({', '.join([*sizes, *parts, scale, mask, scratch])});"]))


ATTENTION_ROWS = 32
"""Rows of scores that are held at a time (`kernels/nn/attention.hpp`)."""


def _attention_scratch(width: Size, depth: Size, columns: Size) -> Size:
    """Floats: keys and values packed in blocks, a block of rows of scores."""
    blocks = (width + BLOCK - 1) // BLOCK * BLOCK
    value_blocks = (columns + BLOCK - 1) // BLOCK * BLOCK
    return blocks * depth + value_blocks * width + blocks * ATTENTION_ROWS + ATTENTION_ROWS


LINEAR = Linear()
ATTENTION = Attention()
