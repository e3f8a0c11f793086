"""Markdown that arrives in pieces, cut into prose, code and citations as soon as it is clear which is which.

A ``[`` is held back until it is clear what it opens, an address until its end, a backtick until its partner; all else goes on at
once, code blocks line by line. Code is recognised as CommonMark does it, or more narrowly: text that a renderer shows as prose is
never taken for code, where a citation would pass unseen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

_SPECIAL = re.compile(r"\\|`|[\[【]|<?https?://")
_CITATION = re.compile(
    r"\^?\s*(?:(?:passage|source|document|doc|reference|ref)s?\.?\s*)?#?\d+(?:(?:\s*(?:,|;|and|&|-|–)\s*|\s+)#?\d+)*",
    re.IGNORECASE,
)
_NUMBER_OR_RANGE = re.compile(r"(\d+)(?:\s*[-–]\s*#?(\d+))?")
_ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]]+")
_ADDRESS_OPENERS = ("http://", "https://", "<http://", "<https://")
_LONGEST_HOLD = 400  # a bracket or backtick without partner within so many characters is just a character
_LONGEST_RANGE = 20  # numbers that a citation such as [3-9] may stand for

Kind = Literal["prose", "inline", "code", "code-end", "cite"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of Markdown.

    Attributes
    ----------
    kind
        ``"prose"``; ``"inline"``: a code span, or a link that may stay; ``"code"``: a line of a code block, ``"code-end"``: its
        last one; ``"cite"``: a citation.
    text
        As it was written; empty for a citation.
    numbers
        The passages that a citation names.
    """

    kind: Kind
    text: str = ""
    numbers: tuple[int, ...] = ()


def addresses(text: str) -> list[str]:
    """The web addresses in `text`."""
    return [match.rstrip(".,;:!?") for match in _ADDRESS.findall(text)]


