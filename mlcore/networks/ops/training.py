"""The domain ai.onnx.preview.training: steps of optimisers. Gradients are made of nodes when a model is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import REQUIRED, DType, Node, TensorType, Value, ValueType
from mlcore.networks.ops import Facts, Operator, operator

_DOMAIN = "ai.onnx.preview.training"


class _Optimiser(Operator):
    """New parameters and states from a learning rate, a count, then parameters, gradients and states, any number of each."""

    n_states: ClassVar[int] = 1
    numbers: ClassVar[tuple[tuple[str, object], ...]]

    def groups(self, node: Node) -> list[list[Value]]:
        """Parameters, gradients, states: one list of each."""
        values, kinds = [node.input(index) for index in range(2, len(node.inputs))], 2 + self.n_states
        if not values or len(values) % kinds:
            raise InputError(f"{node.where} has {len(values)} tensors, where groups of {kinds} are needed", code="network.input")
        n = len(values) // kinds
        if len(node.outputs) != n * (1 + self.n_states):
            raise InputError(f"{node.where} has {len(node.outputs)} outputs for {n} parameters", code="network.outputs")
        return [values[start : start + n] for start in range(0, len(values), n)]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        rate, step = node.input(0), node.input(1)
        if rate.count != 1 or not rate.dtype.is_float or step.count != 1 or step.dtype is not DType.INT64:
            raise InputError(f"{node.where} needs a learning rate and a number of steps first", code="network.shape")
        parameters, *others = self.groups(node)
        for i, parameter in enumerate(parameters):
            if parameter.dtype not in (DType.FLOAT32, DType.FLOAT64):
                raise InputError(f"{node.where} has parameters of the type {parameter.dtype}", code="network.dtype")
            for group in others:
                if group[i].dtype is not parameter.dtype or group[i].rank != parameter.rank:
                    raise InputError(f"{node.where} has {group[i].tensor} for {parameter.tensor}", code="network.shape")
                for mine, theirs in zip(parameter.shape, group[i].shape, strict=True):
                    facts.same(mine, theirs, f"{node.where} has gradients and states of the parameters' shapes")
        for key, default in self.numbers:
            node.number(key, default)
        self.flags(node)
        return [TensorType(value.dtype, value.shape) for _ in range(1 + self.n_states) for value in parameters]

    def flags(self, node: Node) -> str:
        """C++ of further arguments."""
        del node
        return ""

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/training.hpp")
        groups = self.groups(node)
        n = len(groups[0])
        first = f"static_cast<double>({code.ref(node.input(0))}[0]), {code.ref(node.input(1))}[0]"
        numbers = ", ".join(literal(node.number(key, default), DType.FLOAT64) for key, default in self.numbers) + self.flags(node)
        for i in range(n):
            sources = code.refs(group[i] for group in groups)
            targets = []
            for output in node.outputs[i::n]:
                value = groups[0][i]
                targets.append(code.ref(output) if output.name else code.scratch(value.dtype.cpp, value.count, value.dtype.bytes))
            code.line(
                f"nn::{self.name.lower()}({first}, {numbers}, {sources}, {code.size(groups[0][i].count)}, {', '.join(targets)});"
            )


@operator("Adagrad", since=(1,), domain=_DOMAIN)
class Adagrad(_Optimiser):
    """Steps divided by the root of the squares of all gradients so far."""

    numbers = (("decay_factor", 0.0), ("norm_coefficient", 0.0), ("epsilon", 1e-6))


@operator("Adam", since=(1,), domain=_DOMAIN)
class Adam(_Optimiser):
    """Running means of gradients over the root of those of their squares."""

    n_states = 2
    numbers = (("alpha", 0.9), ("beta", 0.999), ("norm_coefficient", 0.0), ("norm_coefficient_post", 0.0), ("epsilon", 1e-6))


@operator("Momentum", since=(1,), domain=_DOMAIN)
class Momentum(_Optimiser):
    """Running sums of gradients."""

    numbers = (("alpha", REQUIRED), ("beta", REQUIRED), ("norm_coefficient", REQUIRED))

    def flags(self, node: Node) -> str:
        mode = node.text("mode", REQUIRED)
        if mode not in ("standard", "nesterov"):
            raise InputError(f"{node.where} has the unknown mode {mode!r}", code="network.attribute")
        return f", {'true' if mode == 'nesterov' else 'false'}"


@operator("Gradient", since=(1,), domain=_DOMAIN)
class Gradient(Operator):
    """Derivatives of one value by others: `mlcore.networks.frontends._gradient` has nodes of a backward pass instead."""

    def infer(self, node: Node, facts: Facts) -> NoReturn:
        raise TypeError("a Gradient node is replaced when a model is read")

    def write(self, node: Node, code: Writer) -> NoReturn:
        raise TypeError("a Gradient node is replaced when a model is read")
