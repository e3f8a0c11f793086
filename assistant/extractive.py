"""Answers without a language model: the pieces of the best passages that fit the question, quoted, with code shown as code."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from assistant.excerpts import Excerpt, excerpts, python_or_cpp
from assistant.index.tokens import tokenize
from assistant.passages import Passage

_TITLE_CHARACTERS = 110
_CONSIDERED = 8  # passages further down are not worth reading for the lead
# How much a kind of passage is worth besides what it says, and a place further up, in words of the question: a namespace's
# page only lists names, a tutorial shows the thing done.
_TELLING = {"namespace": -2}
_EXAMPLE = {"tutorial": 2}
_PLACE = 0.25


@dataclass(frozen=True, slots=True)
class Block:
    """One passage's part of an extractive answer.

    Attributes
    ----------
    number
        The passage's number, from 1.
    text
        Markdown: a line that names the passage and cites it, then what it says.
    fit
        How many of the question's words are in what is shown.
    has_example
        Whether code that uses something is among it, not just a signature.
    """

    number: int
    text: str
    fit: int
    has_example: bool


def blocks(
    question: str, passages: Sequence[Passage], *, limit: int = 3, prose_characters: int = 420, code_lines: int = 20
) -> tuple[Block, ...]:
    """The parts of an extractive answer, best passage first.

    Parameters
    ----------
    limit
        How many passages to show at most; those that say nothing about the question are left out where others do.
    prose_characters, code_lines
        How much of each to show.
    """
    wanted = set(tokenize(question))
    made = [_block(number, passage, wanted, prose_characters, code_lines) for number, passage in enumerate(passages, 1)]
    telling = [block for block in made if block.fit > 0]
    return tuple((telling or made)[:limit])


def lead(question: str, passages: Sequence[Passage]) -> tuple[Block, ...]:
    """What is worth saying before a language model says anything: the passage that tells most, and the best example."""
    found = blocks(question, passages, limit=_CONSIDERED, prose_characters=280, code_lines=12)

    def worth(block: Block, bonus: dict[str, int]) -> float:
        return block.fit + bonus.get(passages[block.number - 1].kind, 0) - _PLACE * block.number

    examples = [block for block in found if block.has_example and block.fit > 1]
    telling = max(found, key=lambda block: worth(block, _TELLING), default=None)
    example = max(examples, key=lambda block: worth(block, _TELLING | _EXAMPLE), default=None)
    chosen = {block.number: block for block in (telling, example) if block is not None}
    return tuple(chosen.values())


def links(passages: Sequence[Passage]) -> str:
    """A Markdown list of the passages' pages, each with its citation."""
    return "\n".join(f"- {_title(passage)} [{number}]" for number, passage in enumerate(passages, 1))


def quote(text: str) -> str:
    """A passage's prose as Markdown that shows it and does nothing: no tag, image, link, or number that looks like a citation."""
    plain = re.sub(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s[^()]*)?\)", r"\1", text)
    plain = re.sub(r"\[(\^?[\d,;\s–-]+)\]", r"(\1)", plain)
    plain = plain.replace("![", "[").replace("```", "'''")
    return html.escape(plain, quote=False)


def _block(number: int, passage: Passage, wanted: set[str], prose_characters: int, code_lines: int) -> Block:
    found = excerpts(passage, wanted)
    found = tuple(part for part in found if part.fit) or found
    prose = _best((part for part in found if part.kind == "prose"), prose_characters, lambda part: sum(map(len, part.lines)) + 1)
    code = _best((part for part in found if part.kind != "prose"), code_lines, lambda part: len(part.lines) + 1)
    parts = [f"**{_title(passage)}** [{number}]"]
    if prose:
        parts.append("\n".join("> " + quote(" ".join(line)) for line in _joined(prose)))
    if code:
        lines = _stacked(code)
        ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", "\n".join(lines))), default=0))
        parts.append("\n".join([ticks + python_or_cpp(passage, lines), *lines, ticks]))
    told = frozenset[str]().union(*(part.told for part in (*prose, *code)))
    return Block(number, "\n\n".join(parts), len(told), any(part.kind == "code" for part in code))


def _best(parts: Iterable[Excerpt], room: int, size: Callable[[Excerpt], int]) -> list[Excerpt]:
    """The excerpts that fit the question best, in their own order, as many as there is room for."""
    numbered = list(enumerate(parts))
    ranked = sorted(numbered, key=lambda pair: (-pair[1].fit, pair[0]))
    best = ranked[0][1].fit if ranked else 0
    chosen: list[tuple[int, Excerpt]] = []
    for place, part in ranked:
        if 3 * part.fit < best:  # says far less about the question than the best one does
            break
        if size(part) <= room:
            chosen.append((place, part))
            room -= size(part)
        elif not chosen:
            chosen.append((place, _cut(part, room)))
            break
    return [part for _, part in sorted(chosen, key=lambda pair: pair[0])]


def _cut(part: Excerpt, room: int) -> Excerpt:
    if part.kind == "prose":
        return Excerpt(part.kind, (" ".join(part.lines)[:room].rsplit(" ", 1)[0] + " ...",), part.told)
    return Excerpt(part.kind, (*part.lines[:room], "..."), part.told)


def _stacked(code: Sequence[Excerpt]) -> list[str]:
    """Pieces of code with a line between them; signatures without a comment stand close."""
    lines: list[str] = []
    for before, part in zip([None, *code], code, strict=False):
        close = before is None or (before.kind == part.kind == "signature" and len(before.lines) == len(part.lines) == 1)
        lines += part.lines if close else ("", *part.lines)
    return lines


def _joined(prose: Sequence[Excerpt]) -> list[list[str]]:
    """Sentences run on; items of a list stay apart."""
    lines: list[list[str]] = []
    for part in prose:
        text = " ".join(part.lines)
        text += "" if text.endswith((".", "!", "?", ":", "...", ")")) else " ..."  # cut off in the passage
        if lines and not re.match(r"[-*+]\s|\d+\.\s", text) and not re.match(r"[-*+]\s|\d+\.\s", lines[-1][0]):
            lines[-1].append(text)
        else:
            lines.append([text])
    return lines


def _title(passage: Passage) -> str:
    title = " ".join(passage.title.split()) or passage.source
    if len(title) > _TITLE_CHARACTERS:
        title = title[:_TITLE_CHARACTERS].rsplit(" ", 1)[0] + " ..."
    title = quote(title).replace("[", "(").replace("]", ")").replace("*", "")
    address = re.sub(r"[\s()<>]", "", passage.url)
    return f"[{title}]({address})" if address.startswith(("https://", "http://", "/")) else title
