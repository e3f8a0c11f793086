"""A passage's text taken apart: paragraphs, code, signatures; and how well each fits a question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from assistant.index.tokens import tokenize
from assistant.passages import Passage

Kind = Literal["prose", "code", "signature"]

_FENCE = re.compile(r"^\s*(?:```|~~~)")
_GAP = frozenset({"...", "…"})
_CODE_LINE = re.compile(
    r"""^\s*\#\s*include\b | ^\s*(?://|>>>\s|\$\s) | ^\s*[}\])]+[;,)]*\s*$ | ^\s*(?:import|from)\s+\w[\w.]*(?:\s|$)
        | [;{}]\s*(?://.*)?$ | ^\s*[\w.:>\[\]-]+\s*=[^=].*[)\]\w"']\s*$ | ^\s*[\w.]+(?:->|\.|::)\w+\(.*\)\s*$""",
    re.VERBOSE,
)
_SIGNATURE = re.compile(
    r"^(?!(?:See|Note|Use|Uses|For|If|The|This|Return|Returns|When|In|It|A|An|To)\b)(?:[\w:<>,*&~\s]+?[\s*&])?(?:~?[A-Za-z_][\w:]*(?:<[^()]*>)?|operator[^\w\s(]+)\([^)]*\)?[^.]*$|^enum\s+\w+$"
)
_BOILERPLATE = re.compile(r"^(?:Inherits from .*|Methods:|Members:|Constants:|#include [<\"][^<>\"]*[>\"])$")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"(])")
_REFERENCE_KINDS = frozenset({"class", "namespace", "api"})


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a passage that can be shown by itself.

    Attributes
    ----------
    lines
        A sentence, lines of code that stand together, or a function's signature followed by its comment.
    told
        The question's words that are in it.
    """

    kind: Kind
    lines: tuple[str, ...]
    told: frozenset[str]

    @property
    def fit(self) -> int:
        """How many of the question's words are in it."""
        return len(self.told)


def excerpts(passage: Passage, wanted: set[str]) -> tuple[Excerpt, ...]:
    """The pieces of a passage in their order, without what says nothing: its title again, bases, bare includes.

    Parameters
    ----------
    wanted
        The question's tokens.
    """
    title = tokenize(passage.title)
    # That a class's own page names the class says nothing; of its lines, those count that say more of the question.
    sought = wanted - set(tokenize(passage.source)) if passage.kind in _REFERENCE_KINDS else wanted
    made: dict[tuple[str, ...], Excerpt] = {}
    for kind, lines in _runs(passage):
        kept = tuple(line for line in lines if kind == "code" or (not _BOILERPLATE.match(line) and tokenize(line) != title))
        if any(tokenize(line) for line in kept):
            trimmed = _commented(_dedented(kept), passage) if kind == "signature" else _dedented(kept)
            made.setdefault(trimmed, Excerpt(kind, trimmed, frozenset(sought.intersection(tokenize("\n".join(kept))))))
    return tuple(made.values())


def python_or_cpp(passage: Passage, lines: Sequence[str]) -> str:
    """The language of some lines of a passage, as a Markdown code block names it."""
    text = "\n".join(lines)
    file = passage.place.partition(":")[0]
    if file.endswith(".py") or passage.source.endswith(".py"):
        return "python"
    if file.endswith((".h", ".hxx", ".hpp", ".C", ".cxx", ".cpp")):
        return "cpp"
    if re.search(r";\s*(?://.*)?$|::|->|^\s*#\s*include|^\s*//", text, re.MULTILINE):
        return "cpp"
    return (
        "python"
        if re.search(r"^\s*(?:import |from \w|def |>>> |print\(|with .*:$)|\bROOT\.\w|\w = ", text, re.MULTILINE)
        else "cpp"
    )


def _runs(passage: Passage) -> Iterator[tuple[Kind, list[str]]]:
    """Lines that belong together, cut where the passage leaves something out."""
    reference = passage.kind in _REFERENCE_KINDS
    fenced = False
    kind: Kind = "prose"
    lines: list[str] = []
    for line in [*passage.text.splitlines(), "…"]:
        fence, gap = bool(_FENCE.match(line)), line.strip() in _GAP
        here: Kind = "prose"
        if fenced or (_CODE_LINE.search(line) and not _BOILERPLATE.match(line)):
            here = "code"
        elif reference and _SIGNATURE.match(line.strip()) and not line.lstrip().startswith("-"):
            here = "signature"
        # A comment under a signature belongs to it; every signature and every blank line in prose begins something new.
        belongs = kind == "signature" and here == "prose" and bool(line.strip())
        new = fence or gap or (here != kind and not belongs) or here == "signature" or (not line.strip() and here == "prose")
        if new and lines:
            yield from _sentences(lines) if kind == "prose" else [(kind, lines)]
            lines = []
        if fence:
            fenced = not fenced
        elif not gap and (line.strip() or here == "code"):
            kind = kind if lines and belongs else here
            lines.append(line.rstrip())
        if not lines:
            kind = "prose"


def _sentences(lines: list[str]) -> Iterator[tuple[Kind, list[str]]]:
    """The sentences of a paragraph; items of a list stay lines."""
    paragraph = ""
    for line in lines:
        if re.match(r"\s*(?:[-*+]|\d+\.|#{1,6})\s", line) or _BOILERPLATE.match(line):
            if paragraph:
                yield from (("prose", [sentence]) for sentence in _SENTENCE_END.split(paragraph))
            paragraph = ""
            if not line.lstrip().startswith("#"):
                yield "prose", [line.strip()]
        else:
            paragraph = f"{paragraph} {line.strip()}".strip()
    if paragraph:
        yield from (("prose", [sentence]) for sentence in _SENTENCE_END.split(paragraph))


def _commented(lines: tuple[str, ...], passage: Passage) -> tuple[str, ...]:
    """A signature with its description under it as a comment."""
    mark = "# " if python_or_cpp(passage, lines[:1]) == "python" else "// "
    return (lines[0], *("    " + mark + line.strip() for line in lines[1:]))


def _dedented(lines: Sequence[str]) -> tuple[str, ...]:
    filled = [index for index, line in enumerate(lines) if line.strip()]
    margin = min(len(lines[index]) - len(lines[index].lstrip()) for index in filled)
    return tuple(line[margin:] for line in lines[filled[0] : filled[-1] + 1])
