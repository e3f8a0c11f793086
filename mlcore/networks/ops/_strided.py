"""Views with strides: where the elements of a value lie inside another, when nodes between only slice, transpose and reshape.

Kernels that take strides read such values without anything being moved. Strides and offsets are counted in elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlcore.networks.ir import Node, Shape, Size, TensorType, Value, product

Producer = Callable[[Value], Node | None]


@dataclass(frozen=True)
class Strided:
    """A tensor inside another.

    Attributes
    ----------
    base
        A value that lies in memory, row-major.
    offset
        Of the first element.
    shape, strides
        Axis by axis.
    """

    base: Value
    offset: Size
    shape: Shape
    strides: tuple[Size, ...]

    @property
    def is_dense(self) -> bool:
        """Whether it is row-major without gaps."""
        return _packed(self.shape, self.strides)


def dense(value: Value) -> Strided:
    """A value as it lies in memory."""
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(value.shape):
        strides.append(step)
        step = step * size
    return Strided(value, 0, value.shape, tuple(reversed(strides)))


def view(value: Value, producer: Producer) -> Strided:
    """The furthest view of a value: through every node that moves nothing.

    Parameters
    ----------
    producer
        The node that computes a value, where looking through it is allowed.
    """
    node = producer(value)
    if node is None or not isinstance(value.type, TensorType) or value.type.is_late:
        return dense(value)
    step = _STEPS.get(node.kind)
    if step is None or not node.has(0):
        return dense(value)
    source = node.input(0)
    if not isinstance(source.type, TensorType) or source.type.is_late:
        return dense(value)
    return step(node, node.outputs.index(value), view(source, producer)) or dense(value)


def _packed(shape: Shape, strides: Sequence[Size]) -> bool:
    step: Size = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step = step * size
    return True


def _transpose(node: Node, index: int, inner: Strided) -> Strided | None:
    del index
    order = node.integers("perm") or list(range(len(inner.shape)))[::-1]
    return Strided(
        inner.base, inner.offset, tuple(inner.shape[axis] for axis in order), tuple(inner.strides[axis] for axis in order)
    )


def _reshape(node: Node, index: int, inner: Strided) -> Strided | None:
    strides = reshaped(inner.shape, inner.strides, node.outputs[index].shape)
    return None if strides is None else Strided(inner.base, inner.offset, node.outputs[index].shape, strides)


def reshaped(shape: Shape, strides: Sequence[Size], wanted: Shape) -> tuple[Size, ...] | None:
    """The strides of a reshaped view; None where its elements would have to be moved.

    Both shapes are cut into the shortest runs of axes with equal products; within a run the old axes have to lie as one.
    """
    result: list[Size] = []
    old = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size != 1]
    new = list(wanted)
    i = 0
    at = 0
    while at < len(new):
        if new[at] == 1:
            result.append(1)
            at += 1
            continue
        if i >= len(old):
            return None
        # The shortest run: take from the side whose product cannot be the larger one yet.
        taken, given = [old[i]], [new[at]]
        i, at = i + 1, at + 1
        while product(size for size, _ in taken) != product(given):
            left, right = product(size for size, _ in taken), product(given)
            grow_new = _divides(right, left)
            if grow_new and at < len(new):
                given.append(new[at])
                at += 1
            elif not grow_new and i < len(old):
                taken.append(old[i])
                i += 1
            else:
                return None
        for (_, outer), (size, inner) in pairwise(taken):
            if outer != size * inner:
                return None
        step = taken[-1][1]
        run: list[Size] = []
        for size in reversed(given):
            run.append(step)
            step = step * size
        result += reversed(run)
    return tuple(result) if i == len(old) else None


def _divides(part: Size, whole: Size) -> bool:
    """Whether `whole` is a multiple of `part` other than itself, as far as can be told."""
    if isinstance(part, int) and isinstance(whole, int):
        return part < whole
    quotient = whole // part
    return not isinstance(quotient, int) or quotient > 1 if quotient * part == whole else isinstance(part, int)


def _slice(node: Node, index: int, inner: Strided) -> Strided | None:
    del index
    if node.version >= 10:
        parts = [node.input(1).elements, node.input(2).elements]
        axes = node.input(3).elements if node.has(3) else None
        steps = node.input(4).elements if node.has(4) else None
    else:
        parts = [tuple(node.integers("starts")), tuple(node.integers("ends"))]
        axes, steps = node.integers("axes"), None
    if parts[0] is None or parts[1] is None or (node.version >= 10 and node.has(3) and axes is None):
        return None
    axes = axes if axes is not None else tuple(range(len(parts[0])))
    if node.version >= 10 and node.has(4) and steps is None:
        return None
    offset, shape = inner.offset, list(inner.shape)
    for i, axis in enumerate(axes):
        step = 1 if steps is None else steps[i]
        if step != 1 or not isinstance(axis, int):
            return None
        start, size = parts[0][i], inner.shape[axis]
        if not isinstance(start, int):
            return None
        if isinstance(size, int):
            start = min(max(start + size if start < 0 else start, 0), size)
        elif start < 0:
            return None
        offset = offset + inner.strides[axis] * start
        shape[axis] = node.output.shape[axis]
    return Strided(inner.base, offset, tuple(shape), inner.strides)


def _split(node: Node, index: int, inner: Strided) -> Strided | None:
    axis = node.axis(node.integer("axis", 0), len(inner.shape))
    before: Size = 0
    for value in node.outputs[:index]:
        before = before + value.shape[axis]
    return Strided(inner.base, inner.offset + inner.strides[axis] * before, node.outputs[index].shape, inner.strides)


def _gather(node: Node, index: int, inner: Strided) -> Strided | None:
    """With one known number for an index it takes one slice, and the axis away."""
    del index
    known = node.input(1).constant
    axis = node.axis(node.integer("axis", 0), len(inner.shape))
    size = inner.shape[axis]
    if known is None or known.ndim != 0 or not isinstance(size, int):
        return None
    place = int(known)
    if not -size <= place < size:
        return None
    shape, strides = list(inner.shape), list(inner.strides)
    del shape[axis]
    stride = strides.pop(axis)
    return Strided(inner.base, inner.offset + stride * (place % size), tuple(shape), tuple(strides))


_STEPS: dict[str, Callable[[Node, int, Strided], Strided | None]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Identity": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
}
