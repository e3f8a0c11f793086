"""Operators that work element by element, with broadcasting: arithmetic, comparisons, logic, functions, activations."""

from __future__ import annotations

import operator as python
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Size, TensorType, Value, larger, smaller
from mlcore.networks.ir.sizes import floordiv, is_nonnegative
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._map import write_map

_NAMES = ("a", "b", "c")


class Elementwise(Operator):
    """One number from one number of each input.

    Attributes
    ----------
    broadcasts
        Whether the inputs broadcast against each other.
    """

    broadcasts: ClassVar[bool] = True

    def operands(self, node: Node) -> list[Value]:
        """The inputs that take part in the loop."""
        return node.present()

    @abstractmethod
    def expression(self, node: Node, names: Sequence[str]) -> str:
        """C++ of one element, from the operands' names; they have the type that elements are computed in."""

    def result(self, node: Node) -> DType:
        """The element type of the output."""
        return node.input(0).dtype

    def infer(self, node: Node, facts: Facts) -> Sequence[TensorType]:
        operands = self.operands(node)
        shape = facts.broadcast(*(value.shape for value in operands), why=f"{node.where} broadcasts")
        return [TensorType(self.result(node), shape)]

    def write(self, node: Node, code: Writer) -> None:
        operands = self.operands(node)
        names = [_NAMES[i] if len(operands) <= len(_NAMES) else f"a{i}" for i in range(len(operands))]
        write_map(code, self.expression(node, names), names, operands, node.output)


def _same_types(node: Node, operands: Sequence[Value]) -> None:
    kinds = {value.dtype for value in operands}
    if len(kinds) > 1:
        listed = ", ".join(sorted(map(str, kinds)))
        raise InputError(f"{node.where} mixes {listed}", hint="Its inputs need one element type.", code="network.dtype")


# Functions of one number.

_FUNCTIONS: dict[str, tuple[str, tuple[int, ...]]] = {
    "Abs": ("abs", (1, 6, 13)),
    "Neg": ("neg", (1, 6, 13)),
    "Sign": ("sign", (9, 13)),
    "Floor": ("floor", (1, 6, 13)),
    "Ceil": ("ceil", (1, 6, 13)),
    "Round": ("round", (11, 22)),
    "Sqrt": ("sqrt", (1, 6, 13)),
    "Reciprocal": ("reciprocal", (1, 6, 13)),
    "Exp": ("exp", (1, 6, 13)),
    "Log": ("log", (1, 6, 13)),
    "Sin": ("sin", (7, 22)),
    "Cos": ("cos", (7, 22)),
    "Tan": ("tan", (7, 22)),
    "Asin": ("asin", (7, 22)),
    "Acos": ("acos", (7, 22)),
    "Atan": ("atan", (7, 22)),
    "Sinh": ("sinh", (9, 22)),
    "Cosh": ("cosh", (9, 22)),
    "Tanh": ("tanh", (1, 6, 13)),
    "Asinh": ("asinh", (9, 22)),
    "Acosh": ("acosh", (9, 22)),
    "Atanh": ("atanh", (9, 22)),
    "Erf": ("erf", (9, 13)),
    "Sigmoid": ("sigmoid", (1, 6, 13)),
    "Relu": ("relu", (1, 6, 13, 14)),
    "Softplus": ("softplus", (1, 22)),
    "Softsign": ("softsign", (1, 22)),
    "HardSwish": ("hard_swish", (14, 22)),
    "Mish": ("mish", (18, 22)),
    "Not": ("logical_not", (1,)),
    "BitwiseNot": ("bit_not", (18,)),
}


class Function(Elementwise):
    """A function of one number."""

    def expression(self, node: Node, names: Sequence[str]) -> str:
        return f"nn::fn::{_FUNCTIONS[self.name][0]}({names[0]})"

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        known = node.input(0).elements
        if known is None or self.name not in ("Neg", "Abs", "Not"):
            return None
        if self.name == "Neg":
            return tuple(-size for size in known)
        if self.name == "Not":
            return tuple(1 - size for size in known)
        return known if all(map(is_nonnegative, known)) else None


for _name, _function in _FUNCTIONS.items():
    operator(_name, since=_function[1])(Function)


# Functions of one number with parameters: name, versions, C++ function, attributes with their defaults.

