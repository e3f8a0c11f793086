"""What is shown: the time of one inference, and what a network costs before and beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from benchmarks.environment import UnavailableError
from benchmarks.measure import Comparison, Loop, Measured, Settings, interleaved, summary
from benchmarks.networks import ours
from benchmarks.networks.native import Fresh
from benchmarks.networks.ours import OURS
from benchmarks.networks.peers import ONNXRUNTIME, PEERS, Contender
from benchmarks.networks.tasks import Task, check

GOALS: Mapping[str, tuple[float, ...]] = {
    "mlp_5x50": (8.0, 2.0),
    "mlp_5x200": (2.1, 1.25),
    "cnn": (1.7, 1.7),
    "transformer": (2.8, 2.5),
    "particlenet": (4.5, 4.4),
    "dit": (1.7, 1.6),
    "particle_transformer": (1.5, 1.5),
    "lstm": (1.5, 1.5),
}
"""Times faster than ONNX Runtime's C API, at the model's first and second batch size; others have to be faster."""

MEMORY_GOAL = 5.0
"""Times less than ONNX Runtime, above the weights."""

CLOCK = "CPU time of the process; contenders in turn, one thread"
PATIENCE = 2.0
FRESH = 5
"""Processes that loading and memory are taken from."""


class Bench:
    """A task with all contenders open and their answers checked."""

    def __init__(self, task: Task, settings: Settings) -> None:
        self.task, self.settings = task, settings
        self.contenders: dict[str, Contender] = {OURS: ours.open_task(task)}
        self.absent: dict[str, str] = {}
        check(OURS, self.contenders[OURS].answers(), task.expected)
        for peer in PEERS:
            try:
                opened = peer.open(task)
                check(peer.name, opened.answers(), task.expected)
                self.contenders[peer.name] = opened
            except (UnavailableError, AssertionError) as reason:
                self.absent[peer.name] = str(reason)

    def facts(self, **others: str) -> dict[str, str]:
        """What belongs to the figures of this task."""
        facts = {**others, "paper": self.task.model.paper, "weights": f"{self.task.weight_bytes / 1e6:.2f} MB"}
        if self.absent:
            facts["left out"] = "; ".join(f"{name} ({reason})" for name, reason in self.absent.items())
        return facts

    def inference(self) -> Comparison:
        """The time of one inference."""
        model, batch = self.task.model, self.task.batch
        loops = {name: Loop(contender.run) for name, contender in self.contenders.items()}
        patience = 0.05 if self.settings.quick else PATIENCE
        goal = dict(zip(model.batches, GOALS.get(model.name, ()), strict=False)).get(batch, 1.0)
        words = f"at least {goal:g} times ONNX Runtime, and faster than every other"
        return Comparison(
            task=self.task.title,
            goal=words if goal > 1 else "faster than ONNX Runtime and every other",
            unit="µs/inference",
            ours=OURS,
            measured=interleaved(loops, self.settings, items=1, clock=time.process_time, patience=patience),
            least_ratio=goal,
            peers=(ONNXRUNTIME,) if ONNXRUNTIME in self.contenders else None,
            facts=self.facts(time=CLOCK),
            figure=f"One inference, {'batch 1' if batch == 1 else 'batches'}",
            label=f"{model.title}, batch {batch}" if batch != 1 else model.title,
        )

    def two_threads(self) -> Comparison:
        """Two threads on one session against one, by the clock on the wall."""
        users = (self.contenders[OURS], ours.open_again(self.task))
        check("the second thread", users[1].answers(), self.task.expected)
        with ThreadPoolExecutor(2) as pool:

            def both(times: int) -> None:
                # As many inferences as one thread has, half of them by each.
                for done in [pool.submit(user.run, -(-times // 2)) for user in users]:
                    done.result()

            loops = {"2 threads": Loop(both), "1 thread": Loop(users[0].run)}
            measured = interleaved(loops, self.settings, items=1)
        return Comparison(
            task=f"{self.task.title}: two threads",
            goal="at least 1.9 times one thread",
            unit="µs/inference",
            ours="2 threads",
            measured=measured,
            least_ratio=1.9,
            facts={"time": "of the wall; in turn", "threads": "each with a workspace, one session"},
        )

    def costs(self, empty: Mapping[str, Fresh]) -> list[Comparison]:
        """Loading, the first inference, memory, the size of the artefact and the time to make it.

        Parameters
        ----------
        empty
            Processes without a network, whose memory is taken off.
        """
        runs: dict[str, list[Fresh]] = {name: [] for name in self.contenders}
        for _ in range(2 if self.settings.quick else FRESH):
            for name, contender in self.contenders.items():
                runs[name].append(contender.fresh())

        def of(value: str, scale: float) -> dict[str, Measured]:
            return {name: summary([getattr(each, value) * scale for each in fresh]) for name, fresh in runs.items()}

        above = {
            name: summary([(each.peak - empty[contender.empty].peak) / 1e6 for each in runs[name]])
            for name, contender in self.contenders.items()
        }
        weights = self.task.weight_bytes / 1e6
        sizes = {
            name: sum(path.stat().st_size for path in contender.artefact) / 1e6
            for name, contender in self.contenders.items()
            if contender.artefact
        }
        conversions = {name: each.conversion for name, each in self.contenders.items() if each.conversion is not None}
        measure = "each in a process of its own"
        return [
            self._cost("loading", "ms", of("load", 1e3), process=measure, includes="the contender's libraries and packages"),
            self._cost("the first inference", "ms", of("first", 1e3), process=measure),
            self._cost(
                "peak memory above an empty process and the weights",
                "MB",
                {name: Measured(*(value - weights for value in vars(m).values())) for name, m in above.items()},
                least=MEMORY_GOAL,
                goal="at most a fifth of ONNX Runtime's",
                process=measure,
            ),
            self._cost("size of the artefact", "MB", _exact(sizes), without="the runtime libraries of those that have them"),
            self._cost("making the artefact", "s", _exact(conversions), includes="generating and compiling, once"),
        ]

    def _cost(
        self,
        what: str,
        unit: str,
        measured: Mapping[str, Measured],
        least: float | None = None,
        goal: str = "reported",
        **facts: str,
    ) -> Comparison:
        return Comparison(
            task=f"{self.task.title}: {what}",
            goal=goal,
            unit=unit,
            ours=OURS,
            measured=measured,
            # Weights that are mapped and not all read can bring a peak below them; no ratio says anything then.
            least_ratio=least if ONNXRUNTIME in measured and measured[OURS].median > 0 else None,
            peers=(ONNXRUNTIME,) if ONNXRUNTIME in measured else None,
            facts=facts,
        )


def _exact(values: Mapping[str, float]) -> dict[str, Measured]:
    return {name: Measured(value, value, value) for name, value in values.items()}


def closest(inferences: Iterable[Comparison]) -> list[Comparison]:
    """Of each peer, the task where it comes closest: above 1 everywhere means faster than every peer everywhere."""
    inferences = [*inferences]
    names = dict.fromkeys(name for each in inferences for name in each.measured if name != each.ours)
    comparisons = []
    for name in names:
        ratios = {each.task: each.ratio(name) for each in inferences if name in each.measured}
        least = min(ratios.values())
        comparisons.append(
            Comparison(
                task=f"Against {name}, everywhere",
                goal="faster in every task",
                unit=f"times {name}",
                ours="the least",
                measured=_exact({**ratios, "the least": least}),
                bound=1.0,
                peers=(),
                lower_is_better=False,
            )
        )
    return comparisons


def refusals(reasons: Mapping[str, str]) -> Comparison:
    """The networks that ours does not take, with the reasons: a network without a figure is no network won."""
    return Comparison(
        task="Networks of the zoo that ours does not take",
        goal="none",
        unit="networks",
        ours=OURS,
        measured=_exact({OURS: float(len(reasons))}),
        bound=0.0,
        peers=(),
        facts=reasons,
    )