class Scanner:
    """Cuts a stream of Markdown into segments.

    Parameters
    ----------
    addresses
        The addresses that may stay; a link to another one becomes its text, a bare one is replaced by a remark.
    """

    def __init__(self, addresses: Collection[str] = ()) -> None:
        self._addresses = addresses
        self._buffer = ""
        self._line = ""  # what was taken of the current line so far
        self._fence = ""  # the backticks that opened the code block we are in

    def feed(self, text: str) -> Iterator[Segment]:
        """Take the next piece; yield what is decided."""
        self._buffer += text
        while self._buffer and (segment := self._next(final=False)) is not None:
            yield segment

    def finish(self) -> Iterator[Segment]:
        """Yield the rest; a code block left open is closed."""
        while self._buffer and (segment := self._next(final=True)) is not None:
            yield segment
        if self._fence:
            newline = "\n" if self._line else ""
            yield Segment("code-end", f"{newline}{self._fence}\n")
            self._fence = ""

    def _next(self, *, final: bool) -> Segment | None:
        if self._fence:
            return self._code_line(final=final)
        match = _SPECIAL.search(self._buffer)
        if match is None or match.start() > 0:
            return self._prose(match.start() if match else len(self._buffer), decided=final or match is not None)
        opener = match.group()
        if opener == "\\":  # an escaped character is prose, whatever it is
            return self._segment("prose", 2) if final or len(self._buffer) > 1 else None
        if opener == "`":
            return self._backticks(final=final)
        if opener in "[【":
            return self._bracket(final=final)
        return self._address(final=final)

    def _segment(self, kind: Kind, length: int) -> Segment:
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        self._line = (self._line + taken).rpartition("\n")[2]
        return Segment(kind, taken)

    def _drop(self, length: int, instead: Segment) -> Segment:
        self._segment("prose", length)
        return instead

    def _prose(self, length: int, *, decided: bool) -> Segment | None:
        if not decided:
            length -= _partial_address(self._buffer[:length])
        return self._segment("prose", length) if length else None

    def _code_line(self, *, final: bool) -> Segment | None:
        newline = self._buffer.find("\n")
        if newline < 0 and not final:
            return None
        length = newline + 1 if newline >= 0 else len(self._buffer)
        line = self._buffer[:length].strip()
        if len(line) >= len(self._fence) and not line.strip("`") and not self._line:
            self._fence = ""
            return self._segment("code-end", length)
        return self._segment("code", length)

    def _backticks(self, *, final: bool) -> Segment | None:
        run = len(self._buffer) - len(self._buffer.lstrip("`"))
        if run == len(self._buffer) and not final:
            return None
        newline = self._buffer.find("\n")
        rest = self._buffer[run : newline if newline >= 0 else len(self._buffer)]
        if run >= 3 and not self._line.strip(" \t>*+-0123456789.)"):
            if newline < 0 and not final:
                return None
            if "`" not in rest:
                self._fence = "`" * run
                return self._segment("code", newline + 1 if newline >= 0 else len(self._buffer))
        closing = re.search(rf"(?<!`)`{{{run}}}(?!`)", rest)
        if closing and (final or newline >= 0 or closing.end() < len(rest)):
            return self._segment("inline", run + closing.end())
        waiting = not final and newline < 0 and len(self._buffer) < _LONGEST_HOLD
        return None if waiting else self._segment("prose", run)

    def _bracket(self, *, final: bool) -> Segment | None:
        closing = "】" if self._buffer[0] == "【" else "]"
        end = re.search(rf"[\n{re.escape(closing)}]", self._buffer[1:_LONGEST_HOLD])
        if end is None:
            waiting = not final and len(self._buffer) < _LONGEST_HOLD
            return None if waiting else self._segment("prose", 1)
        inside, after = self._buffer[1 : end.start() + 1], end.end() + 1
        if end.group() == "\n":
            return self._segment("prose", 1)
        if len(self._buffer) == after and not final:
            return None  # the next character decides whether it is a link
        if self._buffer.startswith("(", after):
            return self._link(inside, after, final=final)
        numbers = _numbers(inside)
        return self._drop(after, Segment("cite", "", numbers)) if numbers else self._segment("prose", 1)

    def _link(self, label: str, opening: int, *, final: bool) -> Segment | None:
        end = re.search(r"[)\n]", self._buffer[opening : opening + _LONGEST_HOLD])
        if end is None and not final and len(self._buffer) < opening + _LONGEST_HOLD:
            return None
        if end is None or end.group() == "\n":  # no link after all; what stands in it is looked at again
            return self._segment("prose", 1)
        length = opening + end.end()
        if numbers := _numbers(label):
            return self._drop(length, Segment("cite", "", numbers))
        target = self._buffer[opening + 1 : length - 1].split(" ")[0]
        return self._segment("inline", length) if target in self._addresses else self._drop(length, Segment("prose", label))

    def _address(self, *, final: bool) -> Segment | None:
        skip = 1 if self._buffer.startswith("<") else 0
        match = _ADDRESS.match(self._buffer, skip)
        if match is None:
            return self._segment("prose", skip + 4) if final or len(self._buffer) > skip + 8 else None
        if match.end() == len(self._buffer) and not final:
            return None
        address = match.group().rstrip(".,;:!?")
        length = skip + len(address)
        length += 1 if skip and self._buffer.startswith(">", length) else 0
        return (
            self._segment("inline", length)
            if address in self._addresses
            else self._drop(length, Segment("prose", "(no address)"))
        )


def _numbers(inside: str) -> tuple[int, ...]:
    """The numbers of a citation's inside; none where it is no citation. An interval from 0 is none."""
    if not _CITATION.fullmatch(inside.strip()):
        return ()
    numbers: list[int] = []
    for first, last in _NUMBER_OR_RANGE.findall(inside):
        start, stop = int(first), int(last or first)
        numbers += range(start, max(start, min(stop, start + _LONGEST_RANGE)) + 1)
    return tuple(numbers) if 0 not in numbers or len(numbers) == 1 else ()


def _partial_address(text: str) -> int:
    """How many of the last characters may be the beginning of an address."""
    for length in range(min(len(text), len(_ADDRESS_OPENERS[-1]) - 1), 0, -1):
        if any(opener.startswith(text[-length:]) for opener in _ADDRESS_OPENERS):
            return length
    return 0
