"""Links in NumPy: from margins to the library's own prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.forests.ir import Link


def apply(link: Link, margin: npt.NDArray[Any], scale: float = 1.0) -> npt.NDArray[Any]:
    """Turn margins into predictions.

    Parameters
    ----------
    link
        Which function.
    margin
        float32 or float64, shape (n_rows, n_outputs).
    scale
        Factor before a sigmoid.

    Returns
    -------
    ndarray
        Same dtype, shape (n_rows, n_predictions); for the identity, the margins themselves.
    """
    one = margin.dtype.type(1)
    with np.errstate(over="ignore"):  # exp of a large margin is infinite, as it is in the library
        match link:
            case Link.IDENTITY:
                return margin
            case Link.SIGMOID:
                return np.asarray(one / (one + np.exp(margin.dtype.type(-scale) * margin)))
            case Link.EXP:
                return np.asarray(np.exp(margin))
            case Link.SOFTMAX:
                shifted = np.exp(margin - margin.max(axis=1, keepdims=True))
                return np.asarray(shifted / shifted.sum(axis=1, keepdims=True, dtype=np.float64).astype(margin.dtype))
            case Link.ARGMAX:
                return np.asarray(margin.argmax(axis=1, keepdims=True), margin.dtype)
            case Link.STEP:
                return np.asarray(margin > 0, margin.dtype)
            case Link.LOG1P_EXP:
                return np.asarray(np.log1p(np.exp(margin)))
            case Link.SIGNED_SQUARE:
                return np.asarray(np.sign(margin) * margin * margin)
            case Link.SIGMOID_PAIR:
                p = one / (one + np.exp(margin.dtype.type(-scale) * margin))
                return np.concatenate([one - p, p], axis=1)
            case Link.TANH_HALF:
                return np.asarray((one + one) / (one + np.exp(-(one + one) * margin)) - one)
            case Link.COMPLEMENT_PAIR:
                return np.concatenate([one - margin, margin], axis=1)
            case Link.EXP2:
                return np.asarray(np.exp2(margin.dtype.type(-scale) * margin))
