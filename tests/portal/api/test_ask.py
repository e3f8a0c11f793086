"""Questions through the API: asked, followed, stopped, judged; and passages alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from portal.api import turn_events
from portal.chat import services
from portal.chat.models import Conversation, Feedback, Turn, TurnState
from portal.jobs.models import Job

PASSAGE = {
    "n": 1,
    "id": "a",
    "title": "TH1",
    "source": "TH1",
    "kind": "class",
    "place": "TH1.h:1",
    "url": "https://example.org/TH1",
    "text": "Fits.",
    "score": 0.9,
}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.api import ask

    monkeypatch.setattr(ask, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(ask, "SEARCH_SECONDS", 5.0)


def events(data: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in data.decode().strip().split("\n\n"):
        if not block.startswith(":"):
            name, text = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(text.removeprefix("data: "))))
    return found


def test_ask_and_get(door: Any) -> None:
    asked = door.post("ask", {"question": "How do I fit a TH1?", "options": {"k": 3, "use_model": False}})
    assert asked.status_code == 202, asked.content
    turn = Turn.objects.get()
    assert turn.options == {"k": 3, "use_model": False}
    got = door.get(f"ask/{turn.pk}").json()
    assert got == asked.json()
    assert (got["state"], got["passages"], got["text"]) == ("QUEUED", None, "")
    assert Conversation.objects.get(pk=got["conversation"]).title == "How do I fit a TH1?"


def test_a_conversation_goes_on(door: Any, stranger: Any) -> None:
    first = door.post("ask", {"question": "What is TH1?"}).json()
    busy = door.post("ask", {"question": "And TH2?", "conversation": first["conversation"]})
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "chat.busy")
    assert door.post(f"ask/{first['id']}/stop").json()["state"] == "STOPPED"
    second = door.post("ask", {"question": "And TH2?", "conversation": first["conversation"]})
    assert second.json()["conversation"] == first["conversation"]
    assert stranger.post("ask", {"question": "And?", "conversation": first["conversation"]}).status_code == 404


def test_too_many_questions_at_a_time(door: Any) -> None:
    for _ in range(services.OPEN_QUESTIONS):
        assert door.post("ask", {"question": "why?"}).status_code == 202
    refused = door.post("ask", {"question": "why?"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "chat.open")


def test_stop_regenerate_judge(door: Any) -> None:
    turn = door.post("ask", {"question": "why?"}).json()["id"]
    assert door.post(f"ask/{turn}/feedback", {"useful": True}).status_code == 409
    assert door.post(f"ask/{turn}/stop").status_code == 202
    assert door.post(f"ask/{turn}/stop").json()["error"]["code"] == "chat.ended"
    assert door.post(f"ask/{turn}/feedback", {"useful": False, "reason": "wrong class"}).status_code == 204
    assert Feedback.objects.get().reason == "wrong class"
    assert door.post(f"ask/{turn}/feedback", {"useful": None}).status_code == 204
    assert not Feedback.objects.exists()
    again = door.post(f"ask/{turn}/regenerate")
    assert (again.status_code, again.json()["state"]) == (202, "QUEUED")


@pytest.mark.parametrize("path", ["", "/events"])
def test_questions_of_others_do_not_exist(door: Any, stranger: Any, path: str) -> None:
    turn = door.post("ask", {"question": "why?"}).json()["id"]
    assert stranger.get(f"ask/{turn}{path}").status_code == 404
    for verb in ("stop", "regenerate"):
        assert stranger.post(f"ask/{turn}/{verb}").status_code == 404
    assert stranger.post(f"ask/{turn}/feedback", {"useful": True}).status_code == 404


def test_what_came_of_code(door: Any) -> None:
    turn = door.post("ask", {"question": "why?"}).json()["id"]
    assert door.get(f"ask/{turn}").json()["code"] == []
    asked = Turn.objects.get(pk=turn)
    result = {"facts": {"status": "failed", "error": "no `h`", "root": "6.40.00"}}
    job = Job.objects.create(owner=asked.owner, type="run-root-code", state="SUCCEEDED", queued_at=timezone.now(), result=result)
    record = {"state": "done", "chain": "", "at": 0, "blocks": [{"n": 1, "auto": True, "job": str(job.pk)}]}
    text = "```cpp\nh->Draw();\n```\n\n```python\nx = 1\n```\n"
    Turn.objects.filter(pk=turn).update(state=TurnState.DONE, text=text, answer={"citations": [], "code": record})
    first, second = door.get(f"ask/{turn}").json()["code"]
    failed = "This code failed in a sandbox with ROOT 6.40.00: `no h`"
    assert first == {"n": 1, "language": "cpp", "state": "failed", "label": failed, "mended": ""}
    assert (second["n"], second["state"], second["label"]) == (2, "none", "This code was not run.")


def test_the_events_of_a_finished_answer(door: Any) -> None:
    turn = door.post("ask", {"question": "why?"}).json()["id"]
    Turn.objects.filter(pk=turn).update(state=TurnState.DONE, passages=[PASSAGE], text="Because [1].", answer={"citations": [1]})
    response = door.get(f"ask/{turn}/events")
    assert response["Content-Type"] == "text/event-stream"
    found = events(b"".join(response.streaming_content))
    assert [name for name, _ in found] == ["state", "passages", "text", "done"]
    assert found[2][1] == {"offset": 0, "text": "Because [1]."}
    assert found[3][1]["answer"] == {"citations": [1]}
    assert found[3][1]["id"] == turn


@pytest.mark.django_db(transaction=True)  # the stream gives its connection back, which no transaction survives
def test_the_events_of_an_answer_in_the_making(door: Any) -> None:
    """Each change is one event; text comes in parts, a correction from the first character that differs."""
    turn = Turn.objects.get(pk=door.post("ask", {"question": "why?"}).json()["id"])
    stream = turn_events.follow(turn, lambda turn: {"text": turn.text})

    def step(**values: Any) -> list[tuple[str, Any]]:
        Turn.objects.filter(pk=turn.pk).update(**values)
        chunk = next(stream)
        return events(chunk) if chunk else []

    assert events(next(stream)) == [("state", {"state": "QUEUED"})]
    assert step() == []
    assert step(state=TurnState.WRITING, passages=[PASSAGE]) == [
        ("state", {"state": "WRITING"}),
        ("passages", {"passages": [PASSAGE]}),
    ]
    assert step(text="Becau") == [("text", {"offset": 0, "text": "Becau"})]
    assert step(text="Because so") == [("text", {"offset": 5, "text": "se so"})]
    assert step(text="Because [1]") == [("text", {"offset": 8, "text": "[1]"})]
    last = step(state=TurnState.DONE)
    assert last == [("state", {"state": "DONE"}), ("done", {"text": "Because [1]"})]
    assert next(stream, None) is None


def test_a_page_of_the_portal_is_a_whole_address(door: Any, settings: Any) -> None:
    settings.PUBLIC_URL = "https://portal.example.org"
    turn = door.post("ask", {"question": "why?"}).json()["id"]
    own = PASSAGE | {"url": "/ask/passages/notes/page:fit.md:5"}
    Turn.objects.filter(pk=turn).update(passages=[own, PASSAGE])
    urls = [each["url"] for each in door.get(f"ask/{turn}").json()["passages"]]
    assert urls == ["https://portal.example.org/ask/passages/notes/page:fit.md:5", PASSAGE["url"]]


@pytest.mark.django_db(transaction=True)
def test_the_events_end_where_the_question_is_removed(door: Any) -> None:
    turn = Turn.objects.get(pk=door.post("ask", {"question": "why?"}).json()["id"])
    stream = turn_events.follow(turn, lambda turn: {})
    next(stream)
    Turn.objects.all().delete()
    assert next(stream, None) is None


@pytest.fixture
def finding(transactional_db: None) -> Iterator[None]:
    """The assistant's worker, here a thread, finds the passage of one search while the request waits."""

    def work() -> None:
        from django.db import connection

        try:
            for _ in range(500):
                turn = Turn.objects.filter(state=TurnState.QUEUED).first()
                claimed = services.claim(str(turn.pk)) if turn else None
                if claimed:
                    services.write_passages(claimed, [PASSAGE], {"total": 0.01})
                    services.finish(claimed, "", {"timings": {"total": 0.01}})
                    return
                threading.Event().wait(0.01)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    yield
    worker.join()


