"""Network to C++: an ONNX, PyTorch or Keras model becomes a C++ header with a file of weights, compiled and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from mlcore.errors import InputError
from mlcore.filetypes import NETWORKS
from mlcore.shapes import parse_shapes
from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import plots
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Note, Plot, Result, Table

if TYPE_CHECKING:
    from mlcore.networks import CheckReport, CompileReport, Profile
    from mlcore.networks.conversion import Timing

KINDS_OF_ARTIFACT = {
    ".hpp": "header", ".h": "header", ".weights": "weights", ".zip": "archive", ".cpp": "source", ".txt": "build file",
    ".md": "readme",
}  # fmt: skip
TITLES = {
    "README.md": "How to use the code",
    "main.cpp": "Example: one call",
    "selftest.cpp": "Self-test: compile and run it where the code will live",
    "selftest.bin": "Inputs and outputs of the self-test",
    "CMakeLists.txt": "Build file with the self-test",
}
THIN = "\u2009"
MOST_BARS = 15
MOST_OF_ONE_SIZE = 24 * 2**20  # bytes of a file that is offered by itself; larger ones are in the zip
SHAPES_FIELD = Field(
    "",
    title="Shapes",
    description="Of inputs, instead of the model's, one a line: x: batch, 3, 32, 32",
    max_length=4000,
    json_schema_extra={
        "format": "lines",
        "x-help": "Only where the model leaves sizes open or you want others. A number makes the size fixed, which is faster; a "
        "name makes it an argument of each call, such as the number of particles of an event; n<=128 also fixes the "
        "memory of a call.",
    },
)


def onnx_file(context: JobContext, path: Path) -> Path:
    """A file of a network as ONNX: itself, or what it was converted to, which becomes an artefact."""
    from mlcore.networks.frontends import as_onnx

    model = as_onnx(path)
    if isinstance(model, Path):
        return model
    converted = context.folder / f"{path.stem}.onnx"
    converted.write_bytes(model)
    context.artifact(converted, kind="model", title="The network as ONNX")
    return converted


def checked_shapes(text: str) -> str:
    """A text of shapes that can be read, for a form."""
    try:
        parse_shapes(text)
    except InputError as error:
        raise ValueError(f"{error.message[:1].upper()}{error.message[1:]}. {error.hint}".strip()) from error
    return text


class NetworkToCppParams(Params):
    """Which model, with which sizes, for which machine."""

    model: str = file_field(
        title="Model",
        description="A neural network as an ONNX file, PyTorch's .pt2 or Keras' .keras",
        kinds=NETWORKS,
        side_help='From PyTorch: torch.export.save(torch.export.export(model.eval(), (example,)), "model.pt2"). '
        'From Keras: model.save("model.keras"), not .h5. An ONNX file has to hold its weights '
        "(torch.onnx.export(…, external_data=False)).",
    )
    name: str = Field(
        "network",
        title="Name",
        description="Of the header and its namespace: small letters, digits and single underscores",
        pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
        max_length=64,
    )
    shapes: str = SHAPES_FIELD
    target: Literal["native", "avx512", "avx2", "portable"] = Field(
        "native",
        title="Machine",
        description="What the code is compiled for here, to be compared and timed; the code itself serves all",
    )
    math: Literal["strict", "standard", "fast"] = Field(
        "standard",
        title="Arithmetic",
        description="strict: every number as the model says, slower where networks convolve; "
        "standard: the same results in every run; fast: the compiler may round otherwise",
    )
    blas: Literal["none", "openblas", "onednn"] = Field(
        "none",
        title="Matrix products",
        description="none: the code's own kernels; else large ones go to that library, here and where the code is compiled so",
    )
    samples: str | None = file_field(
        title="Samples",
        description="Inputs to compare on besides random ones, a .npz with an array for each input",
        kinds=("numpy",),
        optional=True,
    )
    profile: bool = Field(True, title="Time each operator", description="Compiles the network once more, with clocks in it")

    _shapes = field_validator("shapes")(checked_shapes)


class NetworkToCpp(JobType[NetworkToCppParams]):
    slug = "network-to-cpp"
    title = "Network to C++"
    summary = "A neural network (ONNX, PyTorch, Keras) as C++ header and weights without dependencies, compared with ONNX Runtime"
    duration = "about 30 s"
    gives = (
        ("name.hpp, name.weights", "the network, C++17, no dependency"),
        ("main.cpp, selftest.cpp", "example and self-test"),
        ("CMakeLists.txt", "builds and tests it"),
        ("name.zip", "all of it"),
    )
    phrases = (
        "model c++", "model cpp", "network c++", "network cpp", "net c++", "net cpp", "onnx c++", "onnx cpp", "neural c++",
        "neural cpp", "mlp c++", "cnn c++", "transformer c++", "tagger c++", "sofie c++", "pytorch c++", "keras c++",
        "compile network", "compile onnx", "convert onnx",
    )  # fmt: skip
    versions = ("onnx", "onnxruntime", "numpy")
    limits = Limits(memory_bytes=8 * GIB, cpu_seconds=3600, wall_seconds=2400)
    Params = NetworkToCppParams

    def name_run(self, params: NetworkToCppParams, files: Mapping[str, str]) -> str:
        return f"{files.get(params.model) or next(iter(files.values()), 'network')} to C++"

    def run(self, context: JobContext, params: NetworkToCppParams) -> Result:
        from mlcore import networks
        from mlcore.networks.arrays import read_arrays
        from mlcore.networks.build import BuildOptions, flags_for

        path, shapes, flags = context.file(params.model), parse_shapes(params.shapes), flags_for(params.target)
        context.progress(0.0, "Checking the model")
        path = onnx_file(context, path)
        found = networks.check(path, shapes=shapes)
        refuse(found)
        samples = read_arrays(context.file(params.samples), [name for name, _ in found.inputs]) if params.samples else None
        report = networks.compile_model(
            path,
            context.folder,
            name=params.name,
            origin=context.name(params.model),
            shapes=shapes,
            flags=flags,
            math=params.math,
            blas=params.blas,
            samples=samples,
            timed=True,
            progress=lambda fraction, text: context.progress(0.05 + (0.65 if params.profile else 0.95) * fraction, text),
            log=context.log,
        )
        profile = None
        if params.profile:
            context.progress(0.72, "Timing each operator")
            cache = context.folder / "profile.build"
            options = BuildOptions(flags, cache=cache, math=params.math, blas=params.blas)
            try:
                profile = networks.profile(path, shapes=shapes, inputs=samples, options=options)
            except InputError as error:  # what is compiled is right all the same
                context.log(f"Not timed operator by operator: {error.message}")
        context.progress(1.0, "Done")
        context.artifact(report.archive, kind="archive", title="Everything below as a zip")
        first = {
            f"{params.name}.hpp": "The network: include this",
            f"{params.name}.weights": "Its weights, to lie beside the program",
        }
        titles = {
            **first,
            **TITLES,
            f"{params.name}_c.cpp": "C functions, for other languages",
            f"{params.name}.h": "Their header",
        }
        titles[f"{params.name}_weights.cpp"] = "The weights as a part of the program, instead of the file"
        for file in sorted(report.files, key=lambda file: list(titles).index(file.name) if file.name in titles else len(titles)):
            if file.stat().st_size <= MOST_OF_ONE_SIZE:
                context.artifact(file, kind=KINDS_OF_ARTIFACT.get(file.suffix, "file"), title=titles.get(file.name, ""))
        return summary(report, profile)


def refuse(found: CheckReport) -> None:
    """Fail with the reason where a model cannot be translated.

    Raises
    ------
    UnsupportedOperatorError
        It has operators that are not supported: the first, and how many more.
    InputError
        Anything else.
    """
    from mlcore.errors import UnsupportedOperatorError

    if found.unsupported:
        first, more = found.unsupported[0], len(found.unsupported) - 1
        others = (
            f" {more} more {'node is' if more == 1 else 'nodes are'} not supported: “Check a network” lists all." if more else ""
        )
        raise UnsupportedOperatorError(first.operator, first.opset, first.node, first.why, hint=f"{first.hint}{others}")
    if found.problem is not None:
        raise InputError(
            found.problem.message, hint=found.problem.hint or "“Check a network” says more.", code=found.problem.code
        )


def summary(report: CompileReport, profile: Profile | None = None) -> Result:
    """What the job shows, and the command line."""
    worst = max(
        report.agreements, key=lambda item: item.max_difference / (item.tolerance * (1 + item.scale) or 1e-300), default=None
    )
    notes = []
    if report.oracle:
        values = sum(item.n_values for item in report.agreements)
        notes.append(Note("ok", f"The C++ agrees with {report.oracle}.", f"{count(values)} values compared on random inputs."))
    notes += [Note("warn", "The C++ was not compared.", text) for text in report.notes]
    figures = []
    if worst is not None:
        allowed = worst.tolerance * (1 + worst.scale)
        figures.append(Figure("Largest difference", f"{worst.max_difference:.2g}", f"absolute, allowed {allowed:.1e}"))
    if report.timings:
        last = report.timings[-1]
        beside = f"ONNX Runtime {duration(last.oracle_seconds)} from Python; " if last.oracle_seconds else ""
        figures.append(
            Figure(
                "Time per call",
                duration(last.seconds),
                f"{beside}{', '.join(filter(None, (sizes_text(last.sizes), '1 thread', 'in this run')))}",
            )
        )
    workspace = size(report.workspace_bytes) if report.workspace_bytes is not None else size(report.memory.bytes)
    figures += [
        Figure("Weights", size(report.weights_bytes), "in a file that is mapped"),
        Figure(
            "Memory of a call", workspace, sizes_text(report.memory.sizes) if report.workspace_bytes is None else "of each thread"
        ),
        Figure("Header", size(report.header_bytes), f"compiles in {report.compile_seconds:.1f} s"),
    ]
    return Result(
        notes=tuple(notes),
        figures=tuple(figures),
        plots=(*_memory_plot(report), *_time_plot(profile)),
        tables=(
            *_agreement_table(report),
            *_time_table(report),
            *_node_table(profile),
            Table(
                "Network",
                ("What", "Is"),
                (
                    *((f"Input {name}", kind) for name, _, kind in (text.rpartition(": ") for text in report.inputs)),
                    *((f"Output {name}", kind) for name, _, kind in (text.rpartition(": ") for text in report.outputs)),
                    ("Nodes", f"{count(report.nodes_before)}, after all passes {count(report.nodes_after)}"),
                    ("Compiler", report.compiler),
                    ("Flags", " ".join(report.flags)),
                ),
            ),
        ),
    )


def _agreement_table(report: CompileReport) -> tuple[Table, ...]:
    rows = tuple(
        (
            item.output,
            sizes_text(item.sizes) or "—",
            count(item.n_values),
            f"{item.max_difference:.2g}",
            f"{item.tolerance * (1 + item.scale):.1e}" if item.tolerance else "none",
            item.worst or "—",
        )
        for item in report.agreements
    )
    columns = ("Output", "Sizes", "Values", "Largest difference", "Allowed", "Worst element")
    note = "Allowed is what rounding may sum up to along the longest way through the network, in another order of the sums."
    return (Table("Agreement", columns, rows, numeric=(2, 3, 4), note=note),) if rows else ()


def _time_table(report: CompileReport) -> tuple[Table, ...]:
    rows = tuple(
        (
            sizes_text(item.sizes) or "as in the model",
            duration(item.seconds),
            duration(item.oracle_seconds) if item.oracle_seconds else "—",
            _ratio(item),
        )
        for item in report.timings
    )
    note = (
        "Medians, one thread, in this run. The C++ is called in a loop of its own, ONNX Runtime from Python, which adds a few µs."
    )
    return (
        (Table("Time per call", ("Sizes", "C++", "ONNX Runtime", "The C++ is"), rows, numeric=(1, 2, 3), note=note),)
        if rows
        else ()
    )


def _ratio(timing: Timing) -> str:
    if not timing.oracle_seconds:
        return "—"
    ratio = timing.oracle_seconds / timing.seconds
    return f"{ratio:.3g} × faster" if ratio >= 1 else f"{1 / ratio:.3g} × slower"


def _memory_plot(report: CompileReport) -> tuple[Plot, ...]:
    svg = report.memory.svg()
    return (Plot("Memory of a call", svg, report.memory.caption),) if svg else ()


def node_label(kind: str, name: str, made_of: tuple[str, ...]) -> str:
    """A node in a few words."""
    joined = f" + {', '.join(made_of)}" if made_of and kind != "fused::Elementwise" else ""
    shown = ", ".join(made_of) if made_of and kind == "fused::Elementwise" else kind.removeprefix("fused::")
    return f"{shown}{joined}: {name}" if name else f"{shown}{joined}"


def _time_plot(profile: Profile | None) -> tuple[Plot, ...]:
    if profile is None or not profile.nodes:
        return ()
    slowest = sorted(profile.nodes, key=lambda node: -node.seconds)[:MOST_BARS]
    labels = [node_label(node.kind, node.name, node.made_of) for node in slowest]
    values = [1e6 * node.seconds for node in slowest]
    svg = plots.bars(
        labels, [("median", values)], x_title="time per call [µs]", label=f"Time by operator: {labels[0]} takes most", unit=" µs"
    )
    left_out = f"The {len(slowest)} slowest of {count(len(profile.nodes))} nodes. " if len(profile.nodes) > len(slowest) else ""
    sizes = f"{sizes_text(profile.sizes)}. " if profile.sizes else ""
    caption = f"{left_out}{sizes}Medians of {count(profile.n_calls)} calls; the clock adds about 20 ns to each node."
    return (Plot("Time by operator", svg, caption),)


def _node_table(profile: Profile | None) -> tuple[Table, ...]:
    if profile is None or not profile.nodes:
        return ()
    total = sum(node.seconds for node in profile.nodes) or 1.0
    rows = tuple(
        (kind.removeprefix("fused::"), count(number), duration(seconds), f"{100 * seconds / total:.3g} %")
        for kind, (number, seconds) in profile.by_kind().items()
    )
    return (Table("Time by kind of operator", ("Operator", "Nodes", "Time", "Share"), rows, numeric=(1, 2, 3)),)


def sizes_text(sizes: Mapping[str, int]) -> str:
    """Numbers of symbols: ``batch = 64``."""
    return ", ".join(f"{name} = {number}" for name, number in sizes.items())


def duration(seconds: float | None) -> str:
    """A time as people read it."""
    if seconds is None:
        return "—"
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def count(number: int) -> str:
    """With thin spaces between thousands."""
    return f"{number:,}".replace(",", THIN)


def size(number: int) -> str:
    """Bytes as people read them."""
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB" if number >= 1e3 else f"{number} bytes"
