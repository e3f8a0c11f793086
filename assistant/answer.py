"""From a question to a cited answer, the whole pipeline on one page.

Search, show what was found, say the best lines of it at once, let a language model explain, check each of its citations while it
streams. Where nothing fits, the answer says so; where no model answers, the passages themselves are the answer. Abstaining is
decided by the retrieval's confidence and citations by comparing texts: small models are poor judges of both.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from assistant import extractive, prompting, versions
from assistant.citations import CitationWriter, identifiers
from assistant.clarify import Lack, lacking
from assistant.condense import Turn, condense, search_query
from assistant.corpus.versions import named
from assistant.errors import AssistantError, ProviderError
from assistant.index.tokens import tokenize
from assistant.passages import Passage, Retrieval, SupportsRetrieve
from assistant.providers.base import Message, Provider, Usage
from assistant.providers.pump import StoppedError, pumped

__all__ = ["Answer", "Event", "Finished", "Options", "PassagesFound", "Token", "Turn", "answer"]

_NOTHING = "I found nothing in the indexed sources that answers this question."
_NEAREST = "The nearest pages, which may not be about it:"
_PEOPLE = "If that does not help, people do: {people}."
_ASK = "To answer this I need to know more. Please add:"
_ASK_TOO = "*If this is not it, please add:*"
_MEANWHILE = "Meanwhile, the pages that fit best so far:"
_NO_MODEL = "*No language model is at hand: these are the passages that fit best, quoted.*"
# Why stands in the answer's note: it may name addresses that are not for everybody's eyes.
_FAILED = "*The language model gave no whole answer. These are the passages that fit best, quoted.*"
_UNKNOWN = "*In none of the passages, so look it up before you use it: {names}.*"
# What words that no document has take from the best cosine, and the share of them up to which a name among the first titles is
# enough. With `Options.min_confidence` chosen on the development half of the forum's questions: docs/reference/evaluation.md.
_UNKNOWN_WORDS = 0.7
_FEW_UNKNOWN = 0.1
_FEWEST_WORDS = 0.4  # of the question's words that the passages must have where there is no dense search
# Tokens of a prompt. A model that takes no more is small: told to cite, it often writes the numbers of passages and nothing else.
# It is not told to; what it says gets its citations by comparing it with the passages.
_SMALL_PROMPT = 1000
_CITATIONS = re.compile(r"\[[^\[\]]*\]")
_WORD = re.compile(r"[^\W\d]{2}")
_REPEATS = 3  # a line that comes so often means that the model goes round in circles


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer.

    Attributes
    ----------
    passages
        How many passages to retrieve.
    prompt_tokens
        The prompt's budget; the provider's own where None.
    max_tokens
        The longest text the model may write.
    seconds
        The longest time it may take.
    min_confidence
        The best cosine similarity, less what words take that no document has, below which nothing was found.
    lead
        Whether to begin with the best passage's own lines, before the model has said anything. With a small model that is the
        better half of the answer; a large one can do without.
    people
        Markdown that says who helps where nothing was found; empty where the answer goes to such people anyway.
    complete
        Whether what the question is about was handed in with it, so that nobody asks back for it.
    """

    passages: int = 8
    prompt_tokens: int | None = None
    max_tokens: int = 256
    seconds: float = 180.0
    min_confidence: float = 0.40
    lead: bool = True
    people: str = "the [ROOT forum](https://root-forum.cern.ch)"
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and the record of how it came about.

    Attributes
    ----------
    text
        Markdown; ``[n]`` in its prose cites ``passages[n - 1]``.
    citations
        The numbers cited, in the order of their appearance.
    abstained
        Nothing was found; the text says so.
    asked
        What the question lacks and the text asks for; empty for most questions.
    extractive
        The text is quoted from the passages, or ends so: no model was there, or it failed.
    cancelled
        The text is what there was when it was cancelled.
    note
        What went wrong, for a person; empty where nothing did.
    error_code
        The same for a program, for example ``"provider.timeout"``.
    confidence
        The retrieval's best cosine similarity; None without dense search.
    query
        What was searched for.
    unsupported
        How many of the model's sentences no passage supports.
    unknown
        Names of classes and methods in the model's text that no passage has; the text ends with a warning of them.
    timings
        Seconds: ``retrieve``, ``first_text``, ``first_token`` (of the model, from its request), ``generate``, ``total``; and the
        retrieval's own stages as ``retrieve.<stage>``.
    tokens
        ``prompt`` and ``completion``, as the server counted them, or estimated where it did not.
    provider, prompt_version
        The model's name and the prompt's version; empty where no model was asked.
    written
        The model's part of the text.
    finish
        Why the model ended: ``"stop"``, ``"length"``, ``"repetition"``; empty without one.
    """

    text: str
    citations: tuple[int, ...] = ()
    abstained: bool = False
    asked: tuple[str, ...] = ()
    extractive: bool = False
    cancelled: bool = False
    note: str = ""
    error_code: str = ""
    passages: tuple[Passage, ...] = ()
    confidence: float | None = None
    query: str = ""
    unsupported: int = 0
    unknown: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    provider: str = ""
    prompt_version: str = ""
    written: str = ""
    finish: str = ""


@dataclass(frozen=True, slots=True)
class PassagesFound:
    """What the search found, before any model is asked."""

    passages: tuple[Passage, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Token:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event."""

    answer: Answer