SHOWN = {name: value for name, value in PASSAGE.items() if name != "id"}


@pytest.mark.usefixtures("finding")
def test_retrieve_waits_for_the_assistant(door: Any) -> None:
    found = door.post("retrieve", {"query": "fit", "k": 4})
    assert found.status_code == 200, found.content
    assert found.json() == {"query": "fit", "passages": [SHOWN], "timings": {"total": 0.01}}
    turn = Turn.objects.get()
    assert (turn.options, turn.conversation) == ({"k": 4, "retrieve_only": True}, None)


@pytest.mark.usefixtures("finding")
@pytest.mark.parametrize(("name", "known"), [("TH1", True), ("TH1::Fits", True), ("TH", False), ("TH1::Fit", False)])
def test_a_symbol_by_its_exact_name(door: Any, name: str, known: bool) -> None:
    found = door.get(f"symbols?name={name}")
    assert found.status_code == 200, found.content
    assert found.json() == {"name": name, "known": known, "passages": [SHOWN] if known else []}


def test_a_symbol_needs_a_name_and_an_assistant(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.api import ask

    assert door.get("symbols").status_code == 422
    monkeypatch.setattr(ask, "SEARCH_SECONDS", 0.05)
    response = door.get("symbols?name=TH1")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "assistant.busy")


def test_retrieve_without_an_assistant(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.api import ask

    monkeypatch.setattr(ask, "SEARCH_SECONDS", 0.05)
    response = door.post("retrieve", {"query": "fit"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "assistant.busy")
    assert Turn.objects.get().state == TurnState.STOPPED


def test_retrieve_without_an_index(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(turn: Turn, seconds: float) -> Turn:
        turn.state, turn.error, turn.hint = TurnState.FAILED, "There is no index yet", "Wait a little."
        return turn

    monkeypatch.setattr(services, "wait", failed)
    response = door.post("retrieve", {"query": "fit"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "index.unavailable")
    assert response.json()["error"]["hint"] == "Wait a little."
