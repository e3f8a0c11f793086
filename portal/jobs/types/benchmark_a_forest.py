"""Benchmark a forest: the user's own model, timed here beside every installed program that can predict with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from mlcore.filetypes import FOREST_HOLDERS, FORESTS
from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import plots
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Note, Plot, Result, Table

if TYPE_CHECKING:
    from mlcore.forests.benchmark import Benchmark

THIN = "\u2009"
LARGEST_BATCH = 1_000_000
MOST_BATCHES = 6
ENGINES = {
    "own": "e-own", "xgboost": "e-xgb", "lightgbm": "e-lgbm", "sklearn": "e-skl", "onnxruntime": "e-ort", "onedal": "e-dal",
    "tl2cgen": "e-tree", "treelite": "e-gtil", "lleaves": "e-llv", "catboost": "e-cat",
}  # fmt: skip
"""Colour and marker of each contender."""


class BenchmarkAForestParams(Params):
    """Which model, on which rows, in which batches."""

    model: str = file_field(
        title="Model",
        description="A forest of decision trees in any format that is read here",
        kinds=(*FORESTS, *FOREST_HOLDERS),
        side_help="Every installed program that reads the model takes part; those that do not are named, with the reason.",
    )
    rows: str | None = file_field(
        title="Rows",
        description="NumPy, text with commas, ROOT or Parquet; made from the model's thresholds if none is given",
        kinds=("numpy", "text", "root", "parquet"),
        optional=True,
        side_help="Columns are taken by the features' names where the file has all of them, else in the order of the file.",
    )
    batches: list[int] = Field(
        [1, 64, 10_000],
        title="Batches",
        description="Rows in one call, up to six sizes; 1 is the latency of a single event",
        min_length=1,
        max_length=MOST_BATCHES,
    )
    threads: int = Field(1, ge=1, le=64, title="Threads", description="That each call may use")
    missing: float = Field(
        0,
        ge=0,
        le=50,
        title="Missing values",
        description="Share of NaN in rows that are made here",
        json_schema_extra={"x-unit": "%"},
    )
    seconds: int = Field(
        20, ge=2, le=600, title="Time", description="About how long to measure", json_schema_extra={"x-unit": "s"}
    )

    @field_validator("batches")
    @classmethod
    def _sizes(cls, sizes: list[int]) -> list[int]:
        if any(not 1 <= size <= LARGEST_BATCH for size in sizes):
            raise ValueError(f"Each batch has 1 to {LARGEST_BATCH:,} rows".replace(",", THIN))
        return sorted(set(sizes))


class BenchmarkAForest(JobType[BenchmarkAForestParams]):
    slug = "forest-benchmark"
    title = "Benchmark a forest"
    summary = "How fast a model predicts here, beside the library that trained it and every other installed engine"
    duration = "about 30 s"
    gives = (("benchmark.json", "every figure, with its conditions"),)
    phrases = (
        "benchmark model", "benchmark forest", "benchmark bdt", "benchmark tree", "benchmark trees", "benchmark xgboost",
        "benchmark lightgbm", "time forest prediction", "fast bdt", "fast forest", "compare forest speed", "compare bdt speed",
    )  # fmt: skip
    versions = (
        "numpy", "xgboost-cpu", "lightgbm", "scikit-learn", "onnxruntime", "scikit-learn-intelex", "treelite", "tl2cgen",
        "lleaves", "catboost",
    )  # fmt: skip
    limits = Limits(memory_bytes=6 * GIB, cpu_seconds=3600, wall_seconds=1800)
    Params = BenchmarkAForestParams

    def name_run(self, params: BenchmarkAForestParams, files: Mapping[str, str]) -> str:
        return f"Benchmark of {files.get(params.model) or next(iter(files.values()), 'a model')}"

    def run(self, context: JobContext, params: BenchmarkAForestParams) -> Result:
        from mlcore.forests import load
        from mlcore.forests.benchmark import benchmark
        from mlcore.forests.rows import read_rows

        path = context.file(params.model)
        rows = read_rows(context.file(params.rows), load(path).model) if params.rows else None
        compiled = context.folder / "compiled"
        compiled.mkdir()
        found = benchmark(
            path,
            compiled,
            rows=rows,
            batches=params.batches,
            threads=params.threads,
            missing=params.missing / 100,
            seconds=params.seconds,
            progress=context.progress,
            log=context.log,
        )
        report = context.folder / "benchmark.json"
        report.write_text(json.dumps({**found.to_json(), "machine": processor()}, indent=1) + "\n", encoding="utf-8")
        context.artifact(report, kind="report", title="Every figure, with its conditions")
        return _result(found, 0 if rows is None else len(rows))


def processor() -> str:
    """The name of this machine's processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _result(found: Benchmark, n_given: int) -> Result:
    largest = found.batches[-1]
    titles = {one.key: one.title for one in found.contenders}
    condition = f"{_threads(found.threads)}, through Python"
    return Result(
        notes=_notes(found, titles),
        figures=(
            *_times(found, titles, condition),
            Figure("Contenders", str(len(found.contenders)), f"answers compared on {_count(found.checked)} rows"),
            Figure(
                "Largest difference", f"{max(one.largest_difference for one in found.contenders):.2g}", "relative, of predictions"
            ),
        ),
        plots=(_plot(found, titles),),
        tables=(
            *(_table(found, titles, batch) for batch in found.batches),
            Table(
                "Contenders",
                ("Contender", "Version", "Opens in", "Identical answers", "Largest difference", "What it is"),
                tuple(
                    (
                        one.title,
                        one.version or "—",
                        _seconds(one.open_seconds),
                        _percent(one.identical),
                        f"{one.largest_difference:.2g}",
                        one.note or ("the reference" if one.key == found.reference else "—"),
                    )
                    for one in found.contenders
                ),
                numeric=(2, 3, 4),
                note=f"Answers are compared with those of {titles[found.reference]}, relative to 1 + |prediction|; "
                "summing in another order moves their last digits. Opening is from the file to the first prediction.",
            ),
            *_absent(found),
            Table("Conditions", ("What", "Is"), _conditions(found, n_given, largest)),
        ),
    )


