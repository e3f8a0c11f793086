"""Attention, and the turns that tell it where tokens stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Size, TensorType, Value, ValueType
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._products import BLOCK
from mlcore.networks.ops._windows import MOST, nonnegative, same_sizes
from mlcore.networks.ops.convolution import same_dtype
from mlcore.networks.ops.normalization import named

_SCORES = ("raw", "capped", "masked", "probabilities")


@dataclass(frozen=True)
class Heads:
    """Rows of some heads, (batch, heads, rows, size), or (batch, rows, heads * size) when `joined`."""

    batch: Size
    heads: Size
    rows: Size
    size: Size
    joined: bool

    def steps(self, code: Writer) -> str:
        """``nn::HeadSteps``."""
        if self.joined:
            numbers = (self.rows * self.heads * self.size, self.size, self.heads * self.size)
        else:
            numbers = (self.heads * self.rows * self.size, self.rows * self.size, self.size)
        return f"nn::HeadSteps{{{', '.join(code.size(number) for number in numbers)}}}"

    @property
    def shape(self) -> tuple[Size, ...]:
        if self.joined:
            return (self.batch, self.rows, self.heads * self.size)
        return (self.batch, self.heads, self.rows, self.size)


def heads_of(node: Node, value: Value, key: str, facts: Facts | None = None) -> Heads:
    """A tensor as heads, whose number an attribute names where they stand side by side in rows.

    Raises
    ------
    InputError
        The tensor has another rank, or cannot be divided.
    """
    if value.rank == 4:
        batch, heads, rows, size = value.shape
        return Heads(batch, heads, rows, size, joined=False)
    if value.rank != 3:
        raise InputError(f"{node.where} is given {value.tensor}, where 3 or 4 axes are needed", code="network.shape")
    count = node.integer(key, 0)
    batch, rows, hidden = value.shape
    if not 1 <= count < MOST or (isinstance(hidden, int) and hidden % count):
        raise InputError(
            f"{node.where} divides {hidden!r} numbers among {count} heads",
            hint=f"Tensors of 3 axes need {key}, which divides the last.",
            code="network.attribute",
        )
    size = floordiv(hidden, count)
    if facts is not None and not isinstance(size, int):
        facts.same(size * count, hidden, f"{node.where} has whole heads")
    return Heads(batch, count, rows, size, joined=True)


@operator("Attention", since=(23, 24, 25))
class Attention(Operator):
    """``softmax(scale Q K^T + mask) V`` (Vaswani et al., arXiv:1706.03762, Eq. 1), with caches, windows and shared heads."""

    def _heads(self, node: Node, facts: Facts | None = None) -> tuple[Heads, Heads, Heads]:
        queries = heads_of(node, node.input(0), "q_num_heads", facts)
        keys, values = (heads_of(node, node.input(index), "kv_num_heads", facts) for index in (1, 2))
        return queries, keys, values

    def _past(self, node: Node) -> Size:
        return node.input(4).shape[2] if node.has(4) else 0

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        same_dtype(node, [node.input(0), node.input(1)])
        queries, keys, values = self._heads(node, facts)
        where = node.where
        for one, other, what in (
            (keys.batch, queries.batch, "keys for its batch"),
            (values.batch, queries.batch, "values for its batch"),
            (keys.size, queries.size, "keys as long as its queries"),
            (values.heads, keys.heads, "as many heads of values as of keys"),
            (values.rows, keys.rows, "a value for each key"),
        ):
            facts.same(one, other, f"{where} has {what}")
        if isinstance(queries.heads, int) and isinstance(keys.heads, int) and (not keys.heads or queries.heads % keys.heads):
            raise InputError(f"{where} shares {keys.heads} heads of keys among {queries.heads} of queries", code="network.shape")
        if not isinstance(queries.heads, int) or not isinstance(keys.heads, int):
            facts.same(
                floordiv(queries.heads, keys.heads) * keys.heads, queries.heads, f"{where} shares its heads of keys evenly"
            )
        if node.has(4) != node.has(5):
            raise InputError(f"{where} has only one of past keys and values", code="network.input")
        past = self._past(node)
        if node.has(4):
            for index, like in ((4, keys), (5, values)):
                wanted = (like.batch, like.heads, past, like.size)
                same_sizes(facts, node.input(index).shape, wanted, f"{where} has input {index} of the shape {list(wanted)}")
        if node.has(6):
            if node.has(4):
                raise InputError(f"{where} has past keys, and lengths besides", code="network.input")
            same_sizes(facts, node.input(6).shape, (queries.batch,), f"{where} has a length for each of its batch")
            if node.input(6).dtype is not DType.INT64:
                raise InputError(f"{where} has lengths of {node.input(6).dtype}", code="network.dtype")
        total = keys.rows + past
        if node.has(3):
            self._check_mask(node, (queries.batch, queries.heads, queries.rows, total), facts)
        for key in ("left_window_size", "right_window_size"):
            if not -1 <= node.integer(key, -1) < MOST:
                raise InputError(f"{where} has {key} = {node.integer(key)}", code="network.attribute")
        if node.integer("qk_matmul_output_mode", 0) not in range(4):
            raise InputError(f"{where} has the mode {node.integer('qk_matmul_output_mode')}", code="network.attribute")
        self._real(node)
        result = Heads(queries.batch, queries.heads, queries.rows, values.size, queries.joined)
        kinds = (node.input(0).dtype, node.input(2).dtype)
        return [
            TensorType(kinds[0], result.shape),
            TensorType(kinds[0], (keys.batch, keys.heads, total, keys.size)),
            TensorType(kinds[1], (values.batch, values.heads, total, values.size)),
            TensorType(kinds[0], (queries.batch, queries.heads, queries.rows, total)),
        ]

    @staticmethod
    def _check_mask(node: Node, wanted: tuple[Size, ...], facts: Facts) -> None:
        mask = node.input(3)
        if mask.dtype is DType.STRING or not 1 <= mask.rank <= 4:
            raise InputError(f"{node.where} has the mask {mask.tensor}", code="network.shape")
        why = f"{node.where} has a mask that broadcasts to {list(wanted)}"
        for size, own in zip(wanted[:-1][::-1], mask.shape[:-1][::-1], strict=False):
            if own != 1:
                facts.same(own, size, why)
        nonnegative(wanted[-1] - mask.shape[-1], facts, why)

    @staticmethod
    def _real(node: Node) -> DType:
        """The type that is computed in."""
        number = node.integer("softmax_precision", 0)
        said = DType.of_number(number) if number else DType.FLOAT32
        if said not in (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64):
            raise InputError(f"{node.where} has the softmax_precision {number}", code="network.attribute")
        kinds = (said, *(node.input(index).dtype for index in range(3)))
        return DType.FLOAT64 if DType.FLOAT64 in kinds else DType.FLOAT32

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/masked_attention.hpp")
        queries, keys, values = self._heads(node)
        real, past = self._real(node), self._past(node)
        total = keys.rows + past
        keys, key = self._cached(node, code, 1, 4, keys, past)
        values, value = self._cached(node, code, 2, 5, values, past)
        output = node.output
        target = code.ref(output) if output.name else code.scratch(output.dtype.cpp, output.count, output.dtype.bytes)
        result = Heads(queries.batch, queries.heads, queries.rows, values.size, queries.joined)
        sizes = (queries.batch, queries.heads, keys.heads, queries.rows, total)
        scale = node.number("scale")
        real_scale = literal(scale, DType.FLOAT64) if scale is not None else f"1 / std::sqrt(double({code.size(queries.size)}))"
        looked_at = named(node, 3)
        handed = code.ref(looked_at) if looked_at else f"static_cast<{output.dtype.cpp}*>(nullptr)"
        blocks = floordiv(total + BLOCK - 1, BLOCK) * BLOCK
        room = blocks * queries.size + floordiv(values.size + BLOCK - 1, BLOCK) * BLOCK * total
        room = room + (total + queries.size + values.size) * 32
        scratch = code.scratch(real.cpp, room, real.bytes)
        arguments = [
            f"nn::AttentionSizes{{{', '.join(code.size(size) for size in sizes)}}}",
            code.fixed(queries.size),
            code.fixed(values.size),
            code.ref(node.input(0)),
            queries.steps(code),
            key,
            keys.steps(code),
            value,
            values.steps(code),
            target,
            result.steps(code),
            self._mask(node, code, total),
            self._window(node, code, past),
            f"{real.cpp}({real_scale})",
            literal(node.number("softcap", 0.0), real),
            f"nn::Scores::{_SCORES[node.integer('qk_matmul_output_mode', 0)]}",
            handed,
            scratch,
        ]
        code.line(f"nn::masked_attention<{real.cpp}>({', '.join(arguments)});")

    @staticmethod
    def _cached(node: Node, code: Writer, index: int, past_index: int, own: Heads, past: Size) -> tuple[Heads, str]:
        """Keys or values with those of the past before them, where there is one, or where they are handed out."""
        value = node.input(index)
        present = named(node, index)
        if present is None and not node.has(past_index):
            return own, f"static_cast<const {value.dtype.cpp}*>({code.ref(value)})"
        joined = Heads(own.batch, own.heads, own.rows + past, own.size, joined=False)
        count = own.batch * own.heads * joined.rows * own.size
        target = code.ref(present) if present is not None else code.scratch(value.dtype.cpp, count, value.dtype.bytes)
        before = code.ref(node.input(past_index)) if node.has(past_index) else f"static_cast<const {value.dtype.cpp}*>(nullptr)"
        sizes = ", ".join(code.size(size) for size in (own.batch, own.heads, past, own.rows, own.size))
        code.line(f"nn::join_cache({sizes}, {before}, {code.ref(value)}, {own.steps(code)}, {target});")
        return joined, f"static_cast<const {value.dtype.cpp}*>({target})"

    @staticmethod
    def _mask(node: Node, code: Writer, total: Size) -> str:
        mask = node.optional(3)
        if mask is None:
            return f"nn::AttentionMask<bool>{{nullptr, {{0, 0, 0}}, {code.size(total)}}}"
        step: Size = mask.shape[-1]
        steps: list[Size] = []
        for size in mask.shape[:-1][::-1]:
            steps.insert(0, 0 if size == 1 else step)
            step = step * size
        padded: list[Size] = [*[0] * (3 - len(steps)), *steps]
        listed = ", ".join(code.size(item) for item in padded)
        return f"nn::AttentionMask<{mask.dtype.cpp}>{{{code.ref(mask)}, {{{listed}}}, {code.size(mask.shape[-1])}}}"

    @staticmethod
    def _window(node: Node, code: Writer, past: Size) -> str:
        causal = "true" if node.integer("is_causal", 0) else "false"
        left, right = (code.size(node.integer(key, -1)) for key in ("left_window_size", "right_window_size"))
        lengths = code.ref(node.input(6)) if node.has(6) else "nullptr"
        return f"nn::AttentionWindow{{{causal}, {left}, {right}, {code.size(past)}, {lengths}}}"


@operator("RotaryEmbedding", since=(23,))
class RotaryEmbedding(Operator):
    """Pairs of numbers turned by an angle for each place (Su et al., arXiv:2104.09864, Eq. 34)."""

    def _turned(self, node: Node) -> Size:
        heads = heads_of(node, node.input(0), "num_heads")
        turned: Size = node.integer("rotary_embedding_dim", 0) or heads.size
        return turned

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        dtype = same_dtype(node, [node.input(index) for index in range(3)])
        heads = heads_of(node, node.input(0), "num_heads", facts)
        turned = self._turned(node)
        if isinstance(turned, int) and (turned < 0 or turned % 2 or (isinstance(heads.size, int) and turned > heads.size)):
            raise InputError(f"{node.where} turns {turned!r} of {heads.size!r} numbers", code="network.attribute")
        nonnegative(heads.size - turned, facts, f"{node.where} turns {turned!r} of {heads.size!r} numbers")
        half = floordiv(turned, 2)
        for index in (1, 2):
            cache = node.input(index)
            if node.has(3):
                wanted: tuple[Size, ...] = (node.input(1).shape[0], half)
            else:
                wanted = (heads.batch, heads.rows, half)
            same_sizes(facts, cache.shape, wanted, f"{node.where} has input {index} of the shape {list(wanted)}")
        if node.has(3):
            same_sizes(facts, node.input(3).shape, (heads.batch, heads.rows), f"{node.where} has a place for each token")
            if node.input(3).dtype is not DType.INT64:
                raise InputError(f"{node.where} has places of {node.input(3).dtype}", code="network.dtype")
        return [TensorType(dtype, node.input(0).shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/masked_attention.hpp")
        data, cosines, sines = (node.input(index) for index in range(3))
        heads = heads_of(node, data, "num_heads")
        sizes = ", ".join(code.size(size) for size in (heads.batch, heads.heads, heads.rows, heads.size, self._turned(node)))
        flag = "true" if node.integer("interleaved", 0) else "false"
        places = code.ref(node.input(3)) if node.has(3) else "nullptr"
        code.line(
            f"nn::rotate({sizes}, {flag}, {code.size(cosines.shape[0])}, {code.ref(data)}, {heads.steps(code)}, "
            f"{code.refs([cosines, sines])}, {places}, {code.ref(node.output)});"
        )
