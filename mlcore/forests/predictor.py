"""The native predictor of a forest: from the tree IR, or from a plan in a file, to what runs.

A predictor's `margin`, `predict` and `leaves` take float32 or float64 rows of any strides. Results have the shape (n_rows,)
where there is one column, else (n_rows, n_columns). They refuse rows that are no such array by TypeError, and those of another
width by ValueError.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import kernels
from mlcore.forests import links
from mlcore.forests.ir import TreeModel

Rows = npt.NDArray[Any]


class Predictor(Protocol):
    """What runs a forest: a `kernels.NativeForest`, or one with a link that the kernels do not know."""

    def margin(self, x: Rows, out: Rows | None = None, threads: int = 1) -> Rows: ...
    def predict(self, x: Rows, out: Rows | None = None, threads: int = 1) -> Rows: ...
    def leaves(self, x: Rows, threads: int = 1) -> npt.NDArray[np.int32]: ...
    def engines(self) -> dict[str, str]: ...
    def plan(self) -> bytes: ...


def build(model: TreeModel) -> Predictor:
    """The native predictor of a verified model."""
    return _linked(kernels.build_forest(model.tables()), model)


def from_plan(plan: memoryview, model: TreeModel) -> Predictor | None:
    """The predictor of a plan that was kept in a file; None where the kernels refuse it, as one of another version.

    Of the model, nothing but the link and the shape is looked at.
    """
    try:
        native = kernels.forest_from_plan(plan)
    except ValueError:
        return None
    if (native.n_features, native.n_outputs, native.n_trees) != (model.n_features, model.n_outputs, len(model.trees)):
        return None
    return _linked(native, model)


def _linked(native: kernels.NativeForest, model: TreeModel) -> Predictor:
    """The forest itself where the kernels know its link, else with the link in NumPy."""
    return native if model.link.name in kernels.Link.__members__ else _LinkInNumPy(native, model)


class _LinkInNumPy:
    """A native forest whose link the kernels do not know."""

    def __init__(self, native: kernels.NativeForest, model: TreeModel) -> None:
        self.margin, self.leaves, self.engines, self.plan = native.margin, native.leaves, native.engines, native.plan
        self._n_outputs = model.n_outputs
        self._link, self._scale, self._divisor = model.link, model.link_scale, model.divisor

    def predict(self, x: Rows, out: Rows | None = None, threads: int = 1) -> Rows:
        margin: Rows = self.margin(x, None, threads).reshape(-1, self._n_outputs)
        if self._divisor != 1:
            margin = margin / margin.dtype.type(self._divisor)
        values = links.apply(self._link, margin, self._scale)
        values = values[:, 0] if values.shape[1] == 1 else values
        if out is None:
            return values
        if (
            not isinstance(out, np.ndarray)
            or out.shape != values.shape
            or out.dtype != values.dtype
            or not out.flags.c_contiguous
        ):
            raise ValueError("out does not fit the result")
        out[...] = values
        return out
