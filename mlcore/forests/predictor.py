"""The native predictor of a forest: from the tree IR to what runs."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import kernels
from mlcore.forests import links
from mlcore.forests.ir import TreeModel

Rows = npt.NDArray[Any]


class Predictor(Protocol):
    """What runs a forest on float32 or float64 rows of any strides.

    Results have the shape (n_rows,) where there is one column, else (n_rows, n_columns). A method refuses rows that are no
    such array by TypeError, and those of another width by ValueError.
    """

    def margin(self, x: Rows, out: Rows | None = None, threads: int = 1) -> Rows: ...
    def predict(self, x: Rows, out: Rows | None = None, threads: int = 1) -> Rows: ...
    def leaves(self, x: Rows, threads: int = 1) -> npt.NDArray[np.int32]: ...
    def engines(self) -> dict[str, str]: ...


def build(model: TreeModel) -> Predictor:
    """The native predictor of a verified model."""
    return _Plain(model)


class _Plain:
    """The plain native predictor, with the link in NumPy."""

    def __init__(self, model: TreeModel) -> None:
        self._kernel = kernels.scalar_forest(model.tables())
        self._link, self._scale, self._divisor = model.link, model.link_scale, model.divisor

    def margin(self, x: Rows, out: Rows | None = None, threads: int = 1) -> Rows:
        return _given(self._kernel.margin(x, threads=threads), out)

    def predict(self, x: Rows, out: Rows | None = None, threads: int = 1) -> Rows:
        margin: Rows = self._kernel.margin(x, threads=threads)
        if self._divisor != 1:
            margin = margin / margin.dtype.type(self._divisor)
        return _given(links.apply(self._link, margin, self._scale), out)

    def leaves(self, x: Rows, threads: int = 1) -> npt.NDArray[np.int32]:
        return self._kernel.leaves(x, threads=threads)

    def engines(self) -> dict[str, str]:
        return {"all": "walks one node at a time, 64 rows together"}


def _given(values: Rows, out: Rows | None) -> Rows:
    """The values without a column's own dimension, in the array that the caller gave, if there is one."""
    squeezed = values[:, 0] if values.shape[1] == 1 else values
    if out is None:
        return squeezed
    if (
        not isinstance(out, np.ndarray)
        or out.shape != squeezed.shape
        or out.dtype != squeezed.dtype
        or not out.flags.c_contiguous
    ):
        raise ValueError("out does not fit the result")
    out[...] = squeezed
    return out
