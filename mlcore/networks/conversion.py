"""A model as a C++ project, verified: what `compile_model` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.errors import InputError, RunError, VerificationError
from mlcore.networks.blas import Blas, find_library
from mlcore.networks.build import FAST, MATH_FLAGS, BuildOptions, Math, build
from mlcore.networks.calling import Function
from mlcore.networks.compiler import read
from mlcore.networks.emit import project
from mlcore.networks.emit.cpp import emit
from mlcore.networks.frontends import Shapes, as_onnx
from mlcore.networks.ir import Graph
from mlcore.networks.ir.verify import verify
from mlcore.networks.isolated import CALL_LIMITS, IsolatedFunction
from mlcore.networks.memory_map import MemoryMap
from mlcore.networks.oracle import Agreement, Oracle, agree, chosen_sizes, oracle, random_inputs, size_choices
from mlcore.networks.passes import optimise, pipeline
from mlcore.networks.predictor import given
from mlcore.toolchain.compiler import Compiler, find_compiler
from mlcore.toolchain.sandbox import GIB, Limits, run

SIZES = (3, 7)
"""What symbols are set to in turn when code is verified: the smallest, others are larger by 2 each."""

TIMED_SIZES = (1, 64)
"""What all symbols are set to in turn when code is timed."""

_TIMED_SECONDS = 0.5
_RUN_LIMITS = Limits(memory_bytes=8 * GIB, cpu_seconds=600, wall_seconds=600)


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, one thread: of the generated code in a loop of its own, of the oracle from Python where it is fast."""

    sizes: Mapping[str, int]
    seconds: float
    oracle_seconds: float | None


