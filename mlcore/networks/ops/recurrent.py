"""Recurrent networks: RNN, GRU, LSTM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Size, TensorType, ValueType
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._products import BLOCK, packed
from mlcore.networks.ops._windows import same_sizes
from mlcore.networks.ops.convolution import same_dtype
from mlcore.networks.ops.matmul import computed
from mlcore.networks.ops.normalization import maybe, named

# C++ of the activations in x, and the defaults of the parameters that they take.
_SEVERAL = 8
"""Sequences from which on a product for each step is as fast as one for all."""

_ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "relu": ("nn::fn::relu(x)", ()),
    "tanh": ("nn::fn::tanh(x)", ()),
    "sigmoid": ("nn::fn::sigmoid(x)", ()),
    "softsign": ("nn::fn::softsign(x)", ()),
    "softplus": ("nn::fn::softplus(x)", ()),
    "leakyrelu": ("nn::fn::leaky_relu(x, {0})", (0.01,)),
    "thresholdedrelu": ("nn::fn::thresholded_relu(x, {0})", (1.0,)),
    "elu": ("nn::fn::elu(x, {0})", (1.0,)),
    "hardsigmoid": ("nn::fn::hard_sigmoid(x, {0}, {1})", (0.2, 0.5)),
    "scaledtanh": ("nn::fn::mul({0}, nn::fn::tanh(nn::fn::mul({1}, x)))", (1.0, 1.0)),
    "affine": ("nn::fn::add(nn::fn::mul({0}, x), {1})", (1.0, 0.0)),
}


@dataclass(frozen=True)
class _Sizes:
    """Sizes of a recurrent node."""

    steps: Size
    batch: Size
    inputs: Size
    hidden: Size
    directions: int
    batch_first: bool


class Recurrent(Operator):
    """What the recurrent operators share.

    Inputs: X, (steps, batch, inputs) or, with ``layout=1``, (batch, steps, inputs); W, (directions, gates * hidden, inputs); R,
    (directions, gates * hidden, hidden); B, both biases; lengths of the sequences; initial states.
    """

    n_gates: ClassVar[int]
    defaults: ClassVar[tuple[str, ...]]
    n_states: ClassVar[int] = 1

    def sizes(self, node: Node) -> _Sizes:
        data, weights = node.input(0), node.input(1)
        if data.rank != 3 or weights.rank != 3:
            raise InputError(f"{node.where} applies weights {weights.tensor} to {data.tensor}", code="network.shape")
        batch_first = self._flag(node, "layout")
        steps, batch = data.shape[:2][:: -1 if batch_first else 1]
        hidden = node.integer("hidden_size", floordiv(weights.shape[1], self.n_gates))
        direction = node.text("direction", "forward")
        if direction not in ("forward", "reverse", "bidirectional"):
            raise InputError(f"{node.where} has the unknown direction {direction!r}", code="network.attribute")
        if isinstance(hidden, int) and hidden < 1:
            raise InputError(f"{node.where} has {hidden} hidden numbers", code="network.attribute")
        return _Sizes(steps, batch, data.shape[2], hidden, 2 if direction == "bidirectional" else 1, batch_first)

    @staticmethod
    def _flag(node: Node, key: str) -> bool:
        value = node.integer(key, 0)
        if value not in (0, 1):
            raise InputError(f"{node.where} has {key} = {value}, where 0 or 1 is needed", code="network.attribute")
        return bool(value)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        floats = [value for index, value in enumerate(node.inputs) if value is not None and index != 4]
        dtype = same_dtype(node, floats)
        s = self.sizes(node)
        columns = s.hidden * self.n_gates
        wanted: list[tuple[int, tuple[Size, ...], str]] = [
            (1, (s.directions, columns, s.inputs), "W"),
            (2, (s.directions, columns, s.hidden), "R"),
            (3, (s.directions, columns * 2), "B"),
            (4, (s.batch,), "sequence_lens"),
            *((5 + i, self._state(s), name) for i, name in enumerate(("initial_h", "initial_c")[: self.n_states])),
            *self.more_inputs(s),
        ]
        node.input(2)
        for index, shape, name in wanted:
            if node.has(index):
                same_sizes(facts, node.input(index).shape, shape, f"{node.where} has {name} of the shape {list(shape)}")
        if node.has(4) and node.input(4).dtype is not DType.INT32:
            raise InputError(f"{node.where} has lengths of {node.input(4).dtype}, where int32 is needed", code="network.dtype")
        self.functions(node)
        self._clip(node)
        y = (s.batch, s.steps, s.directions, s.hidden) if s.batch_first else (s.steps, s.directions, s.batch, s.hidden)
        return [TensorType(dtype, y), *[TensorType(dtype, self._state(s))] * self.n_states]

    @staticmethod
    def _state(s: _Sizes) -> tuple[Size, ...]:
        return (s.batch, s.directions, s.hidden) if s.batch_first else (s.directions, s.batch, s.hidden)

    def more_inputs(self, s: _Sizes) -> list[tuple[int, tuple[Size, ...], str]]:
        """Index, shape and name of inputs of this operator alone."""
        del s
        return []

    def functions(self, node: Node) -> list[list[str]]:
        """The activations of each direction, as C++ functions.

        Raises
        ------
        InputError
            One is unknown, or there are too few.
        """
        directions = 2 if node.text("direction", "forward") == "bidirectional" else 1
        names = node.texts("activations", list(self.defaults) * directions)
        count = len(self.defaults)
        if len(names) < count * directions:
            raise InputError(
                f"{node.where} has {len(names)} activations, and needs {count * directions}", code="network.attribute"
            )
        alphas, betas = (list(node.numbers(key, [])) for key in ("activation_alpha", "activation_beta"))
        result = []
        for name in names[: count * directions]:
            found = _ACTIVATIONS.get(name.lower())
            if found is None:
                raise InputError(f"{node.where} has the unknown activation {name!r}", code="network.attribute")
            text, defaults = found
            values = [queue.pop(0) if queue else default for queue, default in zip((alphas, betas), defaults, strict=False)]
            parameters = [f"decltype(x)({literal(value, DType.FLOAT64)})" for value in values]
            result.append(f"[](auto x) {{ return {text.format(*parameters)}; }}")
        return [result[direction * count : (direction + 1) * count] for direction in range(directions)]

    @staticmethod
    def _clip(node: Node) -> str:
        """The C++ function that holds what goes into an activation within bounds."""
        bound = node.number("clip")
        if not bound:
            return "[](auto x) { return x; }"
        if not bound > 0:
            raise InputError(f"{node.where} clips at {bound}", code="network.attribute")
        number = literal(bound, DType.FLOAT64)
        return f"[](auto x) {{ return nn::fn::clip(x, decltype(x)(-{number}), decltype(x)({number})); }}"

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/recurrent.hpp")
        s = self.sizes(node)
        dtype = computed(node.input(0).dtype)
        x = self.converted(node, 0, code)
        reverse_only = node.text("direction", "forward") == "reverse"
        for direction, functions in enumerate(self.functions(node)):
            with code.block():
                self._write_direction(
                    node, code, s, dtype, x, direction, functions, "true" if reverse_only or direction else "false"
                )

    def _write_direction(
        self, node: Node, code: Writer, s: _Sizes, dtype: DType, x: str, direction: int, functions: list[str], reverse: str
    ) -> None:
        cpp, n_bytes, columns = dtype.cpp, dtype.bytes, s.hidden * self.n_gates
        sequences, state_offset, y_offset = self._layout(code, s, direction)
        layout = code.fresh("sequences")
        code.line(f"const nn::Sequences {layout}{{{sequences}}};")
        bias = code.scratch(cpp, columns, n_bytes)
        both = self.bias_of_both(node, s)
        code.line(
            f"nn::join_bias({self.at(node, 3, code, columns * 2 * direction)}, {code.size(columns)}, {code.size(both)}, {bias});"
        )
        weights = self.weights(node, 1, direction, 0, columns, s.inputs, code)
        if self.parts_at_each_step(node, s):
            inputs = f"nn::parts_at_each_step({code.fixed(s.inputs)}, {x}, {weights}, static_cast<const {cpp}*>({bias}))"
        else:
            rows = code.scratch(cpp, s.steps * s.batch * columns, n_bytes)
            code.line(
                f"nn::gate_inputs({code.fixed(s.steps * s.batch)}, {code.fixed(columns)}, {code.fixed(s.inputs)}, "
                f"{x}, {weights}, {bias}, {rows});"
            )
            inputs = self.known_parts(rows, cpp)
        states = []
        for i in range(self.n_states):
            name = code.scratch(cpp, s.batch * s.hidden, n_bytes)
            code.line(f"nn::take_states({layout}, {self.at(node, 5 + i, code, state_offset)}, {name});")
            states.append(name)
        lengths = "nullptr" if not node.has(4) else code.ref(node.input(4))
        gates = code.scratch(cpp, s.batch * columns, n_bytes)
        element = node.input(0).dtype.cpp
        y = maybe(node, 0, code, element) + (f" + {code.size(y_offset)}" if named(node, 0) else "")
        head = ", ".join([layout, code.fixed(s.batch), code.fixed(s.hidden)])
        tail = ", ".join([y, self._clip(node), *functions])
        self.write_steps(node, code, s, direction, head, f"{lengths}, {reverse}, {inputs}", states, gates, tail)
        for i, name in enumerate(states):
            if named(node, 1 + i):
                target = f"{code.ref(node.outputs[1 + i])} + {code.size(state_offset)}"
                code.line(f"nn::give_states({layout}, static_cast<const {cpp}*>({name}), {target});")

    @abstractmethod
    def write_steps(
        self,
        node: Node,
        code: Writer,
        s: _Sizes,
        direction: int,
        head: str,
        inputs: str,
        states: list[str],
        gates: str,
        tail: str,
    ) -> None:
        """Write the call of the kernel that goes through the steps."""

    def parts_at_each_step(self, node: Node, s: _Sizes) -> bool:
        """Whether the inputs' part of the gates is computed with each step instead of for all of them before the first."""
        del node, s
        return False

    @staticmethod
    def known_parts(rows: str, cpp: str) -> str:
        """What the kernel is given of the inputs' part, where all of its rows are known."""
        del cpp
        return rows

    def bias_of_both(self, node: Node, s: _Sizes) -> Size:
        """How many of the gates' numbers have the bias of the state added to that of the inputs."""
        del node
        return s.hidden * self.n_gates

    def _layout(self, code: Writer, s: _Sizes, direction: int) -> tuple[str, Size, Size]:
        """The members of ``nn::Sequences``, and where a direction begins in states and in Y."""
        d, h = s.directions, s.hidden
        if s.batch_first:
            numbers: list[Size] = [s.steps, s.batch, h, 1, s.steps, h * d, s.steps * d * h, h * d]
            offsets: tuple[Size, Size] = (h * direction, h * direction)
        else:
            numbers = [s.steps, s.batch, h, s.batch, 1, s.batch * d * h, h, h]
            offsets = (s.batch * h * direction, s.batch * h * direction)
        return ", ".join(code.size(number) for number in numbers), *offsets

    def at(self, node: Node, index: int, code: Writer, offset: Size) -> str:
        """The pointer of an optional input, from an element on."""
        value = node.optional(index)
        if value is None:
            return f"static_cast<const {node.input(0).dtype.cpp}*>(nullptr)"
        return code.ref(value) + (f" + {code.size(offset)}" if offset != 0 else "")

    def converted(self, node: Node, index: int, code: Writer, offset: Size = 0, count: Size | None = None) -> str:
        """An input in the type that is computed in."""
        value = node.input(index)
        source = self.at(node, index, code, offset)
        dtype = computed(value.dtype)
        if dtype is value.dtype:
            return source
        number = value.count if count is None else count
        name = code.scratch(dtype.cpp, number, dtype.bytes)
        code.line(f"nn::convert({source}, {code.size(number)}, {name});")
        return f"static_cast<const {dtype.cpp}*>({name})"

    def weights(self, node: Node, index: int, direction: int, start: Size, columns: Size, depth: Size, code: Writer) -> str:
        """Packed weights of some gates of a direction: packed now where they are known, else when the code runs."""
        value = node.input(index)
        dtype = computed(value.dtype)
        if value.constant is not None and isinstance(start, int) and isinstance(columns, int):
            array = np.asarray(value.constant[direction, start : start + columns], dtype.numpy)
            return code.weights(packed(array.T))
        source = self.converted(node, index, code, value.shape[1] * value.shape[2] * direction + start * depth, columns * depth)
        name = code.scratch(dtype.cpp, floordiv(columns + BLOCK - 1, BLOCK) * BLOCK * depth, dtype.bytes)
        code.line(f"nn::pack_transposed({source}, {code.size(columns)}, {code.size(depth)}, {name});")
        return f"static_cast<const {dtype.cpp}*>({name})"


