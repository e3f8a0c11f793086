"""Magics for notebooks: ``%load_ext portal.client``, then ``%ml4ep`` and ``%%ml4ep``.

::

    %ml4ep connect https://portal.example.org

    %%ml4ep ask
    How do I fill a TH1D from an RDataFrame?

    %%ml4ep submit forest-to-cpp --out higgs
    model = @model.json
    name = higgs
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.display import HTML, display

from portal.client import display as html
from portal.client.assistant import Done, Text
from portal.client.handles import JobHandle
from portal.client.models import JobType, Turn
from portal.client.portal import Portal
from portal.client.progress import in_notebook

REDRAW_SECONDS = 0.2
ADDRESS, TOKEN = "ML4EP_REMOTE", "ML4EP_TOKEN"
USAGE = """\
%ml4ep connect URL           use this portal; the token comes from ML4EP_TOKEN, or is asked for
%ml4ep types                 list the kinds of job
%ml4ep type TYPE             show the parameters of one
%ml4ep job ID                wait for a job, and show it
%%ml4ep ask                  ask the question below
%%ml4ep submit TYPE          submit a job with the parameters below, NAME = VALUE, and wait for it"""


class Parser(argparse.ArgumentParser):
    """Its errors are messages without a traceback."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}\n\n{USAGE}")


def parser() -> Parser:
    """What can be written behind ``%ml4ep``."""
    top = Parser(prog="%ml4ep", add_help=False)
    verbs = top.add_subparsers(dest="verb", required=True, parser_class=Parser)

    def verb(name: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, add_help=False)

    connect = verb("connect")
    connect.add_argument("url", nargs="?", default="")
    verb("types")
    verb("type").add_argument("type")
    job = verb("job")
    job.add_argument("id")
    ask = verb("ask")
    ask.add_argument("-k", type=int, default=0, help="how many passages")
    ask.add_argument("--follow", action="store_true", help="go on with the conversation of the last question")
    ask.add_argument("--no-model", action="store_true", help="the best passages are the answer")
    submit = verb("submit")
    submit.add_argument("type")
    submit.add_argument("--title", default="")
    submit.add_argument("--no-wait", action="store_true", help="do not wait until the job has ended")
    for each in (job, submit):
        each.add_argument("--out", default="", metavar="FOLDER", help="download the artefacts there")
    for each in (connect, job, ask, submit):
        each.add_argument("-o", "--output", default="", metavar="NAME", help="a variable that is to hold it")
    return top