@dataclass(frozen=True)
class CompileReport:
    """What was compiled, into what, and how well it agrees.

    Attributes
    ----------
    oracle
        What computed the expected outputs; "" where nothing could be compared, which `notes` then says.
    nodes_before, nodes_after
        Of the graph, before and after all passes.
    workspace_bytes
        Memory of a call; None where it depends on sizes of the call.
    memory
        What it is made of, at the sizes that were compared first.
    timings
        Of some sizes, where they were asked for.
    """

    name: str
    compiler: str
    flags: tuple[str, ...]
    oracle: str
    agreements: tuple[Agreement, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes_before: int
    nodes_after: int
    weights_bytes: int
    workspace_bytes: int | None
    memory: MemoryMap
    header_bytes: int
    compile_seconds: float
    timings: tuple[Timing, ...]
    folder: Path
    archive: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, files by name."""
        values = asdict(self)
        values["folder"], values["archive"] = self.folder.name, self.archive.name
        values["files"] = [file.name for file in self.files]
        return values


def compile_model(
    source: Path | str | bytes | Any,
    directory: Path,
    *,
    name: str = "network",
    origin: str = "",
    shapes: Shapes | None = None,
    example: Any = None,
    compiler: Compiler | None = None,
    flags: tuple[str, ...] = FAST,
    math: Math = "standard",
    blas: Blas = "none",
    samples: Mapping[str, Any] | None = None,
    seed: int = 0,
    timed: bool = False,
    limits: Limits = CALL_LIMITS,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    log: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
) -> CompileReport:
    """Turn a model into a standalone C++ project, held against ONNX Runtime or ONNX's reference evaluator.

    Parameters
    ----------
    source
        What `mlcore.networks.load` takes.
    directory
        An existing folder. It gets a folder with the project and a zip of it, both of the given name.
    name
        Of the header and its namespace.
    origin
        Where the model comes from, in words, for the header; by default the file's name.
    shapes, example
        As of `mlcore.networks.load`.
    math
        How free the arithmetic is; what it means for the compiler's options is said in the project.
    blas
        What large matrix products are left to where the code is compared and timed. The project serves all: its CMake options
        ``ML4EP_BLAS`` and ``ML4EP_ONEDNN`` choose.
    samples
        Inputs by name to compare on, besides random ones.
    seed
        Of the random inputs.
    timed
        Whether calls of the compiled code are timed, beside the oracle's.
    limits
        Of the child that runs the compiled code: its memory, and the seconds of each call.
    progress, log
        Told how far it is and what it does.
    cancelled
        Asked while the compiler runs.

    Raises
    ------
    InputError, UnsupportedOperatorError
        The model cannot be read.
    ToolchainError
        There is no compiler, or it ran into a limit; or the library of `blas` is missing.
    RunError
        The compiled code went over a limit.
    VerificationError
        The code disagrees with the oracle.
    """
    project.check_name(name)
    directory = directory.resolve()  # the self-test runs inside
    folder = directory / name
    if folder.exists():
        raise InputError(f"there is a {name} in the output folder already", hint="Choose an empty folder or another name.")
    progress(0.02, "Reading the model")
    model = as_onnx(source, shapes=shapes, example=example)
    graph = read(model, shapes=shapes)
    nodes_before = sum(1 for _ in graph.walk())
    log(f"{nodes_before} nodes")
    optimise(graph, pipeline(strict=math == "strict"))
    verify(graph)
    nodes_after = sum(1 for _ in graph.walk())
    log(f"{nodes_after} nodes after all passes")
    progress(0.1, "Writing C++")
    emitted = emit(graph, name)
    compiler = compiler or find_compiler()
    products = find_library(blas)

    progress(0.2, "Compiling")
    work = directory / f"{name}.build"
    work.mkdir()
    try:
        library, seconds = build([emitted], BuildOptions(flags, compiler, work, timed, math, blas), cancelled=cancelled)
        log(f"{compiler.version}: {' '.join(flags)}: {seconds:.1f} s")
        progress(0.6, "Comparing")
        with closing(IsolatedFunction(library, emitted, limits)) as function:
            held = compared(model, graph, function, samples, seed, log)
            timings = _timed(graph, function, held.oracle, seed, log) if timed else ()
        references = held.references
        contents = project.project(emitted, model=origin or _origin(source), references=references, options=MATH_FLAGS[math])
        folder.mkdir()
        for key, data in contents.items():
            (folder / key).write_bytes(data)
        if references is not None:
            progress(0.8, "Running the self-test")
            _run_selftest(compiler, folder, work, cancelled)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # what was not verified is not handed out
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    progress(0.95, "Packing")
    archive = directory / f"{name}.zip"
    archive.write_bytes(project.archive(contents, name))
    return CompileReport(
        name=name,
        compiler=compiler.version,
        flags=(*flags, *MATH_FLAGS[math], *(products.defines if products else ())),
        oracle=held.oracle.name if held.oracle else "",
        agreements=held.agreements,
        inputs=tuple(f"{port.name}: {port.value.type}" for port in emitted.inputs),
        outputs=tuple(f"{port.name}: {port.value.type}" for port in emitted.outputs),
        nodes_before=nodes_before,
        nodes_after=nodes_after,
        weights_bytes=len(emitted.weights),
        workspace_bytes=emitted.workspace_bytes,
        memory=MemoryMap.of(emitted, chosen_sizes(graph, SIZES[0]) | graph.bounds),
        header_bytes=len(contents[f"{name}.hpp"]),
        compile_seconds=seconds,
        timings=timings,
        folder=folder,
        archive=archive,
        files=tuple(folder / key for key in sorted(contents)),
        notes=held.notes,
    )


def _origin(source: Any) -> str:
    return Path(source).name if isinstance(source, str | Path) else ""


def _model_with_data(source: Any) -> Any:
    import onnx

    if isinstance(source, Path):
        return onnx.load(source)
    return onnx.ModelProto.FromString(source) if isinstance(source, bytes) else source


@dataclass(frozen=True)
class Compared:
    """How well code agrees with an oracle, what a self-test is given, and why something was not compared."""

    agreements: tuple[Agreement, ...] = ()
    references: project.References | None = None
    oracle: Oracle | None = None
    notes: tuple[str, ...] = ()


def compared(
    model: Any,
    graph: Graph,
    function: IsolatedFunction | Function,
    samples: Mapping[str, Any] | None = None,
    seed: int = 0,
    log: Callable[[str], None] = lambda text: None,
) -> Compared:
    """Hold the compiled code against the oracle; and what the self-test gets.

    Raises
    ------
    InputError
        The code refuses what the oracle takes, or the oracle the samples.
    VerificationError
        They disagree.
    """
    emitted = function.emitted
    if not project.can_be_tested(emitted) and samples is None:
        return Compared(notes=("Not compared: texts and sequences need samples.",))
    if any(node.operator.draws for node in graph.walk()):
        why = "Not compared: the network draws random numbers, which differ from implementation to implementation."
        return Compared(notes=(why,))
    try:
        wanted = oracle(_model_with_data(model))
    except InputError as error:
        return Compared(notes=(f"Not compared: {error.message}",))
    names = [port.name for port in emitted.outputs]
    agreements: list[Agreement] = []
    notes: list[str] = []
    references = None
    if project.can_be_tested(emitted):
        for small in SIZES if emitted.sizes else SIZES[:1]:
            tried, refused = [item.sizes for item in agreements], ""
            for sizes in (sizes for sizes in size_choices(graph, small) if sizes not in tried):
                inputs = random_inputs(graph, sizes, seed)
                try:
                    found, expected = _both(function, wanted, inputs)
                except _RefusedError as error:
                    refused = refused or str(error)
                    continue
                agreements += agree(names, found, expected, sizes, graph)
                if references is None:
                    outputs = tuple(np.asarray(item) for item in expected)
                    tolerances = tuple(item.tolerance for item in agreements[: len(names)])
                    references = project.References(tuple(inputs), outputs, sizes, tolerances, wanted.name)
                break
        if not agreements and samples is None:
            notes.append(f"Not compared on random inputs, as {refused} Give samples.")
    if samples is not None:
        inputs = given(emitted, samples)
        try:
            agreements += agree(names, *_both(function, wanted, inputs), {}, graph)
        except _RefusedError as error:
            raise InputError(f"the samples cannot be compared, as {error}", code="network.samples") from None
    for item in agreements:
        log(f"{item.output}: largest difference {item.max_difference:.3g} of {item.n_values} values")
        if not item.holds:
            raise VerificationError(
                f"the output {item.output!r} differs from {wanted.name}'s by up to {item.max_difference:.3g} "
                f"(allowed {item.tolerance * (1 + item.scale):.3g}), at {item.worst}",
                hint="This is a defect of the conversion, not of the model; please report it with the model.",
            )
    return Compared(tuple(agreements), references, wanted if agreements else None, tuple(notes))


class _RefusedError(Exception):
    """Inputs that the oracle does not take; why, in words."""


def _both(function: IsolatedFunction | Function, wanted: Oracle, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """What the code and the oracle compute.

    Raises
    ------
    InputError
        The code refuses what the oracle takes.
    """
    feeds = dict(zip((port.name for port in function.emitted.inputs), inputs, strict=True))
    try:
        expected = wanted.run(feeds)
    except Exception as error:  # oracles raise whatever they like
        raise _RefusedError(f"{wanted.name} refuses them: {' '.join(str(error).split())[:300]}") from None
    return list(function(inputs)), expected


def _timed(
    graph: Graph, function: IsolatedFunction, wanted: Oracle | None, seed: int, log: Callable[[str], None]
) -> tuple[Timing, ...]:
    """Time calls on random inputs, where these can be made; sizes that the network does not take are left out."""
    emitted = function.emitted
    if not project.can_be_tested(emitted):
        return ()
    found = []
    for number in TIMED_SIZES if emitted.sizes else TIMED_SIZES[:1]:
        sizes = {name: min(number, graph.bounds.get(name, number)) for name in chosen_sizes(graph, 1)}
        try:
            inputs = random_inputs(graph, sizes, seed)
            seconds = function.seconds_per_call(inputs, seconds=_TIMED_SECONDS)
        except (InputError, RunError) as error:
            log(f"not timed at {sizes}: {error.message}")
            continue
        beside = None
        if wanted is not None and wanted.is_fast:
            feeds = dict(zip((port.name for port in emitted.inputs), inputs, strict=True))
            beside = wanted.seconds_per_call(feeds, seconds=_TIMED_SECONDS)
        found.append(Timing(sizes, seconds, beside))
    return tuple(found)


def _run_selftest(compiler: Compiler, folder: Path, work: Path, cancelled: Callable[[], bool] | None) -> None:
    """The self-test as a user runs it: plain flags, the header alone."""
    compiler.build(
        [folder / "selftest.cpp"], work / "selftest", flags=("-std=c++17", "-O1"), include=[folder], cancelled=cancelled
    )
    outcome = run([work / "selftest"], cwd=folder, limits=_RUN_LIMITS, readable=[work])
    if outcome.reason or outcome.returncode != 0:
        raise VerificationError(f"the self-test fails: {outcome.reason or (outcome.stdout + outcome.stderr)[-1000:]}")
