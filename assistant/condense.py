"""From a question, perhaps the follow-up of another one, to what is searched for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.index.tokens import looks_like_identifier, mentions, tokenize

_POINTS_BACK = re.compile(
    r"\b(?:it|its|that|this|those|these|them|they|one|same|above|previous(?:ly)?|instead|also|again"
    r"|what about|how about|and (?:in|with|for|how|what|if))\b",
    re.IGNORECASE,
)
_SHORT = 6  # words with a meaning, below which a question without a name of its own leans on the one before
_CARRIED = 4  # names taken over from the earlier question


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question of the same conversation and the text of its answer."""

    question: str
    answer: str


def search_query(question: str, history: Sequence[Turn] = ()) -> str:
    """What to search for: the question, and where it leans on the one before, the names (or else the words) of that one.

    >>> search_query("And in Python?", [Turn("How do I fill a TH1F?", "...")])
    'And in Python? TH1F'
    """
    question = question.strip()
    if not history or not _leans_back(question):
        return question
    known = question.lower()
    earlier = [name for turn in reversed(history) for name in _names(turn.question)]
    # Without a name in any earlier question, its answer's first names say what it was about.
    earlier = earlier or _names(history[-1].answer)[:2] or tokenize(history[-1].question)
    carried = [name for name in dict.fromkeys(earlier) if name.lower() not in known]
    return " ".join([question, *carried[:_CARRIED]])


def _names(text: str) -> list[str]:
    return [name for name in mentions(text) if looks_like_identifier(name)]


def _leans_back(question: str) -> bool:
    if _POINTS_BACK.search(question):
        return True
    return len(tokenize(question)) < _SHORT and not _names(question)
