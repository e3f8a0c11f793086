"""The whole matrix: every model with every engine at every batch size and number of threads, each cell a figure or a reason."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mlcore.benchmarks import boosted, engines, zoo
from mlcore.benchmarks.cases import Case, Subject, make_cases
from mlcore.benchmarks.cells import Cell, Key, Settings
from mlcore.benchmarks.engines import Site
from mlcore.benchmarks.machine import describe
from mlcore.benchmarks.measure import Group, measure_group
from mlcore.benchmarks.report import EngineFacts, ModelFacts, Report
from mlcore.errors import DataError, InputError
from mlcore.filetypes import detect

__all__ = ["BATCHES", "LARGEST_BATCH", "Plan", "Site", "run", "subject_of", "subjects"]

BATCHES = (1, 64)
LARGEST_BATCH = 1024
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes
    ----------
    subjects
        The models.
    engines
        Names, as `mlcore.benchmarks.engines.names` has them.
    batches, threads
        Sizes.
    settings
        How.
    """

    subjects: tuple[Subject, ...]
    engines: tuple[str, ...]
    batches: tuple[int, ...] = BATCHES
    threads: tuple[int, ...] = (1,)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if not self.subjects or not self.engines or not self.batches or not self.threads:
            raise InputError("a benchmark needs a model, an engine, a batch size and a number of threads", code="benchmark.empty")
        if any(not 1 <= batch <= LARGEST_BATCH for batch in self.batches):
            raise InputError(f"batches have 1 to {LARGEST_BATCH} events", code="benchmark.batch")

    @property
    def keys(self) -> list[Key]:
        """All cells, those of one group together."""
        return [
            Key(subject.name, engine, batch, threads)
            for subject in self.subjects
            for batch in self.batches
            for threads in self.threads
            for engine in self.engines
        ]


def subjects(names: Iterable[str] = ()) -> tuple[Subject, ...]:
    """Models of the zoo and the forests of three sizes by their names; all where none is named.

    Raises
    ------
    DataError
        There is no such model.
    """
    known = [*zoo.names(), *boosted.names()]
    chosen = [*names] or known
    for name in chosen:
        if name not in known:
            raise DataError.missing("model", name, known, where="the benchmark")
    # What a network of the zoo is called is in its module, which imports PyTorch: its case tells it.
    return tuple(
        Subject(name, "boosted", title=boosted.get(name).title) if name in boosted.names() else Subject(name, "zoo")
        for name in chosen
    )


def subject_of(path: Path, *, title: str = "", number: int = 0, sizes: dict[str, int] | None = None) -> Subject:
    """A file of somebody's own: an ONNX network, or a forest in any format that is read here."""
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in (title or path.name))[:40].strip(".") or "model"
    source = "onnx" if detect(path).kind == "onnx" else "forest"
    return Subject(f"{name}-{number}" if number else name, source, str(path), title or path.name, sizes or {})  # type: ignore[arg-type]


def run(
    plan: Plan,
    site: Site,
    *,
    before: Report | None = None,
    progress: Progress = lambda fraction, text: None,
    log: Callable[[str], None] = lambda text: None,
    keep: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Measure all cells.

    Parameters
    ----------
    before
        An earlier report that goes on: its cells are not measured again.
    progress
        Told how much is done, and which cell is worked on.
    log
        Told what came of each cell.
    keep
        Given the report so far whenever cells were added to it.
    """
    site.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="made-", dir=site.cache) as made:
        return _run(plan, replace(site, made=Path(made)), before, progress, log, keep)


def _run(
    plan: Plan,
    site: Site,
    before: Report | None,
    progress: Progress,
    log: Callable[[str], None],
    keep: Callable[[Report], None],
) -> Report:
    known = {cell.key: cell for cell in before.cells} if before is not None else {}
    keys = plan.keys
    cells: dict[Key, Cell] = {key: known[key] for key in keys if key in known}
    models: dict[str, ModelFacts] = {each.name: each for each in before.models} if before is not None else {}
    if cells:
        log(f"{len(cells)} of {len(keys)} cells were measured before")

    def report() -> Report:
        return Report(
            created=created,
            machine=machine,
            settings=asdict(plan.settings),
            models=tuple(models[subject.name] for subject in plan.subjects if subject.name in models),
            engines=known_engines,
            cells=tuple(cells[key] for key in keys if key in cells),
        )

    machine = describe()
    created = before.created if before is not None else datetime.now(UTC).isoformat(timespec="seconds")
    known_engines = tuple(engine_facts(name, site) for name in plan.engines)
    for subject in plan.subjects:
        missing = [key for key in keys if key.model == subject.name and key not in cells]
        if not missing:
            continue
        progress(len(cells) / len(keys), f"Preparing {subject.title or subject.name}")
        cases = make_cases(subject, sorted({key.batch for key in missing}), site.cache / "cases")
        for batch in plan.batches:
            case = cases.get(batch)
            if isinstance(case, Case) and subject.name not in models:
                models[subject.name] = ModelFacts(subject.name, case.title, case.kind, case.paper, case.weights, case.reference)
            for threads in plan.threads:
                wanted = [key.engine for key in missing if (key.batch, key.threads) == (batch, threads)]
                if not wanted or case is None:
                    continue
                if isinstance(case, str):
                    found = [Cell(Key(subject.name, name, batch, threads), "refused", case) for name in wanted]
                else:
                    group = Group(case, threads, tuple(wanted))
                    found = measure_group(
                        group, site, plan.settings, partial(_within, progress, len(cells), len(wanted), len(keys))
                    )
                cells |= {cell.key: cell for cell in found}
                for cell in found:
                    log(_line(cell))
                if subject.name not in models:
                    models[subject.name] = ModelFacts(subject.name, subject.title or subject.name, subject.kind, "", 0, "")
                keep(report())
    progress(1.0, "Done")
    return report()


def _within(progress: Progress, done: int, group: int, total: int, part: float, text: str) -> None:
    """Progress within a group of cells."""
    progress((done + group * part) / total, text)


def engine_facts(name: str, site: Site) -> EngineFacts:
    """What a report says of an engine."""
    engine = engines.get(name)
    reason = engine.absent(site)
    version = "" if reason else engine.version(site)
    return EngineFacts(name, engine.title, version, engine.driver, engine.threads, engine.install, reason, engine.note)


def _line(cell: Cell) -> str:
    key = cell.key
    where = f"{key.model}, {key.engine}, batch {key.batch}, {key.threads} thread{'s' if key.threads > 1 else ''}"
    if cell.wall is None:
        return f"{where}: {cell.reason}"
    noise = f" ({', '.join(cell.notes)})" if cell.notes else ""
    return f"{where}: {cell.wall.median * 1e6:.4g} µs{noise}"
