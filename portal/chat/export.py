"""A conversation as a file: Markdown to read, or a notebook whose code can be run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from urllib.parse import urljoin

from django.conf import settings
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.token import Token

from portal.chat import code
from portal.chat.models import Conversation, Turn, TurnState

Format = Literal["markdown", "notebook"]

ENDINGS: Mapping[str, tuple[str, str]] = {
    "markdown": (".md", "text/markdown; charset=utf-8"),
    "notebook": (".ipynb", "application/x-ipynb+json; charset=utf-8"),
}
"""Of each format, how its files end and what they are called in a response."""

PYTHON = {"py", "python", "python3", "pyroot"}
CPP = {"c++", "cc", "cpp", "cxx", "c"}
SHELL = {"bash", "sh", "shell"}

_CODE = re.compile(
    r"(?ms)^ {0,12}(?P<f>`{3,}|~{3,}).*?(?:^ {0,12}(?P=f)[`~]*[ \t]*$|\Z)|(?P<s>(?<!`)`+(?!`)).*?(?<!`)(?P=s)(?!`)"
)
_CITATION = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\](?!\()")
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_FUNCTION = re.compile(
    r"(?m)^(?!\s)(?!(?:if|for|while|switch|return|else|do)\b)[\w:<>,*&\s]+?\b[\w:~]+\s*\([^;{}]*\)\s*(?:const\s*)?\{"
)
_TYPE = re.compile(r"(?m)^(?:class|struct|enum|namespace|template)\b")


def file_name(conversation: Conversation, kind: str) -> str:
    """What the file is called."""
    return (slugify(conversation.title)[:60].strip("-") or "conversation") + ENDINGS[kind][0]


def export(conversation: Conversation, turns: Iterable[Turn], kind: str) -> str:
    """The conversation in one of the formats of `ENDINGS`."""
    return markdown(conversation, turns) if kind == "markdown" else notebook(conversation, turns)


# --- Markdown -----------------------------------------------------------------------------------------------------------------


def markdown(conversation: Conversation, turns: Iterable[Turn]) -> str:
    """Questions as headings, answers with their citations as links, what came of their code, and the sources under each."""
    parts = [f"# {_plain(conversation.title)}", f"*{_about(conversation)}*"]
    for turn in turns:
        parts += [_question(turn), *_answer(turn), *_closing(turn)]
    return "\n\n".join(parts) + "\n"


def _about(conversation: Conversation) -> str:
    return f"A conversation with the assistant of the ML4EP Portal, {conversation.created_at:%-d %B %Y}."


def _question(turn: Turn) -> str:
    """The question as a heading, and in full where it has more than one line."""
    from portal.chat.services import title_of

    heading = f"## {_plain(title_of(turn.question))}"
    if "\n" not in turn.question and len(turn.question) <= len(title_of(turn.question)):
        return heading
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", turn.question)), default=0))
    return f"{heading}\n\n{fence}text\n{turn.question}\n{fence}"


def _answer(turn: Turn) -> list[str]:
    return [linked(_labelled(turn), addresses(turn)).strip()] if turn.text.strip() else []


def _labelled(turn: Turn) -> str:
    """The answer, with a line under each block of code that could be run."""
    labels = code.labels(turn)
    lines = turn.text.splitlines(keepends=True)
    for number, token in reversed(list(_blocks(turn.text))):
        start, end = token.map or (0, 0)
        closed = end - start > 1 and lines[end - 1].strip().startswith(token.markup)
        if number in labels and closed:
            lines[start:end] = ["".join(lines[start:end]).rstrip("\n"), f"\n\n{labels[number]}\n\n"]
    return "".join(lines)


def _blocks(text: str) -> Iterator[tuple[int, Token]]:
    """The fenced blocks outside of lists and quotations, with their numbers among all blocks of code, from 1."""
    blocks = (token for token in _parser().parse(text) if token.type in ("fence", "code_block"))
    for number, token in enumerate(blocks, 1):
        if token.type == "fence" and not token.level and token.map is not None:
            yield number, token


def _closing(turn: Turn) -> list[str]:
    """What there is to say of the answer, and what it cites."""
    notes = []
    if turn.state == TurnState.FAILED:
        notes.append(f"It was not answered: {turn.error}")
    elif turn.state == TurnState.STOPPED:
        notes.append("The answer was stopped before its end.")
    elif turn.open:
        notes.append("The answer was still being written.")
    elif turn.answer.get("extractive"):
        notes.append("Quoted from the passages, not written by a language model.")
    elif turn.answer.get("provider"):
        notes.append(f"Written by {turn.answer['provider']}.")
    parts = [f"*{_plain(note)}*" for note in notes]
    if listed := _sources(turn):
        parts.append("**Sources**\n\n" + "\n".join(listed))
    return parts


def _sources(turn: Turn) -> list[str]:
    cited = set(turn.answer.get("citations", ()))
    links = addresses(turn)
    rows = []
    for passage in turn.passages or ():
        if passage["n"] in cited:
            title, url = _plain(str(passage["title"])), links.get(passage["n"], "")
            place = str(passage["place"] or passage["source"]).replace("`", "")
            rows.append(f"- \\[{passage['n']}\\] {f'[{title}](<{url}>)' if url else title}, `{place}`")
    return rows


def addresses(turn: Turn) -> dict[int, str]:
    """Of each passage, its public page, else this portal's own; empty where neither can be a link."""
    found = {}
    for passage in turn.passages or ():
        url = str(passage["url"])
        url = urljoin(settings.PUBLIC_URL, url) if url.startswith("/") else url
        found[int(passage["n"])] = url if re.fullmatch(r"https?://[^\s<>]+", url) else ""
    return found


