"""``ml4ep files``: the library of this machine's portal, or with ``--remote`` of another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from portal.cli import console
from portal.cli.connection import Remote, Token, portal
from portal.cli.errors import CommandError
from portal.cli.group import new

app = new("Files in a portal's library.\n\nOf this machine's own portal, or with --remote of another.")

Id = Annotated[str, typer.Argument(metavar="FILE", help="The file's id, or its first characters.")]


@app.command("list")
def list_files(
    q: Annotated[str, typer.Option("--name", metavar="TEXT", help="Only files with this in their name.")] = "",
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="Only of this kind, for example root.")] = "",
    as_json: console.AsJson = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """List your files, newest first."""
    with portal(remote, token) as there:
        found = list(there.files.list(kind=kind or None, q=q or None))
    if as_json:
        console.say_json([asdict(each) for each in found])
    elif found:
        rows = [(each.id[:8], each.name, each.kind_title, console.size(each.size), each.created_at[:10]) for each in found]
        console.table(("File", "Name", "Kind", "Size", "Uploaded"), rows, numeric=(3,))
    else:
        console.note("There are no files. Upload one: ml4ep files upload PATH")


@app.command()
def upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files of this machine.")],
    as_json: console.AsJson = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Upload files and print their ids.

    \b
    Example:
      ml4ep files upload events.root model.json --remote https://portal.example.org
    """
    with portal(remote, token) as there:
        found = []
        for path in paths:
            with console.Bar() as bar:
                found.append(there.files.upload(path, progress=bar))
    if as_json:
        console.say_json([asdict(each) for each in found])
        return
    for each in found:
        console.say(f"{each.id}  {each.name}  {each.kind_title}")


@app.command()
def inspect(file: Id, as_json: console.AsJson = False, remote: Remote = "", token: Token = "") -> None:
    """Show what is in a file."""
    from portal.cli.results import show_result

    with portal(remote, token) as there:
        found = there.files.get(_full(there, file))
        if remote:
            found = there.files.inspect(found)
    if as_json:
        console.say_json(asdict(found))
        return
    console.pairs({"Name": found.name, "Kind": found.kind_title, "Size": console.size(found.size), "sha256": found.sha256})
    inspection = found.inspection
    console.say()
    if inspection is None:
        console.say("Files of this kind are not inspected.")
    elif inspection["state"] == "SUCCEEDED":
        show_result(inspection["result"])
    elif inspection["error"]:
        console.paragraph(f"It could not be read: {inspection['error']['message']} {inspection['error']['hint']}".rstrip())
    else:
        console.say("It has not been inspected yet; the portal's worker does that.")


@app.command()
def download(
    file: Id,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Where to; default: its own name in this folder.", show_default=False),
    ] = None,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Download a file, checked by sha256. A download that broke off goes on."""
    with portal(remote, token) as there, console.Bar() as bar:
        path = there.files.download(_full(there, file), out, progress=bar)
    console.say(str(path))


@app.command()
def delete(file: Id, remote: Remote = "", token: Token = "") -> None:
    """Remove a file. Jobs that used it keep their results."""
    with portal(remote, token) as there:
        there.files.delete(_full(there, file))
    console.say("Deleted.")


def _full(there: Any, file: str) -> str:
    """The whole id of a file that is named by its first characters."""
    if len(file) >= 32:
        return file
    found = [each for each in there.files.list() if each.id.startswith(file.lower())]
    if not found:
        raise CommandError(f"No file's id begins with {file!r}.", hint="List them: ml4ep files list")
    if len(found) > 1:
        raise CommandError(f"{len(found)} files' ids begin with {file!r}.", hint="Give more of the id.")
    return str(found[0].id)
