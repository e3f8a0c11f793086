"""Citations, decided in code: what a model cites is checked while it streams, what it left uncited is matched to a passage.

`assistant.markdown_stream` tells prose, code and citations apart as they arrive. `CitationWriter` drops citations of passages
that the model was not given, and at the end of a sentence without one assigns the passage that holds the sentence's identifiers
or most of its words. So ``[n]`` appears in prose only where passage n was retrieved and has to do with the sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from assistant.index.tokens import looks_like_identifier, mentions, tokenize
from assistant.markdown_stream import Scanner, Segment, addresses
from assistant.passages import Passage

_ABBREVIATIONS = frozenset({"e.g", "i.e", "etc", "vs", "cf", "fig", "eq", "sec", "resp", "approx"})
_CLOSERS = ".!?)\"'*_»”"
# Spelled as a library's names are: ROOT's classes, and capitalised methods in backticks or behind a dot, an arrow or two colons.
_API_NAME = re.compile(r"\b((?:T|R|Roo)[A-Z]\w*[a-z]\w*)\b|(?:`|\.|->|::)([A-Z]\w*[a-z]\w+)\b")
_BACKTICKED = re.compile(r"`([^`\n]+)`")


class Support:
    """Which of some passages a sentence can rest on.

    Parameters
    ----------
    passages
        The passages in the order of their numbers, from 1.
    """

    _ENOUGH_WORDS = 4
    _OVERLAP_ALONE = 0.6
    _OVERLAP_WITH_NAME = 0.2
    _OVERLAP_CITED = 0.2

    def __init__(self, passages: Sequence[Passage]) -> None:
        texts = [f"{passage.source}\n{passage.title}\n{passage.text}" for passage in passages]
        self._words = [set(tokenize(text)) for text in texts]
        self._names = [{name.lower() for name in mentions(text)} for text in texts]
        self._frequency = Counter(name for names in self._names for name in names)

    def best(self, sentence: str) -> int | None:
        """The number of the passage that supports `sentence` best; None where none does."""
        said = _Said.of(sentence)
        scored = [(self._score(index, said), -index) for index in range(len(self._words))]
        score, index = max(scored, default=(0.0, 0))
        return 1 - index if score > 0 else None

    def unknown(self, text: str) -> list[str]:
        """Names of a library's classes and methods in `text` that are in no passage."""
        known = set().union(*self._words, *self._names)
        return [name for name in dict.fromkeys(map("".join, _API_NAME.findall(text))) if name.lower() not in known]

    def allows(self, sentence: str, number: int) -> bool:
        """Whether a citation of passage `number` after `sentence` is believable: they share the names, or some words."""
        said, index = _Said.of(sentence), number - 1
        if len(said.words) < self._ENOUGH_WORDS and not said.names:
            return True  # too short to tell
        if said.names:
            return self._knows(index, said)
        return _overlap(said.words, self._words[index]) >= self._OVERLAP_CITED

    def _score(self, index: int, said: _Said) -> float:
        overlap = _overlap(said.words, self._words[index])
        if self._knows(index, said):
            found = (said.names | said.hints) & self._names[index]
            return overlap + sum(1 / self._frequency[name] for name in found) if overlap >= self._OVERLAP_WITH_NAME else 0.0
        alone = not said.names and len(said.words) >= self._ENOUGH_WORDS and overlap >= self._OVERLAP_ALONE
        return overlap if alone else 0.0

    def _knows(self, index: int, said: _Said) -> bool:
        """Whether a passage has most of a sentence's names: otherwise the sentence says more than the passage does."""
        found = said.names & self._names[index]
        return 2 * len(found) > len(said.names) if said.names else bool(said.hints & self._names[index])


@dataclass(frozen=True, slots=True)
class _Said:
    """What a sentence says: its words, the names of code in it, and words in backticks that may be names or variables."""

    words: set[str]
    names: set[str]
    hints: set[str]

    @classmethod
    def of(cls, sentence: str) -> _Said:
        quoted = {name.lower() for span in _BACKTICKED.findall(sentence) for name in mentions(span) if name[:1].islower()}
        names = identifiers(sentence)
        return cls(set(tokenize(sentence)), names, quoted - names)


def identifiers(text: str) -> set[str]:
    """Names of code in `text`, lower-cased: what is spelled as no prose is, and capitalised words in backticks."""
    found = {name for name in mentions(text) if looks_like_identifier(name)}
    found.update(name for span in _BACKTICKED.findall(text) for name in mentions(span) if name[:1].isupper())
    return {name.lower() for name in found if min(len(part) for part in re.split(r"::|\.", name)) > 1}


def _overlap(words: set[str], others: set[str]) -> float:
    return len(words & others) / len(words) if words else 0.0


