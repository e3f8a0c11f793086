"""What is shown: batches, single events, sizes of batches, threads, loading."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.forests import models, ours, peers
from benchmarks.forests.models import Model
from benchmarks.forests.ours import OURS
from benchmarks.forests.peers import Opened, Task
from benchmarks.measure import Comparison, Measured, Settings, interleaved
from mlcore import forests

Array = npt.NDArray[Any]

CLOCK = "CPU time of the process; contenders in turn"
BATCH_GOALS = (10.0, 5.0)
"""Times the best peer: on the first four models, on the others."""
MEAN_GOAL = 15.0
SINGLE_GOALS = {"xgboost-100x3": 4.0, "xgboost-500x6": 10.0, "xgboost-1000x8": 10.0, "lightgbm-500x63": 4.0}
SIZES = (1, 16, 64, 512)
CHECKED = 20_000


class Bench:
    """One model with its peers open, answers checked: rows of one kind, with or without missing values."""

    def __init__(self, model: Model, settings: Settings, *, nan: bool, target: str = "native") -> None:
        self.settings = settings
        self.nan = nan
        self.model = models.with_nan(settings.cache, model) if nan else model
        self.task = Task(self.model, settings.cache, target)
        self.forest = self.task.forest
        self.opened: Opened = peers.opened(self.task, nan=nan)
        self.rows = self.model.rows(5_000 if settings.quick else 100_000, nan=nan)
        first = self.rows[:CHECKED]
        self.expected = models.library_margin(self.model, first)
        ours.check(self.forest, first, self.expected)
        for name, contender in self.opened.contenders.items():
            peers.check(name, contender.predict(first), self.expected)
            peers.check(name, contender.predict(first[:100], batch=1), self.expected[:100])

    @property
    def share(self) -> str:
        """What is special about the rows, to put behind a name."""
        return f", {100 * models.NAN_SHARE:g} % of the values missing" if self.nan else ""

    @property
    def title(self) -> str:
        return f"{self.model.title}{self.share}"

    def facts(self, **others: str) -> dict[str, str]:
        """What belongs to the figures of this model."""
        facts = {"time": CLOCK, "threads": "1", **others, "engine": ours.engine(self.forest)}
        if self.opened.absent:
            facts["left out"] = "; ".join(f"{name} ({reason})" for name, reason in self.opened.absent.items())
        return facts

    def in_python(self, rows: Array) -> dict[str, Callable[[], object]]:
        """Peers that have no C API."""
        if self.model.library != "scikit-learn":
            return {}
        estimator = self.model.estimator
        return {"scikit-learn": lambda: estimator.decision_function(rows)}

    def measured(self, contenders: Mapping[str, Callable[[], object]], items: int, *, patience: float) -> dict[str, Measured]:
        patience = 0.05 if self.settings.quick else patience
        return interleaved(contenders, self.settings, items=items, clock=time.process_time, patience=patience)


def batch(bench: Bench) -> Comparison:
    """A large batch: ours through Python, the peers through C."""
    rows = bench.rows
    contenders: dict[str, Callable[[], object]] = {OURS: ours.margin_call(bench.forest, rows)}
    contenders |= {name: contender.call(rows) for name, contender in bench.opened.contenders.items()}
    contenders |= bench.in_python(rows)
    refused = {"with missing values": f"not measured: {bench.model.nan_refused}"} if bench.model.nan_refused else {}
    least = BATCH_GOALS[0 if bench.model.first_four else 1]
    return Comparison(
        task=f"{bench.title}: a batch of {len(rows):,} events",
        goal=f"at least {least:g} times the best peer",
        unit="µs/event",
        ours=OURS,
        measured=bench.measured(contenders, len(rows), patience=2.0),
        least_ratio=least,
        facts=bench.facts(calls="ours through Python, peers through C", nodes=f"{bench.forest.info.n_nodes:,}", **refused),
        figure=f"Batches of {len(rows):,} events{bench.share}",
        label=bench.model.title,
    )


def mean_ratio(batches: Mapping[str, Comparison], title: str) -> Comparison:
    """The geometric mean of what some batches reached."""
    ratios = {name: value for name, comparison in batches.items() if (value := comparison.reached) is not None}
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    return Comparison(
        task=title,
        goal=f"at least {MEAN_GOAL:g}",
        unit="times the best peer",
        ours="geometric mean",
        measured={name: Measured(value, value, value) for name, value in {**ratios, "geometric mean": mean}.items()},
        bound=MEAN_GOAL,
        peers=(),
        lower_is_better=False,
    )


def single(bench: Bench) -> list[Comparison]:
    """One event a call through C, and what Python adds to ours."""
    rows = bench.rows[: 1_000 if bench.settings.quick else 5_000]
    mine = ours.through_c(bench.task)
    peers.check(OURS, mine.predict(rows, batch=1), bench.expected[: len(rows)])  # its sums have an order of their own
    contenders: dict[str, Callable[[], object]] = {OURS: mine.call(rows, batch=1)}
    contenders |= {name: contender.call(rows, batch=1) for name, contender in bench.opened.contenders.items()}
    least = SINGLE_GOALS.get(bench.model.key)
    through_c = Comparison(
        task=f"{bench.title}: one event a call, through C",
        goal=f"at least {least:g} times the best peer" if least else "faster than the best peer",
        unit="µs/event",
        ours=OURS,
        measured=bench.measured(contenders, len(rows), patience=1.0),
        least_ratio=least or 1.0,
        facts=bench.facts(events=f"{len(rows):,} different ones in turn"),
        figure="One event a call, through C",
        label=bench.model.title,
    )
    return [through_c, _python_overhead(bench, rows[:500], mine.call(rows[:500], batch=1))]


def _python_overhead(bench: Bench, rows: Array, through_c: Callable[[], object]) -> Comparison:
    """One event a call through Python less the same through C."""
    singles = [rows[i : i + 1] for i in range(len(rows))]
    margin, out = bench.forest.margin, np.empty_like(bench.forest.margin(rows[:1]))

    def through_python() -> None:
        for row in singles:
            margin(row, out=out)

    measured = bench.measured({"through C": through_c, "through Python": through_python}, len(rows), patience=1.0)
    c, python = measured["through C"], measured["through Python"]
    added = Measured(python.median - c.median, python.lower - c.upper, python.upper - c.lower)
    return Comparison(
        task=f"{bench.title}: one event a call, what Python adds",
        goal="at most 1.5 µs over the call through C",
        unit="µs/event",
        ours="added by Python",
        measured={**measured, "added by Python": added},
        bound=1.5,
        peers=(),
        facts={"call": "forest.margin(row, out=out), row: float32, shape (1, n_features)"},
    )


def sizes(bench: Bench) -> list[Comparison]:
    """Batches of few events, all through C."""
    rows = bench.rows[: 1_024 if bench.settings.quick else 5_120]
    mine = ours.through_c(bench.task)
    if not np.array_equal(mine.predict(rows, batch=512), bench.expected[: len(rows)].astype(mine.dtype)):
        raise AssertionError("the C API answers otherwise than the library")
    comparisons = []
    for size in SIZES:
        contenders: dict[str, Callable[[], object]] = {OURS: mine.call(rows, batch=size)}
        contenders |= {name: contender.call(rows, batch=size) for name, contender in bench.opened.contenders.items()}
        comparisons.append(
            Comparison(
                task=f"{bench.title}: batches of {size}",
                goal="never slower than the best peer",
                unit="µs/event",
                ours=OURS,
                measured=bench.measured(contenders, len(rows), patience=0.4),
                least_ratio=1.0,
                facts=bench.facts(calls="all through C"),
            )
        )
    return comparisons


def threads(bench: Bench) -> Comparison:
    """Two threads against one, by the clock on the wall."""
    calls = {f"{n} thread{'s' * (n > 1)}": ours.margin_call(bench.forest, bench.rows, threads=n) for n in (2, 1)}
    return Comparison(
        task=f"{bench.title}: two threads, a batch of {len(bench.rows):,} events",
        goal="at least 1.8 times one thread",
        unit="µs/event",
        ours="2 threads",
        measured=interleaved(calls, bench.settings, items=len(bench.rows)),
        least_ratio=1.8,
        facts={"time": "of the wall; contenders in turn"},
    )


def loading(bench: Bench, *, source_goal: float, saved_goal: float) -> list[Comparison]:
    """From a file to the first answer."""
    import xgboost

    row = bench.rows[:1]
    saved = ours.saved_forest(bench.task)

    def by_xgboost() -> None:
        xgboost.Booster({"nthread": 1}, model_file=bench.model.path).inplace_predict(row)

    peer = {f"xgboost {xgboost.__version__}": by_xgboost} if bench.model.library == "xgboost" else {}
    return [
        _load(f"{bench.title}: load {bench.model.path.suffix[1:].upper()}", bench.model.path, row, source_goal, bench, peer),
        _load(f"{bench.title}: load the own format", saved, row, saved_goal, bench, {}),
    ]


def _load(
    task: str, path: Path, row: Array, bound: float, bench: Bench, others: Mapping[str, Callable[[], object]]
) -> Comparison:
    measured = bench.measured({OURS: lambda: forests.load(path).margin(row), **others}, 1, patience=3.0)
    return Comparison(
        task=task,
        goal=f"at most {bound:g} ms",
        unit="ms",
        ours=OURS,
        measured={name: Measured(*(value / 1e3 for value in vars(m).values())) for name, m in measured.items()},
        bound=bound,
        facts={"includes": "the engine and the first event's answer", "size": f"{path.stat().st_size / 1e6:.1f} MB"},
    )
