"""Whether a model repeats the showers that it was trained on.

New showers of the truth lie at some distance from the nearest training shower. A model's showers that lie nearer were copied.

References
----------
C. Meehan, K. Chaudhuri and S. Dasgupta, "A non-parametric test to detect data-copying in generative models", arXiv:2004.05675,
Sec. 3; H. Mann and D. Whitney, Ann. Math. Statist. 18 (1947) 50.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.metrics.neighbours import nearest, standardized


@dataclass(frozen=True)
class Memorisation:
    """Of a model.

    Attributes
    ----------
    score
        The Mann-Whitney statistic in standard deviations: below -3 the model's showers are nearer to the training showers than
        new ones are, near 0 they are as far, above 3 they are further off (not copied, but wrong).
    copied
        The share of the model's showers that are nearer to a training shower than 99 % of new showers are; 0.01 is expected.
    median_distance, expected_distance
        Of the model's and of new showers, in standard deviations of the features.
    """

    score: float
    copied: float
    median_distance: float
    expected_distance: float


def memorisation(training: npt.ArrayLike, unseen: npt.ArrayLike, model: npt.ArrayLike, *, most: int = 10_000) -> Memorisation:
    """Compare distances to the training sample; features have shape (n_showers, n_features), at most `most` of the latter two."""
    known, new, made = standardized(training, unseen, model)
    if min(len(known), len(new), len(made)) < 2:
        raise InputError("there are fewer than 2 showers to compare", hint="Give more of each sample.")
    expected, found = nearest(new[:most], known), nearest(made[:most], known)
    m, n = len(found), len(expected)
    order = np.sort(expected)
    below = np.searchsorted(order, found, "left") + np.searchsorted(order, found, "right")  # ties count half
    statistic = float(below.sum()) / 2
    score = (statistic - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12)
    return Memorisation(
        score=float(score),
        copied=float((found < np.quantile(expected, 0.01)).mean()),
        median_distance=float(np.median(found)),
        expected_distance=float(np.median(expected)),
    )
