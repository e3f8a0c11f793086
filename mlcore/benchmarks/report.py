"""What a run found: the matrix as JSON with a version of its schema, and as text for people and programs.

`mlcore.benchmarks.figures` draws it, `mlcore.benchmarks.comparing` holds two of them against each other, and
`mlcore.benchmarks.advice` says in words which engine a model should have.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlcore.benchmarks.cells import Cell, Key
from mlcore.errors import InputError

SCHEMA = 1
KIND = "ml4ep-benchmark"


@dataclass(frozen=True)
class ModelFacts:
    """A model of a report: ``weights`` in bytes, ``reference`` what its answers were held against."""

    name: str
    title: str
    kind: str
    paper: str
    weights: int
    reference: str


@dataclass(frozen=True)
class EngineFacts:
    """An engine of a report; ``absent`` is why it is not here, or ``""``."""

    name: str
    title: str
    version: str
    driver: str
    threads: str
    install: str
    absent: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A run, or what there is of it.

    Attributes
    ----------
    created
        When it began, ISO 8601 in UTC.
    machine
        Processor, compiler and versions, by name.
    settings
        As of `mlcore.benchmarks.cells.Settings`.
    """

    created: str
    machine: Mapping[str, str]
    settings: Mapping[str, Any]
    models: tuple[ModelFacts, ...]
    engines: tuple[EngineFacts, ...]
    cells: tuple[Cell, ...]

    def cell(self, model: str, engine: str, batch: int, threads: int) -> Cell | None:
        """A cell, where there is one."""
        return self.by_key.get(Key(model, engine, batch, threads))

    @property
    def by_key(self) -> dict[Key, Cell]:
        return {cell.key: cell for cell in self.cells}

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({cell.key.batch for cell in self.cells}))

    @property
    def threads(self) -> tuple[int, ...]:
        return tuple(sorted({cell.key.threads for cell in self.cells}))

    @property
    def measured(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.status == "measured")

    def engine_title(self, name: str) -> str:
        return next((each.title for each in self.engines if each.name == name), name)

    def model_title(self, name: str) -> str:
        return next((each.title for each in self.models if each.name == name), name)

    def ratio(self, cell: Cell, against: str) -> float | None:
        """How many times as long as another engine it takes for an event of the same case: below 1 is faster."""
        other = self.cell(cell.key.model, against, cell.key.batch, cell.key.threads)
        if other is None or other.per_event is None or cell.per_event is None:
            return None
        return cell.per_event / other.per_event

    # --- kept ---

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "created": self.created,
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "models": [asdict(each) for each in self.models],
            "engines": [asdict(each) for each in self.engines],
            "cells": [cell.to_json() for cell in self.cells],
        }

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """A report as `to_json` gave it.

        Raises
        ------
        InputError
            It is none, or of a newer schema.
        """
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise InputError(
                "this is no report of a benchmark", hint="Give the benchmark.json of a run.", code="benchmark.report"
            )
        if data.get("schema") != SCHEMA:
            raise InputError(
                f"the report has the schema {data.get('schema')}; this version reads {SCHEMA}",
                hint="Read it with the version that wrote it, or measure again.",
                code="benchmark.schema",
            )
        try:
            return cls(
                str(data["created"]),
                {str(name): str(value) for name, value in data["machine"].items()},
                dict(data["settings"]),
                tuple(ModelFacts(**each) for each in data["models"]),
                tuple(EngineFacts(**each) for each in data["engines"]),
                tuple(Cell.from_json(each) for each in data["cells"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the report is damaged: {error}", hint="Measure again.", code="benchmark.report") from error

    @classmethod
    def load(cls, path: Path) -> Report:
        """A report from its file.

        Raises
        ------
        InputError
            The file is no report.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"the report cannot be read: {error}", code="benchmark.report") from error


# --- as text --------------------------------------------------------------------------------------------------------------------

PREFIXES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def seconds(value: float | None) -> str:
    """A time in a unit that suits it."""
    if value is None:
        return "–"
    size, unit = next(((size, unit) for size, unit in PREFIXES if value >= size), PREFIXES[-1])
    return f"{_three(value / size)} {unit}"


def bytes_(value: float | None) -> str:
    """A size in a unit that suits it."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{value:.0f} B"


def rate(value: float | None) -> str:
    """Events in a second."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s")):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{_three(value)} /s"


def _three(value: float) -> str:
    """Three digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


COLUMNS = (
    "model", "engine", "batch", "threads", "status", "reason", "seconds_per_event", "events_per_second", "wall_median_s",
    "wall_lower_s", "wall_upper_s", "cpu_median_s", "first_s", "load_s", "convert_s", "peak_bytes", "growth_bytes",
    "allocated_bytes", "artefact_bytes", "notes",
)  # fmt: skip


def to_csv(report: Report) -> str:
    """All cells, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in report.cells:
        key, memory = cell.key, cell.memory
        lower, upper = cell.wall.quartiles if cell.wall else (None, None)
        writer.writerow(
            [
                key.model, key.engine, key.batch, key.threads, cell.status, cell.reason, cell.per_event, cell.throughput,
                cell.wall.median if cell.wall else None, lower, upper, cell.cpu.median if cell.cpu else None, cell.first,
                cell.load, cell.convert, memory.peak if memory else None, memory.growth if memory else None,
                memory.allocated if memory else None, cell.artefact, " ".join(cell.notes),
            ]
        )  # fmt: skip
    return text.getvalue()


def matrix_rows(report: Report, batch: int, threads: int, against: str = "") -> list[tuple[str, list[str]]]:
    """Time for an event of each model with each engine, in words: (model, one text for each engine of the report)."""
    rows = []
    for model in report.models:
        texts = []
        for engine in report.engines:
            cell = report.cell(model.name, engine.name, batch, threads)
            texts.append(cell_text(report, cell, against))
        rows.append((model.title, texts))
    return rows


def cell_text(report: Report, cell: Cell | None, against: str = "") -> str:
    """A cell of the matrix: the time, with the ratio to an engine where there is one; or the kind of reason."""
    if cell is None:
        return "–"
    if cell.status != "measured":
        return {"absent": "not here", "refused": "refused", "wrong": "wrong", "failed": "failed"}[cell.status]
    ratio = report.ratio(cell, against) if against else None
    told = f" ({ratio:.2f} ×)" if ratio is not None and cell.key.engine != against else ""
    return f"{seconds(cell.per_event)}{told}{' ~' if cell.noisy else ''}"


def to_markdown(report: Report, *, against: str = "") -> str:
    """The whole report for people."""
    from mlcore.benchmarks.advice import advice

    names = [engine.title for engine in report.engines]
    lines = [f"# Inference benchmarks, {report.created[:10]}", ""]
    lines += ["Time for an event: median of interleaved samples, each engine in a process of its own, outputs checked first."]
    if against:
        lines[-1] += f" In brackets: relative to {report.engine_title(against)}, below 1 is faster."
    lines[-1] += " A ~ marks what stayed noisy."
    for threads in report.threads:
        for batch in report.batches:
            lines += ["", f"## Batch {batch}, {threads} thread{'s' if threads > 1 else ''}", ""]
            lines += [_markdown_row(["Model", *names]), _markdown_row(["---", *["---:"] * len(names)])]
            lines += [_markdown_row([title, *texts]) for title, texts in matrix_rows(report, batch, threads, against)]
    lines += ["", "## Which engine", "", *(f"- {sentence}" for sentence in advice(report))]
    lines += ["", "## Memory above the empty process", ""]
    batch, threads = report.batches[0] if report.batches else 1, report.threads[0] if report.threads else 1
    lines += [_markdown_row(["Model", *names]), _markdown_row(["---", *["---:"] * len(names)])]
    for model in report.models:
        found = [report.cell(model.name, engine.name, batch, threads) for engine in report.engines]
        lines.append(_markdown_row([model.title, *(bytes_(c.memory.peak) if c and c.memory else "–" for c in found)]))
    if rows := reasons(report):
        lines += ["", "## Without a figure", "", *(f"- {engine}, {models}: {reason}" for engine, models, reason in rows)]
    lines += ["", "## Engines", "", _markdown_row(["Engine", "Version", "Called from", "Two threads"]), "|---|---|---|---|"]
    for engine in report.engines:
        lines.append(_markdown_row([engine.title, engine.version or engine.absent, engine.driver, engine.threads]))
    lines += ["", "Measured on: " + "; ".join(f"{name} {value}" for name, value in report.machine.items()) + "."]
    return "\n".join(lines) + "\n"


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"


def reasons(report: Report) -> list[tuple[str, str, str]]:
    """Every reason for which there is no figure, once: (engine, models, reason)."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in report.cells:
        if cell.status != "measured":
            found.setdefault((cell.key.engine, cell.reason), []).append(report.model_title(cell.key.model))
    rows = []
    for (engine, reason), titles in found.items():
        models = list(dict.fromkeys(titles))
        where = "all models" if len(models) == len(report.models) > 1 else ", ".join(models)
        rows.append((report.engine_title(engine), where, reason))
    return rows


REFERENCES = ("onnxruntime_c", "onnxruntime_python", "torch_eager", "xgboost_c", "lightgbm_c", "xgboost", "lightgbm")
"""What others are held against, where nobody says: the first that gave figures."""


def reference_of(report: Report) -> str:
    """The engine that ratios are taken to by default; ``""`` where no engine gave a figure."""
    counts = {engine.name: sum(cell.key.engine == engine.name for cell in report.measured) for engine in report.engines}
    return next((name for name in REFERENCES if counts.get(name)), max(counts, key=lambda name: counts[name], default=""))
