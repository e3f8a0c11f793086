"""The command with all its nouns."""

from __future__ import annotations

from typing import Annotated

import typer

from portal.cli import (
    assistant,
    batches,
    benchmark,
    chat,
    corpus,
    evaluate,
    files,
    job,
    mcp,
    models,
    network,
    portal_here,
    run,
    shower_models,
    status,
    token,
)
from portal.cli.errors import DEBUG
from portal.cli.group import new

EXAMPLES = """\b
Examples:
  ml4ep up                                              start the portal on this machine
  ml4ep ask "How do I fit a histogram with two peaks?"  ask the assistant, here in the terminal
  ml4ep run forest-to-cpp --model model.json --out out  a boosted forest as C++, without a server
  ml4ep network check tagger.onnx                       what of a neural network is supported, and what it costs
  ml4ep batches convert events.root --out shards        ROOT files as shuffled shards for training
  ml4ep showers simulate dataset2 --out showers         calorimeter showers by Geant4
  ml4ep job list --remote https://portal.example.org    your jobs on a portal elsewhere
"""

app = new(
    "Machine learning for high-energy physics: a portal with an assistant for ROOT and an ML core, and both without the portal.",
    epilog=EXAMPLES,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        print(f"ml4ep {metadata.version('ml4ep-portal')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the details of an error.")] = False,
) -> None:
    context.find_root().meta[DEBUG] = debug


app.command()(portal_here.up)
app.command("sign-in-link")(portal_here.sign_in_link)
app.command()(status.status)
app.command()(assistant.ask)
app.command()(assistant.retrieve)
app.command()(mcp.mcp)
app.command()(evaluate.evaluate)
app.command()(mcp.mcp)
app.add_typer(run.types, name="run")
app.add_typer(network.app, name="network")
app.add_typer(batches.app, name="batches")
app.add_typer(shower_models.app, name="showers")
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(job.app, name="job")
app.add_typer(files.app, name="files")
app.add_typer(chat.app, name="chat")
app.add_typer(corpus.app, name="corpus")
app.add_typer(models.app, name="models")
app.add_typer(token.app, name="token")
