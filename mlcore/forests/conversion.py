"""From a model file to a verified C++ project.

Load and verify the model, ask its own library for margins and predictions of probing inputs (or the plain NumPy reference, where
no library opens the file), write the project, compile it in the sandbox, run it on the same inputs, compare. Nothing is
handed out that disagrees.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError, ToolchainError, VerificationError
from mlcore.forests.emit import cpp
from mlcore.forests.emit.cpp import CppOptions
from mlcore.forests.forest import Forest, load
from mlcore.forests.frontends import Iterations
from mlcore.forests.ir import FloatName, Link, TreeModel
from mlcore.forests.libraries import Oracle, oracle
from mlcore.forests.probes import probes
from mlcore.toolchain.compiler import Compiler, find_compiler
from mlcore.toolchain.sandbox import Limits, run

FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
_PROGRAMS = ("verify", "selftest", "main")
SELFTEST_ROWS = 64
N_PROBES = 20_000
_MAX_VALUES = 1 << 25  # of probing rows or their margins
_MAX_SELFTEST_VALUES = 1 << 17
_RUN_LIMITS = Limits(cpu_seconds=300, wall_seconds=300)


@dataclass(frozen=True)
class Agreement:
    """How one quantity of the C++ compares with the source library's.

    Attributes
    ----------
    quantity
        For example ``"margin, float32 rows, one by one"``.
    n_values, n_identical
        Numbers compared, and those that are equal bit for bit (zeros of both signs being equal).
    max_difference
        Largest absolute difference.
    tolerance
        What was allowed, relative to ``1 + abs(x)``; 0 asks for bit identity.
    worst_input, worst_expected, worst_found
        The row with the largest difference, and its numbers, as texts.
    """

    quantity: str
    n_values: int
    n_identical: int
    max_difference: float
    tolerance: float
    worst_input: tuple[str, ...]
    worst_expected: str
    worst_found: str


@dataclass(frozen=True)
class ConversionReport:
    """What was converted, into what, and how well it agrees.

    Attributes
    ----------
    library
        What the C++ was held against: the source library and its version, or `mlcore.forests.libraries.REFERENCE`.
    library_microseconds_per_row
        0 where that is no library.
    """

    name: str
    library: str
    compiler: str
    objective: str
    booster: str
    format: str
    n_trees: int
    n_nodes: int
    depth: int
    n_features: int
    n_outputs: int
    n_inputs: int
    agreements: tuple[Agreement, ...]
    header_bytes: int
    compile_seconds: float
    microseconds_per_row: float
    library_microseconds_per_row: float
    header: Path
    archive: Path
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, files by name."""
        values = asdict(self)
        values["header"], values["archive"] = self.header.name, self.archive.name
        values["files"] = [file.name for file in self.files]
        return values


@dataclass(frozen=True, eq=False)
class _Expected:
    """Rows and what the library computes for them."""

    dtype: FloatName
    rows: npt.NDArray[Any]
    margins: npt.NDArray[Any]
    predictions: npt.NDArray[Any]
    exact: npt.NDArray[np.bool_]
    seconds: float


