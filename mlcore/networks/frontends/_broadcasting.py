"""Operands that broadcasting needs under another shape: views of them.

Operands that have one element or none along an axis, as ``x[:1]`` where the size is open: they broadcast as one element does.

Their size ``min(n, 1)`` is neither 1 nor what it meets, so that broadcasting would ask for equal sizes. A view with the size 1
stands for such an operand: where it is empty so is the result, which reads nothing; anything else is refused when the code runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlcore.networks.ir import Expr, Node, Size, TensorType, Value
from mlcore.networks.ir.sizes import Call, smaller
from mlcore.networks.ops import Facts, Operator
from mlcore.networks.ops._fused import padded, view
from mlcore.networks.ops.elementwise import Elementwise


def at_most_one(size: Size) -> bool:
    """Whether a size is ``min(n, 1)``."""
    if not isinstance(size, Expr) or len(size.terms) != 1:
        return False
    ((atoms, factor),) = size.terms
    call = atoms[0] if len(atoms) == 1 and factor == 1 else None
    return isinstance(call, Call) and call.function == "min" and 1 in (call.left, call.right)


def single(operator: Operator, inputs: list[Value | None], facts: Facts) -> Iterator[Node]:
    """Views for those of an operator's inputs that need one; they take the places in `inputs`."""
    if operator.name == "Expand" and operator.domain == "" and inputs[0] is not None:
        wanted = inputs[1].elements if len(inputs) > 1 and inputs[1] is not None else None
        shapes: list[tuple[Size, ...]] = [_shape(inputs[0]), tuple(wanted or ())]
        numbers = [0]
    elif isinstance(operator, Elementwise):
        if operator.broadcasts:
            yield from _with_axes(inputs)
        shapes = [_shape(value) for value in inputs]
        numbers = list(range(len(inputs)))
    else:
        return
    for number in numbers:
        value, shape = inputs[number], shapes[number]
        if value is None or not any(map(at_most_one, shape)):
            continue
        own = list(shape)
        for axis, size in enumerate(shape):
            others = [other for other in _met(shapes, len(shape) - axis) if other not in (1, size)]
            if at_most_one(size) and others:
                facts.same(size, smaller(others[0], 1), f"{value.name} is repeated along axis {axis}, and has nothing there")
                own[axis] = 1
        if own != list(shape):
            made = view(value, tuple(own))
            inputs[number] = made.output
            yield made


def _with_axes(inputs: list[Value | None]) -> Iterator[Node]:
    """Views of operands that may lack axes of size 1 in front, where another has as many: the result is the same with them."""
    rank = max(map(len, map(_shape, inputs)), default=0)
    for number, value in enumerate(inputs):
        if value is not None and value.padded is not None and value.tensor.shape is None and len(value.padded) <= rank:
            made = padded(value, value.padded)
            inputs[number] = made.output
            yield made


def _shape(value: Value | None) -> tuple[Size, ...]:
    return tuple(value.type.shape or ()) if value is not None and isinstance(value.type, TensorType) else ()


def _met(shapes: Sequence[Sequence[Size]], from_last: int) -> Iterator[Size]:
    """The sizes of some shapes along an axis, counted from the last."""
    return (shape[-from_last] for shape in shapes if len(shape) >= from_last)
