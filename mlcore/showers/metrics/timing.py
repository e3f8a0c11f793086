"""How long a model takes for a shower."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError


@dataclass(frozen=True)
class Timing:
    """Milliseconds for a shower in batches of one size: the median of repeats and half of their middle 68 %."""

    batch: int
    milliseconds: float
    spread: float
    repeats: int


def time_per_shower(
    sample: Callable[[npt.NDArray[np.float64]], object],
    energies: npt.ArrayLike,
    *,
    batches: tuple[int, ...] = (1, 100),
    repeats: int = 10,
) -> list[Timing]:
    """Time `sample`, which makes a shower of each energy (MeV), after one call that does not count."""
    given = np.asarray(energies, np.float64).reshape(-1)
    if not len(given) or repeats < 1 or min(batches, default=0) < 1:
        raise InputError("there is nothing to time", hint="Give energies, batches of at least 1 and at least 1 repeat.")
    result = []
    for batch in batches:
        sample(np.resize(given, batch))
        times = []
        for repeat in range(repeats):
            these = np.resize(np.roll(given, -repeat * batch), batch)
            start = time.perf_counter()
            sample(these)
            times.append((time.perf_counter() - start) / batch * 1e3)
        low, high = np.percentile(times, [16, 84])
        result.append(Timing(batch, float(np.median(times)), float(high - low) / 2, repeats))
    return result
