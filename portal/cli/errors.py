"""What goes wrong on the command line: a sentence and what to do, on standard error, exit code 1; no traceback unasked."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

DEBUG = "debug"


class CommandError(Exception):
    """A command that cannot be done as asked.

    Parameters
    ----------
    message
        What is wrong.
    hint
        What to do about it.
    problems
        What is wrong with each option, by its name.
    """

    def __init__(self, message: str, *, hint: str = "", problems: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = dict(problems or {})


class Commands(TyperGroup):
    """A group of commands in the order in which they were added, reporting errors in words."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            lines = explain(error)
            if lines is None:
                raise
            if ctx.find_root().meta.get(DEBUG):
                traceback.print_exception(error)
            print("\n".join(lines), file=sys.stderr)
            raise typer.Exit(1) from None


def explain(error: Exception) -> list[str] | None:
    """The lines for an error; None for those that the command-line framework shows itself."""
    if type(error).__module__.startswith("typer"):
        return None
    message = getattr(error, "message", "")
    if isinstance(message, str) and message:
        problems = getattr(error, "problems", None) or {}
        hint = str(getattr(error, "hint", "") or "")
        return [f"ml4ep: {message}", *(f"  {name}: {text}" for name, text in problems.items()), *([f"  {hint}"] if hint else [])]
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError) and error.strerror:
        return [f"ml4ep: {error.filename or 'this machine'}: {error.strerror}"]
    if isinstance(error, OSError):
        return None
    if type(error).__module__.startswith("django.db"):
        return [f"ml4ep: The portal's database cannot be used: {error}", "  Start the portal once on this machine: ml4ep up"]
    return [
        f"ml4ep: Something went wrong in this command: {type(error).__name__}: {error}",
        "  For the details, put --debug right after “ml4ep”.",
    ]
