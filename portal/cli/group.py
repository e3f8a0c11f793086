"""How groups of commands are made."""

from __future__ import annotations

from typing import Any

import typer

from portal.cli.errors import Commands

HELP = {"help_option_names": ["-h", "--help"]}


def new(text: str, **kwargs: Any) -> typer.Typer:
    """A group of commands under ``text``, its help in plain type: the coloured kind takes longer to load than to read."""
    return typer.Typer(
        help=text,
        cls=kwargs.pop("cls", Commands),
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=HELP,
        **kwargs,
    )