def _notes(found: Benchmark, titles: Mapping[str, str]) -> tuple[Note, ...]:
    """The verdict in words: our own predictor beside the best of the others, at the smallest and the largest batch."""
    others = [one.key for one in found.contenders if one.key != "own"]
    if not others:
        return (
            Note("act", "No other program takes part.", "None that is installed reads this model; the table says what would."),
        )
    told = []
    slower = False
    for batch in dict.fromkeys((found.batches[-1], found.batches[0])):
        own = found.timing("own", batch)
        best = min((timing for key in others if (timing := found.timing(key, batch))), key=lambda one: one.median, default=None)
        if own is None or best is None:
            continue
        factor = best.median / own.median
        where = "a single event" if batch == 1 else f"{_count(batch)} rows"
        slower |= factor < 1
        speed = f"is {factor:.3g} times as fast as" if factor >= 1 else f"takes {1 / factor:.3g} times as long as"
        best_of = ", the best of the others," if len(others) > 1 else ""
        told.append(f"{speed} {titles[best.key]}{best_of} at {where}")
    headline = "All answers agree." if not any("differ" in one.reason for one in found.absences) else "Some answers differ."
    return (Note("act" if slower else "ok", headline, f"{titles['own']} {'; it '.join(told)}."),)


def _times(found: Benchmark, titles: Mapping[str, str], condition: str) -> tuple[Figure, ...]:
    figures = []
    for batch in dict.fromkeys((found.batches[-1], found.batches[0])):
        own, reference = found.timing("own", batch), found.timing(found.reference, batch)
        label = "Single event" if batch == 1 else f"Per row of {_count(batch)}"
        beside = ""
        if reference is not None and found.reference != "own":
            beside = f"{titles[found.reference]} {_microseconds(reference.median)}; "
        if own is not None:
            figures.append(Figure(label, _microseconds(own.median), beside + condition))
    return tuple(figures)


def _plot(found: Benchmark, titles: Mapping[str, str]) -> Plot:
    reference = titles[found.reference]
    groups = []
    for batch in found.batches:
        base = found.timing(found.reference, batch)
        timings = sorted((one for one in found.timings if one.batch == batch), key=lambda one: one.median)
        if base is None:
            continue
        rows = [
            (
                titles[one.key],
                ENGINES.get(one.key, "truth"),
                one.median / base.median,
                one.lower / base.median,
                one.upper / base.median,
                _microseconds(one.median),
            )
            for one in timings
        ]
        groups.append((_batch(batch), rows))
    label = f"Time of a prediction relative to {reference}, by size of batch"
    svg = plots.ratios(groups, x_title=f"time relative to {reference}", label=label)
    return Plot(
        f"Time relative to {reference}",
        svg,
        f"Medians, at the right per row; the thin lines span the quartiles. {_threads(found.threads)}, {found.dtype} rows "
        f"{found.rows}, contenders in turn, calls through Python included.",
    )


def _table(found: Benchmark, titles: Mapping[str, str], batch: int) -> Table:
    rows = []
    for one in sorted((timing for timing in found.timings if timing.batch == batch), key=lambda timing: timing.median):
        ratio = found.ratio(one.key, batch)
        rows.append(
            (
                titles[one.key],
                f"{one.median:.4g}",
                f"± {50 * (one.upper - one.lower) / one.median:.1f} %",
                f"{ratio:.3g}" if ratio else "—",
                _count(round(1e6 / one.median)),
                str(one.samples),
            )
        )
    columns = ("Contender", "Time per row [µs]", "Spread", "Ratio", "Rows per second", "Samples")
    return Table(
        _batch(batch),
        columns,
        tuple(rows),
        numeric=(1, 2, 3, 4, 5),
        note=f"Spread is half the interquartile range. The ratio is to {titles[found.reference]}.",
    )


def _absent(found: Benchmark) -> tuple[Table, ...]:
    rows = tuple((one.title, one.reason, one.install or "—") for one in found.absences)
    return (Table("Not measured", ("Program", "Why", "To have it here"), rows),) if rows else ()


def _conditions(found: Benchmark, n_given: int, largest: int) -> tuple[tuple[str, str], ...]:
    repeated = f", of {_count(n_given)} given ones, repeated" if n_given and n_given < largest else ""
    return (
        ("Model", f"{found.library}: {_count(found.n_trees)} trees, {_count(found.n_nodes)} nodes, depth {found.depth}"),
        ("Features", _count(found.n_features)),
        ("Rows", f"{found.rows}, {found.dtype}{repeated}"),
        ("Threads", str(found.threads)),
        ("Processor", processor()),
        ("Time", "wall time of calls from Python, samples of at least 20 ms, contenders in turn"),
    )


def _batch(batch: int) -> str:
    return "Single rows" if batch == 1 else f"Batches of {_count(batch)} rows"


def _threads(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _microseconds(value: float) -> str:
    return f"{value:.3g} µs" if value < 1000 else f"{value / 1000:.3g} ms"


def _seconds(value: float) -> str:
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def _percent(share: float) -> str:
    """A share that is 100 % only where it is all of it."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.4g} %"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", THIN)
