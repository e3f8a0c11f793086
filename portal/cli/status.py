"""``ml4ep status``: what works, of this machine's portal or another."""

from __future__ import annotations

import typer

from portal.cli import console
from portal.cli.connection import Remote, Token, portal


def status(as_json: console.AsJson = False, remote: Remote = "", token: Token = "") -> None:
    """Say which parts of the portal work, and why not. Exit code 1 where it cannot serve.

    \b
    Examples:
      ml4ep status
      ml4ep status --remote https://portal.example.org --json
    """
    with portal(remote, token) as there:
        found = there.status()
    if as_json:
        console.say_json(found)
    else:
        for part in found["parts"]:
            console.say(f"{'✓' if part['ok'] else '✗' if part['required'] else '!'} {part['name'].ljust(8)} {part['detail']}")
        if not found["serves"]:
            console.note("The portal cannot serve. Start it: ml4ep up")
    if not found["serves"]:
        raise typer.Exit(1)
