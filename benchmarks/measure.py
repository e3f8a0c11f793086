"""Measuring: contenders in turn, medians and quartiles, comparisons with a goal."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Clock = Callable[[], float]

LEAST_REPETITIONS = 3


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes
    ----------
    quick
        Small inputs and few repetitions: to see that a case works, not to quote.
    cache
        Folder for trained models and compiled programs.
    """

    quick: bool
    cache: Path

    @property
    def repetitions(self) -> int:
        return 5 if self.quick else 25

    @property
    def seconds(self) -> float:
        """The least time of one repetition, reached by calling often enough."""
        return 0.005 if self.quick else 0.05


@dataclass(frozen=True)
class Measured:
    """One contender's figure: the median of the repetitions and the quartiles around it."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Comparison:
    """Some contenders at one task.

    Attributes
    ----------
    task
        What was done, with its size.
    goal
        The goal in words.
    unit
        Of the figures.
    ours
        Which contender is this project's.
    measured
        All contenders' figures.
    least_ratio
        How many times better than the best peer the goal asks for; None where there is no peer or no such goal.
    bound
        The value that the goal asks `ours` to stay within; None where there is no such goal.
    peers
        The contenders that count as peers; by default all but `ours`. Empty where the others, such as further percentiles, are
        not to be compared with ours.
    lower_is_better
        False for throughputs and scores.
    facts
        What belongs to the figures: flags, threads, sizes.
    figure, label
        The panel of the case's chart that it belongs to, and its name there; empty where it is not drawn.
    """

    task: str
    goal: str
    unit: str
    ours: str
    measured: Mapping[str, Measured]
    least_ratio: float | None = None
    bound: float | None = None
    peers: tuple[str, ...] | None = None
    lower_is_better: bool = True
    facts: Mapping[str, str] = field(default_factory=dict)
    figure: str = ""
    label: str = ""

    def ratio(self, other: str) -> float:
        """How many times better ours is than another contender."""
        mine, theirs = self.measured[self.ours].median, self.measured[other].median
        return theirs / mine if self.lower_is_better else mine / theirs

    @property
    def within(self) -> bool | None:
        """Whether ours stays within the bound; None where there is none."""
        if self.bound is None:
            return None
        mine = self.measured[self.ours].median
        return mine <= self.bound if self.lower_is_better else mine >= self.bound

    @property
    def reached(self) -> float | None:
        """The ratio to the best peer; None where there is none."""
        peers = self.peers if self.peers is not None else tuple(name for name in self.measured if name != self.ours)
        return min((self.ratio(name) for name in peers), default=None)


@dataclass(frozen=True)
class Loop:
    """A contender that repeats itself, such as native code with a loop of its own: ``run(times)``."""

    run: Callable[[int], object]


Contender = Callable[[], object] | Loop


def interleaved(
    contenders: Mapping[str, Contender],
    settings: Settings,
    *,
    items: int,
    scale: float = 1e6,
    clock: Clock = time.perf_counter,
    patience: float | None = None,
) -> dict[str, Measured]:
    """Time the contenders in turn.

    Parameters
    ----------
    contenders
        Calls without arguments, or loops, by name.
    settings
        Repetitions and their least duration.
    items
        How many items one call handles; figures are given for one.
    scale
        From seconds to the unit: 1e6 for microseconds.
    clock
        Seconds of the wall by default; `time.process_time`, the seconds of CPU time of all threads, tells contenders that
        only compute apart even on a busy machine.
    patience
        Seconds after which a contender needs no more repetitions than `LEAST_REPETITIONS`; the slow ones then leave the
        later rounds to the others.
    """
    calls = {name: _calls(run, settings.seconds, clock) for name, run in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    spent = dict.fromkeys(contenders, 0.0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for repetition in range(settings.repetitions):
            for name, run in contenders.items():
                if patience is not None and repetition >= LEAST_REPETITIONS and spent[name] > patience:
                    continue
                start = clock()
                _repeat(run, calls[name])
                seconds = clock() - start
                spent[name] += seconds
                samples[name].append(seconds / calls[name] * scale / items)
    finally:
        if collecting:
            gc.enable()
    return {name: summary(values) for name, values in samples.items()}


def summary(values: list[float]) -> Measured:
    """Median and quartiles of some samples."""
    if len(values) < 2:
        return Measured(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Measured(median, lower, upper)


def _repeat(run: Contender, times: int) -> None:
    if isinstance(run, Loop):
        run.run(times)
        return
    for _ in range(times):
        run()


def _calls(run: Contender, seconds: float, clock: Clock) -> int:
    """Warm up, and find how many calls last long enough to be timed."""
    start = clock()
    _repeat(run, 1)
    if clock() - start >= 2 * seconds:
        return 1
    calls = 1
    while True:
        start = clock()
        _repeat(run, calls)
        spent = clock() - start
        if spent >= seconds / 10:
            return max(1, round(calls * seconds / spent))
        calls *= 4
