"""The oracle: each kernel in plain NumPy, written to be read rather than to be fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.tables import Comparison, ForestTables, Missing


def forest_leaves(tables: ForestTables, x: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Number of the leaf within each tree.

    Parameters
    ----------
    tables
        The forest.
    x
        float32 or float64, shape (n_rows, n_features).

    Returns
    -------
    ndarray
        int32, shape (n_rows, n_trees).
    """
    with np.errstate(over="ignore"):
        x = x.astype(tables.threshold_dtype)
    n_trees = len(tables.tree_output)
    leaves = np.empty((len(x), n_trees), np.int32)
    for tree in range(n_trees):
        start = int(tables.tree_start[tree])
        for row in range(len(x)):
            node = 0
            while tables.feature[start + node] >= 0:
                index = start + node
                left = _goes_left(tables, index, x[row, tables.feature[index]])
                node = int(tables.left[index] if left else tables.right[index])
            leaves[row, tree] = node
    return leaves


def forest_margin(tables: ForestTables, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of the leaves' values: `base` first, then tree after tree, rounded after each addition.

    Returns
    -------
    ndarray
        ``tables.sum_dtype``, shape (n_rows, n_outputs).
    """
    leaves = forest_leaves(tables, x)
    margin = np.tile(tables.base.astype(tables.sum_dtype), (len(x), 1))
    values = tables.value.astype(tables.sum_dtype)
    for tree, output in enumerate(tables.tree_output):
        with np.errstate(over="ignore", invalid="ignore"):
            margin[:, output] += values[tables.tree_start[tree] + leaves[:, tree]]
    return margin


def _goes_left(tables: ForestTables, index: int, x: Any) -> bool:
    missing = Missing(tables.missing[index])
    if np.isnan(x) and missing is Missing.NONE:
        x = np.dtype(tables.threshold_dtype).type(0)
    is_zero = missing is Missing.ZERO and abs(float(x)) <= tables.zero_threshold
    if np.isnan(x) or is_zero:
        return bool(tables.default_left[index])
    threshold = np.dtype(tables.threshold_dtype).type(tables.threshold[index])
    match Comparison(tables.comparison[index]):
        case Comparison.LESS:
            return bool(x < threshold)
        case Comparison.LESS_EQUAL:
            return bool(x <= threshold)
        case Comparison.IN_SET:
            return x > -1 and _lists(tables, index, float(x))
        case Comparison.NOT_IN_SET:
            return not (x >= 0 and _lists(tables, index, float(x)))


def _lists(tables: ForestTables, index: int, x: float) -> bool:
    words = tables.category_words[tables.category_start[index] : tables.category_start[index + 1]]
    if x >= 32 * len(words):
        return False
    category = int(x)
    return bool((int(words[category // 32]) >> (category % 32)) & 1)
