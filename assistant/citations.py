"""Citations, decided in code: what a model cites is checked while it streams, what it left uncited is matched to a passage.

`assistant.markdown_stream` tells prose, code and citations apart as they arrive. `CitationWriter` drops citations of passages
that the model was not given, and at the end of a sentence without one assigns the passage that holds the sentence's identifiers
or most of its words. So ``[n]`` appears in prose only where passage n was retrieved and has to do with the sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from assistant.index.tokens import looks_like_identifier, mentions, tokenize
from assistant.markdown_stream import Scanner, Segment, addresses
from assistant.passages import Passage

_ABBREVIATIONS = frozenset({"e.g", "i.e", "etc", "vs", "cf", "fig", "eq", "sec", "resp", "approx"})
_CLOSERS = ".!?)\"'*_»”"
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
    _OVERLAP_WITH_IDENTIFIER = 0.2
    _OVERLAP_CITED = 0.2

    def __init__(self, passages: Sequence[Passage]) -> None:
        texts = [f"{passage.source}\n{passage.title}\n{passage.text}" for passage in passages]
        self._words = [set(tokenize(text)) for text in texts]
        self._names = [{name.lower() for name in mentions(text)} for text in texts]
        self._frequency = Counter(name for names in self._names for name in names)

    def best(self, sentence: str) -> int | None:
        """The number of the passage that supports `sentence` best; None where none does."""
        words, names = set(tokenize(sentence)), identifiers(sentence)
        scored = [(self._score(index, words, names), -index) for index in range(len(self._words))]
        score, index = max(scored, default=(0.0, 0))
        return 1 - index if score > 0 else None

    def allows(self, sentence: str, number: int) -> bool:
        """Whether a citation of passage `number` after `sentence` is believable: they share an identifier or some words."""
        words, names = set(tokenize(sentence)), identifiers(sentence)
        if len(words) < self._ENOUGH_WORDS and not names:
            return True  # too short to tell
        index = number - 1
        return bool(names & self._names[index]) or _overlap(words, self._words[index]) >= self._OVERLAP_CITED

    def _score(self, index: int, words: set[str], names: set[str]) -> float:
        overlap = _overlap(words, self._words[index])
        found = names & self._names[index]
        # Where a passage does not know most of a sentence's identifiers, the sentence says more than the passage does.
        if found and 2 * len(found) >= len(names) and overlap >= self._OVERLAP_WITH_IDENTIFIER:
            return overlap + sum(1 / self._frequency[name] for name in found)
        if not names and len(words) >= self._ENOUGH_WORDS and overlap >= self._OVERLAP_ALONE:
            return overlap
        return 0.0


def identifiers(text: str) -> set[str]:
    """Names of code in `text`, lower-cased: what is spelled as no prose is, and what stands in backticks."""
    found = {name for name in mentions(text) if looks_like_identifier(name)}
    for span in _BACKTICKED.findall(text):
        found.update(mentions(span))
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
        self._scanner = Scanner(_known_urls(passages))
        self._out: list[str] = []
        self._sentence = ""
        self._cited: set[int] = set()
        self._tail = ""  # white space and full stops, held back until it is clear whether the sentence ends there
        self._ended = False
        self._dropped = False
        self._code = ""
        self.citations: list[int] = []
        self.unsupported = 0

    def feed(self, text: str) -> str:
        """Take the next piece; return what can be shown now."""
        for segment in self._scanner.feed(text):
            self._take(segment)
        return self._drain()

    def finish(self) -> str:
        """The rest."""
        for segment in self._scanner.finish():
            self._take(segment)
        self._close()
        return self._drain()

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
            if not (self._dropped and self._tail.endswith(" ")):
                self._tail += character
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


def _known_urls(passages: Sequence[Passage]) -> frozenset[str]:
    inside = (address for passage in passages for address in addresses(passage.text))
    return frozenset({passage.url for passage in passages if passage.url} | set(inside))
