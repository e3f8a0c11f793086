"""``ml4ep network``: neural networks as ONNX files, on this machine: look into them, check, run and compile them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from portal.cli import console
from portal.cli.errors import CommandError
from portal.cli.group import new

app = new(
    "Neural networks (ONNX): inspect, check, run, compile to C++.\n\nOn this machine; neither a server nor a database is needed.",
    epilog="""\b
Examples:
  ml4ep network check tagger.onnx                        supported? fused? at what cost?
  ml4ep network run tagger.onnx events.npz -o out.npz    as the C++ would compute it
  ml4ep network compile tagger.onnx --out cpp            C++ and weights, compared with ONNX Runtime
""",
)

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.", show_default=False)]
ShapeTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        "-s",
        metavar="TEXT",
        help="Shape of an input instead of the model's, such as “x: batch, 3, 32, 32”: a name is a size that each call chooses, "
        "n<=128 one with a bound, which fixes the memory of a call. "
        "Once for each input.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of random numbers.")]


@app.command()
def inspect(model: Model, as_json: console.AsJson = False) -> None:
    """Show inputs, outputs, operators, parameters.

    Nothing is run, and it need not be supported.

    \b
    Example:
      ml4ep network inspect tagger.onnx
    """
    from mlcore.inspection import inspect as look

    path = _model(model)
    with console.Bar() as bar:
        bar(0.1, "Reading the model")
        found = look(path, "onnx")
    if as_json:
        console.say_json({key: value for key, value in found.to_json().items() if key != "graph"})
        return
    from portal.cli.results import show_result
    from portal.jobs.types.inspect_file import summary

    show_result(summary(found).to_json())


@app.command()
def check(model: Model, shape: ShapeTexts = None, as_json: console.AsJson = False) -> None:
    """Say what is supported, fused, and at what cost.

    Every node that is not supported is named, with what to do about it. The exit code is 1 where there are such.

    \b
    Examples:
      ml4ep network check tagger.onnx
      ml4ep network check tagger.onnx --shape "particles: n, 7"
    """
    from mlcore import networks
    from mlcore.shapes import parse_shapes

    path, shapes = _model(model), parse_shapes("\n".join(shape or ()))
    with console.Bar() as bar:
        bar(0.1, "Reading the model")
        found = networks.check(path, shapes=shapes)
    if as_json:
        console.say_json(found.to_json())
    else:
        from portal.cli.results import show_result
        from portal.jobs.types.network_check import summary

        show_result(summary(found).to_json())
    if not found.supported:
        raise typer.Exit(1)


@app.command("compile")
def compile_network(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the folder and the zip go.", show_default="this folder")
    ] = Path(),
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of header and namespace; default: the file's.", show_default=False)
    ] = "",
    shape: ShapeTexts = None,
    target: Annotated[
        Literal["native", "avx512", "avx2", "portable"],
        typer.Option("--target", help="Machine that the comparison compiles for; the code itself serves all."),
    ] = "native",
    math: Annotated[
        Literal["strict", "standard", "fast"],
        typer.Option(
            "--math",
            help="strict: every number as the model says; standard: the same in every run; fast: the compiler may round.",
        ),
    ] = "standard",
    blas: Annotated[
        Literal["none", "openblas", "onednn"],
        typer.Option("--blas", help="Library of large matrix products in the comparison; the code itself has options for it."),
    ] = "none",
    samples: Annotated[
        Path | None,
        typer.Option("--samples", metavar="FILE", help="Inputs to compare on besides random ones: .npz, or .npy of one input."),
    ] = None,
    seed: Seed = 0,
    timed: Annotated[bool, typer.Option("--time", help="Measure the time of a call, beside ONNX Runtime's.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is done.")] = False,
    as_json: console.AsJson = False,
) -> None:
    """Write C++ that needs nothing but a compiler.

    A header and a file of weights, with example, self-test, C functions and a CMake file. They are handed out only where the
    compiled code agrees with ONNX Runtime.

    \b
    Examples:
      ml4ep network compile tagger.onnx
      ml4ep network compile tagger.onnx --name tagger --shape "particles: n, 7" --out cpp
    """
    from mlcore import networks
    from mlcore.errors import UnsupportedOperatorError
    from mlcore.networks.arrays import read_arrays
    from mlcore.networks.build import flags_for
    from mlcore.shapes import parse_shapes

    path, shapes, flags = _model(model), parse_shapes("\n".join(shape or ())), flags_for(target)
    name = name or _name_of(path)
    for made in (out / name, out / f"{name}.zip"):
        if made.exists():
            raise CommandError(f"{made} is there already.", hint="Give another folder with --out, or another --name.")
    given = read_arrays(samples, _input_names(path, shapes)) if samples is not None else None
    out.mkdir(parents=True, exist_ok=True)
    with console.Bar() as bar:

        def log(text: str) -> None:
            if verbose:
                bar.clear()
                console.note(text)

        try:
            report = networks.compile_model(
                path,
                out,
                name=name,
                shapes=shapes,
                flags=flags,
                math=math,
                blas=blas,
                samples=given,
                seed=seed,
                timed=timed,
                progress=bar,
                log=log,
            )
        except UnsupportedOperatorError as error:
            hint = f"{error.hint} All that is not supported: ml4ep network check {model}".strip()
            raise CommandError(error.message, hint=hint) from error
    if as_json:
        console.say_json(report.to_json() | {"folder": str(out / name), "archive": str(out / f"{name}.zip")})
        return
    from portal.cli.results import show_result
    from portal.jobs.types.network_to_cpp import summary

    show_result(summary(report).to_json())
    console.say()
    console.paragraph(f"In {out / name}: {', '.join(file.name for file in report.files)}. As a zip: {out / name}.zip.")


@app.command()
def run(
    model: Model,
    inputs: Annotated[
        Path | None,
        typer.Argument(
            metavar="[INPUTS]", help="A .npz with an array for each input by its name, or a .npy of one.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where the outputs go: .npz, or .npy of one.", show_default=False),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Take random inputs.")] = False,
    size: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="NAME=N", help="With --random: a size that the model leaves open."),
    ] = None,
    shape: ShapeTexts = None,
    seed: Seed = 0,
    as_json: console.AsJson = False,
) -> None:
    """Run a network on arrays, or random numbers.

    What runs is the C++ that is made of it, compiled here, in a child process with limits, so that a stranger's model
    can do no harm.

    \b
    Examples:
      python -c "import numpy as np; np.savez('events.npz', particles=np.zeros((20, 7), 'float32'))"
      ml4ep network run tagger.onnx events.npz --out scores.npz
      ml4ep network run tagger.onnx --random --size n=20
    """
    from contextlib import closing

    from mlcore import networks
    from mlcore.networks.arrays import write_arrays
    from mlcore.shapes import parse_shapes

    if random == (inputs is not None):
        raise CommandError(
            "Give either a file of inputs or --random.", hint='Save one: numpy.savez("inputs.npz", x=x), by the inputs\' names.'
        )
    if size and not random:
        raise CommandError("--size goes with --random.", hint="The arrays of a file have their own sizes.")
    if out is not None and out.suffix not in (".npz", ".npy"):
        raise CommandError(f"{out} is no .npz.", hint="Outputs are kept as NumPy arrays by name: --out outputs.npz")
    path, shapes = _model(model), parse_shapes("\n".join(shape or ()))
    arrays = _arrays(path, shapes, inputs, size or [], seed)
    with console.Bar() as bar:
        bar(0.1, "Compiling")
        network = networks.load(path, shapes=shapes, isolate=True)
        with closing(network):
            bar(0.8, "Running")
            outputs = network.run(arrays)
    if out is not None:
        write_arrays(out, outputs)
    if as_json:
        shown = {key: _described(value) for key, value in outputs.items()}
        console.say_json({"outputs": shown, "out": str(out) if out else None})
        return
    rows = [(key, kind, form, text) for key, (kind, form, text) in ((key, _in_words(value)) for key, value in outputs.items())]
    console.table(("Output", "Type", "Shape", "Values"), rows)
    if out is not None:
        console.note(f"Written to {out}.")


def _model(path: Path) -> Path:
    """The file of a model; what would run code when it is loaded is refused."""
    from mlcore import filetypes

    if not path.is_file():
        raise CommandError(f"There is no file {path}.", hint="Give the path of an ONNX file.")
    filetypes.refuse(path)
    return path


def _name_of(path: Path) -> str:
    """A namespace from a file's name: letters, digits, single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "network"


