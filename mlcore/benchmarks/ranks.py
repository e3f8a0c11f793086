"""The test of Mann and Whitney: whether one of two sets of samples tends to be larger. Small, since web processes use it too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache

MOST_EXACT = 40
"""Samples of each set up to which probabilities are exact, where no two are equal."""


def mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """The probability, two-sided, that samples of one distribution are ordered as unevenly as these.

    Exact for small sets without equal samples, else by the normal distribution with corrections for ties and continuity.

    References
    ----------
    H. B. Mann, D. R. Whitney, Ann. Math. Statist. 18 (1947) 50, equations (1) and (2).
    """
    n, m = len(one), len(other)
    if n == 0 or m == 0:
        return 1.0
    larger = sum((x > y) + 0.5 * (x == y) for x in one for y in other)
    extreme = max(larger, n * m - larger)
    ties = Counter([*one, *other])
    if max(ties.values()) == 1 and max(n, m) <= MOST_EXACT:
        tail = sum(_arrangements(n, m)[int(extreme) :])
        return min(1.0, 2 * tail / math.comb(n + m, n))
    total = n + m
    correction = sum(count**3 - count for count in ties.values()) / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - correction)
    if variance <= 0:
        return 1.0
    deviation = max(0.0, extreme - n * m / 2 - 0.5) / math.sqrt(variance)
    return math.erfc(deviation / math.sqrt(2))


@cache
def _arrangements(n: int, m: int) -> tuple[int, ...]:
    """In how many orders of n and m samples each number of pairs is the larger way round."""
    counts = [1] + [0] * (n * m)
    # The generating function is the Gaussian binomial: factors (1 - q^(m+i)) / (1 - q^i).
    for i in range(1, n + 1):
        for place in range(n * m, m + i - 1, -1):
            counts[place] -= counts[place - m - i]
        for place in range(i, n * m + 1):
            counts[place] += counts[place - i]
    return tuple(counts)
