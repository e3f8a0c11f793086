"""``ml4ep benchmark``: engines on models, here; what is installed; what a report says; two reports compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from portal.cli import console
from portal.cli.errors import Commands
from portal.cli.group import new

Report = Annotated[Path, typer.Argument(metavar="REPORT", help="A benchmark.json, as a run writes it.", show_default=False)]
Against = Annotated[str, typer.Option("--against", metavar="ENGINE", help="What ratios are taken to.")]
Environments = Annotated[
    Path | None,
    typer.Option("--environments", metavar="FOLDER", help="Environments of Python, one for each engine that has one."),
]


class BenchmarkCommands(Commands):
    """The commands of this file, and ``run``, whose options are those of the job."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["run", *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name != "run":
            return super().get_command(ctx, cmd_name)
        from portal.cli.run import command
        from portal.jobs import registry

        return command(registry.get("benchmark"))


app = new(
    "Benchmarks: every engine on a model.\n\nTime and memory side by side, on this machine; answers are checked first.",
    cls=BenchmarkCommands,
    epilog="""\b
Examples:
  ml4ep benchmark run --files tagger.onnx --out figures      every engine on a model of yours
  ml4ep benchmark run --models all --quick --out figures     a look at the whole zoo
  ml4ep benchmark engines                                    what is installed here?
  ml4ep benchmark show figures/benchmark.json --against own_avx2
  ml4ep benchmark compare before/benchmark.json figures/benchmark.json
""",
)


@app.command()
def engines(environments: Environments = None, as_json: console.AsJson = False) -> None:
    """List the engines: what is installed, and how to install the others.

    \b
    Example:
      ml4ep benchmark engines
    """
    import tempfile
    from dataclasses import asdict

    from mlcore.benchmarks import matrix
    from mlcore.benchmarks.engines import get, names

    site = matrix.Site(Path(tempfile.gettempdir()), environments)
    found = [matrix.engine_facts(name, site) for name in names()]
    if as_json:
        console.say_json([asdict(each) | {"kinds": list(get(each.name).kinds)} for each in found])
        return
    rows = [(each.name, each.title, " ".join(get(each.name).kinds), each.version or each.absent) for each in found]
    console.table(("name", "engine", "runs", "version"), rows)


@app.command()
def install(
    names: Annotated[list[str], typer.Argument(metavar="ENGINE...", help="Names of engines, or all.", show_default=False)],
    environments: Annotated[Path, typer.Option("--environments", metavar="FOLDER", help="Where they go.", show_default=False)],
) -> None:
    """Install engines that the portal's environment has no place for, each in a folder of its own.

    A portal finds them where ML4EP_BENCHMARK_ENGINES names the folder; so does `ml4ep benchmark run`.

    \b
    Example:
      ml4ep benchmark install xla sofie openvino --environments engines
    """
    from mlcore.benchmarks import environments as making
    from mlcore.benchmarks.engines import get
    from mlcore.benchmarks.engines import names as known
    from mlcore.errors import ToolchainError

    if names != ["all"]:
        for name in names:
            console.say(str(making.install(get(name), environments)))
        return
    for name in (each for each in known() if get(each).requirements):
        console.note(f"{get(name).title} ...")
        try:
            console.say(str(making.install(get(name), environments)))
        except ToolchainError as error:  # the matrix has the reason, and the others go on
            console.note(error.message)


@app.command()
def models(as_json: console.AsJson = False) -> None:
    """List the models that can be measured without a file.

    \b
    Example:
      ml4ep benchmark models
    """
    from mlcore.benchmarks.matrix import subjects

    found = subjects()
    if as_json:
        console.say_json([{"name": each.name, "kind": each.kind} for each in found])
        return
    console.table(("name", "kind"), [(each.name, each.kind) for each in found])


@app.command()
def show(report: Report, against: Against = "", as_json: console.AsJson = False) -> None:
    """Print a report: the matrix, advice in words, and why figures are missing.

    \b
    Example:
      ml4ep benchmark show figures/benchmark.json
    """
    from mlcore.benchmarks.report import Report as Read
    from mlcore.benchmarks.report import reference_of, to_markdown
    from mlcore.errors import DataError

    found = Read.load(report)
    if as_json:
        console.say_json(found.to_json())
        return
    known = [engine.name for engine in found.engines]
    if against and against not in known:
        raise DataError.missing("engine", against, known, where="the report")
    console.say(to_markdown(found, against=against or reference_of(found)))


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A benchmark.json.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="A later one.", show_default=False)],
    as_json: console.AsJson = False,
) -> None:
    """Compare two reports cell by cell: what became faster or slower by more than chance.

    \b
    Example:
      ml4ep benchmark compare before/benchmark.json figures/benchmark.json
    """
    from mlcore.benchmarks import comparing
    from mlcore.benchmarks.report import Report as Read

    later = Read.load(after)
    found = comparing.compare(Read.load(before), later)
    if as_json:
        console.say_json(found.to_json())
        return
    console.say(comparing.to_markdown(found, later))