class CitationWriter:
    """Rewrites a streamed text so that each of its citations is one of a passage.

    Parameters
    ----------
    passages
        All passages, in the order of their numbers, from 1. Citations are assigned among them.
    shown
        The numbers of those that the model was given: it can cite no others.

    Attributes
    ----------
    citations
        The numbers cited so far, in the order of their first appearance.
    unsupported
        How many sentences that could have been supported by a passage were not.
    """

    def __init__(self, passages: Sequence[Passage], shown: Collection[int] | None = None) -> None:
        self._support = Support(passages)
        self._shown = frozenset(range(1, len(passages) + 1) if shown is None else shown)
        self._scanner = Scanner(_known_addresses(passages))
        self._out: list[str] = []
        self._sentence = ""
        self._cited: set[int] = set()
        self._tail = ""  # white space and full stops, held back until it is clear whether the sentence ends there
        self._ended = False
        self._dropped = False
        self._swallow = False  # the next blank: the one before the citation is still there
        self._code = ""
        self._written = ""
        self.citations: list[int] = []
        self.unsupported = 0

    def feed(self, text: str) -> str:
        """Take the next piece; return what can be shown now."""
        self._written += text
        for segment in self._scanner.feed(text):
            self._take(segment)
        return self._drain()

    def finish(self) -> str:
        """The rest."""
        for segment in self._scanner.finish():
            self._take(segment)
        self._close()
        return self._drain()

    def unknown_names(self, question: str) -> list[str]:
        """Names of classes and methods written so far that neither a passage nor the question has."""
        return [name for name in self._support.unknown(self._written) if name.lower() not in question.lower()]

    def _take(self, segment: Segment) -> None:
        if segment.kind == "cite":
            self._cite(segment.numbers)
        elif segment.kind == "prose":
            for character in segment.text:
                self._prose(character)
        elif segment.kind == "inline":
            self._word(segment.text)
        else:
            self._block(segment)

    def _prose(self, character: str) -> None:
        if character == ":" and self._cited and not self._sentence.strip():
            self._word(" :")  # "[1]:" at the start of a line would define a link in Markdown
        elif character == "\n":
            self._close()
            self._out.append(character)
        elif character.isspace():
            if not ((self._dropped or self._swallow) and self._tail.endswith(" ")):
                self._tail += character
            self._swallow = False
        elif self._ended and character in _CLOSERS and not self._tail[-1:].isspace():
            self._tail += character
        elif character in ".!?" and not self._ended and not self._abbreviated(character):
            self._tail = ("" if self._dropped else self._tail) + character
            self._ended = True
        elif self._dropped and not self._ended and character in ",;:)":
            self._tail = ""
            self._word(character)
        else:
            self._word(character)

    def _word(self, text: str) -> None:
        if self._ended and self._tail[-1:].isspace():
            self._close()
        self._sentence += self._tail + text
        self._out += [self._tail, text]
        self._tail, self._ended, self._dropped = "", False, False

    def _abbreviated(self, character: str) -> bool:
        last = re.split(r"[\s(]", self._sentence)[-1].lower()
        return character == "." and last in _ABBREVIATIONS and not self._tail

    def _cite(self, numbers: tuple[int, ...]) -> None:
        valid = [
            number
            for number in dict.fromkeys(numbers)
            if number in self._shown and number not in self._cited and self._support.allows(self._sentence, number)
        ]
        if not valid:
            self._dropped = True
            if re.search(r"\[[^\]]*$", self._sentence):  # or what is left would close up to another one: [[9]9]
                self._word("?")
            return
        mark = "".join(f"[{number}]" for number in valid)
        # After a full stop, a citation still belongs to the sentence before it: it goes in front of the stop.
        self._out.append(f" {mark}" if self._ended else f"{self._tail}{mark}")
        if not self._ended:
            self._tail = ""
        self._swallow = self._ended
        self._note(valid)

    def _close(self) -> None:
        """End the sentence: assign a passage where it has none."""
        plain = self._sentence.strip().lstrip("-*+> ")
        if plain and not self._cited and not plain.startswith("#") and not plain.endswith(":"):
            number = self._support.best(plain)
            if number is not None:
                self._out.append(f" [{number}]")
                self._note([number])
            elif len(tokenize(plain)) >= Support._ENOUGH_WORDS:
                self.unsupported += 1
        self._out.append(self._tail)
        self._sentence, self._tail, self._ended, self._dropped = "", "", False, False
        self._cited = set()

    def _block(self, segment: Segment) -> None:
        """Pass a line of a code block on; under the block goes the passage that knows its names."""
        self._close()
        self._out.append(segment.text)
        self._code += segment.text
        if segment.kind == "code-end":
            number = self._support.best(self._code)
            if number is not None:
                self._out.append(f"\nSee [{number}].\n")
                self._note([number])
                self._cited = set()
            self._code = ""

    def _note(self, numbers: Sequence[int]) -> None:
        self._cited.update(numbers)
        self.citations += [number for number in numbers if number not in self.citations]

    def _drain(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        return text


def _known_addresses(passages: Sequence[Passage]) -> frozenset[str]:
    """The passages' own addresses, and those in their texts that lead to the same hosts: a text may hold any address."""
    own = {passage.url for passage in passages if passage.url}
    hosts = {_host(address) for address in own} - {""}
    mentioned = (address for passage in passages for address in addresses(passage.text))
    return frozenset(own.union(address for address in mentioned if _host(address) in hosts))


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # such as an opening bracket where a host should be
        return ""
