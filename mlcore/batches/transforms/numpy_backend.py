"""The steps of all features as operations on a few columns each, and those with NumPy.

Neighbouring features with the same operations go through them together. The other backends, ONNX and PyTorch, compute the same
operations with the same numbers in the same precision, double, so that a large mean is taken off without loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Array
from mlcore.batches.transforms.steps import Step

Columns = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Operation:
    """One operation of neighbouring features.

    Attributes
    ----------
    name
        As `Step.operation`.
    constants
        float64. ``"affine"``: what is taken off and what is divided by; ``"log"``: the shift; ``"clip"``: the limits;
        ``"impute"``: what stands in for NaN; each of shape (n,). ``"curve"``: knots and heights, shape (n, n_knots).
        ``"onehot"``: the categories, shape (1, n_categories).
    """

    name: str
    constants: tuple[Array, ...]

    def inner(self) -> Array:
        """Of a curve: the knots between its first and last, shape (n, n_knots - 2)."""
        return self.constants[0][:, 1:-1]

    def slopes(self) -> Array:
        """Of a curve: between each knot and the next, shape (n, n_knots - 1); 0 where the two are one."""
        width, height = (np.diff(values, axis=1) for values in self.constants)
        return np.asarray(np.divide(height, width, out=np.zeros_like(height), where=width > 0))


@dataclass(frozen=True)
class Group:
    """Features ``first`` to ``last - 1`` and what they go through."""

    first: int
    last: int
    operations: tuple[Operation, ...]


def grouped(features: Sequence[Sequence[Step]]) -> list[Group]:
    """The fitted steps of all features as operations on neighbours."""
    groups: list[tuple[int, int]] = []
    for at, steps in enumerate(features):
        names = [step.operation for step in steps]
        before = features[groups[-1][0]] if groups else ()
        if groups and names == [step.operation for step in before] and "onehot" not in names:
            groups[-1] = (groups[-1][0], at + 1)
        else:
            groups.append((at, at + 1))
    return [Group(first, last, _operations(features[first:last])) for first, last in groups]


def _operations(features: Sequence[Sequence[Step]]) -> tuple[Operation, ...]:
    together = []
    for steps in zip(*features, strict=True):
        constants = zip(*(step.constants() for step in steps), strict=True)
        name = steps[0].operation
        if name in {"curve", "onehot"}:
            together.append(Operation(name, tuple(np.stack(_padded(values)) for values in constants)))
        else:
            together.append(Operation(name, tuple(np.concatenate(values) for values in constants)))
    return tuple(together)


def _padded(values: Sequence[Array]) -> list[Array]:
    """Curves with as many knots as the longest has: the last knot is repeated, between which a curve is flat."""
    most = max(len(one) for one in values)
    return [np.pad(one, (0, most - len(one)), mode="edge") for one in values]


def compute(operation: Operation, x: Columns) -> Columns:
    """An operation on columns, float64, shape (n_rows, n)."""
    constants = operation.constants
    match operation.name:
        case "affine":
            return np.asarray((x - constants[0]) / constants[1])
        case "log":
            return np.asarray(np.log1p(x + constants[0]))
        case "clip":
            return np.asarray(np.minimum(np.maximum(x, constants[0]), constants[1]))
        case "impute":
            return np.where(np.isnan(x), constants[0], x)
        case "curve":
            return _curve(operation, x)
        case _:
            return np.asarray(x == constants[0], np.float64)


def _curve(operation: Operation, x: Columns) -> Columns:
    knots, heights = operation.constants
    inner, slopes = operation.inner(), operation.slopes()
    result = np.empty_like(x)
    for at in range(x.shape[1]):
        held = np.minimum(np.maximum(x[:, at], knots[at, 0]), knots[at, -1])
        piece = np.searchsorted(inner[at], held, side="right")
        result[:, at] = heights[at][piece] + (held - knots[at][piece]) * slopes[at][piece]
    return result


def transform(groups: Sequence[Group], matrix: Array) -> npt.NDArray[np.float32]:
    """All features of some rows, shape (n_rows, n_features), as float32, shape (n_rows, n_outputs)."""
    parts = []
    with np.errstate(all="ignore"):
        for group in groups:
            part = matrix[:, group.first : group.last].astype(np.float64)
            for operation in group.operations:
                part = compute(operation, part)
            parts.append(part.astype(np.float32))
    return np.concatenate(parts, axis=1)
