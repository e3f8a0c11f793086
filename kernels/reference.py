"""The oracle: each kernel in plain NumPy, written to be read rather than to be fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.tables import Comparison, ForestTables, Link, Missing


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
    values = tables.value.astype(tables.sum_dtype).reshape(len(tables.feature), -1)
    for tree, output in enumerate(tables.tree_output):
        reached = values[tables.tree_start[tree] + leaves[:, tree]]
        with np.errstate(over="ignore", invalid="ignore"):
            if tables.vector_leaves:
                margin += reached
            else:
                margin[:, output] += reached[:, 0]
    return margin


def forest_prediction(tables: ForestTables, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The link of the margins over the divisor, in the precision of the sums.

    Returns
    -------
    ndarray
        ``tables.sum_dtype``, shape (n_rows, n_predictions).
    """
    margin = forest_margin(tables, x)
    real = margin.dtype.type
    margin = margin / real(tables.divisor)
    scaled = real(-tables.link_scale) * margin
    with np.errstate(over="ignore"):
        match tables.link:
            case Link.IDENTITY:
                return np.asarray(margin)
            case Link.SIGMOID:
                return np.asarray(1 / (1 + np.exp(scaled)))
            case Link.EXP:
                return np.asarray(np.exp(margin))
            case Link.SOFTMAX:
                shifted = np.exp(margin - margin.max(axis=1, keepdims=True))
                return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
            case Link.ARGMAX:
                return np.asarray(margin.argmax(axis=1, keepdims=True), margin.dtype)
            case Link.STEP:
                return np.asarray(margin > 0, margin.dtype)
            case Link.LOG1P_EXP:
                return np.asarray(np.log1p(np.exp(margin)))
            case Link.SIGNED_SQUARE:
                return np.asarray(margin * abs(margin))
            case Link.SIGMOID_PAIR:
                p = 1 / (1 + np.exp(scaled))
                return np.concatenate([1 - p, p], axis=1)
            case Link.TANH_HALF:
                return np.asarray(2 / (1 + np.exp(-2 * margin)) - 1)
            case Link.COMPLEMENT_PAIR:
                return np.concatenate([1 - margin, margin], axis=1)
            case Link.EXP2:
                return np.asarray(np.exp2(scaled))


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


def map_float32(function: str, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """An elementary function of each element, in double precision.

    Parameters
    ----------
    function
        exp, log, tanh, erf, sigmoid, gelu, gelu_tanh, expm1, softplus.
    x
        float32, any shape.

    Returns
    -------
    ndarray
        float64, of the same shape.

    References
    ----------
    D. Hendrycks and K. Gimpel, arXiv:1606.08415: GELU and its form with tanh (Sec. 2).
    """
    erf = np.vectorize(math.erf, otypes=[np.float64])
    functions: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
        "exp": np.exp,
        "log": np.log,
        "tanh": np.tanh,
        "erf": erf,
        "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
        "gelu": lambda a: 0.5 * a * (1 + erf(a / np.sqrt(2))),
        "gelu_tanh": lambda a: 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3))),
        "expm1": np.expm1,
        "softplus": lambda a: np.logaddexp(0.0, a),
    }
    return functions[function](x.astype(np.float64))


def softmax(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Of each row, in double precision: float64, shape (rows, n)."""
    exponentials = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def layer_normalize(
    x: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], epsilon: float = 1e-5
) -> npt.NDArray[np.float64]:
    """Of each row, in double precision: float64, shape (rows, n). Ba et al., arXiv:1607.06450, Eq. 4."""
    wide = x.astype(np.float64)
    moved = wide - wide.mean(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = moved / np.sqrt((moved**2).mean(axis=1, keepdims=True) + epsilon) * scale + bias
    return result
