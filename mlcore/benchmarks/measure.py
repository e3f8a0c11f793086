"""Measuring: each cell in a fresh child on cores of its own, its answers checked before anything is timed.

The cells of one model, batch and number of threads are a group. Their children are open together and take turns, sample by
sample, while the others are stopped; so a noisy moment hits all of them, and their ratios survive it. A calibration, which is a
fixed piece of arithmetic in a child of its own, takes part before and after: where it says that the machine changed, or where
samples lie too far apart, samples are taken again, and what stays noisy is marked.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.benchmarks import native
from mlcore.benchmarks.arrays import Array, load_arrays
from mlcore.benchmarks.cases import Case, child_environment
from mlcore.benchmarks.cells import LEAST_REPETITIONS, Cell, Key, Memory, Samples, Settings
from mlcore.benchmarks.engines import Engine, Made, NativeEngine, RefusedError, Site
from mlcore.benchmarks.engines import get as get_engine
from mlcore.benchmarks.making import make
from mlcore.benchmarks.processes import CellError, Child
from mlcore.errors import MLCoreError

__all__ = ["Group", "cores_for", "measure_group"]

Tell = Callable[[float, str], None]

MOST_CALLS = 10_000_000
CALIBRATIONS = 5
NOISE_BYTES = 1 << 20
"""By which a process may become larger without being called a leak: heaps settle late."""


def cores_for(threads: int) -> list[int]:
    """The cores that a cell is kept on, the last ones of this process; fewer than asked for where it has no more."""
    return sorted(os.sched_getaffinity(0))[-threads:]


@dataclass(frozen=True)
class Group:
    """The cells of one case and number of threads."""

    case: Case
    threads: int
    engines: tuple[str, ...]

    def key(self, engine: str) -> Key:
        return Key(self.case.model, engine, self.case.batch, self.threads)


@dataclass
class _Open:
    """An engine that gave the right answer and is ready to be timed."""

    name: str
    engine: Engine
    made: Made
    child: Child
    opened: dict[str, Any]
    users: int
    first: float
    outputs: Path
    calls: int = 1
    inferences: int = 1
    settled: int = 0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    best: tuple[list[float], list[float]] | None = None
    notes: set[str] = field(default_factory=set)

    def sample(self) -> tuple[float, float]:
        """Seconds of one inference by the wall's clock, and of CPU."""
        answer = self.child.ask(f"run {self.calls}")
        self.inferences += self.calls
        return answer["wall"] / self.calls, answer["cpu"] / (self.calls * self.users)


def measure_group(group: Group, site: Site, settings: Settings, tell: Tell = lambda part, text: None) -> list[Cell]:
    """Measure the cells of a group; each is a figure or a reason.

    Parameters
    ----------
    tell
        Told which part of the group is done, 0 to 1, and which cell is worked on.
    """
    found: dict[str, Cell] = {}
    ready: list[tuple[str, Engine, Made]] = []
    for number, name in enumerate(group.engines):
        engine = get_engine(name)
        reason = engine.absent(site)
        if reason:
            found[name] = Cell(group.key(name), "absent", reason)
            continue
        reason = engine.refuses(group.case, group.threads) or _too_few(group.threads)
        try:
            if reason:
                raise RefusedError(reason)
            tell(0.5 * number / len(group.engines), f"{engine.title}: {_named(group)}")
            ready.append((name, engine, make(engine, group.case, site, spelled=name)))
        except RefusedError as error:
            found[name] = Cell(group.key(name), "refused", str(error))
    for start in range(0, len(ready), settings.together):
        tell(0.5 + 0.5 * start / len(ready), f"Timing {_named(group)}")
        for cell in _measured(group, ready[start : start + settings.together], site, settings):
            found[cell.key.engine] = cell
    return [found[name] for name in group.engines]


def _named(group: Group) -> str:
    threads = f"{group.threads} thread{'s' if group.threads > 1 else ''}"
    return f"{group.case.title}, batch {group.case.batch}, {threads}"


def _too_few(threads: int) -> str:
    available = len(cores_for(threads))
    return f"this process has {available} core{'s' if available > 1 else ''}" if available < threads else ""


