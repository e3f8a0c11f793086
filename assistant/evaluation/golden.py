"""Golden questions: what somebody asked, which sources answer it, and which terms a good answer has.

A file has one JSON object a line:

============== ========================================================================================
``question``   the text of the post, Markdown
``title``      its title; may be left out
``gold_sources`` names of classes, tutorials or pages, any of which answers it
``gold_terms`` terms of a good answer; ``|`` separates alternatives of one term
``min_terms``  how many of the terms a good answer needs; by default all of them
``out_of_scope`` true where the corpus cannot answer it: then the other lists are empty
============== ========================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from assistant.errors import AssistantError

T = TypeVar("T")

MAX_QUESTIONS = 100_000
_FIELDS = ("question", "title", "gold_terms", "min_terms", "gold_sources", "out_of_scope")


class GoldenError(AssistantError, ValueError):
    """A file of golden questions that cannot be used."""

    code = "evaluation.golden"


@dataclass(frozen=True, slots=True)
class Golden:
    """A question whose answer is known.

    Attributes
    ----------
    terms
        Each a tuple of alternatives.
    min_terms
        How many of `terms` an answer needs.
    sources
        Names of documents, any of which answers the question.
    """

    question: str
    title: str = ""
    terms: tuple[tuple[str, ...], ...] = ()
    min_terms: int = 0
    sources: frozenset[str] = frozenset()
    out_of_scope: bool = False

    @property
    def text(self) -> str:
        """What is asked: title and question."""
        return f"{self.title}\n{self.question}" if self.title else self.question

    def countable(self) -> tuple[tuple[str, ...], ...]:
        """The terms without the alternatives that the question itself has: repeating the question is no answer."""
        asked = self.text
        left = (tuple(word for word in term if not has_term(asked, word)) for term in self.terms)
        return tuple(term for term in left if term)

    def covered(self, text: str) -> float | None:
        """The share of the required terms in `text`, at most 1; None where no term can be counted."""
        countable = self.countable()
        needed = min(self.min_terms, len(countable))
        if not needed:
            return None
        return min(1.0, sum(any(has_term(text, word) for word in term) for term in countable) / needed)


def has_term(text: str, term: str) -> bool:
    """Whether `term` stands in `text`, in any case, not as a part of a longer word.

    >>> has_term("Call h->Fit()", "fit"), has_term("the fitted curve", "fit")
    (True, False)
    """
    return re.search(rf"(?<![^\W_]){re.escape(term)}(?![^\W_])", text, re.IGNORECASE) is not None


def read_golden(path: Path) -> tuple[Golden, ...]:
    """Read a file of golden questions.

    Raises
    ------
    GoldenError
        The file cannot be read, or a line is not as described; says which line and which field.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise GoldenError(f"{path} cannot be read: {reason}", hint="Give a file with one JSON object a line.") from error
    questions = [_question(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise GoldenError(f"{path} has no question", hint="Give a file with one JSON object a line.")
    if len(questions) > MAX_QUESTIONS:
        raise GoldenError(f"{path} has {len(questions)} questions, more than {MAX_QUESTIONS}", hint="Split the file.")
    return tuple(questions)


def _question(line: str, place: str) -> Golden:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise GoldenError(f"{place} is no JSON: {error}", hint="Write one JSON object a line.") from error
    if not isinstance(entry, dict):
        raise GoldenError(f"{place} is no JSON object", hint='Write {"question": "...", ...}.')
    for name in entry:
        if name not in _FIELDS:
            near = get_close_matches(name, _FIELDS, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The fields are {', '.join(_FIELDS)}."
            raise GoldenError(f"{place}: there is no field {name!r}", hint=hint)
    question = _field(entry, "question", str, "", place).strip()
    out_of_scope = _field(entry, "out_of_scope", bool, False, place)
    sources = frozenset(_strings(entry, "gold_sources", place))
    terms = tuple(_alternatives(term, place) for term in _strings(entry, "gold_terms", place))
    min_terms = _field(entry, "min_terms", int, len(terms), place)
    if not question:
        raise GoldenError(f"{place}: 'question' is empty", hint="Write what is asked.")
    if not 0 <= min_terms <= len(terms):
        raise GoldenError(f"{place}: 'min_terms' is {min_terms}, but there are {len(terms)} terms", hint="Give 0 to as many.")
    if out_of_scope and (sources or terms):
        raise GoldenError(
            f"{place}: out of scope, but with sources or terms", hint="Leave 'gold_sources' and 'gold_terms' empty."
        )
    if not out_of_scope and not sources:
        raise GoldenError(f"{place}: 'gold_sources' is empty", hint="Name what answers it, or set 'out_of_scope' to true.")
    return Golden(question, _field(entry, "title", str, "", place).strip(), terms, min_terms, sources, out_of_scope)


def _field(entry: Mapping[str, Any], name: str, kind: type[T], default: T, place: str) -> T:
    value = entry.get(name, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "a text", bool: "true or false", int: "a whole number"}
        raise GoldenError(f"{place}: {name!r} is {json.dumps(value)}", hint=f"It must be {words[kind]}.")
    return value


def _strings(entry: Mapping[str, Any], name: str, place: str) -> list[str]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise GoldenError(
            f"{place}: {name!r} is {json.dumps(value)[:80]}", hint="It must be a list of texts, none of them empty."
        )
    return [item.strip() for item in value]


def _alternatives(term: str, place: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in term.split("|"))
    if not all(words):
        raise GoldenError(
            f"{place}: {term!r} in 'gold_terms' has an empty alternative", hint="Write a|b, without a | at the end."
        )
    return words
