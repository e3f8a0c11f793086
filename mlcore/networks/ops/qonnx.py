"""QONNX: quantisation of any number of bits, as real numbers (Pappalardo et al., arXiv:2206.07527, Sec. 5).

The operators stand in the domain of the format and in those of the tools that came before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcore.errors import InputError
from mlcore.networks.code import literal
from mlcore.networks.ir import DType, Node, Value
from mlcore.networks.ops import Operator, operator
from mlcore.networks.ops.elementwise import Elementwise

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")

_ROUNDINGS = {
    "ROUND": "nn::fn::round({x})",
    "HALF_EVEN": "nn::fn::round({x})",
    "CEIL": "nn::fn::ceil({x})",
    "FLOOR": "nn::fn::floor({x})",
    "UP": "nn::fn::mul(nn::fn::sign({x}), nn::fn::ceil(nn::fn::abs({x})))",
    "DOWN": "nn::fn::mul(nn::fn::sign({x}), nn::fn::floor(nn::fn::abs({x})))",
    "ROUND_TO_ZERO": "nn::fn::mul(nn::fn::sign({x}), nn::fn::floor(nn::fn::abs({x})))",
    "HALF_UP": "nn::fn::mul(nn::fn::sign({x}), nn::fn::floor(nn::fn::add(nn::fn::abs({x}), {half})))",
    "HALF_DOWN": "nn::fn::mul(nn::fn::sign({x}), nn::fn::ceil(nn::fn::sub(nn::fn::abs({x}), {half})))",
}


def in_all_domains(name: str) -> Callable[[type[Operator]], type[Operator]]:
    """Register a class in every domain."""

    def register(cls: type[Operator]) -> type[Operator]:
        for domain in DOMAINS:
            operator(name, since=(1,), domain=domain)(cls)
        return cls

    return register


class Quantizer(Elementwise):
    """Elementwise operators whose parameters are numbers, or tensors that broadcast."""

    parameters: tuple[int, ...]

    def operands(self, node: Node) -> list[Value]:
        """The data, and the parameters that are no single known number."""
        return [node.input(0), *(node.input(index) for index in self.parameters if self.known(node, index) is None)]

    @staticmethod
    def known(node: Node, index: int) -> float | None:
        """A parameter, where it is a single known number."""
        array = node.constant(index)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 and array.ndim == 0 else None

    def texts(self, node: Node, names: Sequence[str]) -> list[str]:
        """The parameters as C++, of the type of the data."""
        rest = list(names[1:])
        result = []
        for index in self.parameters:
            number = self.known(node, index)
            text = rest.pop(0) if number is None else literal(number, DType.FLOAT64)
            result.append(f"decltype({names[0]})({text})")
        return result

    def result(self, node: Node) -> DType:
        for index in (0, *self.parameters):
            if not node.input(index).dtype.is_float:
                raise InputError(f"{node.where} has {node.input(index).dtype} as input {index}", code="network.dtype")
        return node.input(0).dtype


def rounded(node: Node, text: str, default: str) -> str:
    """A C++ expression, rounded as the attribute `rounding_mode` says.

    Raises
    ------
    InputError
        The mode is unknown.
    """
    mode = node.text("rounding_mode", default).upper()
    if mode not in _ROUNDINGS:
        raise InputError(
            f"{node.where} has the unknown rounding_mode {mode!r}",
            hint=f"QONNX has {', '.join(_ROUNDINGS)}.",
            code="network.attribute",
        )
    half = f"decltype({text})({literal(0.5, DType.FLOAT64)})"
    return _ROUNDINGS[mode].format(x=text, half=half)


def call(function: str, *arguments: str) -> str:
    """A C++ function of the runtime, applied."""
    return f"nn::fn::{function}({', '.join(arguments)})"


def bounds(node: Node, bits: str, one: str) -> tuple[str, str]:
    """The smallest and the largest whole number of some bits, as C++."""
    signed, narrow = bool(node.integer("signed", 1)), bool(node.integer("narrow", 0))
    two = call("add", one, one)
    if signed:
        half = call("pow", two, call("sub", bits, one))
        low = call("neg", half)
        return call("add", low, one) if narrow else low, call("sub", half, one)
    top = call("sub", call("pow", two, bits), two if narrow else one)
    return call("sub", one, one), top


@in_all_domains("Quant")
@in_all_domains("IntQuant")
class Quant(Quantizer):
    """``(round(clamp(x / scale + zero)) - zero) * scale``; of one bit with a sign, the numbers are -1 and 1."""

    parameters = (1, 2, 3)

    def expression(self, node: Node, names: Sequence[str]) -> str:
        x = names[0]
        scale, zero, bits = self.texts(node, names)
        one = f"decltype({x})({literal(1.0, DType.FLOAT64)})"
        low, high = bounds(node, bits, one)
        moved = call("add", call("div", x, scale), zero)
        whole = rounded(node, call("clip", moved, low, high), "ROUND")
        if node.integer("signed", 1):
            sign = call("where", call("greater_equal", moved, call("sub", one, one)), one, call("neg", one))
            known = self.known(node, 3)
            if known is None:
                whole = call("where", call("equal", bits, one), sign, whole)
            elif known == 1:
                whole = sign
        return call("mul", call("sub", whole, zero), scale)


@in_all_domains("BipolarQuant")
class BipolarQuant(Quantizer):
    """The scale, with the sign of the number."""

    parameters = (1,)

    def expression(self, node: Node, names: Sequence[str]) -> str:
        x = names[0]
        (scale,) = self.texts(node, names)
        one = f"decltype({x})({literal(1.0, DType.FLOAT64)})"
        sign = call("where", call("greater_equal", x, call("sub", one, one)), one, call("neg", one))
        return call("mul", sign, scale)


@in_all_domains("Trunc")
class Trunc(Quantizer):
    """Quantised numbers less their lowest bits.

    Inputs: x, scale, zero point, bits of x, and then bits of the result, or (the second definition) scale and bits of it.
    """

    parameters = ()

    def operands(self, node: Node) -> list[Value]:
        return [node.input(0), *(node.input(index) for index in self._used(node) if self.known(node, index) is None)]

    @staticmethod
    def _used(node: Node) -> tuple[int, ...]:
        return (1, 2, 3, 4) if len(node.inputs) < 6 else (1, 2, 4, 5)

    def texts(self, node: Node, names: Sequence[str]) -> list[str]:
        rest = list(names[1:])
        result = []
        for index in self._used(node):
            number = self.known(node, index)
            text = rest.pop(0) if number is None else literal(number, DType.FLOAT64)
            result.append(f"decltype({names[0]})({text})")
        return result

    def expression(self, node: Node, names: Sequence[str]) -> str:
        x = names[0]
        one = f"decltype({x})({literal(1.0, DType.FLOAT64)})"
        two = call("add", one, one)
        scale, zero, third, fourth = self.texts(node, names)
        whole = call("round", call("add", call("div", x, scale), zero))
        if len(node.inputs) < 6:
            factor = call("pow", two, call("sub", third, fourth))
            kept = rounded(node, call("div", whole, factor), "FLOOR")
            return call("mul", call("sub", kept, zero), scale)
        bits = call("div", call("log", call("div", third, scale)), call("log", two))
        factor = call("pow", two, call("round", bits))
        low, high = bounds(node, fourth, one)
        kept = rounded(node, call("clip", call("div", whole, factor), low, high), "FLOOR")
        return call("mul", call("sub", kept, call("div", zero, factor)), third)