def _input_names(path: Path, shapes: Any) -> list[str]:
    from mlcore.networks.compiler import read

    return [value.name for value in read(path, shapes=shapes).inputs]


def _arrays(path: Path, shapes: Any, inputs: Path | None, sizes: list[str], seed: int) -> dict[str, Any]:
    """Inputs by name: those of a file, or random ones."""
    from mlcore.networks.arrays import read_arrays
    from mlcore.networks.compiler import read
    from mlcore.networks.oracle import random_inputs
    from mlcore.networks.profiling import chosen
    from mlcore.shapes import parse_sizes

    graph = read(path, shapes=shapes)
    names = [value.name for value in graph.inputs]
    if inputs is not None:
        return dict(read_arrays(inputs, names))
    return dict(zip(names, random_inputs(graph, chosen(graph, parse_sizes(",".join(sizes))), seed), strict=True))


def _described(value: Any) -> Any:
    """An output for programs: without its numbers, which are for --out."""
    import numpy as np

    if isinstance(value, list):
        return [_described(item) for item in value]
    return {"type": str(value.dtype), "shape": list(value.shape)} if isinstance(value, np.ndarray) else None


def _in_words(value: Any) -> tuple[str, str, str]:
    """Type, shape and the first values of an output."""
    import numpy as np

    if isinstance(value, list):
        return "sequence", f"{len(value)} items", ", ".join(str(getattr(item, "shape", item)) for item in value[:6])
    if not isinstance(value, np.ndarray):
        return "nothing", "", ""
    text = " ".join(f"{item:.6g}" if value.dtype.kind == "f" else str(item) for item in value.reshape(-1)[:6])
    kind = "text" if value.dtype == np.object_ else str(value.dtype)
    return kind, " × ".join(map(str, value.shape)) or "scalar", f"{text}{' …' if value.size > 6 else ''}"