_PARAMETRIC: dict[str, tuple[str, tuple[int, ...], dict[str, float]]] = {
    "LeakyRelu": ("leaky_relu", (1, 6, 16), {"alpha": 0.01}),
    "Elu": ("elu", (1, 6, 22), {"alpha": 1.0}),
    "Selu": ("selu", (1, 6, 22), {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),
    "Celu": ("celu", (12, 28), {"alpha": 1.0}),
    "HardSigmoid": ("hard_sigmoid", (1, 6, 22), {"alpha": 0.2, "beta": 0.5}),
    "ThresholdedRelu": ("thresholded_relu", (10, 22), {"alpha": 1.0}),
    "Shrink": ("shrink", (9,), {"bias": 0.0, "lambd": 0.5}),
    "Swish": ("swish", (24,), {"alpha": 1.0}),
}


class Parametric(Elementwise):
    """A function of one number with attributes for parameters."""

    def expression(self, node: Node, names: Sequence[str]) -> str:
        function, _, attributes = _PARAMETRIC[self.name]
        values = [
            f"decltype({names[0]})({literal(node.number(key, default), DType.FLOAT64)})" for key, default in attributes.items()
        ]
        return f"nn::fn::{function}({', '.join([names[0], *values])})"


for _name, _parametric in _PARAMETRIC.items():
    operator(_name, since=_parametric[1])(Parametric)


@operator("Gelu", since=(20,))
class Gelu(Elementwise):
    """Exact by erf, or approximated by tanh (Hendrycks and Gimpel, arXiv:1606.08415, Sec. 2)."""

    def expression(self, node: Node, names: Sequence[str]) -> str:
        kind = node.text("approximate", "none")
        if kind not in ("none", "tanh"):
            raise InputError(f"{node.where} has the unknown approximation {kind!r}", code="network.attribute")
        return f"nn::fn::{'gelu' if kind == 'none' else 'gelu_tanh'}({names[0]})"


@operator("Clip", since=(1, 6, 11, 12, 13))
class Clip(Elementwise):
    """Into bounds, each of which may be left out."""

    broadcasts = False

    def infer(self, node: Node, facts: Facts) -> Sequence[TensorType]:
        for index in (1, 2):
            bound = node.optional(index)
            if bound is not None and bound.count != 1:
                raise InputError(
                    f"{node.where} has a bound of the shape {bound.tensor}, where one number is needed", code="network.shape"
                )
        return [node.input(0).tensor]

    def expression(self, node: Node, names: Sequence[str]) -> str:
        text, rest = names[0], list(names[1:])
        if node.version < 11:
            for function, key in (("max", "min"), ("min", "max")):
                bound = node.number(key)
                if bound is not None:
                    text = f"nn::fn::{function}({text}, decltype({names[0]})({literal(bound, DType.FLOAT32)}))"
            return text
        for function, index in (("max", 1), ("min", 2)):
            if node.has(index):
                text = f"nn::fn::{function}({text}, {rest.pop(0)})"
        return text


@operator("IsNaN", since=(9, 13, 20))
class IsNaN(Elementwise):
    def result(self, node: Node) -> DType:
        return DType.BOOL

    def expression(self, node: Node, names: Sequence[str]) -> str:
        return f"nn::fn::is_nan({names[0]})"


@operator("IsInf", since=(10, 20))
class IsInf(Elementwise):
    def result(self, node: Node) -> DType:
        return DType.BOOL

    def expression(self, node: Node, names: Sequence[str]) -> str:
        negative, positive = node.integer("detect_negative", 1), node.integer("detect_positive", 1)
        return f"nn::fn::is_inf({names[0]}, {'true' if negative else 'false'}, {'true' if positive else 'false'})"


# Functions of two numbers.


def _divided(left: Size, right: Size) -> Size:
    return floordiv(left, right)


def _equal(left: Size, right: Size) -> Size | None:
    difference = left - right
    if isinstance(difference, int):
        return int(difference == 0)
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and one < 0 and is_nonnegative(other):
            return 0
    return None


def _less(left: Size, right: Size) -> Size | None:
    difference = left - right
    if isinstance(difference, int):
        return int(difference < 0)
    if isinstance(right, int) and right <= 0 and is_nonnegative(left):
        return 0
    if isinstance(left, int) and left < 0 and is_nonnegative(right):
        return 1
    return None


_Elements = Callable[[Size, Size], "Size | None"]

_BINARY: dict[str, tuple[str, tuple[int, ...], bool, _Elements | None]] = {
    # name: C++ function, versions, whether the result is bool, what it does to known sizes
    "Add": ("add", (7, 13, 14), False, python.add),
    "Sub": ("sub", (7, 13, 14), False, python.sub),
    "Mul": ("mul", (7, 13, 14), False, python.mul),
    "Div": ("div", (7, 13, 14), False, _divided),
    "And": ("logical_and", (7,), True, smaller),
    "Or": ("logical_or", (7,), True, larger),
    "Xor": ("logical_xor", (7,), True, None),
    "Equal": ("equal", (7, 11, 13, 19), True, _equal),
    "Less": ("less", (7, 9, 13), True, _less),
    "Greater": ("greater", (7, 9, 13), True, lambda left, right: _less(right, left)),
    "LessOrEqual": ("less_equal", (12, 16), True, lambda left, right: _not(_less(right, left))),
    "GreaterOrEqual": ("greater_equal", (12, 16), True, lambda left, right: _not(_less(left, right))),
    "BitwiseAnd": ("bit_and", (18,), False, None),
    "BitwiseOr": ("bit_or", (18,), False, None),
    "BitwiseXor": ("bit_xor", (18,), False, None),
    "PRelu": ("prelu", (7, 9, 16), False, None),
}


def _not(value: Size | None) -> Size | None:
    return None if value is None else 1 - value


def broadcast_elements(node: Node, function: _Elements) -> tuple[Size, ...] | None:
    """What a function makes of the known numbers of two inputs."""
    left, right = node.input(0).elements, node.input(1).elements
    if left is None or right is None:
        return None
    count = max(len(left), len(right))
    if not left or not right or len(left) not in (1, count) or len(right) not in (1, count):
        return None
    pairs = zip(left * count if len(left) == 1 else left, right * count if len(right) == 1 else right, strict=True)
    result: list[Size] = []
    for a, b in pairs:
        try:
            value = function(a, b)
        except ZeroDivisionError:
            return None
        if value is None:
            return None
        result.append(value)
    return tuple(result)


class Binary(Elementwise):
    """A function of two numbers."""

    def result(self, node: Node) -> DType:
        _same_types(node, (node.input(0), node.input(1)))
        return DType.BOOL if _BINARY[self.name][2] else node.input(0).dtype

    def expression(self, node: Node, names: Sequence[str]) -> str:
        return f"nn::fn::{_BINARY[self.name][0]}({names[0]}, {names[1]})"

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        function = _BINARY[self.name][3]
        return None if function is None else broadcast_elements(node, function)


for _name, _binary in _BINARY.items():
    operator(_name, since=_binary[1])(Binary)


@operator("Pow", since=(7, 12, 13, 15))
class Pow(Elementwise):
    """The exponent may have a type of its own."""

    def expression(self, node: Node, names: Sequence[str]) -> str:
        return f"nn::fn::pow({names[0]}, {names[1]})"


@operator("Mod", since=(10, 13, 28))
class Mod(Elementwise):
    """With the divisor's sign, as Python's, or with the dividend's, as C's (`fmod`)."""

    def expression(self, node: Node, names: Sequence[str]) -> str:
        return f"nn::fn::{'fmod' if node.integer('fmod', 0) else 'mod'}({names[0]}, {names[1]})"

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        return None if node.integer("fmod", 0) else broadcast_elements(node, python.mod)


@operator("BitShift", since=(11, 28))
class BitShift(Elementwise):
    def expression(self, node: Node, names: Sequence[str]) -> str:
        direction = node.text("direction", "")
        if direction not in ("LEFT", "RIGHT"):
            raise InputError(f"{node.where} shifts to {direction!r}, where LEFT or RIGHT is needed", code="network.attribute")
        return f"nn::fn::shift_{direction.lower()}({names[0]}, {names[1]})"


@operator("Where", since=(9, 16))
class Where(Elementwise):
    """The second input where the first holds, else the third."""

    def result(self, node: Node) -> DType:
        return node.input(1).dtype

    def expression(self, node: Node, names: Sequence[str]) -> str:
        return f"nn::fn::where({', '.join(names)})"

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        condition = node.input(0)
        chosen = condition.elements
        if chosen is None and condition.constant is not None:
            chosen = tuple(int(item) for item in condition.constant.reshape(-1))
        left, right = node.input(1).elements, node.input(2).elements
        if chosen is None or left is None or right is None:
            return None
        count = max(len(chosen), len(left), len(right))
        picked = [item if len(item) == count else item * count for item in (chosen, left, right) if len(item) in (1, count)]
        if len(picked) != 3 or not all(isinstance(flag, int) for flag in picked[0]):
            return None
        return tuple(a if flag else b for flag, a, b in zip(*picked, strict=True))


# Any number of inputs.


class Variadic(Elementwise):
    """One or more inputs, combined from the left."""

    function: str

    def result(self, node: Node) -> DType:
        _same_types(node, node.present())
        return node.input(0).dtype

    def expression(self, node: Node, names: Sequence[str]) -> str:
        text = names[0]
        for name in names[1:]:
            text = f"nn::fn::{self.function}({text}, {name})"
        return text


@operator("Max", since=(1, 6, 8, 12, 13))
class Max(Variadic):
    function = "max"

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        return broadcast_elements(node, larger) if len(node.inputs) == 2 else None


@operator("Min", since=(1, 6, 8, 12, 13))
class Min(Variadic):
    function = "min"

    def elements(self, node: Node) -> tuple[Size, ...] | None:
        return broadcast_elements(node, smaller) if len(node.inputs) == 2 else None


@operator("Sum", since=(1, 6, 8, 13))
class Sum(Variadic):
    function = "add"


@operator("Mean", since=(1, 6, 8, 13))
class Mean(Variadic):
    function = "add"

    def expression(self, node: Node, names: Sequence[str]) -> str:
        return f"nn::fn::div({super().expression(node, names)}, decltype({names[0]})({len(names)}))"
