"""Answers without a language model: the lines of the best passages that fit the question, quoted, with the code shown as code."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.index.tokens import tokenize
from assistant.passages import Passage

_CODE_LINE = re.compile(
    r"""^\s*(?:\#\s*include\b|//|(?:import|from|def|class|for|while|if|else|return|with|auto|const|void|int|double|float|using|namespace
        |template)\b.*[:;({})]\s*$|[}\])]+[;,)]*\s*$|>>>\s|\$\s|@\w+)|[;{}]\s*(?://.*)?$|^\s*[\w.:>\[\]-]+\s*=[^=].*[)\]\w"']\s*$
        |^\s*[\w.]+(?:->|\.|::)\w+\(.*\)\s*$""",
    re.VERBOSE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"(])")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_PYTHON = re.compile(r"^\s*(?:import |from \w|def |>>> |print\(|with .*:$)|\bROOT\.\w", re.MULTILINE)
_CPP_SUFFIXES = (".C", ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".hxx")


@dataclass(frozen=True, slots=True)
class Block:
    """One passage's part of an extractive answer.

    Attributes
    ----------
    number
        The passage's number, from 1.
    text
        Markdown: a line that names the passage and cites it, then its lines.
    has_code
        Whether code is among them.
    """

    number: int
    text: str
    has_code: bool


def blocks(
    question: str, passages: Sequence[Passage], *, limit: int = 3, prose_characters: int = 420, code_lines: int = 24
) -> tuple[Block, ...]:
    """The parts of an extractive answer, best passage first.

    Parameters
    ----------
    limit
        How many passages to show at most.
    prose_characters, code_lines
        How much of each to show.
    """
    wanted = set(tokenize(question))
    made = (_block(number, passage, wanted, prose_characters, code_lines) for number, passage in enumerate(passages, 1))
    return tuple(block for block in made if block is not None)[:limit]


def lead(question: str, passages: Sequence[Passage]) -> tuple[Block, ...]:
    """What is worth saying before a language model says anything: the best passage, and the first one that shows code."""
    found = blocks(question, passages, limit=5, prose_characters=280, code_lines=14)
    first_code = next((block for block in found if block.has_code), None)
    chosen = {block.number: block for block in (*found[:1], first_code) if block is not None}
    return tuple(chosen.values())


def links(passages: Sequence[Passage]) -> str:
    """A Markdown list of the passages' pages, each with its citation."""
    return "\n".join(f"- {_title(passage)} [{number}]" for number, passage in enumerate(passages, 1))


def quote(text: str) -> str:
    """A passage's prose as Markdown that shows it and does nothing: no tags, no images, no numbers that look like citations."""
    plain = re.sub(r"\[(\^?[\d,;\s–-]+)\]", r"(\1)", text)
    plain = plain.replace("![", "[").replace("`" * 3, "'" * 3)
    return html.escape(plain, quote=False)


def _block(number: int, passage: Passage, wanted: set[str], prose_characters: int, code_lines: int) -> Block | None:
    prose, code = _split(passage)
    parts = [f"**{_title(passage)}** [{number}]"]
    if said := _best_sentences(prose, wanted, prose_characters):
        parts.append("> " + quote(said))
    shown = _best_lines(code, wanted, code_lines)
    if shown:
        ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", "\n".join(shown))), default=0))
        parts.append("\n".join([ticks + _language(passage, code), *shown, ticks]))
    return Block(number, "\n\n".join(parts), bool(shown)) if len(parts) > 1 else None


def _title(passage: Passage) -> str:
    title = quote(" ".join(passage.title.split()) or passage.source).replace("[", "(").replace("]", ")")
    address = re.sub(r"[\s()<>]", "", passage.url)
    return f"[{title}]({address})" if address.startswith(("https://", "http://", "/")) else title


def _split(passage: Passage) -> tuple[list[str], list[str]]:
    """The passage's paragraphs of prose and its lines of code."""
    prose: list[str] = [""]
    code: list[str] = []
    fenced = False
    for line in passage.text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif fenced or _CODE_LINE.search(line) or (line.startswith("    ") and code):
            code.append(line.rstrip())
        elif line.strip() in {"", "...", "…"}:
            prose.append("")
            if code and code[-1]:
                code.append("")
        else:
            prose[-1] = f"{prose[-1]} {line.strip()}".strip()
    return [paragraph for paragraph in prose if paragraph], _dedented(code)


def _dedented(lines: list[str]) -> list[str]:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    trimmed = [line[margin:] for line in lines]
    while trimmed and not trimmed[-1].strip():
        trimmed.pop()
    return trimmed


def _best_sentences(paragraphs: list[str], wanted: set[str], characters: int) -> str:
    """The sentences with most of the question's words, in their own order, as many as fit."""
    sentences = [sentence for paragraph in paragraphs for sentence in _SENTENCE_END.split(paragraph)]
    ranked = sorted(range(len(sentences)), key=lambda index: (-len(wanted & set(tokenize(sentences[index]))), index))
    chosen: list[int] = []
    left = characters
    for index in ranked:
        if len(sentences[index]) <= left:
            chosen.append(index)
            left -= len(sentences[index]) + 1
    if not chosen and sentences:
        return sentences[ranked[0]][:characters].rsplit(" ", 1)[0] + " ..."
    return " ".join(sentences[index] for index in sorted(chosen))


def _best_lines(code: list[str], wanted: set[str], count: int) -> list[str]:
    """The stretch of `count` lines with most of the question's words."""
    if len(code) <= count:
        return code
    scores = [len(wanted & set(tokenize(line))) for line in code]
    start = max(range(len(code) - count + 1), key=lambda first: (sum(scores[first : first + count]), -first))
    return _dedented(code[start : start + count])


def _language(passage: Passage, code: list[str]) -> str:
    name = passage.place.partition(":")[0] or passage.source
    if name.endswith(".py") or passage.source.endswith(".py"):
        return "python"
    if name.endswith(_CPP_SUFFIXES) and not _PYTHON.search("\n".join(code)):
        return "cpp"
    return "python" if _PYTHON.search("\n".join(code)) else "cpp"