def linked(text: str, links: Mapping[int, str]) -> str:
    """Markdown with its citations as links, and what looks like HTML as text; code stays as it is."""
    parts, done = [], 0
    for found in _CODE.finditer(text):
        parts += [_prose(text[done : found.start()], links), found[0]]
        done = found.end()
    return "".join([*parts, _prose(text[done:], links)])


def _prose(text: str, links: Mapping[int, str]) -> str:
    def cite(found: re.Match[str]) -> str:
        numbers = [int(number) for number in re.findall(r"\d+", found[1])]
        if not all(number in links for number in numbers):
            return found[0]
        return "".join(f"[\\[{n}\\]](<{links[n]}>)" if links[n] else f"\\[{n}\\]" for n in numbers)

    return _CITATION.sub(cite, _TAG.sub("&lt;", text))


def _plain(text: str) -> str:
    """Text on one line that Markdown leaves alone."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


# --- notebook -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A part of an answer: prose, or a block of code in some language."""

    text: str
    language: str | None = None
    number: int = 0
    """Of a block: its place among the blocks, from 1."""


def pieces(text: str) -> Iterator[Piece]:
    """An answer's prose and its code blocks, in order. A block within a list or quotation belongs to the prose."""
    lines = text.splitlines(keepends=True)
    done = 0
    for number, token in _blocks(text):
        start, end = token.map or (0, 0)
        if before := "".join(lines[done:start]).strip():
            yield Piece(before)
        yield Piece(token.content.rstrip("\n"), (token.info.split() or [""])[0].lower(), number)
        done = end
    if rest := "".join(lines[done:]).strip():
        yield Piece(rest)


def notebook(conversation: Conversation, turns: Iterable[Turn]) -> str:
    """A Jupyter notebook: text as Markdown cells, code blocks as cells to run; C++ runs by ROOT's `%%cpp`."""
    import nbformat
    from nbformat.v4 import new_notebook

    turns = list(turns)
    cells = [("markdown", f"# {_plain(conversation.title)}\n\n*{_about(conversation)}*", f"c{conversation.pk.hex[:8]}-0")]
    needs_root = False
    for turn in turns:
        for number, (kind, source) in enumerate(_cells(turn)):
            needs_root = needs_root or (kind == "code" and source.startswith("%%cpp"))
            cells.append((kind, source, f"{turn.anchor}-{number}"))
    if needs_root:
        cells.insert(1, ("code", "import ROOT  # gives the notebook its %%cpp cells", f"c{conversation.pk.hex[:8]}-1"))
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "title": conversation.title,
    }
    made = new_notebook(cells=[_cell(*each) for each in cells], metadata=metadata)
    nbformat.validate(made)
    return str(nbformat.writes(made, version=4)) + "\n"


def _cell(kind: str, source: str, name: str) -> Any:
    from nbformat.v4 import new_code_cell, new_markdown_cell

    return (new_code_cell if kind == "code" else new_markdown_cell)(source, id=name)


def _cells(turn: Turn) -> Iterator[tuple[str, str]]:
    yield "markdown", _question(turn)
    links, labels = addresses(turn), code.labels(turn)
    prose: list[str] = []
    for piece in pieces(turn.text):
        runnable = None if piece.language is None else _runnable(piece.text, piece.language)
        if piece.language is None:
            prose.append(linked(piece.text, links))
        elif runnable is None:
            prose.append(_fenced(piece))
        else:
            if prose:
                yield "markdown", "\n\n".join(prose)
                prose = []
            yield "code", runnable
        if piece.number in labels:
            prose.append(labels[piece.number])
    prose += _closing(turn)
    if prose:
        yield "markdown", "\n\n".join(prose)


def _runnable(text: str, language: str) -> str | None:
    """A block as a cell's source; None where it is not code that a notebook runs."""
    if not text.strip():
        return None
    if language in PYTHON:
        return text
    if language in CPP:
        # Definitions are declared to the interpreter; statements are run by it.
        return f"%%cpp{' -d' if _FUNCTION.search(text) or _TYPE.search(text) else ''}\n{text}"
    return f"%%bash\n{text}" if language in SHELL else None


def _fenced(piece: Piece) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", piece.text)), default=0))
    return f"{fence}{piece.language}\n{piece.text}\n{fence}"


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "maxNesting": 20})


def turns_of(conversation: Conversation) -> Sequence[Turn]:
    """The turns that a file holds, oldest first."""
    return list(conversation.turns.order_by("created_at"))
