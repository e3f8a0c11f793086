"""Documents cut into passages short enough for the embedding model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PIECES = 190  # as estimated; with the title in front nearly all passages stay within the model's 256 tokens

# The model's tokenizer makes one piece of about every six letters or digits, and of every other character.
_PIECE = re.compile(r"[A-Za-z]{1,6}|\d{1,6}|[^\sA-Za-z\d]")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A half-open range of characters of a document's text."""

    start: int
    end: int


def estimate_pieces(text: str) -> int:
    """About how many word pieces the model's tokenizer makes of `text`."""
    return len(_PIECE.findall(text))


def chunks(text: str, max_pieces: int = MAX_PIECES) -> Iterator[Chunk]:
    """Consecutive ranges of whole lines, cut at a blank line where one is near; an overlong line is cut between words."""
    start = position = pieces = 0
    blank = -1  # the last good place to cut, and the pieces after it
    after_blank = 0
    for line in text.splitlines(keepends=True):
        cost = estimate_pieces(line)
        if pieces + cost > max_pieces and pieces:
            cut = blank if blank > start and after_blank * 2 <= pieces else position
            if text[start:cut].strip():
                yield Chunk(start, cut)
            pieces = after_blank if cut == blank else 0
            start, blank, after_blank = cut, -1, pieces
        if cost > max_pieces:
            yield from _words(line, position, max_pieces)
            start, pieces, blank, after_blank = position + len(line), 0, -1, 0
        else:
            pieces += cost
            after_blank += cost
        position += len(line)
        if not line.strip():
            blank, after_blank = position, 0
    if text[start:].strip():
        yield Chunk(start, len(text))


def _words(line: str, offset: int, max_pieces: int) -> Iterator[Chunk]:
    start, pieces = 0, 0
    for word in re.finditer(r"\s*\S{1,1000}", line):
        cost = estimate_pieces(word.group())
        if pieces + cost > max_pieces and pieces:
            yield Chunk(offset + start, offset + word.start())
            start, pieces = word.start(), 0
        pieces += cost
    if line[start:].strip():
        yield Chunk(offset + start, offset + len(line))
