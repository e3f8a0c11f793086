"""Conversions between element types."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import REQUIRED, DType, Node, Size, TensorType, Value, ValueType
from mlcore.networks.ops import Facts, Operator, operator


def write_cast(node: Node, code: Writer, saturate: bool, rounding: str) -> None:
    """Write a conversion of every element."""
    code.include("kernels/nn/cast.hpp")
    data, output = node.input(0), node.output
    flag = "true" if saturate else "false"
    code.line(
        f"nn::cast<{data.dtype.cpp}, {output.dtype.cpp}>({code.ref(data)}, {code.size(data.count)}, {code.ref(output)}, {flag}, "
        f"nn::Rounding::{rounding});"
    )


def _known(node: Node, source: Value, target: DType) -> tuple[Size | None, ...] | None:
    """Whole numbers stay as they are; what a narrower type would change is not told."""
    known = source.parts
    if known is None or not target.is_integer or target.bytes < 4 or not target.is_signed:
        return None
    limit = 2 ** (8 * target.bytes - 1)
    return known if all(not isinstance(item, int) or -limit <= item < limit for item in known) else None


class _Cast(Operator):
    """Every element as a number of another type, or as a text."""

    def target(self, node: Node) -> DType:
        raise TypeError("a conversion says what it converts to")

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        return [TensorType(self.target(node), node.input(0).shape)]

    def elements(self, node: Node) -> tuple[Size | None, ...] | None:
        return _known(node, node.input(0), self.target(node))

    def write(self, node: Node, code: Writer) -> None:
        rounding = node.text("round_mode", "up")
        if rounding not in ("up", "down", "nearest"):
            raise InputError(f"{node.where} has the unknown rounding {rounding!r}", code="network.attribute")
        write_cast(node, code, bool(node.integer("saturate", 1)), rounding)


@operator("Cast", since=(1, 6, 9, 13, 19, 21, 23, 24, 25, 28))
class Cast(_Cast):
    """To a type that is named."""

    def target(self, node: Node) -> DType:
        number = node.attributes.get("to")
        if isinstance(number, str):  # the first version names it
            found = next(
                (dtype for dtype in DType if dtype.name == {"FLOAT": "FLOAT32", "DOUBLE": "FLOAT64"}.get(number, number)), None
            )
        else:
            found = DType.of_number(node.integer("to", REQUIRED))
        if found is None:
            raise InputError(f"{node.where} converts to an element type that is not supported: {number!r}", code="network.dtype")
        return found


@operator("CastLike", since=(15, 19, 21, 23, 24, 25))
class CastLike(_Cast):
    """To the type of another value."""

    def target(self, node: Node) -> DType:
        return node.input(1).dtype


@operator("BitCast", since=(26,))
class BitCast(Operator):
    """The same bits under another type of the same width."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, target = node.input(0), DType.of_number(node.integer("to", REQUIRED))
        if target is None or target.bytes != data.dtype.bytes or DType.STRING in (target, data.dtype):
            raise InputError(f"{node.where} reads {data.dtype} as {target}, of another width", code="network.dtype")
        return [TensorType(target, data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        target, source = code.ref(node.output), code.ref(node.input(0))
        code.line(f"nn::copy_bytes({source}, {code.size(node.output.count)} * {node.output.dtype.bytes}, {target});")