Event = PassagesFound | Token | Finished


def answer(
    question: str,
    *,
    retriever: SupportsRetrieve,
    provider: Provider | None = None,
    history: Sequence[Turn] = (),
    options: Options | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Generator[Event]:
    """Answer a question: yields `PassagesFound`, then `Token` by `Token` the text, then `Finished`.

    Parameters
    ----------
    retriever
        Finds passages.
    provider
        The language model; without one the answer is extractive.
    history
        Earlier turns of the conversation, oldest first.
    cancelled
        Asked many times a second; the answer ends with what it has where it says True.

    Raises
    ------
    AssistantError
        For an empty question, or from the retriever where there is no index. A failing provider raises nothing: the answer then
        is extractive, with a note.
    """
    opts, stop = options or Options(), cancelled or _never
    if not question.strip():
        raise AssistantError("The question is empty.", hint="Ask something.", code="question.empty")
    clock = _Clock()
    query = search_query(question, history)
    found = retriever.retrieve(query, k=opts.passages)
    clock.mark("retrieve")
    clock.seconds.update({f"retrieve.{stage}": seconds for stage, seconds in found.timings.items()})
    yield PassagesFound(found.passages, clock.seconds["retrieve"])

    draft = _Draft(found, query, clock)
    draft.lack = Lack() if opts.complete else lacking(question, history)
    nothing = nothing_found(query, found, opts.min_confidence)
    if draft.lack.hopeless:
        yield from draft.say_list(_ASK, draft.lack.items)
        yield from draft.say_links(_MEANWHILE, () if nothing else found.passages[:3])
        yield Finished(draft.finish(abstained=nothing))
    elif nothing:
        yield from draft.say(_NOTHING)
        yield from draft.say_links(_NEAREST, found.passages[:3])
        if opts.people:
            yield from draft.say(_PEOPLE.format(people=opts.people))
        yield Finished(draft.finish(abstained=True))
    elif provider is None:
        yield from draft.say(_NO_MODEL)
        yield from draft.say_blocks(extractive.blocks(draft.about, found.passages))
        yield from draft.say_end()
        yield Finished(draft.finish(extractive=True))
    else:
        if opts.lead:
            yield from draft.say_blocks(extractive.lead(draft.about, found.passages))
        yield from _generate(draft, question, history, provider, opts, stop)


def nothing_found(query: str, found: Retrieval, min_confidence: float) -> bool:
    """Whether a retrieval has nothing to answer from: no passage, or none near the question in meaning or by name."""
    if not found.passages:
        return True
    asked = condense(query)
    if found.confidence is None:  # by words alone, until the dense index is there
        wanted = set(tokenize(asked.meaning))  # nobody expects a pasted macro's words in a passage
        known = {word for passage in found.passages for word in tokenize(f"{passage.title} {passage.text}")}
        return len(wanted & known) < _FEWEST_WORDS * len(wanted)
    if found.confidence - _UNKNOWN_WORDS * found.unknown >= min_confidence:
        return False
    named = {part for passage in found.passages[:3] for part in identifiers(f"{passage.source} {passage.title}")}
    return found.unknown > _FEW_UNKNOWN or not identifiers(asked.meaning) & named


def _generate(
    draft: _Draft, question: str, history: Sequence[Turn], provider: Provider, opts: Options, stop: Callable[[], bool]
) -> Iterator[Event]:
    """Let the model write, checking its citations; where it fails, the passages speak for themselves."""
    tokens = opts.prompt_tokens or provider.prompt_tokens
    name = "answer" if tokens > _SMALL_PROMPT else "answer-small"
    prompt = prompting.build(question, draft.found.passages, history, tokens=tokens, name=name)
    draft.provider, draft.prompt_version, draft.prompt_tokens = provider.name, prompt.version, prompt.tokens
    writer = CitationWriter(draft.found.passages, prompt.shown)
    try:
        for piece in _model_text(draft, prompt.messages, provider, opts, stop):
            yield from draft.say_model(writer.feed(piece))
        yield from draft.say_model(writer.finish())
        if not draft.model_text:
            raise ProviderError(f"{provider.name} answered nothing.", hint="Ask again.", code="provider.empty")
    except StoppedError as error:
        yield from draft.say_model(writer.finish())
        draft.count(writer)
        if error.code == "assistant.cancelled":
            yield Finished(draft.finish(cancelled=True, note=error.message, error_code=error.code))
        else:
            yield from draft.say_unknown()
            yield from draft.say_end()
            yield Finished(draft.finish(note=error.message, error_code=error.code))
        return
    except ProviderError as error:
        yield from draft.say_model(writer.finish())
        draft.count(writer)
        yield from draft.say(_FAILED)
        yield from draft.say_blocks(extractive.blocks(draft.about, draft.found.passages))
        yield from draft.say_end()
        note = f"{error.message} {error.hint}".strip()
        yield Finished(draft.finish(extractive=True, note=note, error_code=error.code))
        return
    draft.count(writer)
    yield from draft.say_unknown()
    yield from draft.say_end()
    yield Finished(draft.finish())


def _model_text(
    draft: _Draft, messages: Sequence[Message], provider: Provider, opts: Options, stop: Callable[[], bool]
) -> Iterator[str]:
    """The model's text as it comes, until its end, its limit, or the point where it begins to repeat itself."""
    lines: Counter[str] = Counter()
    line = ""
    draft.clock.start("first_token", "generate")
    stream = pumped(provider.stream(messages, max_tokens=opts.max_tokens), cancelled=stop, seconds=opts.seconds)
    try:
        for chunk in stream:
            draft.usage = chunk.usage or draft.usage
            draft.model_finish = chunk.finish or draft.model_finish
            if not chunk.text:
                continue
            draft.clock.mark("first_token", once=True)
            draft.pieces += 1
            yield chunk.text
            *whole, line = (line + chunk.text).split("\n")
            lines.update(part.strip() for part in whole if len(part.strip()) > 12)
            if lines and max(lines.values()) >= _REPEATS:
                draft.model_finish = "repetition"
                return
    finally:
        stream.close()
        draft.clock.mark("generate")


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._starts: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def start(self, *stages: str) -> None:
        now = time.perf_counter()
        self._starts.update(dict.fromkeys(stages, now))

    def mark(self, stage: str, *, once: bool = False) -> None:
        if not (once and stage in self.seconds):
            self.seconds[stage] = time.perf_counter() - self._starts.get(stage, self._began)


class _Draft:
    """The answer while it is being written."""

    def __init__(self, found: Retrieval, query: str, clock: _Clock) -> None:
        self.found, self.query, self.clock = found, query, clock
        self.lack = Lack()
        self.about = condense(query).meaning  # without code, whose words would choose what is quoted
        self.parts: list[str] = []
        self.citations: dict[int, None] = {}
        self.quoted: set[int] = set()
        self.model_text = ""
        self.held = ""
        self.model_finish = ""
        self.usage: Usage | None = None
        self.pieces = 0
        self.unsupported = 0
        self.unknown: tuple[str, ...] = ()
        self.prompt_tokens = 0
        self.provider = ""
        self.prompt_version = ""

    def say(self, text: str) -> Iterator[Token]:
        """Add a paragraph of our own."""
        yield from self._add(text if not self.parts else f"\n\n{text}")

    def say_blocks(self, blocks: Sequence[extractive.Block]) -> Iterator[Token]:
        """Quote passages that were not quoted yet."""
        for block in blocks:
            if block.number not in self.quoted:
                self.quoted.add(block.number)
                self.citations.setdefault(block.number)
                yield from self.say(block.text)

    def say_links(self, title: str, passages: Sequence[Passage]) -> Iterator[Token]:
        """List passages without a word of theirs."""
        if passages:
            self.citations.update(dict.fromkeys(range(1, len(passages) + 1)))
            yield from self.say(f"{title}\n\n{extractive.links(passages)}")

    def say_list(self, title: str, items: Sequence[str]) -> Iterator[Token]:
        """A title and a list of items of our own."""
        if items:
            yield from self.say("\n".join([title, "", *(f"- {item}" for item in items)]))

    def say_end(self) -> Iterator[Token]:
        """What the question lacks, where it could be answered all the same; and which versions the answer is about."""
        yield from self.say_list(_ASK_TOO, self.lack.items)
        stated = versions.stated([self.found.passages[number - 1] for number in self.citations], named(self.query))
        if stated:
            yield from self.say(f"*{stated}*")

    def say_model(self, text: str) -> Iterator[Token]:
        """Add a piece of the model's text; nothing before its first word, so that numbers of passages alone are not shown."""
        if not self.model_text:
            self.held += text
            if not _WORD.search(_CITATIONS.sub("", self.held)):
                return
            text, self.held = self.held.lstrip(), ""
            if self.parts:
                yield from self._add("\n\n")
        self.model_text += text
        yield from self._add(text)

    def say_unknown(self) -> Iterator[Token]:
        """Warn of the names that the model may have invented."""
        if self.unknown:
            yield from self.say(_UNKNOWN.format(names=", ".join(f"`{name}`" for name in self.unknown)))

    def count(self, writer: CitationWriter) -> None:
        """Take over the model's citations."""
        self.unsupported = writer.unsupported
        self.unknown = tuple(writer.unknown_names(self.query))
        for number in writer.citations:
            self.citations.setdefault(number)

    def finish(
        self,
        *,
        abstained: bool = False,
        extractive: bool = False,
        cancelled: bool = False,
        note: str = "",
        error_code: str = "",
    ) -> Answer:
        """The answer as it stands."""
        self.clock.mark("total")
        usage = self.usage or Usage(self.prompt_tokens, self.pieces)
        return Answer(
            text="".join(self.parts).strip(),
            citations=tuple(self.citations),
            abstained=abstained,
            asked=self.lack.items,
            extractive=extractive,
            cancelled=cancelled,
            note=note,
            error_code=error_code,
            passages=self.found.passages,
            confidence=self.found.confidence,
            query=self.query,
            unsupported=self.unsupported,
            unknown=self.unknown,
            timings=self.clock.seconds,
            tokens={"prompt": usage.prompt, "completion": usage.completion} if self.provider else {},
            provider=self.provider,
            written=self.model_text,
            prompt_version=self.prompt_version,
            finish=self.model_finish,
        )

    def _add(self, text: str) -> Iterator[Token]:
        if text:
            self.clock.mark("first_text", once=True)
            self.parts.append(text)
            yield Token(text)


def _never() -> bool:
    return False
