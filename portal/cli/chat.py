"""``ml4ep chat``: your conversations with the assistant of this machine's portal, or with ``--remote`` of another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from portal.cli import console
from portal.cli.connection import Remote, Token, portal
from portal.cli.errors import CommandError
from portal.cli.group import new

app = new("Your conversations with the assistant.\n\nOf this machine's own portal, or with --remote of another.")

Id = Annotated[str, typer.Argument(metavar="CONVERSATION", help="The conversation's id, or its first characters.")]
ENDINGS = {".md": "markdown", ".ipynb": "notebook"}


@app.command("list")
def list_conversations(
    q: Annotated[str, typer.Argument(metavar="[WORDS]", help="Only those that hold all of these words.")] = "",
    as_json: console.AsJson = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """List your conversations, newest first, or search them.

    \b
    Examples:
      ml4ep chat list
      ml4ep chat list 'RDataFrame "fill a histogram"'
    """
    with portal(remote, token) as there:
        found = list(there.conversations.list(q=q))
    if as_json:
        console.say_json([{name: value for name, value in asdict(each).items() if name != "turns"} for each in found])
    elif found:
        rows = [(each.id[:8], each.updated_at[:10], "yes" if each.share else "", each.title) for each in found]
        console.table(("Chat", "Last", "Shared", "Title"), rows)
    else:
        console.note(
            "No conversation holds all of these words." if q else "There are no conversations. Ask: ml4ep ask --remote URL"
        )


@app.command()
def show(conversation: Id, as_json: console.AsJson = False, remote: Remote = "", token: Token = "") -> None:
    """Print a conversation, as Markdown."""
    with portal(remote, token) as there:
        number = _full(there, conversation)
        if as_json:
            console.say_json(asdict(there.conversations.get(number)))
        else:
            console.say(there.conversations.export(number).rstrip())


@app.command()
def rename(
    conversation: Id,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="The new title.")],
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Give a conversation another title."""
    with portal(remote, token) as there:
        console.say(there.conversations.rename(_full(there, conversation), title).title)


@app.command()
def share(
    conversation: Id,
    end: Annotated[bool, typer.Option("--end", help="End the link.")] = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Print a link by which anybody reads the conversation as it is now.

    Called again, the link shows what came since; --end ends it.
    """
    with portal(remote, token) as there:
        number = _full(there, conversation)
        if end:
            there.conversations.stop_sharing(number)
            console.say("The link does not work any more.")
        else:
            console.say(there.conversations.share(number))


@app.command()
def export(
    conversation: Id,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to: a name that ends in .md or .ipynb.")],
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Write a conversation as Markdown, or as a notebook whose code blocks are cells."""
    kind = ENDINGS.get(out.suffix.lower())
    if kind is None:
        raise CommandError(f"{out.name} ends neither in .md nor in .ipynb.", hint="The ending says which it is to be.")
    with portal(remote, token) as there:
        text = there.conversations.export(_full(there, conversation), "notebook" if kind == "notebook" else "markdown")
    out.write_text(text, encoding="utf-8")
    console.say(str(out))


@app.command()
def delete(conversation: Id, remote: Remote = "", token: Token = "") -> None:
    """Remove a conversation for good, with its answers, feedback and share link."""
    with portal(remote, token) as there:
        there.conversations.delete(_full(there, conversation))
    console.say("Deleted.")


@app.command()
def use(
    days: Annotated[int, typer.Option("--days", min=1, max=366, metavar="N", help="How many days, today among them.")] = 30,
    as_json: console.AsJson = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """What the assistant was used for by everybody, how fast it was, and what it could not answer. For administrators."""
    with portal(remote, token) as there:
        found = there.conversations.use(days)
    if as_json:
        console.say_json(found)
        return
    counts, outcomes = found["counts"], found["outcomes"]
    pairs = {
        "Questions": f"{counts['answer']} of {found['people']} people",
        "Searches": str(counts["search"]),
        "Forum drafts": str(counts["forum"]),
        "Answered": str(outcomes["written"] + outcomes["quoted"]),
        "Without an answer": str(outcomes["abstained"]),
        "Found useful": f"{found['useful']} of {found['useful'] + found['not_useful']} judged",
    }
    if first := found["latency"].get("first_text"):
        pairs["First words"] = f"{console.seconds(first['median'])}, p95 {console.seconds(first['p95'])}"
    if found["cost"]:
        pairs["Cost"] = f"{found['cost']:.2f} {found['currency']}"
    console.pairs(pairs)
    if found["gaps"]:
        console.say()
        rows = [(str(gap["times"]), " ".join(gap["text"].split())[:100]) for gap in found["gaps"]]
        console.table(("Times", "Without an answer"), rows, numeric=(0,))


def _full(there: Any, conversation: str) -> str:
    """The whole id of a conversation that is named by its first characters."""
    if len(conversation) >= 32:
        return conversation
    found = [each for each in there.conversations.list() if each.id.startswith(conversation.lower())]
    if not found:
        raise CommandError(f"No conversation's id begins with {conversation!r}.", hint="List them: ml4ep chat list")
    if len(found) > 1:
        raise CommandError(f"{len(found)} conversations' ids begin with {conversation!r}.", hint="Give more of the id.")
    return str(found[0].id)