@operator("RNN", since=(1, 7, 14, 22))
class RNN(Recurrent):
    """``h' = f(W x + R h + b)``."""

    n_gates = 1
    defaults = ("Tanh",)

    def write_steps(
        self,
        node: Node,
        code: Writer,
        s: _Sizes,
        direction: int,
        head: str,
        inputs: str,
        states: list[str],
        gates: str,
        tail: str,
    ) -> None:
        weights = self.weights(node, 2, direction, 0, s.hidden, s.hidden, code)
        code.line(f"nn::rnn({head}, {inputs}, {weights}, {states[0]}, {gates}, {tail});")


@operator("GRU", since=(1, 3, 7, 14, 22))
class GRU(Recurrent):
    """Gated recurrent units (Cho et al., arXiv:1406.1078, Eq. 5-8)."""

    n_gates = 3
    defaults = ("Sigmoid", "Tanh")

    def _linear(self, node: Node) -> bool:
        return bool(node.integer("linear_before_reset", 0))

    def bias_of_both(self, node: Node, s: _Sizes) -> Size:
        return s.hidden * (2 if self._linear(node) else 3)

    def write_steps(
        self,
        node: Node,
        code: Writer,
        s: _Sizes,
        direction: int,
        head: str,
        inputs: str,
        states: list[str],
        gates: str,
        tail: str,
    ) -> None:
        dtype = computed(node.input(0).dtype)
        null = f"static_cast<const {dtype.cpp}*>(nullptr)"
        first = s.hidden * (3 if self._linear(node) else 2)
        weights = self.weights(node, 2, direction, 0, first, s.hidden, code)
        reset_weights, bias = null, null
        if not self._linear(node):
            reset_weights = self.weights(node, 2, direction, first, s.hidden, s.hidden, code)
        elif node.has(3):
            bias = self.converted(node, 3, code, s.hidden * (6 * direction + 5), s.hidden)
        reset = code.scratch(dtype.cpp, s.batch * s.hidden, dtype.bytes)
        code.line(
            f"nn::gru({head}, {code.fixed(first)}, {inputs}, {weights}, {reset_weights}, {bias}, {states[0]}, {gates}, {reset}, "
            f"{tail});"
        )


