"""OpenAI's API, as the real `openai` client uses it, against a served portal; turns are answered by a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from django.db import connection
from django.utils import timezone

from portal.accounts.services import create_token
from portal.api import completions, turn_events
from portal.chat import services
from portal.chat.models import Conversation, Turn, TurnState
from portal.jobs.models import Job
from tests.portal.api.test_ask import PASSAGE

TEXT = "Call `TH1::Fit` [1]."
RECORD = {"citations": [1], "tokens": {"prompt": 12, "completion": 5}, "finish": "stop"}


@pytest.fixture
def client(transactional_db: None, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[openai.OpenAI]:
    """The real client with a person's token."""
    from portal.accounts.models import User

    monkeypatch.setattr(completions, "POLL_SECONDS", 0.01)
    person = User.objects.create_user("ada")
    with openai.OpenAI(base_url=f"{live_server.url}/v1", api_key=create_token(person, "editor"), max_retries=0) as one:
        yield one


def write(turn: Turn) -> None:
    services.write_passages(turn, [PASSAGE], {})
    services.write_text(turn, TEXT[:10])
    time.sleep(0.1)
    services.finish(turn, TEXT, RECORD)


@contextmanager
def worker(answer: Callable[[Turn], None] = write) -> Iterator[None]:
    """Answers one turn beside the client."""

    def run() -> None:
        try:
            for _ in range(1000):
                waiting = Turn.objects.filter(state=TurnState.QUEUED).first()
                if waiting is not None and (claimed := services.claim(str(waiting.pk))) is not None:
                    answer(claimed)
                    return
                time.sleep(0.02)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def said(text: str) -> Any:
    return {"role": "assistant", "content": text}


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["ml4ep", "ml4ep-passages"]


def test_an_answer_in_one_piece(client: openai.OpenAI) -> None:
    with worker():
        got = client.chat.completions.create(
            model="ml4ep", messages=[{"role": "system", "content": "Say yes."}, user("How do I fit a TH1?")], temperature=0.3
        )
    choice = got.choices[0]
    content = choice.message.content or ""
    assert content.startswith(TEXT)
    assert content.endswith("- [1] [TH1](https://example.org/TH1)")
    assert choice.finish_reason == "stop"
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (12, 5)
    marks = choice.message.annotations or []
    assert [content[mark.url_citation.start_index : mark.url_citation.end_index] for mark in marks] == ["[1]"]
    assert marks[0].url_citation.url == "https://example.org/TH1"
    turn = Turn.objects.get()
    assert (turn.question, turn.options) == ("How do I fit a TH1?", {})


def test_a_stream(client: openai.OpenAI) -> None:
    with worker():
        chunks = list(
            client.chat.completions.create(
                model="ml4ep-passages", messages=[user("Fit?")], stream=True, stream_options={"include_usage": True}
            )
        )
    pieces = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    content = "".join(piece.content or "" for piece in pieces)
    assert content.startswith(TEXT)
    assert "https://example.org/TH1" in content
    assert pieces[0].role == "assistant"
    marks: Any = getattr(pieces[-1], "annotations", None)
    assert [content[mark["url_citation"]["start_index"] : mark["url_citation"]["end_index"]] for mark in marks] == ["[1]"]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 17
    assert Turn.objects.get().options == {"use_model": False}


CODED = f"{TEXT}\n\n```python\nprint(1)\n```\n"


def runs_code(turn: Turn) -> None:
    """Answers with code that is run, and mended, a little later than the text is whole."""
    record = {"state": "open", "chain": "", "at": time.time(), "blocks": [{"n": 1, "auto": True}]}
    services.finish(turn, CODED, RECORD | {"code": record})
    time.sleep(0.2)
    facts = {"status": "ran", "error": "", "seconds": 1.0, "root": "6.40.00"}
    job = Job.objects.create(
        owner=turn.owner, type="run-root-code", state="SUCCEEDED", queued_at=timezone.now(), result={"facts": facts}
    )
    record = record | {"state": "done", "blocks": [{"n": 1, "auto": True, "job": str(job.pk)}]}
    Turn.objects.filter(pk=turn.pk).update(answer=RECORD | {"code": record})


