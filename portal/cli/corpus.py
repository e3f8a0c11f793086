"""``ml4ep corpus``: what the assistant reads."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from portal.cli import console
from portal.cli.group import new

app = new("What the assistant reads: sources and index.")


@app.command()
def add(
    kind: Annotated[str, typer.Argument(metavar="KIND|PATH", help="A kind of source, or the path of a folder.")],
    location: Annotated[str, typer.Argument(metavar="[LOCATION]", help="What the kind needs: a path, or names.")] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="A name of your choice.")] = "",
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where the files are public.")] = "",
) -> None:
    """Add a source. It is read at the next “ml4ep corpus ingest”.

    A path alone is a folder of Markdown, or a git checkout. ROOT's own sources may be an address, cloned at the next ingest.

    \b
    Examples:
      ml4ep corpus add ~/analysis/docs --name analysis
      ml4ep corpus add root-sources https://github.com/root-project/root.git#v6-36-00-patches
      ml4ep corpus add packages scipy,iminuit --name fitting
    """
    from assistant.corpus import add_source, source_kinds
    from portal import settings

    if not location and kind not in source_kinds() and os.path.isdir(os.path.expanduser(kind)):  # noqa: PTH111, PTH112
        kind, location = "folder", kind
    entry = add_source(settings.INDEX_DIR, kind, location, name=name, url=url)
    console.say(f"Added {entry.name}. Read it: ml4ep corpus ingest")


@app.command("list")
def list_sources(as_json: console.AsJson = False) -> None:
    """List the sources, and the kinds that there are."""
    from assistant.corpus import list_sources as sources
    from assistant.corpus import source_kinds
    from portal import settings

    entries = sources(settings.INDEX_DIR)
    if as_json:
        console.say_json([entry.to_json() for entry in entries])
        return
    console.table(("Name", "Kind", "Location", "Public at"), [(e.name, e.kind, e.location or "-", e.url or "-") for e in entries])
    console.note(f"Kinds: {', '.join(source_kinds())}")


@app.command()
def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="The source.")]) -> None:
    """Take a source off the list; its documents leave the index at the next ingest."""
    from assistant.corpus import remove_source
    from portal import settings

    entry = remove_source(settings.INDEX_DIR, name)
    console.say(f"Removed {entry.name}.")


@app.command()
def ingest(
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Leave out the search by meaning, which takes longer.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is read.")] = False,
) -> None:
    """Bring the index up to date with its sources. What has not changed is not read again.

    Search by words works first, then search by meaning; a running portal notices by itself.
    """
    from assistant.index import BuildOptions, build
    from portal import settings

    processes = max(1, min(os.cpu_count() or 1, 8))
    with console.Bar() as bar:

        def log(text: str) -> None:
            if verbose:
                bar.clear()
                console.note(text)

        status = build(BuildOptions(settings.INDEX_DIR, dense=not words_only, processes=processes), bar, log)
    for source in status.sources:
        if source.problem:
            console.note(f"{source.name} is left out: {source.problem}")
    console.say(f"{status.documents:,} documents, {status.passages:,} passages, {status.dense:.0%} found by meaning")


@app.command()
def stats(as_json: console.AsJson = False) -> None:
    """Say what is in the index."""
    from assistant.index import index_status
    from portal import settings

    status = index_status(settings.INDEX_DIR)
    if as_json:
        console.say_json(status.to_json())
        return
    if not status.lexical:
        console.say("There is no index yet. Build it: ml4ep corpus ingest")
        return
    console.pairs(
        {
            "Documents": f"{status.documents:,}",
            "Passages": f"{status.passages:,}",
            "By meaning": f"{status.dense:.0%} of the passages",
            "Embedder": status.embedder or "-",
            "Built": status.built_at,
        }
    )
    console.say()
    rows = [(s.name, s.kind, s.version or "-", f"{s.documents:,}", f"{s.passages:,}", s.problem) for s in status.sources]
    console.table(("Source", "Kind", "Version", "Documents", "Passages", "Problem"), rows, numeric=(3, 4))