@magics_class
class PortalMagics(Magics):  # type: ignore[misc]  # IPython has no types here
    """``%ml4ep`` and ``%%ml4ep``."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.portal: Portal | None = None
        self.conversation: str | None = None

    @line_cell_magic  # type: ignore[untyped-decorator]  # nor here
    def ml4ep(self, line: str, cell: str | None = None) -> Any:
        """Ask the portal, and submit jobs; ``%ml4ep`` alone says how."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"{error}\n\n{USAGE}") from error
        if not words:
            print(USAGE)
            return None
        given = parser().parse_args(words)
        return getattr(self, f"_{given.verb}")(given, cell or "")

    def _connect(self, given: argparse.Namespace, cell: str) -> None:
        url = given.url or os.environ.get(ADDRESS, "")
        if not url:
            raise UsageError(f"Which portal? Write %ml4ep connect https://…, or set {ADDRESS}.")
        token = os.environ.get(TOKEN) or getpass.getpass(f"Your token for {url} (from the account page there): ")
        portal = Portal(url, token)
        who = portal.me()["username"]
        self.leave()
        self.portal = portal
        self._keep(given, portal)
        print(f"Connected to {portal.url} as {who}.")

    def _types(self, given: argparse.Namespace, cell: str) -> None:
        rows = [(each.slug, each.duration, each.summary) for each in self._there().job_types()]
        self._show(html.table_html(("Type", "Takes", "What"), rows), "\n".join(f"{row[0]}: {row[2]}" for row in rows))

    def _type(self, given: argparse.Namespace, cell: str) -> JobType:
        found = {each.slug: each for each in self._there().job_types()}
        if given.type not in found:
            raise UsageError(f"There is no type {given.type!r}. There are: {', '.join(found)}")
        return found[given.type]

    def _job(self, given: argparse.Namespace, cell: str) -> JobHandle:
        return self._ended(self._there().job(given.id), given)

    def _submit(self, given: argparse.Namespace, cell: str) -> JobHandle:
        there = self._there()
        schemas = {each.slug: each.params.get("properties", {}) for each in there.job_types()}
        job = there.submit(given.type, self._parameters(cell, schemas.get(given.type, {})), title=given.title)
        if given.no_wait:
            self._keep(given, job)
            return job
        return self._ended(job, given)

    def _ended(self, job: JobHandle, given: argparse.Namespace) -> JobHandle:
        self._keep(given, job)
        job.wait()
        if given.out:
            job.download(given.out)
        return job

    def _ask(self, given: argparse.Namespace, cell: str) -> None:
        question = cell.strip()
        if not question:
            raise UsageError("Write the question into the lines below %%ml4ep ask.")
        there = self._there()
        conversation = self.conversation if given.follow else None
        answer = there.ask(question, conversation=conversation, k=given.k, use_model=not given.no_model)
        handle: Any = display(HTML(""), display_id=True) if in_notebook() else None
        drawn = 0.0
        for event in answer:
            if isinstance(event, Text) and handle is None:
                print(event.added, end="", flush=True)
            elif isinstance(event, Text) and time.monotonic() - drawn > REDRAW_SECONDS:
                drawn = time.monotonic()
                handle.update(HTML(html.answer_html(event.text)))
            elif isinstance(event, Done):
                self._answered(event.turn, handle, there.url)
                self._keep(given, event.turn)

    def _answered(self, turn: Turn, handle: Any, base: str) -> None:
        self.conversation = turn.conversation
        if handle is None:
            print()
        else:
            handle.update(HTML(html.turn_html(turn, base)))

    def _there(self) -> Portal:
        if self.portal is None:
            named = [each for each in self.shell.user_ns.values() if isinstance(each, Portal)]
            if len({id(each) for each in named}) == 1:
                return named[0]
            self._connect(argparse.Namespace(url="", output=""), "")
        if self.portal is None:
            raise UsageError("There is no portal; write %ml4ep connect https://…")
        return self.portal

    def _parameters(self, cell: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """``NAME = VALUE`` a line; a line that begins with a space goes on with the value above it."""
        texts: dict[str, str] = {}
        name = ""
        for line in cell.splitlines():
            if name and line[:1].isspace() and line.strip():
                texts[name] = f"{texts[name]}\n{line.strip()}" if texts[name] else line.strip()
            elif line.strip() and not line.lstrip().startswith("#"):
                name, equals, value = (part.strip() for part in line.partition("="))
                if not equals or not name.replace("-", "_").isidentifier():
                    raise UsageError(f"{line.strip()!r} is no parameter; write NAME = VALUE.")
                name = name.replace("-", "_")
                texts[name] = value
        return {name: self._value(name, text, schema.get(name, {}).get("type", "")) for name, text in texts.items()}

    def _value(self, name: str, text: str, kind: str) -> Any:
        """``@PATH`` is a file to upload, ``$NAME`` a variable; else what the parameter's type makes of the text."""
        if kind == "array" and not text.startswith("["):
            values = [self._value(name, part.strip(), "") for part in text.split(",") if part.strip()]
            return values[0] if len(values) == 1 and isinstance(values[0], list | tuple) else values
        if text.startswith("@"):
            path = Path(text[1:]).expanduser()
            if not path.is_file():
                raise UsageError(f"{name}: there is no file {text[1:]!r}.")
            return path
        if text.startswith("$"):
            if text[1:] not in self.shell.user_ns:
                raise UsageError(f"{name}: there is no variable {text[1:]!r}.")
            return self.shell.user_ns[text[1:]]
        if kind == "string":
            return text
        try:
            return json.loads(text)
        except ValueError:
            return text

    def _keep(self, given: argparse.Namespace, value: Any) -> None:
        if given.output:
            self.shell.user_ns[given.output] = value

    def _show(self, page: str, text: str) -> None:
        if in_notebook():
            display(HTML(page))
        else:
            print(text)

    def leave(self) -> None:
        """Close the connection."""
        if self.portal is not None:
            self.portal.close()
        self.portal, self.conversation = None, None