def test_what_came_of_the_code_is_said_below_the_answer(client: openai.OpenAI) -> None:
    with worker(runs_code):
        got = client.chat.completions.create(model="ml4ep", messages=[user("Fit?")])
    content = got.choices[0].message.content or ""
    assert "**Code**\n\n*This code ran in a sandbox with ROOT 6.40.00.*" in content
    with worker(runs_code):
        chunks = list(client.chat.completions.create(model="ml4ep", messages=[user("Fit?")], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == content
    with worker():
        client.chat.completions.create(model="ml4ep", messages=[user("Fit?"), said(content), user("And a TH2?")])
    newest = Turn.objects.order_by("created_at").last()
    assert newest is not None
    assert services.history(newest) == [("Fit?", CODED)], "what was put under it is no part of the answer"


def test_code_that_does_not_end_keeps_no_answer_back(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "CODE_SECONDS", 0.05)
    record = {"state": "open", "chain": "", "at": time.time(), "blocks": [{"n": 1, "auto": True}]}
    with worker(lambda turn: services.finish(turn, CODED, RECORD | {"code": record})):
        got = client.chat.completions.create(model="ml4ep", messages=[user("Fit?")])
    assert "*This code was still running.*" in (got.choices[0].message.content or "")


def test_a_text_that_the_checks_change_comes_whole(client: openai.OpenAI) -> None:
    sent = threading.Event()

    def correct(turn: Turn) -> None:
        services.write_passages(turn, [PASSAGE], {})
        services.write_text(turn, "Call `TH1::Draw` [7]")
        sent.wait(10)
        services.finish(turn, TEXT, RECORD)

    content = ""
    with worker(correct):
        for chunk in client.chat.completions.create(model="ml4ep", messages=[user("Fit?")], stream=True):
            content += chunk.choices[0].delta.content or ""
            marks: Any = getattr(chunk.choices[0].delta, "annotations", None)
            if "[7]" in content:
                sent.set()
    assert f"**The checked answer**\n\n{TEXT}" in content
    assert [content[mark["url_citation"]["start_index"] : mark["url_citation"]["end_index"]] for mark in marks] == ["[1]"]


def test_a_conversation_goes_on_where_the_portal_answered(client: openai.OpenAI) -> None:
    with worker():
        first = client.chat.completions.create(model="ml4ep", messages=[user("Fit?")]).choices[0].message.content or ""
    with worker():
        client.chat.completions.create(model="ml4ep", messages=[user("Fit?"), said(first), user("And a TH2?")])
    turns = list(Turn.objects.order_by("created_at"))
    assert Conversation.objects.count() == 1
    assert services.history(turns[1]) == [("Fit?", TEXT)]


def test_what_somebody_else_answered_is_told(client: openai.OpenAI) -> None:
    messages = [piece for n in range(5) for piece in (user(f"q{n}"), said(f"a{n}"))]
    with worker():
        client.chat.completions.create(model="ml4ep", messages=[*messages, user("And a TH2?")])
    assert services.history(Turn.objects.get()) == [("q2", "a2"), ("q3", "a3"), ("q4", "a4")]


def test_a_reader_who_leaves_stops_the_answer(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "COMMENT_SECONDS", 0.01)  # the tests' server notices when it writes
    got = client.chat.completions.create(model="ml4ep", messages=[user("Fit?")], stream=True)
    next(iter(got))
    got.close()
    for _ in range(500):
        if Turn.objects.get().state == TurnState.STOPPED:
            break
        time.sleep(0.02)
    assert Turn.objects.get().state == TurnState.STOPPED


def test_parts_of_text(client: openai.OpenAI) -> None:
    with worker():
        parts: Any = [{"type": "text", "text": "Fit"}, {"type": "text", "text": "a TH1?"}]
        client.chat.completions.create(model="ml4ep", messages=[user(parts)])
    assert Turn.objects.get().question == "Fit\na TH1?"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "gpt-9"}, 404, "model_not_found"),
        ({"n": 2}, 400, "n"),
        ({"tool_choice": "required"}, 400, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "assistant", "content": "I."}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "chat.empty"),
        ({"messages": [{"role": "user", "content": "x" * 4001}]}, 400, "chat.long"),
    ],
)
def test_refusals(client: openai.OpenAI, change: Any, status: int, code: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**({"model": "ml4ep", "messages": [user("Fit?")]} | change))
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.type == ("not_found_error" if status == 404 else "invalid_request_error")
    assert not Turn.objects.exists()


def test_too_many_questions(client: openai.OpenAI) -> None:
    from portal.accounts.models import User

    ada = User.objects.get()
    for _ in range(services.OPEN_QUESTIONS):
        services.ask(ada, "Fit?")
    with pytest.raises(openai.RateLimitError, match="still being answered"):
        client.chat.completions.create(model="ml4ep", messages=[user("Fit?")])


def test_a_failure_is_an_error(client: openai.OpenAI) -> None:
    def fail(turn: Turn) -> None:
        services.fail(turn, "The index is gone.", "Ask later.")

    with worker(fail), pytest.raises(openai.InternalServerError, match=r"The index is gone\. Ask later\."):
        client.chat.completions.create(model="ml4ep", messages=[user("Fit?")])
    with worker(fail), pytest.raises(openai.APIError, match="The index is gone"):
        list(client.chat.completions.create(model="ml4ep", messages=[user("Fit?")], stream=True))


def test_an_answer_that_never_comes_is_stopped(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "LIMIT_SECONDS", 0.1)
    with pytest.raises(openai.InternalServerError, match="no answer after"):
        client.chat.completions.create(model="ml4ep", messages=[user("Fit?")])
    assert Turn.objects.get().state == TurnState.STOPPED
    assert turn_events.LIMIT_SECONDS > 1


def test_only_a_token_opens(client: openai.OpenAI, live_server: Any) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="ml4ep_wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    url = f"{live_server.url}/v1"
    assert httpx.get(f"{url}/models").status_code == 401
    assert httpx.get(f"{url}/embeddings").json()["error"]["type"] == "not_found_error"
    key = {"Authorization": f"Bearer {client.api_key}"}
    assert httpx.get(f"{url}/chat/completions", headers=key).status_code == 405
    broken = httpx.post(f"{url}/chat/completions", headers=key, content=b"{")
    assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")
