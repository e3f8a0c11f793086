"""The assistant's worker: answers one turn at a time in each of its threads, from one retriever that they share.

The heavy parts are imported inside the functions: the web process loads `portal.chat.tasks`, and with it this module's name only.
"""

from __future__ import annotations

import importlib
import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings

from portal.celery import stopping
from portal.chat import code, line, services
from portal.chat.line import InLine, Line
from portal.chat.models import Turn

if TYPE_CHECKING:
    from assistant.answer import Answer
    from assistant.answer import Options as AnswerOptions
    from assistant.passages import Passage, SupportsRetrieve
    from assistant.providers import Provider

log = logging.getLogger(__name__)

WRITE_SECONDS = 0.1  # between two writes of the text so far
CHECK_SECONDS = 0.25  # between two looks whether the reader has stopped it
BEAT_SECONDS = 2.0
SEARCH_PASSAGES = 10  # of a search that names no number
LOOK_FOR_INDEX_SECONDS = 5.0
CHECK_SERVER_SECONDS = 1.0  # the passages wait for this
EMBEDDED_PROMPT_TOKENS = 600
SERVER_PROMPT_TOKENS = 3000  # a model server that somebody set up takes more context than the embedded model
SERVER_ANSWER_TOKENS = 1024


# --- what the threads share ---------------------------------------------------------------------------------------------------


@cache
def retriever() -> SupportsRetrieve:
    """The retriever of this process; it opens the index at the first question, and again whenever a new one is published."""
    from assistant.retrieval import Retriever

    return Retriever(settings.INDEX_DIR)


@cache
def _server(url: str, model: str, key: str, prompt_tokens: int) -> Provider:
    """One client for each model server, so that its connections are used again."""
    from assistant.providers.openai_compatible import OpenAICompatible

    return OpenAICompatible(base_url=url, model=model, api_key=key, prompt_tokens=prompt_tokens)


def provider() -> Provider | None:
    """The configured model server, else the embedded one where it is up; None: the answer is extractive."""
    if url := settings.ENV.model_url:
        return _server(url, settings.ENV.model_name, settings.ENV.model_api_key.get_secret_value(), SERVER_PROMPT_TOKENS)
    return _embedded()


@cache
def _line(url: str) -> Line:
    """The one line of this process before the embedded model at an address."""
    return Line()


