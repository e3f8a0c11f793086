"""Forest to C++: a forest becomes a standalone header, compiled and compared with the library that trained it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlcore.filetypes import FOREST_HOLDERS, FORESTS
from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Note, Result, Table

if TYPE_CHECKING:
    from mlcore.forests import Agreement, ConversionReport

LIBRARIES = {
    "xgboost": "XGBoost", "lightgbm": "LightGBM", "scikit-learn": "scikit-learn", "sklearn": "scikit-learn",
    "catboost": "CatBoost", "tmva": "TMVA", "onnx": "ONNX", "treelite": "treelite",
}  # fmt: skip
KINDS_OF_ARTIFACT = {".hpp": "header", ".zip": "archive", ".cpp": "source", ".txt": "build file", ".md": "readme"}
TITLES = {
    "main.cpp": "Example: reads rows as text, prints predictions",
    "selftest.cpp": "Self-test: compile and run it where the code will live",
    "CMakeLists.txt": "Build file with the self-test",
    "README.md": "How to use the code",
}
THIN = "\u2009"


class ForestToCppParams(Params):
    """Which model, and how the C++ is to look."""

    model: str = file_field(
        title="Model",
        description="A forest of decision trees in any format that is read here",
        kinds=(*FORESTS, *FOREST_HOLDERS),
        side_help='From Python: booster.save_model("model.json") for XGBoost, booster.save_model("model.txt") for LightGBM, '
        'skops.io.dump(model, "model.skops") for scikit-learn. Weights of TMVA, JSON of CatBoost and treelite, ONNX tree '
        "ensembles and ROOT files by SaveXGBoost are read as they are.",
    )
    name: str = Field(
        "forest",
        title="Name",
        description="Of the header and its namespace: a C++ identifier",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$",
    )
    trees: Literal["auto", "all", "best"] = Field(
        "auto",
        title="Trees",
        description="auto does as the library does; best stops at the model's best iteration; all takes every tree",
    )
    rows: int = Field(
        20_000,
        ge=1_000,
        le=500_000,
        title="Rows to compare",
        description="Random rows of each precision, with NaN, infinities and values at and beside each threshold",
    )


class ForestToCpp(JobType[ForestToCppParams]):
    slug = "forest-to-cpp"
    title = "Forest to C++"
    summary = "A forest of decision trees as a C++ header without dependencies, compared with the library that trained it"
    duration = "about 10 s"
    gives = (
        ("name.hpp", "the forest, C++17, no dependency"),
        ("main.cpp, selftest.cpp", "example and self-test"),
        ("CMakeLists.txt", "builds and tests it"),
        ("name.zip", "all of it"),
    )
    phrases = (
        "model c++", "forest c++", "bdt c++", "tree c++", "trees c++", "xgboost c++", "lightgbm c++",
        "tmva c++", "catboost c++", "sklearn c++", "model cpp", "forest cpp", "bdt cpp", "xgboost cpp", "lightgbm cpp",
    )  # fmt: skip
    versions = ("xgboost-cpu", "lightgbm", "scikit-learn", "numpy")
    limits = Limits(memory_bytes=6 * GIB, cpu_seconds=1800, wall_seconds=1800)
    Params = ForestToCppParams

    def name_run(self, params: ForestToCppParams, files: Mapping[str, str]) -> str:
        return f"{next(iter(files.values()), 'model')} to C++"

    def run(self, context: JobContext, params: ForestToCppParams) -> Result:
        from mlcore import forests

        report = forests.convert(
            context.file(params.model),
            context.folder,
            options=forests.CppOptions(name=params.name),
            iterations=params.trees,
            n_probes=params.rows,
            progress=context.progress,
            log=context.log,
        )
        context.artifact(report.archive, kind="archive", title="Everything below as a zip")
        for path in sorted(report.files, key=lambda path: path != report.header):
            title = TITLES.get(path.name, "The forest: include this" if path == report.header else "")
            context.artifact(path, kind=KINDS_OF_ARTIFACT.get(path.suffix, "file"), title=title)
        return _result(report)


def _result(report: ConversionReport) -> Result:
    margins = [item for item in report.agreements if item.quantity.startswith("margin")]
    compared = sum(item.n_values for item in margins)
    identical = sum(item.n_identical for item in margins)
    largest = max((item.max_difference for item in report.agreements), default=0.0)
    library = LIBRARIES.get(report.library.partition(" ")[0].lower(), report.library)
    condition = f"{library} {report.library_microseconds_per_row:.3g} µs, " if report.library_microseconds_per_row else ""
    return Result(
        notes=(
            Note(
                "ok",
                f"The C++ agrees with {report.library}.",
                f"{_count(report.n_inputs)} rows compared, NaN, infinities and values at and beside each threshold among them.",
            ),
        ),
        figures=(
            Figure("Identical margins", f"{100 * identical / max(compared, 1):.4g} %", f"{_count(compared)} values, bit for bit"),
            Figure("Largest difference", f"{largest:.2g}", "of margins and predictions, absolute"),
            Figure(
                "Time per row",
                f"{report.microseconds_per_row:.3g} µs",
                f"{condition}batch, in this run",
            ),
            Figure("Header", _size(report.header_bytes), f"compiles in {report.compile_seconds:.1f} s"),
        ),
        tables=(
            Table(
                "Agreement",
                ("Quantity", "Values", "Identical", "Largest difference", "Allowed"),
                tuple(_agreement_row(item) for item in report.agreements),
                numeric=(1, 2, 3, 4),
            ),
            Table(
                "Model",
                ("What", "Is"),
                (
                    ("Format", report.format),
                    ("Objective", report.objective),
                    ("Booster", report.booster),
                    ("Trees", _count(report.n_trees)),
                    ("Nodes", _count(report.n_nodes)),
                    ("Depth", str(report.depth)),
                    ("Features", _count(report.n_features)),
                    ("Outputs", str(report.n_outputs)),
                    ("Compiler", report.compiler),
                ),
            ),
        ),
    )


def _agreement_row(item: Agreement) -> tuple[str, ...]:
    allowed = f"{item.tolerance:.1e} relative" if item.tolerance else "bit for bit"
    return item.quantity, _count(item.n_values), _count(item.n_identical), f"{item.max_difference:.2g}", allowed


def _count(number: int) -> str:
    return f"{number:,}".replace(",", THIN)


def _size(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"
