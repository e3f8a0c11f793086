"""A figure and its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A figure, its standard error, and the floor: the same figure between two samples of the truth.

    Attributes
    ----------
    floor, floor_error
        None where no second sample of the truth was given.
    """

    value: float
    error: float
    floor: float | None = None
    floor_error: float | None = None

    def with_floor(self, floor: Estimate | None) -> Estimate:
        """The same figure with another's value as its floor."""
        return self if floor is None else Estimate(self.value, self.error, floor.value, floor.error)


Rows = npt.NDArray[np.floating]


def bootstrap(statistic: Callable[[Rows, Rows], float], truth: Rows, model: Rows, *, rounds: int = 50, seed: int = 1) -> Estimate:
    """A statistic of two samples with the standard deviation over samples drawn from them with replacement (Efron, 1979).

    Parameters
    ----------
    statistic
        Of rows of the truth and rows of the model.
    truth, model
        Arrays whose first axis is resampled.
    rounds
        How often, at least 2.
    """
    if rounds < 2:
        raise InputError(f"{rounds} rounds of a bootstrap give no error", hint="Ask for at least 2; 50 are usual.")
    if not len(truth) or not len(model):
        raise InputError("there are no showers to compare", hint="Give at least one of each sample.")
    rng = np.random.default_rng(seed)
    values = [
        statistic(truth[rng.integers(0, len(truth), len(truth))], model[rng.integers(0, len(model), len(model))])
        for _ in range(rounds)
    ]
    return Estimate(float(statistic(truth, model)), float(np.std(values, ddof=1)))
