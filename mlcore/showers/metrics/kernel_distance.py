"""KPD, the kernel physics distance: the squared maximum mean discrepancy with a polynomial kernel of degree 4, unbiased.

References
----------
R. Kansal et al., arXiv:2211.10295, Sec. II; A. Gretton et al., JMLR 13 (2012) 723, Eq. 3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.metrics.estimate import Estimate
from mlcore.showers.metrics.frechet import normalized

Array = npt.NDArray[np.float64]
DEGREE = 4


def discrepancy(first: Array, second: Array, degree: int = DEGREE) -> float:
    """The unbiased estimate of the squared discrepancy, with the kernel ``(x . y / n_features + 1) ** degree``."""
    m, n = len(first), len(second)
    if m < 2 or n < 2:
        raise InputError(f"{min(m, n)} showers are too few for a distance", hint="Give at least 2 of each sample.")

    def kernel(a: Array, b: Array) -> Array:
        values: Array = (a @ b.T / a.shape[1] + 1) ** degree
        return values

    within_1, within_2 = kernel(first, first), kernel(second, second)
    return float(
        (within_1.sum() - np.trace(within_1)) / (m * (m - 1))
        + (within_2.sum() - np.trace(within_2)) / (n * (n - 1))
        - 2 * kernel(first, second).mean()
    )


def kernel_distance(
    truth: npt.ArrayLike, model: npt.ArrayLike, *, batches: int = 10, size: int = 5_000, seed: int = 42
) -> Estimate:
    """KPD of two samples of features: the median over batches drawn with replacement, and half the width of their middle 67 %."""
    first, second = normalized(truth, model)
    if batches < 1:
        raise InputError(f"{batches} batches give no distance", hint="Ask for at least 1; 10 are usual.")
    values = []
    for i in range(batches):
        rng = np.random.default_rng(seed + i * 1000)
        rows_1, rows_2 = rng.choice(len(first), size=size), rng.choice(len(second), size=size)
        values.append(discrepancy(first[rows_1], second[rows_2]))
    low, high = np.percentile(values, [16.275, 83.725])
    return Estimate(float(np.median(values)), float(high - low) / 2)