def _measured(group: Group, ready: Sequence[tuple[str, Engine, Made]], site: Site, settings: Settings) -> Iterator[Cell]:
    """Open, check and time some engines together."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cells-")))
        opened: list[_Open] = []
        lost: dict[str, Cell] = {}
        for number, (name, engine, made) in enumerate(ready):
            folder = work / str(number)
            folder.mkdir()
            try:
                opened.append(_opened(group, name, engine, made, site, settings, folder, stack))
            except (CellError, MLCoreError) as error:
                refused = not isinstance(error, CellError) or error.refused
                lost[name] = Cell(group.key(name), "refused" if refused else "failed", str(error)[:300])
            except _WrongError as error:
                lost[name] = Cell(group.key(name), "wrong", str(error))
        calibration = _calibration(site, settings, work, stack) if opened else None
        _timed(opened, calibration, settings, lost, group)
        for each in opened:
            if each.name not in lost:
                lost[each.name] = _closed(group, each, lost)
        yield from lost.values()


class _WrongError(Exception):
    """An answer that is not the right one."""


def _opened(
    group: Group, name: str, engine: Engine, made: Made, site: Site, settings: Settings, folder: Path, stack: ExitStack
) -> _Open:
    """A child with the engine open and its answer checked; the child ends with the stack."""
    case, threads = group.case, group.threads
    cores = ",".join(map(str, cores_for(threads)))
    outputs = folder / "outputs"
    users = threads if engine.threads == "beside" else 1
    command: list[object]
    if isinstance(engine, NativeEngine):
        expected = engine.outputs(case)
        for each in (*case.inputs.values(), *expected.values()):
            if each.dtype not in native.ELEMENTS:
                raise CellError(f"tensors of {each.dtype} are not measured through C", refused=True)
        tensors = folder / "tensors"
        native.write_tensors(tensors, case.inputs, expected)
        program = native.cell_program(site.cache / "native")
        command = [program, "{answers}", cores, users, tensors, outputs, *engine.call(case, made, threads, site)]
    else:
        made_json = json.dumps(asdict(made))
        module = ["-m", "mlcore.benchmarks.child"]
        command = [sys.executable, *module, "{answers}", cores, name, case.folder, made_json, threads, outputs]
    environment = child_environment(site.packages(engine.name), threads) | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    child = stack.enter_context(Child(command, environment, folder, settings.timeout))
    told = child.first()
    first = float(child.ask("answer")["seconds"])
    opened = _Open(name, engine, made, child, told, users, first, outputs)
    _check(opened, case)
    return opened


def _check(opened: _Open, case: Case) -> None:
    """Hold the outputs that a child wrote against the right ones."""
    if isinstance(opened.engine, NativeEngine):
        answers = _native_outputs(opened.outputs, opened.engine.outputs(case), opened.users)
    else:
        answers = [load_arrays(opened.outputs)]
    for answer in answers:
        if difference := case.differs(answer):
            raise _WrongError(f"it answers otherwise than {case.reference}: {difference}")


def _native_outputs(path: Path, outputs: Mapping[str, Array], users: int) -> list[dict[str, Array]]:
    """What `cell.cpp` wrote: the outputs of each user, one after the other."""
    data, place, found = path.read_bytes(), 0, []
    for _ in range(users):
        answer = {}
        for name, expected in outputs.items():
            answer[name] = np.frombuffer(data, expected.dtype, expected.size, place).reshape(expected.shape)
            place += expected.nbytes
        found.append(answer)
    return found


def _calibration(site: Site, settings: Settings, work: Path, stack: ExitStack) -> Child | None:
    """The child of the calibration; None where there is no compiler, so that nothing native is measured either."""
    tensors = work / "calibration"
    native.write_tensors(tensors, {}, {"y": np.zeros(1, np.float32)})
    try:
        program, library = native.cell_program(site.cache / "native"), native.adapter(site.cache / "native", "calibration")
    except MLCoreError:
        return None
    cores = ",".join(map(str, cores_for(1)))
    command = [program, "{answers}", cores, 1, tensors, work / "calibration.out", library]
    child = stack.enter_context(Child(command, child_environment(), work, settings.timeout))
    child.first()
    return child


def _calibrated(calibration: Child | None) -> float | None:
    """Seconds of the calibration at the moment: the median of some samples of about 2 ms."""
    if calibration is None:
        return None
    return statistics.median(float(calibration.ask("run 50")["wall"]) / 50 for _ in range(CALIBRATIONS))


def _timed(opened: Sequence[_Open], calibration: Child | None, settings: Settings, lost: dict[str, Cell], group: Group) -> None:
    """Take the samples of all, in turn; again of those that are noisy."""

    def guarded(each: _Open, do: Callable[[], object]) -> None:
        try:
            do()
        except CellError as error:
            lost[each.name] = Cell(group.key(each.name), "failed", error.reason)

    for each in opened:
        guarded(each, lambda each=each: _warm(each, settings))  # type: ignore[misc]
    again = [each for each in opened if each.name not in lost]
    for _ in range(settings.repeats + 1):
        before = _calibrated(calibration)
        for each in again:
            each.wall, each.cpu = [], []
        for repetition in range(settings.repetitions):
            for each in again:
                late = repetition >= LEAST_REPETITIONS and sum(each.wall) * each.calls > settings.patience
                if each.name not in lost and not late:
                    guarded(each, lambda each=each: _take(each))  # type: ignore[misc]
        after = _calibrated(calibration)
        drifted = before is not None and after is not None and abs(after - before) > settings.drift * min(after, before)
        again = [each for each in again if each.name not in lost]
        for each in again:
            _keep_best(each, drifted=drifted, settings=settings)
        again = [each for each in again if each.notes]
        if not again:
            break


def _warm(each: _Open, settings: Settings) -> None:
    """Warm up, and find how many calls make a sample."""
    each.calls = 1
    for _ in range(2):
        wall, _cpu = each.sample()
    while wall * each.calls < settings.seconds and each.calls < MOST_CALLS:
        if wall * each.calls >= settings.seconds / 10:
            each.calls = max(1, round(settings.seconds / max(wall, 1e-9)))
            break
        each.calls *= 4
        wall, _cpu = each.sample()
    each.settled = int(each.child.ask("memory")["resident"])
    each.inferences = 0


def _take(each: _Open) -> None:
    """One sample, behind an inference that brings the engine's data back into the caches."""
    each.child.ask("run 1")
    each.inferences += 1
    wall, cpu = each.sample()
    each.wall.append(wall)
    each.cpu.append(cpu)


