"""FPD, the Frechet physics distance: between the Gaussians that fit two samples of features, without its bias.

The distance between finite samples is too large by an amount that falls as 1 / n. It is measured for several n, and a straight
line through 1 / n = 0 gives the distance of infinite samples.

References
----------
R. Kansal et al., "Evaluating generative models in high energy physics", arXiv:2211.10295, Sec. II and Eq. 5;
M. Chong and D. Forsyth, arXiv:1911.07023, on the extrapolation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.metrics.estimate import Estimate

Array = npt.NDArray[np.float64]


def gaussian_distance(mean_1: Array, covariance_1: Array, mean_2: Array, covariance_2: Array) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``, by the eigenvalues of a symmetric matrix, which are real.

    ``tr (C1 C2)^(1/2)`` is that of ``(C1^(1/2) C2 C1^(1/2))^(1/2)``.
    """
    values, vectors = np.linalg.eigh(covariance_1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = root @ covariance_2 @ root
    roots = np.sqrt(np.clip(np.linalg.eigvalsh((inner + inner.T) / 2), 0, None))
    difference = mean_1 - mean_2
    return float(difference @ difference + np.trace(covariance_1) + np.trace(covariance_2) - 2 * roots.sum())


def normalized(truth: npt.ArrayLike, model: npt.ArrayLike) -> tuple[Array, Array]:
    """Both samples divided by the largest magnitude of each of the truth's features.

    Raises
    ------
    InputError
        Other numbers of features, no rows, or values that are not finite.
    """
    first, second = np.asarray(truth, np.float64), np.asarray(model, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise InputError(
            f"features of shapes {first.shape} and {second.shape} cannot be compared", hint="Use the same features for both."
        )
    if not len(first) or not len(second):
        raise InputError("there are no showers to compare", hint="Give at least one of each sample.")
    for name, rows in (("the truth", first), ("the model", second)):
        if not np.isfinite(rows).all():
            raise InputError(f"features of {name} hold NaN or infinity", hint="Leave such showers out.")
    largest = np.abs(first).max(axis=0)
    largest[largest == 0] = 1
    return first / largest, second / largest


def frechet_distance(
    truth: npt.ArrayLike,
    model: npt.ArrayLike,
    *,
    least: int = 20_000,
    most: int = 50_000,
    points: int = 10,
    batches: int = 20,
    seed: int = 42,
) -> Estimate:
    """FPD of two samples of features, each of shape (n_showers, n_features), and its error from the straight line.

    Parameters
    ----------
    least, most, points
        Sizes of the samples that are drawn with replacement: evenly spaced in 1 / n.
    batches
        Samples of each size.
    seed
        Draws are numpy's, one after the other, so that the figure is that of jetnet.
    """
    first, second = normalized(truth, model)
    if not 1 < least < most or points < 3 or batches < 1:
        raise InputError(
            f"sizes from {least} to {most} in {points} points give no line", hint="Give ascending sizes and at least 3 points."
        )
    sizes = (1 / np.linspace(1 / least, 1 / most, points)).astype(np.int32)
    rng = np.random.default_rng(seed)
    means = np.empty(points)
    for i, size in enumerate(sizes):
        total = 0.0
        for _ in range(batches):
            rows_1, rows_2 = rng.choice(len(first), size=size), rng.choice(len(second), size=size)
            a, b = first[rows_1], second[rows_2]
            total += gaussian_distance(a.mean(axis=0), _covariance(a), b.mean(axis=0), _covariance(b))
        means[i] = total / batches
    intercept, error = _line(1 / sizes, means)
    return Estimate(intercept, error)


def _covariance(rows: Array) -> Array:
    return np.atleast_2d(np.cov(rows, rowvar=False))


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Value at 0 of the best line with neither a negative value there nor a negative slope, and its standard error."""
    design = np.column_stack([np.ones_like(x), x])
    intercept, slope = np.linalg.lstsq(design, y, rcond=None)[0]
    if intercept < 0 or slope < 0:
        through_0 = max(float(x @ y / (x @ x)), 0.0)
        level = max(float(y.mean()), 0.0)
        lines = [(0.0, through_0), (level, 0.0)]
        intercept, slope = min(lines, key=lambda line: float(((y - line[0] - line[1] * x) ** 2).sum()))
    variance = float(((y - intercept - slope * x) ** 2).sum()) / (len(x) - 2)
    return float(intercept), float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))