@operator("LSTM", since=(1, 7, 14, 22))
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9 (1997) 1735), with peepholes where given."""

    n_gates = 4
    defaults = ("Sigmoid", "Tanh", "Tanh")
    n_states = 2

    def parts_at_each_step(self, node: Node, s: _Sizes) -> bool:
        """Of several sequences of one length, whose inputs are few beside the states."""
        if not (isinstance(s.batch, int) and isinstance(s.inputs, int) and isinstance(s.hidden, int)):
            return False
        return not node.has(4) and s.batch >= _SEVERAL and s.inputs * 4 <= s.hidden

    @staticmethod
    def known_parts(rows: str, cpp: str) -> str:
        return f"nn::KnownParts<{cpp}>{{{rows}}}"

    def more_inputs(self, s: _Sizes) -> list[tuple[int, tuple[Size, ...], str]]:
        return [(7, (s.directions, s.hidden * 3), "P")]

    def write_steps(
        self,
        node: Node,
        code: Writer,
        s: _Sizes,
        direction: int,
        head: str,
        inputs: str,
        states: list[str],
        gates: str,
        tail: str,
    ) -> None:
        weights = self.weights(node, 2, direction, 0, s.hidden * 4, s.hidden, code)
        peepholes = f"static_cast<const {computed(node.input(0).dtype).cpp}*>(nullptr)"
        if node.has(7):
            peepholes = self.converted(node, 7, code, s.hidden * 3 * direction, s.hidden * 3)
        coupled = "true" if node.integer("input_forget", 0) else "false"
        code.line(
            f"nn::lstm<{coupled}>({head}, {code.fixed(s.hidden * 4)}, {inputs}, {weights}, {peepholes}, {', '.join(states)}, "
            f"{gates}, {tail});"
        )