def _keep_best(each: _Open, *, drifted: bool, settings: Settings) -> None:
    """Keep the samples that lie closest together, and note what is wrong with them."""
    notes = {"drift"} if drifted else set()
    if Samples(tuple(each.wall)).spread > settings.spread:
        notes.add("spread")
    first = each.best is None
    better = first or len(notes) < len(each.notes) or Samples(tuple(each.wall)).spread < Samples(tuple(each.best[0])).spread  # type: ignore[index]
    if better:
        each.best, each.notes = (each.wall, each.cpu), notes


def _closed(group: Group, each: _Open, lost: dict[str, Cell]) -> Cell:
    """The figures of an engine that was timed, once its last answer was right as well."""
    key = group.key(each.name)
    try:
        memory = each.child.ask("memory")
        allocated = each.child.ask("allocated")
        each.child.ask("answer")
        _check(each, group.case)
    except CellError as error:
        return Cell(key, "failed", error.reason)
    except _WrongError as error:
        return Cell(key, "wrong", f"after it was timed, {error}")
    if each.best is None:
        raise RuntimeError(f"{each.name} was not timed")
    compiled = float(each.opened.get("compiled", 0.0))
    growth = max(0.0, (memory["resident"] - each.settled) / (max(each.inferences, 1) * each.users))
    convert = each.made.seconds if each.made.seconds is not None else compiled or None
    return Cell(
        key,
        "measured",
        wall=Samples(tuple(each.best[0])),
        cpu=Samples(tuple(each.best[1])),
        users=each.users,
        first=each.first,
        load=float(each.opened["opened"]) - compiled,
        convert=convert,
        memory=Memory(
            max(0, int(memory["peak"]) - int(each.opened["base"])),
            growth if growth * max(each.inferences, 1) > NOISE_BYTES else 0.0,
            allocated.get("bytes"),
            allocated.get("calls"),
        ),
        artefact=each.made.artefact_bytes if each.made.artefact else None,
        notes=tuple(sorted(each.notes)),
    )
