"""What is shown: first and later epochs, memory, training, mixing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.batches import running
from benchmarks.batches.contenders import BATCHES, EAGER, OURS, RDATALOADER, ROWS, UPROOT
from benchmarks.batches.data import Data, Task, task, written
from benchmarks.environment import UnavailableError
from benchmarks.measure import Comparison, Measured, Settings, summary

CLOCK = "CPU time of the process, each in a fresh one, in turn; the first epoch includes opening the file"
OVER = 60_000_000
"""Bytes of memory beyond the budget that are allowed."""
EVEN = (0.9, 1.1)
"""Chi-square per degree of freedom of orders that have nothing to do with one another."""


@dataclass(frozen=True)
class Goal:
    """Times that ours is to be better, in the first epoch and in later ones; None where nothing is asked."""

    first: float | None = None
    later: float | None = None


@dataclass(frozen=True)
class Show:
    """One data set and what is asked of it.

    Attributes
    ----------
    title, data, options
        What is read; `options` are of `data.Task`.
    peers
        Contenders beside ours.
    root, uproot
        Goals against ROOT's loader and against uproot.
    epochs
        Of each process, two or more.
    repetitions
        Processes of each contender.
    """

    title: str
    data: Data
    root: Goal
    uproot: Goal = Goal()
    peers: tuple[str, ...] = (RDATALOADER, UPROOT)
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 3
    repetitions: int = 3


def shows(*, quick: bool) -> list[Show]:
    """All of them; small ones for a look."""
    two, ten, few = (100_000, 300_000, 20_000) if quick else (2_000_000, 10_000_000, 200_000)
    over: dict[str, Any] = {"memory": 8_000_000} if quick else {}
    eight = Goal(first=8.0)
    plain = Data("zlib", two)
    return [
        Show(
            f"{two:,} × 17, TTree, zlib",
            plain,
            Goal(10.0, 25.0),
            Goal(1.8, 9.0),
            peers=(RDATALOADER, EAGER, UPROOT),
            repetitions=5,
        ),
        Show(f"{ten:,} × 17, over the budget", Data("zlib", ten), Goal(4.5, 15.0), Goal(1.8, 9.0), options=over, epochs=2),
        Show("as tensors of PyTorch", plain, Goal(30.0), peers=(RDATALOADER, ROWS, BATCHES), options={"torch": True}, epochs=2),
        Show("RNTuple", Data("rntuple", two, kind="rntuple", compression=("ZSTD", 5)), eight),
        Show("LZ4", Data("lz4", two, compression=("LZ4", 4)), eight),
        Show("ZSTD", Data("zstd", two, compression=("ZSTD", 5)), eight),
        Show(f"{few:,} × 200", Data("wide", few, numbers=197), eight),
        Show("a filter", plain, eight, options={"cuts": (("f0", ">", 0.25), ("f1", "<", 1.5))}),
        Show("vectors, cut or filled up", Data("vectors", two, numbers=6, vectors=2), eight),
        Show("one batch: what beginning costs", Data("zlib", 1024), Goal()),
    ]


class Bench:
    """One show, its data written and its contenders' answers checked."""

    def __init__(self, show: Show, settings: Settings, rounds: running.Rounds) -> None:
        self.show, self.settings, self.rounds = show, settings, rounds
        self.task = task(show.data, written(settings.cache, show.data), **show.options)
        self.wrong: dict[str, list[str | None]] = {}
        self.refused: dict[str, str] = {}
        self.mixed: dict[str, list[dict[str, float]]] = {}
        truth = running.truth(settings.cache, self.task)
        for name in (OURS, *show.peers):
            self._look(name, rounds(f"{show.title}: {name}: looked at", partial(self._looked_at, name, truth)))
        if OURS in self.refused or any(self.wrong[OURS]):
            raise RuntimeError(f"{show.title}: ours is wrong: {self.refused.get(OURS) or self.wrong[OURS]}")

    def _looked_at(self, name: str, truth: Any) -> Any:
        try:
            return running.looked_at(name, self.task, truth, 2)
        except UnavailableError as reason:
            return str(reason)

    def _look(self, name: str, found: Any) -> None:
        if isinstance(found, str):
            self.refused[name] = found
            return
        self.wrong[name] = [epoch["wrong"] for epoch in found]
        self.mixed[name] = found

    def _samples(self) -> dict[str, list[dict[str, Any]]]:
        """Each contender's processes, in turn."""
        names = [name for name in (OURS, *self.show.peers) if name not in self.refused]
        repetitions = 2 if self.settings.quick else self.show.repetitions
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for repetition in range(repetitions):

            def measure() -> dict[str, Any]:
                return {name: running.timed(name, self.task, self.show.epochs) for name in names}

            for name, result in self.rounds(f"{self.show.title}: round {repetition}", measure).items():
                found[name].append(result)
        return found

    def epochs(self) -> list[Comparison]:
        """The first epoch and later ones, against ROOT's loader and, where there is a goal, against uproot."""
        samples = self._samples()
        found = []
        for title, goals, epoch in (
            ("first epoch", (self.show.root.first, self.show.uproot.first), 0),
            ("later epochs", (self.show.root.later, self.show.uproot.later), 1),
        ):
            right = {name: runs for name, runs in samples.items() if not self.wrong[name][epoch]}
            measured = {
                name: summary([each["cpu"] for run in runs for each in (run["epochs"][1:] if epoch else run["epochs"][:1])])
                for name, runs in right.items()
            }
            found.append(self._against(RDATALOADER, title, goals[0], measured, self._facts(right, epoch), drawn=True))
            if goals[1] is not None:
                found.append(self._against(UPROOT, title, goals[1], measured, {}, drawn=False))
        found.append(self._peak(samples))
        return found

    def _against(
        self, peer: str, title: str, goal: float | None, measured: dict[str, Measured], facts: dict[str, str], *, drawn: bool
    ) -> Comparison:
        there = peer in measured
        asked = f"at least {goal:g} times {peer}" if goal else f"reported, against {peer}"
        return Comparison(
            f"{self.show.title}: {title}" + ("" if drawn else ", against uproot"),
            goal=asked if there else f"{asked}, which {'is wrong here' if peer in self.wrong else 'cannot do it'}",
            unit="s",
            ours=OURS,
            measured=measured,
            least_ratio=goal if there else None,
            peers=(peer,) if there else (),
            facts={"clock": CLOCK, **facts} if drawn else facts,
            figure=f"CPU time, {title}" if drawn else "",
            label=self.show.title if drawn else "",
        )

    def _facts(self, right: dict[str, list[dict[str, Any]]], epoch: int) -> dict[str, str]:
        facts = {}
        for name, runs in right.items():
            wall = summary([run["epochs"][epoch]["wall"] for run in runs]).median
            batch = summary([run["epochs"][epoch]["batch"] for run in runs]).median
            facts[f"{name} by the wall"] = f"{wall:.3g} s, {batch:.3g} s to the first batch"
        facts |= {name: f"wrong: {told[epoch]}" for name, told in self.wrong.items() if told[epoch]}
        return facts | {name: f"cannot take part: {reason}" for name, reason in self.refused.items()}

    def _peak(self, samples: dict[str, list[dict[str, Any]]]) -> Comparison:
        measured = {name: summary([run["peak"] / 1e6 for run in runs]) for name, runs in samples.items()}
        budget = self.task.memory / 1e6
        return Comparison(
            f"{self.show.title}: peak memory over the imports",
            goal=f"at most the budget, {budget:.0f} MB, and 60 MB",
            unit="MB",
            ours=OURS,
            measured=measured,
            bound=(self.task.memory + OVER) / 1e6,
            peers=tuple(name for name in (RDATALOADER,) if name in measured),
        )

    def mixing(self) -> list[Comparison]:
        """How evenly the rows of the file come in an epoch, and those of an epoch in the next one."""
        found = []
        for title, key, entry in (("file and epoch", "file", 0), ("an epoch and the next", "epochs", 1)):
            values = {name: epochs[entry][key] for name, epochs in self.mixed.items() if epochs[entry][key] is not None}
            found.append(
                Comparison(
                    f"{self.show.title}: mixing, {title}",
                    goal=f"{EVEN[0]} to {EVEN[1]} (1 is uniform)",
                    unit="χ²/dof",
                    ours=OURS,
                    measured={name: Measured(value, value, value) for name, value in values.items()},
                    bound=EVEN[1] if values[OURS] >= EVEN[0] else 0.0,
                    peers=(),
                    facts={"χ² per degree of freedom of": "50 parts of the one order by 50 of the other"},
                )
            )
        return found