def convert(
    path: Path | object,
    output: Path,
    *,
    options: CppOptions | None = None,
    iterations: Iterations = "auto",
    compiler: Compiler | None = None,
    n_probes: int = N_PROBES,
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    log: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
) -> ConversionReport:
    """Turn a model into a standalone C++ project, verified against the model's own library where that is installed.

    Parameters
    ----------
    path
        The model: whatever `mlcore.forests.load` takes.
    output
        An existing folder. It gets a folder with the project and a zip of it, both by the name in `options`.
    options
        Name and namespace of the C++.
    iterations
        As of `mlcore.forests.load`.
    compiler
        By default the first one found.
    n_probes
        How many rows of each precision are compared, fewer where rows are very wide or the NumPy reference computes them.
    seed
        Of the random rows.
    progress, log
        Told how far the conversion is and what it does.
    cancelled
        Asked while the compiler runs.

    Returns
    -------
    ConversionReport
        With the agreement of each quantity.

    Raises
    ------
    InputError
        The model cannot be read; see `mlcore.forests.load`.
    ToolchainError
        There is no compiler, or it ran into a limit.
    VerificationError
        The C++ disagrees with the library.
    """
    options = options or CppOptions()
    progress(0.02, "Reading the model")
    forest = load(path, iterations=iterations)
    model = forest.model
    log(f"{model.source.library} {model.source.version}, {model.source.objective}: {len(model.trees)} trees")
    cpp.check_size(model)
    compiler = compiler or find_compiler()

    progress(0.1, "Asking the source library for its predictions")
    source = oracle(Path(path) if isinstance(path, str) else path, model)
    expected = [_expect(source, model, dtype, n_probes, seed) for dtype in ("float32", "float64")]
    _check_predictor(forest, expected)

    progress(0.3, "Writing the C++ project")
    references = _references(model, source, next(item for item in expected if item.dtype == model.threshold_dtype))
    contents = cpp.project(model, options, references)
    output = output.resolve()  # what is built runs inside
    folder, build = output / options.name, output / f"{options.name}.build"
    if folder.exists():
        raise InputError(f"there is a {options.name} in the output folder already", hint="Choose an empty folder.")
    folder.mkdir()
    build.mkdir()
    try:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        (build / "verify.cpp").write_text(cpp.verification_program(options), encoding="utf-8")
        progress(0.4, "Compiling")
        log(f"{compiler.version}: {' '.join(FLAGS)}")
        seconds = {}
        for i, program in enumerate(_PROGRAMS):
            place = build if program == "verify" else folder
            outcome = compiler.build(
                [place / f"{program}.cpp"], build / program, flags=FLAGS, include=[folder], cancelled=cancelled
            )
            seconds[program] = outcome.seconds
            log(f"compiled {program} in {outcome.seconds:.1f} s")
            progress(0.4 + 0.15 * (i + 1), "Compiling" if i + 1 < len(_PROGRAMS) else "Comparing with the source library")
        agreements, timings = [], {}
        for item in expected:
            found, timings[item.dtype] = _run_on(build / "verify", build, model, item)
            agreements += _compare(model, item, found)
        for agreement in agreements:
            log(f"{agreement.quantity}: {agreement.n_identical} of {agreement.n_values} identical")
        progress(0.95, "Running the self-test and the example")
        _run_selftest(build / "selftest", build)
        _run_example(build / "main", build, model, references)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # what was not verified is not handed out
        raise
    finally:
        shutil.rmtree(build, ignore_errors=True)
    archive = output / f"{options.name}.zip"
    archive.write_bytes(cpp.archive(contents, options.name))
    progress(1.0, "Done")
    timed = next(item for item in expected if item.dtype == "float32")
    return ConversionReport(
        name=options.name,
        library=source.library,
        compiler=compiler.version,
        objective=model.source.objective,
        booster=model.source.booster,
        format=model.source.format,
        n_trees=len(model.trees),
        n_nodes=model.n_nodes,
        depth=model.depth,
        n_features=model.n_features,
        n_outputs=model.n_outputs,
        n_inputs=sum(len(item.rows) for item in expected),
        agreements=tuple(agreements),
        header_bytes=len(contents[f"{options.name}.hpp"]),
        compile_seconds=seconds["main"],
        microseconds_per_row=1e6 * timings["float32"] / len(timed.rows),
        library_microseconds_per_row=1e6 * timed.seconds / len(timed.rows),
        header=folder / f"{options.name}.hpp",
        archive=archive,
        files=tuple(folder / name for name in sorted(contents)),
    )


