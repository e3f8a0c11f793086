"""What is measured and what comes of it: cells of the matrix, and their samples."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["measured", "absent", "refused", "wrong", "failed"]
"""A figure; the engine is not installed, does not take the model, answers wrongly, or broke."""


@dataclass(frozen=True, order=True)
class Key:
    """Which cell: a model and an engine, both by name, a batch size, a number of threads."""

    model: str
    engine: str
    batch: int
    threads: int


@dataclass(frozen=True)
class Settings:
    """How cells are measured.

    Attributes
    ----------
    repetitions
        Samples of each engine, taken in turn with those of the others.
    seconds
        The least duration of a sample.
    spread
        The widest distance of the quartiles, relative to the median, that a cell may have; wider ones are repeated.
    repeats
        How often a cell is repeated before it is marked.
    drift
        How much the calibration may change over a group, relatively, before its cells are repeated.
    patience
        Seconds after which a slow engine needs no more samples than `LEAST_REPETITIONS`.
    together
        Engines that are open at the same time.
    timeout
        Seconds that opening an engine, or one sample, may take.
    """

    repetitions: int = 9
    seconds: float = 0.03
    spread: float = 0.1
    repeats: int = 2
    drift: float = 0.1
    patience: float = 5.0
    together: int = 6
    timeout: float = 600.0


QUICK = Settings(repetitions=5, seconds=0.005, repeats=1, patience=0.5)
LEAST_REPETITIONS = 3


@dataclass(frozen=True)
class Samples:
    """Seconds of one inference, one number for each sample."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        lower, _, upper = statistics.quantiles(self.values, n=4, method="inclusive")
        return lower, upper

    @property
    def spread(self) -> float:
        """The distance of the quartiles, relative to the median."""
        lower, upper = self.quartiles
        return (upper - lower) / self.median if self.median > 0 else 0.0


@dataclass(frozen=True)
class Memory:
    """Bytes above the empty process.

    Attributes
    ----------
    peak
        The most, from before the engine was opened to the end.
    growth
        By which each inference made the process larger, on the average over all samples; 0 for an engine that does not leak.
    allocated, allocations
        What one inference takes from the heap, and how often; None where that cannot be seen.
    """

    peak: int
    growth: float
    allocated: int | None = None
    allocations: int | None = None


@dataclass(frozen=True)
class Cell:
    """One cell: figures, or a reason.

    Attributes
    ----------
    reason
        Why there is no figure.
    wall, cpu
        Of one inference: time as who waits for it sees it, and CPU time of all threads.
    users
        How many inferences went on at the same time: more than one where an engine uses threads beside each other.
    first
        Seconds of the first inference.
    load
        Seconds until the engine was open, its libraries included.
    convert
        Seconds from the model to what the engine runs, compiling included; None where nothing is made.
    artefact
        Bytes of what holds the model.
    notes
        What is wrong with the figure: ``spread`` of its samples, ``drift`` of the machine meanwhile.
    """

    key: Key
    status: Status
    reason: str = ""
    wall: Samples | None = None
    cpu: Samples | None = None
    users: int = 1
    first: float | None = None
    load: float | None = None
    convert: float | None = None
    memory: Memory | None = None
    artefact: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def throughput(self) -> float | None:
        """Events in a second."""
        return None if self.wall is None else self.users * self.key.batch / self.wall.median

    @property
    def per_event(self) -> float | None:
        """Seconds for an event: what the matrix compares."""
        return None if self.throughput is None else 1 / self.throughput

    @property
    def noisy(self) -> bool:
        """Whether its figure is not to be relied on."""
        return bool(self.notes)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``, with what is computed of the samples."""
        data: dict[str, Any] = {**asdict(self.key), "status": self.status}
        if self.status != "measured":
            return data | {"reason": self.reason}
        for name, samples in (("wall", self.wall), ("cpu", self.cpu)):
            if samples is not None:
                lower, upper = samples.quartiles
                data[name] = {"median": samples.median, "lower": lower, "upper": upper, "samples": list(samples.values)}
        data |= {"users": self.users, "throughput": self.throughput, "first": self.first, "load": self.load}
        data |= {"convert": self.convert, "artefact": self.artefact, "notes": list(self.notes)}
        return data | {"memory": None if self.memory is None else asdict(self.memory)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """A cell as `to_json` gave it."""
        key = Key(data["model"], data["engine"], int(data["batch"]), int(data["threads"]))
        if data["status"] != "measured":
            return cls(key, data["status"], data.get("reason", ""))

        def samples(name: str) -> Samples | None:
            return Samples(tuple(data[name]["samples"])) if data.get(name) else None

        memory = data.get("memory")
        return cls(
            key,
            "measured",
            wall=samples("wall"),
            cpu=samples("cpu"),
            users=int(data.get("users", 1)),
            first=data.get("first"),
            load=data.get("load"),
            convert=data.get("convert"),
            memory=None if memory is None else Memory(**memory),
            artefact=data.get("artefact"),
            notes=tuple(data.get("notes", ())),
        )


def wanted(models: Sequence[str], engines: Sequence[str], batches: Sequence[int], threads: Sequence[int]) -> list[Key]:
    """All cells of a matrix, those of one model, batch and number of threads together."""
    return [Key(m, e, b, t) for m in models for b in batches for t in threads for e in engines]
