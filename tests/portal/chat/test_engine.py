"""The worker's side: passages before any model, text as it comes, every kind of ending, and which model is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assistant.answer import Options
from assistant.errors import AssistantError, IndexUnavailableError, ProviderError
from assistant.passages import Passage, Retrieval
from assistant.providers.fake import FakeProvider
from portal.celery import stopping
from portal.chat import engine, services
from portal.chat.models import Turn, TurnState
from portal.env import Environment

pytestmark = pytest.mark.django_db

QUESTION = "How do I fit a TH1 with a Gaussian?"


def run(turn: Turn) -> Turn:
    engine.execute(str(turn.pk))
    return Turn.objects.get(pk=turn.pk)


def test_an_answer_with_its_trace(person: Any, retriever: Any, model: FakeProvider) -> None:
    turn = run(services.ask(person, QUESTION))
    assert turn.state == TurnState.DONE, turn.error
    assert "returns a TFitResultPtr with the full result" in turn.text
    assert 1 in turn.answer["citations"]
    assert turn.passages is not None
    first, second = turn.passages
    assert (first["n"], first["title"], first["url"]) == (1, retriever.passages[0].title, retriever.passages[0].url)
    assert second["url"] == "/ask/passages/root:tutorial/fit1.C"
    answer = turn.answer
    assert (answer["provider"], answer["extractive"], answer["abstained"]) == ("fake", False, False)
    assert {"wait", "retrieve", "retrieve.lexical", "first_text", "first_token", "generate", "total"} <= set(answer["timings"])
    assert answer["tokens"]["completion"] > 0
    assert answer["versions"]["prompt"]
    assert turn.finished_at is not None
    json.dumps([turn.passages, answer])


def test_passages_are_stored_before_the_model_is_asked(person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    class Looking(FakeProvider):
        def stream(self, messages: Any, *, max_tokens: int) -> Any:
            now = Turn.objects.get()
            seen.append((now.state, len(now.passages or ())))
            return super().stream(messages, max_tokens=max_tokens)

    looking = Looking.saying("It works [1].")
    monkeypatch.setattr(engine, "provider", lambda: looking)
    # The model is asked in a thread of its own, which a test's transaction hides the turn from.
    monkeypatch.setattr("assistant.answer.pumped", lambda stream, **_: stream)
    run(services.ask(person, QUESTION))
    assert seen == [(TurnState.WRITING, 2)]


def test_without_a_model_the_answer_is_extractive(person: Any, retriever: Any, no_model: None) -> None:
    turn = run(services.ask(person, QUESTION))
    assert turn.state == TurnState.DONE
    assert turn.answer["extractive"]
    assert "TH1::Fit fits the histogram" in turn.text
    assert turn.answer["citations"]


def test_a_question_may_do_without_the_model(person: Any, retriever: Any, model: FakeProvider) -> None:
    turn = run(services.ask(person, QUESTION, options={"use_model": False}))
    assert turn.answer["extractive"]
    assert model.requests == []


def test_nothing_found_is_an_abstention(person: Any, retriever: Any, model: FakeProvider) -> None:
    retriever.passages, retriever.confidence = (), None
    turn = run(services.ask(person, "What is the weather?"))
    assert (turn.state, turn.passages, turn.answer["abstained"]) == (TurnState.DONE, [], True)
    assert turn.answer["citations"] == []
    assert model.requests == []


def test_a_model_that_breaks_leaves_an_extractive_answer_with_the_reason(
    person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FakeProvider.saying(ProviderError("The model server is gone.", hint="Start it."))
    monkeypatch.setattr(engine, "provider", lambda: broken)
    turn = run(services.ask(person, QUESTION))
    assert (turn.state, turn.answer["extractive"]) == (TurnState.DONE, True)
    assert "The model server is gone." in turn.answer["note"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (IndexUnavailableError("There is no index yet", code="index.missing"), "The documentation is not indexed yet."),
        (AssistantError("The question is odd.", hint="Ask another."), "The question is odd."),
        (RuntimeError("secret detail"), "The assistant could not answer."),
    ],
)
@pytest.mark.parametrize("search", [False, True])
def test_errors_end_the_turn_with_a_way_out(
    person: Any, retriever: Any, no_model: None, error: Exception, message: str, search: bool
) -> None:
    retriever.error = error
    turn = run(services.ask(person, QUESTION, options={"retrieve_only": search}))
    assert (turn.state, turn.error) == (TurnState.FAILED, message)
    assert turn.hint
    assert "secret" not in turn.error + turn.hint
    assert turn.finished_at is not None


def test_a_search_finds_passages_and_writes_nothing(person: Any, retriever: Any, model: FakeProvider) -> None:
    turn = run(services.ask(person, "TH1 fit", options={"retrieve_only": True, "k": 1}))
    assert (turn.state, turn.text, turn.conversation) == (TurnState.DONE, "", None)
    assert turn.passages is not None
    assert [passage["title"] for passage in turn.passages] == [retriever.passages[0].title]
    assert turn.answer["timings"]["retrieve"] == 0.02
    assert retriever.asked == [("TH1 fit", 1)]
    assert model.requests == []


def test_the_number_of_passages_is_the_options(person: Any, retriever: Any, no_model: None) -> None:
    run(services.ask(person, QUESTION, options={"k": 3}))
    run(services.ask(person, QUESTION, options={"retrieve_only": True}))
    run(services.ask(person, QUESTION))
    assert [k for _, k in retriever.asked] == [3, engine.SEARCH_PASSAGES, Options().passages]


def test_a_follow_up_hands_over_what_was_said(person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    talking = FakeProvider.saying("Use it.", "Then so.")
    monkeypatch.setattr(engine, "provider", lambda: talking)
    first = run(services.ask(person, QUESTION))
    run(services.ask(person, "And how about that in Python?", first.conversation))
    assert "TH1" in retriever.asked[-1][0]


def test_a_message_that_comes_twice_answers_once(person: Any, retriever: Any, model: FakeProvider) -> None:
    turn = run(services.ask(person, QUESTION))
    again = run(turn)
    assert (again.text, again.finished_at) == (turn.text, turn.finished_at)
    assert len(retriever.asked) == 1
    engine.execute("00000000-0000-0000-0000-000000000000")


def test_the_reader_stops_it_and_what_was_written_stays(person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECK_SECONDS", 0.0)
    slow = FakeProvider.saying("word " * 400, delay=0.01)
    monkeypatch.setattr(engine, "provider", lambda: slow)
    write = services.write_text

    def stop_after_some(turn: Turn, text: str) -> bool:
        if "word" in text:
            services.stop(turn)
        return write(turn, text)

    monkeypatch.setattr(services, "write_text", stop_after_some)
    turn = run(services.ask(person, QUESTION))
    assert turn.state == TurnState.STOPPED
    assert "word" in turn.text
    assert turn.text.count("word") < 300
    assert turn.answer["provider"] == "fake"


def test_a_run_that_was_given_up_ends_and_writes_nothing(person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECK_SECONDS", 0.0)
    slow = FakeProvider.saying("word " * 400, delay=0.005)
    monkeypatch.setattr(engine, "provider", lambda: slow)
    turn = services.ask(person, QUESTION)
    retriever.before = lambda: Turn.objects.filter(pk=turn.pk).update(state=TurnState.FAILED, error="given up")
    turn = run(turn)
    assert (turn.state, turn.error, turn.text, turn.passages) == (TurnState.FAILED, "given up", "", None)


def test_a_worker_that_stops_gives_the_turn_back(person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECK_SECONDS", 0.0)
    sent: list[Turn] = []
    monkeypatch.setattr(services, "enqueue", sent.append)
    slow = FakeProvider.saying("word " * 400, delay=0.005)
    monkeypatch.setattr(engine, "provider", lambda: slow)
    turn = services.ask(person, QUESTION)
    retriever.before = stopping.set
    try:
        turn = run(turn)
    finally:
        stopping.clear()
    assert (turn.state, turn.claim, turn.text, turn.passages) == (TurnState.QUEUED, None, "", None)
    assert sent == [turn]


def test_text_is_written_at_most_every_tenth_of_a_second_and_the_rest_when_asked(
    person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = services.claim(str(services.ask(person, "x").pk))
    assert claimed is not None
    writes: list[str] = []
    monkeypatch.setattr(services, "write_text", lambda _turn, text: writes.append(text))
    now = [100.0]
    monkeypatch.setattr(engine.time, "monotonic", lambda: now[0])
    written = engine.Run(claimed)
    for piece in "abcdef":
        written.add(piece)
        now[0] += 0.01
    assert writes == ["a"]
    now[0] += engine.WRITE_SECONDS
    assert not written.ends()
    assert writes == ["a", "abcdef"]
    now[0] += engine.WRITE_SECONDS
    written.ends()
    assert writes == ["a", "abcdef"]


def test_the_heartbeat_is_written_while_the_model_thinks(person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = services.claim(str(services.ask(person, "x").pk))
    assert claimed is not None
    beats: list[float] = []
    beat = services.beat
    monkeypatch.setattr(services, "beat", lambda turn: (beats.append(now[0]), beat(turn))[1])
    now = [100.0]
    monkeypatch.setattr(engine.time, "monotonic", lambda: now[0])
    run = engine.Run(claimed)
    while now[0] < 110:
        assert not run.ends()
        now[0] += 0.05
    assert 4 <= len(beats) <= 6
    assert engine.BEAT_SECONDS * 3 < services.LOST_SECONDS


@pytest.fixture
def run_dir(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.RUN_DIR = tmp_path
    engine._server.cache_clear()
    return tmp_path


def test_the_configured_server_is_asked(run_dir: Path, settings: Any) -> None:
    settings.ENV = Environment(model_url="http://models.example/v1", model_name="large")
    server = engine.provider()
    assert server is not None
    assert server.name == "large"
    assert server.prompt_tokens == engine.SERVER_PROMPT_TOKENS
    assert server is engine.provider()
    chosen = engine.options(Turn(options={}))
    assert (chosen.lead, chosen.max_tokens) == (False, engine.SERVER_ANSWER_TOKENS)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"url": 1}', '{"url": "http://127.0.0.1:1/v1", "name": "small"}'])
def test_no_embedded_server_no_model(run_dir: Path, content: str | None) -> None:
    if content is not None:
        (run_dir / "model.json").write_text(content)
    assert engine.provider() is None


def test_the_embedded_server_is_asked_where_it_answers(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assistant.providers.openai_compatible import OpenAICompatible

    (run_dir / "model.json").write_text(json.dumps({"name": "small", "port": 1, "url": "http://127.0.0.1:1/v1"}))
    monkeypatch.setattr(OpenAICompatible, "check", lambda self, timeout: None)
    server = engine.provider()
    assert server is not None
    assert (server.name, server.prompt_tokens) == ("small", engine.EMBEDDED_PROMPT_TOKENS)
    assert engine.options(Turn(options={"k": 4})).passages == 4


def test_preloading_searches_once_and_survives_a_missing_index(
    retriever: Any, no_model: None, caplog: pytest.LogCaptureFixture
) -> None:
    engine.preload()
    assert len(retriever.asked) == 1
    retriever.error = IndexUnavailableError("none")
    engine.preload()
    retriever.error = RuntimeError("broken")
    engine.preload()
    assert "could not load" in caplog.text
    assert "langchain_openai" in sys.modules


def test_a_newly_published_index_is_opened_before_anybody_asks(
    retriever: Any, no_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assistant.index import generations

    stamps = iter([None, None, (1, 1), (1, 1), (2, 2)])
    rounds = iter([False, False, False, False, True])
    monkeypatch.setattr(generations, "stamp", lambda index_dir: next(stamps))
    monkeypatch.setattr(engine.stopping, "wait", lambda seconds: next(rounds))
    engine.stay_loaded()
    assert len(retriever.asked) == 3, "at the start, and for each of the two indexes published since"


def test_the_task_has_its_name_and_its_queue() -> None:
    from portal.celery import app
    from portal.chat.tasks import answer_turn

    assert answer_turn.name == "portal.chat.answer_turn"
    assert app.amqp.router.route({}, answer_turn.name)["queue"].name == "chat"


def test_no_housekeeping_waits_behind_answers() -> None:
    from portal.celery import app

    for entry in app.conf.beat_schedule.values():
        assert app.amqp.router.route(dict(entry.get("options", {})), entry["task"])["queue"].name == "system", entry["task"]


def test_stored_passages_are_plain(person: Any) -> None:
    found = Retrieval("q", (Passage("a b#c?d", "t", "s", "page", "p:1", "", 0.5, "x"),))
    (passage,) = engine.stored(found.passages)
    assert passage["url"] == "/ask/passages/a%20b%23c%3Fd"


def test_a_process_that_only_sends_knows_the_broker() -> None:
    """The web server imports nothing of Celery before the first question."""
    program = (
        "import django; django.setup()\n"
        "from portal.chat.tasks import answer_turn\n"
        "from django.conf import settings\n"
        "assert answer_turn.app.conf.broker_url == settings.CELERY_BROKER_URL, answer_turn.app.conf.broker_url\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"DJANGO_SETTINGS_MODULE": "portal.settings"})