def _expect(source: Oracle, model: TreeModel, dtype: FloatName, n_probes: int, seed: int) -> _Expected:
    n_rows = min(n_probes, max(SELFTEST_ROWS, _MAX_VALUES // max(model.n_features, model.n_outputs)))
    n_rows = min(n_rows, max(4, source.most_rows))
    rows = probes(model, dtype=dtype, n_rows=n_rows, seed=seed)
    margins = source.margin(rows).astype(model.sum_dtype)
    predictions = source.predict(rows).astype(model.sum_dtype)
    start = time.perf_counter()
    if source.once is not None:
        source.once(rows)
    seconds = time.perf_counter() - start if source.once is not None else 0.0
    return _Expected(dtype, rows, margins, predictions, source.exact(rows), seconds)


def _check_predictor(forest: Forest, expected: list[_Expected]) -> None:
    """Hold the native predictor against the library too: it tells a wrong reading from wrong C++."""
    for item in expected:
        margins = forest.margin(item.rows).reshape(item.margins.shape)
        for agreement in _compare_margins(forest.model, item, margins, f"native margin, {item.dtype} rows"):
            _require(agreement)


def _tolerances(model: TreeModel, *, exact: bool) -> tuple[float, float]:
    """Of margins and of predictions. Margins of one rounding order are equal; `exp` may differ in its last bits."""
    epsilon = float(np.finfo(model.sum_dtype).eps)
    margin = 0.0 if exact else 2 * epsilon * max(1, len(model.trees))
    if model.link in (Link.IDENTITY, Link.ARGMAX, Link.STEP):
        return margin, margin
    return margin, 8 * epsilon + 2 * margin


def _references(model: TreeModel, source: Oracle, item: _Expected) -> cpp.References:
    n_rows = min(SELFTEST_ROWS, max(4, _MAX_SELFTEST_VALUES // max(model.n_features, model.n_outputs)))
    chosen = np.flatnonzero(item.exact)[:n_rows]
    margin_tolerance, prediction_tolerance = _tolerances(model, exact=True)
    return cpp.References(
        rows=item.rows[chosen],
        margins=item.margins[chosen],
        predictions=item.predictions[chosen],
        margin_tolerance=margin_tolerance,
        prediction_tolerance=prediction_tolerance * 4,  # another machine's C library may round exp otherwise
        library=source.library,
    )


def _run_on(program: Path, build: Path, model: TreeModel, item: _Expected) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """The program's four results for the rows, and the seconds of its batch prediction."""
    rows, out = build / "rows.bin", build / "out.bin"
    rows.write_bytes(np.ascontiguousarray(item.rows).tobytes())
    kind = "float" if item.dtype == "float32" else "double"
    outcome = run([program, kind, rows, out, str(len(item.rows))], cwd=build, writable=[build], limits=_RUN_LIMITS)
    if outcome.reason or outcome.returncode != 0:
        raise VerificationError(
            f"the compiled forest did not run: {outcome.reason or outcome.returncode} {outcome.stderr[-500:]}"
        )
    values = np.fromfile(out, model.sum_dtype)
    n_margins, n_predictions = len(item.rows) * model.n_outputs, len(item.rows) * model.n_predictions
    if len(values) != 2 * (n_margins + n_predictions):
        raise VerificationError("the compiled forest wrote too little")
    parts = np.split(values, np.cumsum([n_margins, n_margins, n_predictions]))
    names = ("margin, one by one", "margin, batch", "prediction, one by one", "prediction, batch")
    return {name: part.reshape(len(item.rows), -1) for name, part in zip(names, parts, strict=True)}, float(outcome.stdout)


def _compare(model: TreeModel, item: _Expected, found: dict[str, npt.NDArray[Any]]) -> list[Agreement]:
    agreements = []
    for name, values in found.items():
        quantity = f"{name}, {item.dtype} rows"
        if name.startswith("margin"):
            agreements += _compare_margins(model, item, values, quantity)
            continue
        _, tolerance = _tolerances(model, exact=bool(item.exact.all()))
        agreements.append(_agreement(quantity, item.rows, item.predictions, values, tolerance))
    for agreement in agreements:
        _require(agreement)
    return agreements


def _compare_margins(model: TreeModel, item: _Expected, values: npt.NDArray[Any], quantity: str) -> list[Agreement]:
    agreements = []
    for exact, suffix in ((True, ""), (False, " with infinities")):
        chosen = item.exact == exact
        if chosen.any():
            tolerance, _ = _tolerances(model, exact=exact)
            wanted = item.margins[chosen]
            agreements.append(_agreement(quantity + suffix, item.rows[chosen], wanted, values[chosen], tolerance))
    return agreements


def _agreement(
    quantity: str, rows: npt.NDArray[Any], wanted: npt.NDArray[Any], found: npt.NDArray[Any], tolerance: float
) -> Agreement:
    same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(same, 0.0, np.abs(wanted.astype(np.float64) - found.astype(np.float64)))
        excess = difference / (1 + np.abs(wanted.astype(np.float64)))
    difference = np.where(np.isnan(difference), np.inf, difference)
    excess = np.where(np.isnan(excess), np.inf, excess)
    worst = np.unravel_index(int(np.argmax(excess)), wanted.shape)
    return Agreement(
        quantity=quantity,
        n_values=wanted.size,
        n_identical=int(same.sum()),
        max_difference=float(difference.max()),
        tolerance=tolerance,
        worst_input=tuple(str(value) for value in rows[worst[0]].tolist()),
        worst_expected=repr(wanted[worst].item()),
        worst_found=repr(found[worst].item()),
    )


def _require(agreement: Agreement) -> None:
    wanted, found = float(agreement.worst_expected), float(agreement.worst_found)
    if agreement.n_identical == agreement.n_values:
        return
    if np.isfinite(agreement.max_difference) and abs(wanted - found) <= agreement.tolerance * (1 + abs(wanted)):
        return
    wrong = agreement.n_values - agreement.n_identical
    raise VerificationError(
        f"{agreement.quantity}: {wrong} of {agreement.n_values} numbers differ from the source library's, "
        f"by up to {agreement.max_difference:.3g} ({found!r} instead of {wanted!r})",
        hint="This is a defect of the conversion, not of the model; please report it with the model.",
    )


def _run_selftest(program: Path, build: Path) -> None:
    outcome = run([program], cwd=build, limits=_RUN_LIMITS)
    if outcome.reason or outcome.returncode != 0:
        raise VerificationError(f"the self-test fails: {outcome.reason or outcome.stdout[-1000:]}")


def _run_example(program: Path, build: Path, model: TreeModel, references: cpp.References) -> None:
    """The example must read rows as text and print the predictions of the self-test."""
    n = min(16, len(references.rows))
    text = "".join(",".join(map(repr, row)) + "\n" for row in references.rows[:n].astype(np.float64).tolist())
    outcome = run([program], cwd=build, limits=_RUN_LIMITS, input=text.encode())
    if outcome.reason or outcome.returncode != 0:
        raise ToolchainError(f"the example fails: {outcome.reason or outcome.stderr[-1000:]}")
    printed = np.array([line.split(",") for line in outcome.stdout.split()], dtype=np.float64).astype(model.sum_dtype)
    _require(
        _agreement(
            "prediction of the example",
            references.rows[:n],
            references.predictions[:n],
            printed,
            references.prediction_tolerance,
        )
    )