def _embedded() -> Provider | None:
    """The embedded model server, where it runs and has its model loaded."""
    from assistant.errors import ProviderError
    from assistant.providers.openai_compatible import OpenAICompatible

    try:
        found = json.loads((settings.RUN_DIR / "model.json").read_text())
        url, name = str(found["url"]), str(found["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    server = _server(url, name, "", EMBEDDED_PROMPT_TOKENS)
    if isinstance(server, OpenAICompatible):
        try:
            server.check(timeout=CHECK_SERVER_SECONDS)
        except ProviderError as error:
            log.info("no language model for now: %s", error)
            return None
    return InLine(server, _line(url))


def options(turn: Turn) -> AnswerOptions:
    """How to answer this turn: a large model may write more, and needs no quotation to begin with."""
    from assistant.answer import Options

    passages = turn.options.get("k") or Options().passages
    if settings.ENV.model_url:
        return Options(passages=passages, max_tokens=SERVER_ANSWER_TOKENS, lead=False)
    return Options(passages=passages, seconds=Options().seconds + line.LONGEST_SECONDS)


def preload() -> None:
    """Open the index, load the embedder and what talks to model servers, so that the first question does not wait for them."""
    from assistant.errors import AssistantError

    started = time.monotonic()
    for load in (lambda: retriever().retrieve("histogram", k=1), provider, lambda: importlib.import_module("langchain_openai")):
        try:
            load()
        except AssistantError as error:
            log.info("nothing to load yet: %s", error)
        except Exception:
            log.exception("could not load what answers questions")
    log.info("ready for questions after %.1f s", time.monotonic() - started)


def stay_loaded() -> None:
    """Load now, and again whenever an index is published, until the worker stops: no question waits for a new index to open."""
    from assistant.index import generations

    preload()
    loaded = generations.stamp(settings.INDEX_DIR)
    while not stopping.wait(LOOK_FOR_INDEX_SECONDS):
        if (published := generations.stamp(settings.INDEX_DIR)) != loaded:
            preload()
            loaded = published


# --- one turn -----------------------------------------------------------------------------------------------------------------


class Run:
    """The text of one run, and whether it is to end.

    Writes go to the database at most every `WRITE_SECONDS`; what is held back is written as soon as the assistant asks whether
    to go on, which it does many times a second also while the model is still thinking.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.text = ""
        self.reason = ""
        """Why it is to end: ``"stopped"`` by the reader, ``"lost"`` its claim, ``"stopping"`` worker; ``""`` where it is not."""
        self._written = ""
        self._next_write = 0.0
        self._next_check = 0.0
        self._next_beat = 0.0

    def add(self, text: str) -> None:
        """Take the next piece of the answer."""
        self.text += text
        self._flush(time.monotonic())

    def ends(self) -> bool:
        """Whether the run is to end: looks into the database now and then, and writes the heartbeat."""
        now = time.monotonic()
        self._flush(now)
        if self.reason or now < self._next_check:
            return bool(self.reason)
        self._next_check = now + CHECK_SECONDS
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SECONDS
            state = services.beat(self.turn)
        else:
            state = services.check(self.turn)
        self.reason = "lost" if not state.held else "stopped" if state.stop else "stopping" if stopping.is_set() else ""
        return bool(self.reason)

    def _flush(self, now: float) -> None:
        if self.text != self._written and now >= self._next_write:
            services.write_text(self.turn, self.text)
            self._written = self.text
            self._next_write = now + WRITE_SECONDS


def execute(turn_id: str) -> None:
    """Answer one waiting turn to its end; returns at once where it does not wait any more."""
    from assistant.errors import AssistantError, IndexUnavailableError

    turn = services.claim(turn_id)
    if turn is None:
        return
    try:
        if turn.options.get("retrieve_only"):
            _search(turn)
        else:
            _answer(turn)
    except IndexUnavailableError as error:
        log.warning("turn %s: %s", turn.pk, error)
        services.fail(
            turn,
            "The documentation is not indexed yet.",
            "Ask again once it is: the Status page shows how far the index is. The administrator can start it with "
            "`ml4ep corpus ingest`.",
        )
    except AssistantError as error:
        services.fail(turn, error.message, error.hint)
    except Exception:
        log.exception("turn %s could not be answered", turn.pk)
        services.fail(
            turn,
            "The assistant could not answer.",
            f"Ask again. If it happens twice, the administrator finds the reason in the assistant's log under {turn.pk}.",
        )


def _search(turn: Turn) -> None:
    """Find passages alone."""
    found = retriever().retrieve(turn.question, turn.options.get("k") or SEARCH_PASSAGES)
    timings = {"wait": waited(turn), "retrieve": found.timings.get("total", 0.0)}
    services.write_passages(turn, stored(found.passages), timings)
    services.finish(turn, "", {"timings": timings, "confidence": found.confidence, "versions": versions()})


def _answer(turn: Turn) -> None:
    """Look into what was handed in, find passages, write the answer as it comes, end as the run ended."""
    run = Run(turn)
    gone = threading.Event()
    model = provider() if turn.options.get("use_model", True) else None
    if isinstance(model, InLine):
        model = model.of(str(turn.owner_id), gone, lambda before: _tell(turn, before))
    try:
        _write_answer(run, model)
    finally:
        gone.set()


def _tell(turn: Turn, before: int) -> None:
    """Write a place in line; called in the thread that reads the model."""
    from django.db import connection

    try:
        services.write_place(turn, before)
    finally:
        connection.close()


def _write_answer(run: Run, model: Provider | None) -> None:
    from assistant.answer import Finished, PassagesFound, Token, answer
    from assistant.answer import Turn as EarlierTurn
    from assistant.tools import given
    from portal.chat import colleague

    turn = run.turn
    history = [EarlierTurn(question, said) for question, said in services.history(turn)]
    # A small model cannot be trusted with tools: what it would need is looked into all the same.
    caller = model if settings.ENV.model_url else None
    found = colleague.prepare(turn, retriever=retriever(), provider=caller, history=history, cancelled=run.ends)
    known = given(given(retriever(), found.looked_up), found.handed_in, enough=True)
    how = replace(options(turn), complete=bool(found.handed_in))
    events = answer(turn.question, retriever=known, provider=model, history=history, options=how, cancelled=run.ends)
    for event in events:
        match event:
            case PassagesFound():
                services.write_passages(turn, stored(event.passages), {"wait": waited(turn), "retrieve": event.seconds})
            case Token():
                run.add(event.text)
                if run.ends() and run.reason == "lost":
                    log.warning("turn %s: this run had lost its claim and was dropped", turn.pk)
                    return
            case Finished():
                _end(run, event.answer, sum(model.waited) if isinstance(model, InLine) else 0.0)


def _end(run: Run, answer: Answer, in_line: float) -> None:
    """Write how the run ended; the seconds before the model's door are not the model's."""
    turn = run.turn
    seconds = {
        name: round(one - (in_line if name in ("first_token", "generate") else 0), 4) for name, one in answer.timings.items()
    }
    record = {
        "citations": list(answer.citations),
        "abstained": answer.abstained,
        "extractive": answer.extractive,
        "note": answer.note,
        "error_code": answer.error_code,
        "confidence": answer.confidence,
        "query": answer.query,
        "unsupported": answer.unsupported,
        "finish": answer.finish,
        "provider": answer.provider,
        "timings": {"wait": waited(turn)} | seconds | ({"line": round(in_line, 4)} if in_line else {}),
        "tokens": dict(answer.tokens),
        "versions": versions() | ({"prompt": answer.prompt_version} if answer.prompt_version else {}),
    }
    if answer.cancelled and run.reason == "stopping":
        services.release(turn)
    elif answer.cancelled:
        services.stopped(turn, answer.text, record)
    else:
        checks = {} if answer.extractive else code.planned(answer.text, answer.written)
        if services.finish(turn, answer.text, record | checks) and checks:
            code.advance(str(turn.pk), checks["code"]["chain"])


def stored(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """Passages as a turn keeps them: numbered from 1, each with a link (the portal's own page where there is no public one)."""
    return [
        {"n": number, **passage.to_json(), "url": passage.url or _own_page(passage)} for number, passage in enumerate(passages, 1)
    ]


def _own_page(passage: Passage) -> str:
    from django.urls import reverse

    return reverse("passage", args=[passage.id])


def waited(turn: Turn) -> float:
    """Seconds between asking and the start of this run."""
    return round((turn.started_at - turn.asked_at).total_seconds(), 4) if turn.started_at else 0.0


def versions() -> dict[str, str]:
    """What the answer rests on, besides the model."""
    from assistant.index.status import index_status

    status = index_status(settings.INDEX_DIR)
    found = {"index": status.generation, "embedder": status.embedder if status.dense else ""}
    return {name: value for name, value in found.items() if value}
