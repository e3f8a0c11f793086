"""Ask golden questions and note what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

from assistant import answer as answers
from assistant.code_blocks import code_blocks
from assistant.condense import search_query
from assistant.errors import AssistantError
from assistant.evaluation.golden import Golden
from assistant.evaluation.metrics import DEPTH, SHOWN, Outcome
from assistant.markdown_stream import Scanner, Segment
from assistant.passages import Passage, Retrieval
from assistant.providers.base import Provider
from assistant.retrieval import RetrievalOptions

Progress = Callable[[float, str], None]
_TITLE = 80  # characters of a question that name it


@dataclass(frozen=True, slots=True)
class CodeRun:
    """What running a code block gave."""

    ran: bool
    error: str = ""


RunCode = Callable[[str, str], CodeRun | None]
"""Runs a block, given its language and its text; None where it is nothing to run, such as a shell command."""


class SupportsOptions(Protocol):
    """A retriever whose options can be given with each question."""

    def retrieve(self, query: str, k: int = 10, *, options: RetrievalOptions | None = None) -> Retrieval:
        """The `k` best passages for `query`."""
        ...


@dataclass(frozen=True, slots=True)
class Configuration:
    """How questions are answered in an evaluation.

    Attributes
    ----------
    name
        For the report.
    retrieval_only
        Whether only passages are looked at, and no answer is written.
    provider
        The language model; None for extractive answers.
    """

    name: str = "default"
    retrieval: RetrievalOptions = field(default_factory=RetrievalOptions)
    answer: answers.Options = field(default_factory=answers.Options)
    retrieval_only: bool = False
    provider: Provider | None = None


def retrieval_options(text: str, base: RetrievalOptions | None = None) -> RetrievalOptions:
    """Options as they are written on a command line.

    >>> retrieval_options("dense=0, hop=0.3").hop
    0.3

    Raises
    ------
    AssistantError
        There is no such option, or its value is of another type.
    """
    base = base or RetrievalOptions()
    known = {item.name: type(getattr(base, item.name)) for item in fields(RetrievalOptions)}
    values: dict[str, bool | int | float | str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in known or not equals:
            raise AssistantError(
                f"{part!r} is no option of the search",
                hint=f"Write NAME=VALUE; the names are {', '.join(known)}.",
                code="evaluation.option",
            )
        values[name] = _value(name, value, known[name])
    return replace(base, **values)  # type: ignore[arg-type]


def _value(name: str, text: str, kind: type) -> bool | int | float | str:
    if kind is bool:
        switch = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}.get(text.lower())
        if switch is None:
            raise AssistantError(f"{name} is {text!r}", hint="Write on or off.", code="evaluation.option")
        return switch
    try:
        number: int | float | str = kind(text)
    except ValueError as error:
        raise AssistantError(f"{name} is {text!r}", hint="Write a number.", code="evaluation.option") from error
    return number


def evaluate(
    questions: Sequence[Golden],
    retriever: SupportsOptions,
    configuration: Configuration | None = None,
    *,
    run_code: RunCode | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Ask every question once, in order.

    Parameters
    ----------
    run_code
        Runs the code blocks of answers; without it they are not run, and reported so.

    Raises
    ------
    AssistantError
        There is no index. A model that fails is noted in the question's outcome.
    """
    chosen = configuration or Configuration()
    outcomes: list[Outcome] = []
    if questions:  # the first question loads what the later ones find loaded
        retriever.retrieve(questions[0].text, k=DEPTH, options=chosen.retrieval)
    for number, golden in enumerate(questions):
        if progress is not None:
            progress(number / len(questions), f"{chosen.name}: {_name(golden)}")
        outcomes.append(_ask(golden, retriever, chosen, run_code))
    return outcomes


def _ask(golden: Golden, retriever: SupportsOptions, chosen: Configuration, run_code: RunCode | None) -> Outcome:
    looking = _Looking(retriever, chosen.retrieval)
    if chosen.retrieval_only:
        query = search_query(golden.text)
        looking.retrieve(query, chosen.answer.passages)
        found = looking.found
        abstained = answers.nothing_found(
            query, replace(found, passages=found.passages[: chosen.answer.passages]), chosen.answer.min_confidence
        )
        return _outcome(golden, found, abstained=abstained, seconds=found.timings)
    events = answers.answer(golden.text, retriever=looking, provider=chosen.provider, options=chosen.answer)
    given = next(event.answer for event in events if isinstance(event, answers.Finished))
    outcome = _outcome(golden, looking.found, abstained=given.abstained, seconds=given.timings)
    segments = list(_segments(given.text))
    cited = [number for segment in segments for number in segment.numbers]
    runs = (
        [run for language, code in code_blocks(given.text) if (run := run_code(language, code)) is not None] if run_code else None
    )
    return replace(
        outcome,
        terms_answer=None if golden.out_of_scope else golden.covered(given.text),
        citations=len(cited),
        citations_valid=sum(1 <= number <= len(given.passages) for number in cited),
        code_blocks=None if runs is None else len(runs),
        code_ran=None if runs is None else sum(run.ran for run in runs),
        failed=given.error_code,
    )


def _outcome(golden: Golden, found: Retrieval, *, abstained: bool, seconds: object) -> Outcome:
    sources = tuple(passage.source for passage in found.passages)
    return Outcome(
        question=_name(golden),
        out_of_scope=golden.out_of_scope,
        sources=sources,
        rank=next((rank for rank, source in enumerate(sources, 1) if source in golden.sources), None),
        terms_passages=None if golden.out_of_scope else golden.covered(_shown(found.passages[:SHOWN])),
        abstained=abstained,
        confidence=found.confidence,
        seconds=dict(seconds) if isinstance(seconds, dict) else {},
    )


class _Looking:
    """A retriever with options of its own that keeps what it found: the report looks further down than an answer does."""

    def __init__(self, retriever: SupportsOptions, options: RetrievalOptions) -> None:
        self._retriever = retriever
        self._options = options
        self.found = Retrieval("")

    def retrieve(self, query: str, k: int = 10) -> Retrieval:
        began = time.perf_counter()
        self.found = self._retriever.retrieve(query, k=max(k, DEPTH), options=self._options)
        if "total" not in self.found.timings:
            self.found = replace(self.found, timings={**self.found.timings, "total": time.perf_counter() - began})
        return replace(self.found, passages=self.found.passages[:k])


def _name(golden: Golden) -> str:
    text = " ".join((golden.title or golden.question).split())
    return text if len(text) <= _TITLE else text[: _TITLE - 2].rsplit(" ", 1)[0] + " …"


def _shown(passages: Iterable[Passage]) -> str:
    return "\n".join(f"{passage.title}\n{passage.text}" for passage in passages)


def _segments(markdown: str) -> Iterator[Segment]:
    scanner = Scanner()
    yield from scanner.feed(markdown)
    yield from scanner.finish()
