"""Two configurations on the same questions: how much better is one, and could it be chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assistant.errors import AssistantError
from assistant.evaluation.metrics import METRICS, Outcome

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Difference:
    """How a metric changes from one configuration to another.

    Attributes
    ----------
    before, after
        The means over the questions that both have a number for.
    low, high
        The 95 % interval of ``after - before``.
    p
        Two-sided: how often chance alone would give such a difference, from 0 to 1.
    questions
        How many were compared.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float
    p: float
    questions: int

    @property
    def change(self) -> float:
        """``after - before``."""
        return self.after - self.before


def compare(
    before: Sequence[Outcome], after: Sequence[Outcome], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Difference]:
    """Compare question by question with a paired bootstrap.

    Questions are drawn with replacement, each with both of its values: what makes a question hard for both drops out.

    Parameters
    ----------
    seed
        The same seed gives the same intervals.

    Returns
    -------
    list[Difference]
        Of the metrics that both have, in the order of `METRICS`.

    Raises
    ------
    AssistantError
        The two were not asked the same questions.
    """
    import numpy as np

    if [o.question for o in before] != [o.question for o in after]:
        raise AssistantError(
            "The two were not asked the same questions", hint="Evaluate both with the same file.", code="evaluation.compare"
        )
    differences: list[Difference] = []
    for name, metric in METRICS.items():
        values = [(metric.value(one), metric.value(other)) for one, other in zip(before, after, strict=True)]
        pairs = np.array([pair for pair in values if None not in pair], dtype=np.float64)  # shape (n_questions, 2)
        if not len(pairs):
            continue
        change = pairs[:, 1] - pairs[:, 0]
        # Each metric draws anew, so that one with other gaps does not change the next one's interval.
        rng = np.random.default_rng(seed)
        drawn = np.array([change[rng.integers(0, len(change), len(change))].mean() for _ in range(resamples)])
        low, high = np.quantile(drawn, [0.025, 0.975])
        # +1: a finite number of draws never proves that something cannot be chance.
        below, above = (np.sum(drawn <= 0) + 1) / (resamples + 1), (np.sum(drawn >= 0) + 1) / (resamples + 1)
        p = min(1.0, 2 * float(min(below, above)))
        one, other = pairs.mean(axis=0)
        differences.append(Difference(name, float(one), float(other), float(low), float(high), p, len(pairs)))
    return differences
