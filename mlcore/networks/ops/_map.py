"""Elementwise C++: the loops of a broadcast expression."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.networks.code import Writer
from mlcore.networks.ir import Shape, Size, Value, product


def broadcast_loops(shape: Shape, operands: Sequence[Shape]) -> tuple[list[Size], list[list[Size]]]:
    """The loops over a broadcast, merged as far as every operand goes along.

    Parameters
    ----------
    shape
        Of the result.
    operands
        Shapes of the operands, of the same or a smaller rank.

    Returns
    -------
    tuple
        The sizes of the loops, the innermost last, at least one; and for each operand the steps in elements of each loop, 0 where
        the operand repeats.
    """
    rank = len(shape)
    padded = [(1,) * (rank - len(operand)) + tuple(operand) for operand in operands]
    steps = []
    for operand in padded:
        step: Size = 1
        own: list[Size] = []
        for axis in reversed(range(rank)):
            own.append(0 if operand[axis] == 1 else step)
            step = step * operand[axis]
        steps.append(own[::-1])
    loops: list[Size] = []
    merged: list[list[Size]] = [[] for _ in operands]
    for axis in range(rank):
        if shape[axis] == 1:
            continue
        goes_on = bool(loops) and all(
            (kept[-1] == own[axis] * shape[axis]) if own[axis] != 0 else kept[-1] == 0
            for kept, own in zip(merged, steps, strict=True)
        )
        if goes_on:
            loops[-1] = loops[-1] * shape[axis]
            for kept, own in zip(merged, steps, strict=True):
                kept[-1] = own[axis]
        else:
            loops.append(shape[axis])
            for kept, own in zip(merged, steps, strict=True):
                kept.append(own[axis])
    if not loops:
        return [1], [[0] for _ in operands]
    return loops, merged


def write_map(
    code: Writer,
    expression: str,
    names: Sequence[str],
    inputs: Sequence[Value],
    output: Value,
    *,
    statements: Sequence[str] = (),
) -> None:
    """Write ``output = expression`` for every element, the inputs broadcast.

    Parameters
    ----------
    expression
        C++ in the operands' names, which have the type that their elements are computed in.
    names
        The operands' names in the expression, one for each input.
    statements
        C++ before the expression.
    """
    code.include("kernels/nn/map.hpp", "kernels/nn/functions.hpp")
    shape = output.shape
    loops, steps = broadcast_loops(shape, [value.shape for value in inputs])
    arguments = ", ".join(f"auto {name}" for name in names)
    body = " ".join([*statements, f"return {expression};"])
    function = f"[&]({arguments}) {{ {body} }}"
    indices = [f"i{axis}" for axis in range(len(loops) - 1)]

    def nest(axis: int) -> None:
        if axis < len(indices):
            name = indices[axis]
            with code.block(f"for (std::int64_t {name} = 0; {name} < {code.size(loops[axis])}; ++{name})"):
                nest(axis + 1)
            return
        operands = []
        for value, own in zip(inputs, steps, strict=True):
            offset = _offset(code, own[:-1], indices)
            operands.append(f"nn::{'same' if own[-1] == 0 else 'row'}({code.ref(value)}{offset})")
        target = f"{code.ref(output)}{_offset(code, _out_steps(loops), indices)}"
        code.line(f"nn::map({', '.join([code.size(loops[-1]), target, function, *operands])});")

    nest(0)


def _out_steps(loops: Sequence[Size]) -> list[Size]:
    return [product(loops[axis + 1 :]) for axis in range(len(loops) - 1)]


def _offset(code: Writer, steps: Sequence[Size], indices: Sequence[str]) -> str:
    parts = [f"{name} * {code.size(step)}" if step != 1 else name for name, step in zip(indices, steps, strict=True) if step != 0]
    return f" + {' + '.join(parts)}" if parts else ""
