"""Run benchmarks: models, the user's own or those of the zoo, with every engine here, time and memory side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, field_validator, model_validator

from mlcore.filetypes import FOREST_HOLDERS, FORESTS
from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, files_field
from portal.jobs.results import Result

if TYPE_CHECKING:
    from mlcore.benchmarks.cases import Subject
    from mlcore.benchmarks.report import Report

REPORT = "benchmark.json"
LARGEST_BATCH = 1024
MOST_THREADS = 2
NAME = re.compile(r"[a-z0-9_]{1,40}")
ALL = "all"
MODELS = (
    "cnn, deep_sets, dit, edgeconv, functional, gn2, graph_attention, gru, interaction_network, lstm, mlp_5x200, mlp_5x50, "
    "particle_transformer, particlenet, resnet, transformer, vae_decoder, bdt_100x3, bdt_500x6, bdt_1000x8"
)
ENGINES = (
    "own_avx512, own_avx2, own_portable, own_forest, catboost, emx, lightgbm, lightgbm_c, lleaves, onedal, onnxruntime_c, "
    "onnxruntime_python, openvino, root, sklearn, sofie, tl2cgen, torch_compile, torch_eager, torch_script, treelite, xgboost, "
    "xgboost_c, xla"
)
"""All names, for the form, which is made where no engine is looked for."""


class BenchmarkParams(Params):
    """Which models, with which engines, at which sizes."""

    files: list[str] = files_field(
        title="Your models",
        description="Networks as ONNX files, forests in any format that is read here",
        kinds=tuple(dict.fromkeys(("onnx", *FORESTS, *FOREST_HOLDERS))),
        most=12,
        optional=True,
        side_help="Every installed engine that takes a model is timed with it, once its answers are right. The others say "
        "why not.",
    )
    models: list[str] = Field(
        default_factory=list,
        max_length=40,
        title="Models of the zoo",
        description="Names such as mlp_5x50, cnn, transformer, particlenet, lstm, bdt_500x6; all for every one",
        json_schema_extra={"x-help": f"Networks and forests of the field, built here: {MODELS}."},
    )
    engines: list[str] = Field(
        default_factory=list,
        max_length=40,
        title="Engines",
        description="Names such as own_avx512, onnxruntime_c, torch_eager, xgboost; empty for every one",
        json_schema_extra={"x-help": f"Those that are not installed say so: {ENGINES}."},
    )
    batches: list[int] = Field(
        [1, 64], min_length=1, max_length=11, title="Batches", description=f"Events of one inference, 1 to {LARGEST_BATCH}"
    )
    threads: list[int] = Field([1], min_length=1, max_length=2, title="Threads", description="1, 2 or both: 1, 2")
    sizes: str = Field(
        "",
        max_length=1000,
        title="Free sizes",
        description="Of ONNX files, besides the batch, one a line: particles = 64",
        json_schema_extra={"format": "lines", "x-help": "A size that is left free and is not named here is 16."},
    )
    quick: bool = Field(False, title="Quick", description="Fewer and shorter samples: to look at, not to rely on")

    @field_validator("batches")
    @classmethod
    def _batches(cls, sizes: list[int]) -> list[int]:
        if any(not 1 <= size <= LARGEST_BATCH for size in sizes):
            raise ValueError(f"Each batch has 1 to {LARGEST_BATCH} events")
        return sorted(set(sizes))

    @field_validator("threads")
    @classmethod
    def _threads(cls, numbers: list[int]) -> list[int]:
        if any(not 1 <= number <= MOST_THREADS for number in numbers):
            raise ValueError("There are 1 and 2 threads to choose from")
        return sorted(set(numbers))

    @field_validator("models", "engines")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        for name in names:
            if NAME.fullmatch(name) is None:
                raise ValueError(f"“{name[:40]}” is no name: letters, digits and _")
        return list(dict.fromkeys(names))

    @field_validator("sizes")
    @classmethod
    def _sizes(cls, text: str) -> str:
        free_sizes(text)
        return text

    @model_validator(mode="after")
    def _something(self) -> BenchmarkParams:
        if not self.files and not self.models:
            raise ValueError("Choose one of your models, or name models of the zoo.")
        return self


class RunBenchmarks(JobType[BenchmarkParams]):
    slug = "benchmark"
    title = "Run benchmarks"
    summary = "Every engine on your model, or on those of the zoo: time and memory side by side, answers checked first"
    duration = "a minute for each model"
    gives = (
        (REPORT, "every sample"),
        ("benchmark.md", "the matrix for people"),
        ("benchmark.csv", "a line for each cell"),
        ("matrix.svg", "the matrix, drawn"),
    )
    phrases = (
        "run benchmark", "run benchmarks", "benchmark network", "benchmark onnx", "benchmark engines", "compare engines",
        "compare inference", "fastest engine", "which engine", "inference benchmark", "onnxruntime faster", "time inference",
    )  # fmt: skip
    versions = ("numpy", "onnx", "onnxruntime", "torch", "xgboost-cpu", "lightgbm", "treelite")
    limits = Limits(memory_bytes=12 * GIB, cpu_seconds=200_000, wall_seconds=21_600, file_bytes=8 * GIB)
    page = ("benchmark-matrix", "Matrix: sort, ratios, compare")
    Params = BenchmarkParams

    def name_run(self, params: BenchmarkParams, files: Mapping[str, str]) -> str:
        names = [*files.values(), *params.models]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"Benchmark of {'all models' if names == [ALL] else names[0] if names else 'models'}{more}"

    def run(self, context: JobContext, params: BenchmarkParams) -> Result:
        from mlcore.benchmarks import matrix
        from mlcore.benchmarks.cells import QUICK, Settings
        from mlcore.benchmarks.report import Report
        from portal.jobs.benchmark_pages import result

        chosen = _subjects(context, params)
        plan = matrix.Plan(
            chosen,
            _engines(params.engines, {subject.kind for subject in chosen}),
            tuple(params.batches),
            tuple(params.threads),
            QUICK if params.quick else Settings(),
        )
        place = context.folder / REPORT
        before = Report.load(context.kept[REPORT]) if REPORT in context.kept else None

        def keep(report: Report) -> None:
            report.save(place)
            context.keep(place, note=f"{len(report.cells)} of {len(plan.keys)} cells")

        site = matrix.Site(context.folder / "work", context.places.get("engines"))
        report = matrix.run(plan, site, before=before, progress=context.progress, log=context.log, keep=keep)
        _written(context, report)
        return result(report)


def free_sizes(text: str) -> dict[str, int]:
    """Numbers by name, one ``name = number`` a line."""
    found: dict[str, int] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, number = (part.strip() for part in line.rpartition("="))
        if not equals or not name or not (number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= 1_000_000):
            raise ValueError(f"“{line[:60]}” is not of the form name = number")
        found[name] = int(number)
    return found


def _subjects(context: JobContext, params: BenchmarkParams) -> tuple[Subject, ...]:
    """The user's files, then the models of the zoo."""
    from mlcore.benchmarks import matrix

    sizes = free_sizes(params.sizes)
    own = [
        matrix.subject_of(context.file(file), title=context.name(file), number=number, sizes=sizes)
        for number, file in enumerate(params.files)
    ]
    named = matrix.subjects([] if params.models == [ALL] else params.models) if params.models else ()
    return (*own, *named)


def _engines(names: Sequence[str], kinds: set[str]) -> tuple[str, ...]:
    """The engines asked for; else all that run one of these kinds of model."""
    from mlcore.benchmarks import engines

    if names:
        for name in names:
            engines.get(name)  # an unknown one is refused, with the nearest names
        return tuple(names)
    return tuple(name for name in engines.names() if kinds & set(engines.get(name).kinds))


def _written(context: JobContext, report: Report) -> None:
    """The artefacts."""
    from mlcore.benchmarks.figures import draw
    from mlcore.benchmarks.report import reference_of, to_csv, to_markdown

    against = reference_of(report)
    for name, text, title in (
        ("benchmark.md", to_markdown(report, against=against), "The matrix for people"),
        ("benchmark.csv", to_csv(report), "A line for each cell"),
    ):
        path = context.folder / name
        path.write_text(text, encoding="utf-8")
        context.artifact(path, kind="numbers", title=title)
    report.save(context.folder / REPORT)
    context.artifact(context.folder / REPORT, kind="numbers", title="Every figure and sample, with machine and versions")
    for path in draw(report, context.folder, against=against):
        context.artifact(path, kind="plot", title={"matrix": "The matrix"}.get(path.stem, path.stem.capitalize()))
