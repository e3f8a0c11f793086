"""Axes of plots, plain and logarithmic: from numbers to places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from portal.jobs.plots import ticks

DECADES = 6
"""Of a logarithmic axis that begins at the smallest value: less is cut off."""


@dataclass(frozen=True)
class Axis:
    """From numbers to places: ``start`` and ``end`` are the places of ``low`` and ``high``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value, those outside at the edge."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, max(value, self.low)))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values within."""
        if not self.log:
            return [value for value in ticks(self.low, self.high) if self.low <= value <= self.high]
        first, last = math.log10(self.low), math.log10(self.high)
        if last - first < 0.9:
            return [value for value in ticks(self.low, self.high, 4) if self.low <= value <= self.high]
        every = max(1, math.ceil((last - first) / 6))
        steps = (1, 2, 5) if last - first < 1.7 else (1,)
        found = [
            step * 10.0**power
            for power in range(math.floor(first), math.ceil(last) + 1)
            if power % every == 0 or len(steps) > 1
            for step in steps
        ]
        return [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]


def axis_of(values: Sequence[float], start: float, end: float, *, log: bool, zero: bool) -> Axis:
    """An axis that holds finite values, with a little air."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not finite:
        return Axis(1.0 if log else 0.0, 10.0 if log else 1.0, start, end, log)
    low, high = min(finite), max(finite)
    if log:
        low = max(low, high / 10**DECADES)
        return Axis(low / 1.3, max(high * 1.3, low * 2), start, end, True)
    air = (high - low) * 0.06 or abs(high) * 0.06 or 1.0
    return Axis(0.0 if zero and low >= 0 else low - air, high + air, start, end)