def memory(settings: Settings, rounds: running.Rounds) -> list[Comparison]:
    """Ours at growing sizes and budgets: two epochs."""
    sizes = (50_000, 200_000) if settings.quick else (1_000_000, 10_000_000, 100_000_000)
    found = []
    for rows in sizes:
        data = Data("lz4", rows, compression=("LZ4", 4)) if rows > 20_000_000 else Data("zlib", rows)
        path = written(settings.cache, data)
        for budget in (8_000_000,) if settings.quick else (64_000_000, 256_000_000, 2_000_000_000):
            name = f"{rows:,} × 17, budget {budget // 1_000_000:,} MB: peak memory over the imports"
            asked = task(data, path, memory=budget)
            result = rounds(name, partial(running.timed, OURS, asked, 2))
            peak = result["peak"] / 1e6
            spent = "; ".join(f"{epoch['cpu']:.3g} s of CPU, {epoch['wall']:.3g} s by the wall" for epoch in result["epochs"])
            found.append(
                Comparison(
                    name,
                    goal="at most the budget and 60 MB",
                    unit="MB",
                    ours=OURS,
                    measured={OURS: Measured(peak, peak, peak)},
                    bound=(budget + OVER) / 1e6,
                    facts={"two epochs": spent, "rows of each": f"{result['epochs'][0]['rows']:,.0f}"},
                )
            )
    return found


def training(settings: Settings, rounds: running.Rounds) -> list[Comparison]:
    """A training loop on batches as tensors, against the same on one constant batch."""
    data = Data("zlib", 100_000 if settings.quick else 2_000_000)
    asked: Task = task(data, written(settings.cache, data), torch=True)
    epochs = 3 if settings.quick else 10
    result = rounds("training", lambda: running.trained(asked, epochs))
    more = [100 * (epoch["cpu"] / epoch["constant cpu"] - 1) for epoch in result]
    wall = summary([100 * (epoch["wall"] / epoch["constant wall"] - 1) for epoch in result[1:]]).median
    step = summary([1e6 * epoch["constant cpu"] / epoch["steps"] for epoch in result]).median
    whole = 100 * (sum(epoch["cpu"] for epoch in result) / sum(epoch["constant cpu"] for epoch in result) - 1)
    return [
        Comparison(
            f"{data.rows:,} × 17: what batches add to a training loop, later epochs",
            goal="less than 10 % of it on one constant batch",
            unit="%",
            ours=OURS,
            measured={OURS: summary(more[1:])},
            bound=10.0,
            facts={
                "network": "16 → 128 → 128 → 1, Adam, batches of 1024, one thread",
                "a step on the constant batch": f"{step:.0f} µs",
                "by the wall": f"{wall:.1f} %",
                "the first epoch": f"{more[0]:.1f} %",
                f"all {epochs} epochs": f"{whole:.1f} %",
            },
        )
    ]
