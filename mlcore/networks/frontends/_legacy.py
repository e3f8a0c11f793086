"""Definitions of opsets below 7 as those of opset 7, for operators whose operands broadcast only where an attribute says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcore.errors import InputError
from mlcore.networks.ir import Value

_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater"})
OPSET = 7


def is_legacy(kind: str) -> bool:
    """Whether operators of this name have old definitions that are read here."""
    return kind in _BINARY or kind in ("PRelu", "Gemm")


def legacy_function(kind: str, version: int | None, attributes: Sequence[Any], inputs: Sequence[Value | None]) -> Any:
    """The body of an old definition in operators of opset 7; None where there is no need of one.

    Raises
    ------
    InputError
        Its attributes do not fit its inputs.
    """
    from onnx import helper

    if version is None or version >= OPSET or len(inputs) < 2:
        return None
    given = {item.name: item for item in attributes}
    names, kept = ["A", "B"], list[Any]()
    if kind in _BINARY:
        shape = _aligned(kind, given, inputs)
    elif kind == "PRelu":
        # One slope, or one for each channel.
        rank, slope = _rank(inputs[0]), _rank(inputs[1])
        shape = (1, slope, rank) if rank and slope and rank > slope + 1 else None
    elif kind == "Gemm":
        shape, names = None, ["A", "B", "C"]
        kept = [item for item in attributes if item.name in ("alpha", "beta", "transA", "transB")]
    else:
        return None
    nodes = []
    operands = list(names)
    if shape is not None:
        axis, rank_of_right, rank = shape
        added = [*range(axis), *range(axis + rank_of_right, rank)]
        nodes.append(helper.make_node("Unsqueeze", ["B"], ["aligned"], axes=added))
        operands[1] = "aligned"
    last = helper.make_node(kind, operands, ["result"])
    last.attribute.extend(kept)
    nodes.append(last)
    return helper.make_function("", kind, names, ["result"], nodes, [helper.make_opsetid("", OPSET)])


def _rank(value: Value | None) -> int:
    return 0 if value is None else value.rank


def _aligned(kind: str, given: dict[str, Any], inputs: Sequence[Value | None]) -> tuple[int, int, int] | None:
    """Where the axes of the right operand stand among those of the left; None where they are the last ones."""
    left, right = _rank(inputs[0]), _rank(inputs[1])
    broadcast = given["broadcast"].i if "broadcast" in given else 0
    if not broadcast:
        one, other = inputs[0], inputs[1]
        if one is not None and other is not None and len(one.shape) != len(other.shape):
            raise InputError(
                f"{kind} is given {one.tensor} and {other.tensor}, and is not told to broadcast",
                hint="The attribute broadcast=1 says so in opsets below 7.",
                code="network.shape",
            )
        return None
    axis = given["axis"].i if "axis" in given else left - right
    axis = axis + left if axis < 0 else axis
    if not 0 <= axis <= left - right:
        raise InputError(f"{kind} aligns {right} axes with {left}, from axis {axis} on", code="network.axis")
    return None if axis == left - right else (axis, right, left)
