"""The command with all its nouns."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from portal.cli import run
from portal.cli.errors import DEBUG, Commands

EXAMPLES = """\b
Examples:
  ml4ep up                                              start the portal on this machine
  ml4ep ask "How do I fit a histogram with two peaks?"  ask the assistant, here in the terminal
  ml4ep run forest-to-cpp --model model.json --out out  a boosted forest as C++, without a server
  ml4ep run forest-to-cpp --model model.json --remote https://portal.example.org
"""


def new(help: str, **kwargs: Any) -> typer.Typer:  # noqa: A002 - as typer calls it
    """A group of commands."""
    return typer.Typer(
        help=help, cls=Commands, rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, **kwargs
    )


app = new(
    "Machine learning for high-energy physics: a portal with an assistant for ROOT and an ML core, and both without the portal.",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
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


types = typer.Typer(
    cls=run.JobTypeCommands, rich_markup_mode=None, no_args_is_help=True, add_completion=False, help="Run a job type on this machine, or with --remote on a portal."
)


@types.callback()
def _types() -> None:
    pass


app.add_typer(types, name="run")
