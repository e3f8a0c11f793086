"""The pages without any script: forms, redirects, who sees what."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from portal.chat import engine, services
from portal.chat.models import Conversation, Feedback, Turn, TurnState
from portal.chat.show import group, rail

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def browser(client: Client, person: Any) -> Client:
    client.force_login(person)
    return client


def page(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content.decode())


def test_a_question_from_the_form_to_the_answer(browser: Client, retriever: Any, model: Any) -> None:
    response = browser.post("/ask/", {"question": "How do I fit a TH1?"})
    turn = Turn.objects.get()
    assert response["Location"] == f"/ask/{turn.conversation_id}#turn-{turn.anchor}"
    waiting = page(browser.get(response["Location"]))
    assert f'data-events="/ask/turns/{turn.pk}/events"' in waiting
    assert "Waiting for the assistant" in waiting
    assert '<noscript><meta http-equiv="refresh"' in waiting
    engine.execute(str(turn.pk))
    done = page(browser.get(response["Location"]))
    assert "data-events" not in done
    assert "refresh" not in done
    assert f'<details id="{turn.anchor}-p1" open>' in done
    assert f'<details id="{turn.anchor}-p2">' in done
    assert f'href="#{turn.anchor}-p1"' in done
    assert 'href="https://root.cern/doc/master/classTH1.html"' in done
    assert f'href="/ask/passages/root:tutorial/fit1.C?turn={turn.pk}"' in done
    assert done.index("Passages found") < done.index('data-part="text"')
    assert "of 2 passages cited, answered in" in done


def test_a_link_fills_the_question_in(browser: Client) -> None:
    assert "&lt;b&gt;fit?</textarea>" in page(browser.get("/ask/", {"q": "<b>fit?"}))


def test_a_refused_question_keeps_what_was_typed(browser: Client) -> None:
    response = browser.post("/ask/", {"question": "y" * 4001})
    assert response.status_code == 400
    assert "4001 characters" in response.content.decode()
    assert "y" * 4001 in response.content.decode()
    assert browser.post("/ask/", {}).status_code == 400
    assert not Conversation.objects.exists()


def test_a_follow_up_stays_in_its_conversation(browser: Client, answered: Any) -> None:
    address = f"/ask/{answered.conversation_id}"
    response = browser.post(address, {"question": "And unbinned?"})
    second = Turn.objects.get(question="And unbinned?")
    assert response["Location"] == f"{address}#turn-{second.anchor}"
    shown = page(browser.get(address))
    assert shown.index(answered.question) < shown.index("And unbinned?")
    assert shown.count("<h1") == 1
    assert f'<h2 class="q" id="q-{second.anchor}">' in shown
    busy = browser.post(address, {"question": "Third"})
    assert busy.status_code == 400
    assert "still being answered" in busy.content.decode()


def test_anchors_of_two_turns_differ(browser: Client, answered: Any, model: Any) -> None:
    model.replies.append("More [2].")
    second = services.ask(answered.owner, "And then?", answered.conversation)
    engine.execute(str(second.pk))
    shown = page(browser.get(f"/ask/{answered.conversation_id}"))
    for turn in (answered, second):
        assert shown.count(f'id="{turn.anchor}-p1"') == 1
    import re

    ids = re.findall(r' id="([^"]+)"', shown)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("method", "name"), [("get", ""), ("post", ""), ("post", "/rename"), ("post", "/delete")])
def test_a_conversation_is_its_owners(client: Client, other_person: Any, answered: Any, method: str, name: str) -> None:
    client.force_login(other_person)
    response = getattr(client, method)(f"/ask/{answered.conversation_id}{name}", {"question": "x", "title": "x"})
    assert response.status_code == 404
    assert Turn.objects.count() == 1


@pytest.mark.parametrize("name", ["", "/events", "/stop", "/regenerate", "/feedback"])
def test_a_turn_is_its_owners(client: Client, other_person: Any, answered: Any, name: str) -> None:
    client.force_login(other_person)
    address = f"/ask/turns/{answered.pk}{name}"
    response = client.get(address) if name in {"", "/events"} else client.post(address, {"useful": "yes"})
    assert response.status_code == 404
    answered.refresh_from_db()
    assert answered.state == TurnState.DONE


def test_an_administrator_reads_no_conversations_either(client: Client, administrator: Any, answered: Any) -> None:
    client.force_login(administrator)
    assert client.get(f"/ask/{answered.conversation_id}").status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "/ask/",
        f"/ask/{uuid.UUID(int=1)}",
        f"/ask/turns/{uuid.UUID(int=1)}",
        f"/ask/turns/{uuid.UUID(int=1)}/events",
        "/ask/passages/x",
    ],
)
def test_everything_needs_a_login(client: Client, db: None, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_forms_need_their_token(person: Any, answered: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person)
    for address in ("/ask/", f"/ask/turns/{answered.pk}/regenerate", f"/ask/{answered.conversation_id}/delete"):
        assert strict.post(address, {"question": "x"}).status_code == 403


def test_changes_are_posts(browser: Client, answered: Any) -> None:
    for name in ("stop", "regenerate", "feedback"):
        assert browser.get(f"/ask/turns/{answered.pk}/{name}").status_code == 405
    for name in ("rename", "delete"):
        assert browser.get(f"/ask/{answered.conversation_id}/{name}").status_code == 405


def test_stop_by_form_and_by_swap(browser: Client, person: Any) -> None:
    turn = services.ask(person, "x")
    response = browser.post(f"/ask/turns/{turn.pk}/stop")
    assert response["Location"] == f"/ask/{turn.conversation_id}#turn-{turn.anchor}"
    assert "Stopped" in page(browser.get(response["Location"]))
    turn = services.ask(person, "y")
    swapped = page(browser.post(f"/ask/turns/{turn.pk}/stop", headers=HTMX))
    assert swapped.strip().startswith("<article")
    assert "data-events" not in swapped


def test_regenerate_swaps_in_a_turn_that_streams(browser: Client, answered: Any) -> None:
    swapped = page(browser.post(f"/ask/turns/{answered.pk}/regenerate", headers=HTMX))
    assert f'data-events="/ask/turns/{answered.pk}/events"' in swapped
    assert "<h1" in swapped
    again = page(browser.post(f"/ask/turns/{answered.pk}/regenerate", headers=HTMX))
    assert "still being written" in again
    assert browser.post(f"/ask/turns/{answered.pk}/regenerate").status_code == 302


def test_feedback_by_form_and_by_swap(browser: Client, answered: Any) -> None:
    address = f"/ask/turns/{answered.pk}/feedback"
    assert browser.post(address, {"useful": "yes"}).status_code == 302
    assert Feedback.objects.get().useful
    shown = page(browser.post(address, {"useful": "no", "reason": "<i>wrong</i>"}, headers=HTMX))
    assert "&lt;i&gt;wrong&lt;/i&gt;" in shown
    assert f'id="{answered.anchor}-no" name="useful" value="none" aria-label="Not useful" aria-pressed="true"' in shown
    assert not Feedback.objects.get().useful
    page(browser.post(address, {"useful": "none"}, headers=HTMX))
    assert not Feedback.objects.exists()
    assert "longer than" in page(browser.post(address, {"useful": "no", "reason": "x" * 2001}, headers=HTMX))


def test_rename_and_delete(browser: Client, answered: Any) -> None:
    address = f"/ask/{answered.conversation_id}"
    browser.post(f"{address}/rename", {"title": "Fits"})
    assert ">Fits</a>" in page(browser.get(address))
    assert "The title is empty." in page(browser.post(f"{address}/rename", {"title": " "}, follow=True))
    assert "“Fits” was deleted." in page(browser.post(f"{address}/delete", follow=True))
    assert browser.get(address).status_code == 404


def test_a_turns_lasting_address_leads_into_its_conversation(browser: Client, answered: Any, person: Any) -> None:
    assert browser.get(f"/ask/turns/{answered.pk}")["Location"] == f"/ask/{answered.conversation_id}#turn-{answered.anchor}"
    search = services.ask(person, "x", options={"retrieve_only": True})
    assert browser.get(f"/ask/turns/{search.pk}").status_code == 404


def test_labels_of_the_kinds_of_answer(browser: Client, person: Any, retriever: Any, no_model: None) -> None:
    turn = services.ask(person, "How do I fit a TH1?")
    engine.execute(str(turn.pk))
    assert ">Extractive</span>" in page(browser.get(f"/ask/{turn.conversation_id}"))
    retriever.passages, retriever.confidence = (), 0.12
    turn = services.ask(person, "What is for lunch?", turn.conversation)
    engine.execute(str(turn.pk))
    shown = page(browser.get(f"/ask/{turn.conversation_id}"))
    assert "No answer" in shown
    assert "0.12" in shown
    assert "No passage found" in shown


def test_a_failed_turn_says_why_and_can_be_asked_again(browser: Client, person: Any, retriever: Any) -> None:
    retriever.error = RuntimeError("x")
    turn = services.ask(person, "x")
    engine.execute(str(turn.pk))
    shown = page(browser.get(f"/ask/{turn.conversation_id}"))
    assert "The assistant could not answer." in shown
    assert "Answer again" in shown


def test_what_passages_and_questions_hold_is_text(browser: Client, person: Any, retriever: Any, no_model: None) -> None:
    from dataclasses import replace

    hostile = '"><script>alert(1)</script>'
    retriever.passages = tuple(
        replace(each, title=hostile, source=hostile, place=hostile, text=hostile, url="javascript:alert(1)")
        for each in retriever.passages
    )
    turn = services.ask(person, hostile)
    engine.execute(str(turn.pk))
    shown = page(browser.get(f"/ask/{turn.conversation_id}"))
    assert "<script>alert" not in shown
    assert "javascript:" not in shown


def test_a_document_is_shown_whole_and_else_its_passage(browser: Client, answered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from assistant.index import status

    text = "Fits.\n\n```cpp\nint main() {}\n```"
    stored = status.StoredDocument(
        "root:tutorial/fit1.C", "Fitting", "fit1.C", "tutorial", "tutorials/fit/fit1.C:1", "", text, "ROOT", "6.36"
    )
    monkeypatch.setattr(status, "read_document", lambda _folder, document: stored if document == stored.id else None)
    whole = page(browser.get("/ask/passages/root:tutorial/fit1.C"))
    assert "Fitting" in whole
    assert 'class="code hl"' in whole
    assert "ROOT 6.36" in whole
    assert 'action="/ask/tutorials/run?place=tutorials/fit/fit1.C"' in whole
    assert "not run" in whole
    monkeypatch.setattr(status, "read_document", lambda *_: None)
    kept = page(browser.get("/ask/passages/root:tutorial/fit1.C", {"turn": str(answered.pk)}))
    assert "no longer in the index" in kept
    assert "Simple fitting example" in kept
    assert browser.get("/ask/passages/root:tutorial/fit1.C").status_code == 404
    assert browser.get("/ask/passages/root:tutorial/fit1.C", {"turn": "x"}).status_code == 404
    assert browser.get("/ask/passages/../../etc/passwd").status_code == 404


def test_somebody_elses_copy_of_a_passage_is_not_shown(client: Client, other_person: Any, answered: Any) -> None:
    client.force_login(other_person)
    assert client.get("/ask/passages/root:tutorial/fit1.C", {"turn": str(answered.pk)}).status_code == 404


def test_the_rail_groups_by_day(person: Any, other_person: Any) -> None:
    def conversation(title: str, day: date) -> Conversation:
        return Conversation(title=title, updated_at=datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("UTC")))

    today = date(2026, 6, 10)
    days = [today, today, today - timedelta(1), today - timedelta(3), today - timedelta(9), date(2026, 5, 1), date(2025, 5, 1)]
    groups = group([conversation(str(index), day) for index, day in enumerate(days)], today)
    assert [(each.title, len(each.conversations)) for each in groups] == [
        ("Today", 2),
        ("Yesterday", 1),
        ("This week", 1),
        ("June", 1),
        ("May", 1),
        ("May 2025", 1),
    ]
    services.ask(person, "mine")
    services.ask(other_person, "theirs")
    (mine,) = rail(person)
    assert [each.title for each in mine.conversations] == ["mine"]
    assert not mine.old
    assert rail(person, timezone.now() + timedelta(days=2))[0].old


def test_pages_hold_nothing_inline(browser: Client, answered: Any) -> None:
    import re

    for address in ("/ask/", f"/ask/{answered.conversation_id}"):
        shown = page(browser.get(address))
        assert not re.search(r"<[^>]+\s(style|on\w+)=", shown)
        assert not re.search(r"<script(?![^>]* src=)", shown)
        assert not re.search(r"""(src|href)=["']?(https?:)?//(?!root\.cern)""", shown)
