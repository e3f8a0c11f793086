"""Conversations and the assistant's use through the API."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from django.test import Client
from django.utils import timezone

from portal.chat.models import Conversation, Share, Turn, TurnState, Usage

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation(person: Any) -> Conversation:
    now = timezone.now()
    made = Conversation.objects.create(owner=person, title="Fits")
    Turn.objects.create(
        owner=person, conversation=made, question="How do I fit?", text="```python\nh.Fit('gaus')\n```", state=TurnState.DONE,
        passages=[], asked_at=now, queued_at=now, finished_at=now,
    )  # fmt: skip
    return made


def test_list_and_search(door: Any, stranger: Any, conversation: Conversation) -> None:
    listed = door.get("conversations").json()
    assert (listed["total"], listed["items"][0]["title"], listed["items"][0]["share"]) == (1, "Fits", None)
    assert door.get("conversations?q=gaus").json()["total"] == 1
    assert door.get("conversations?q=lunch").json()["total"] == 0
    assert stranger.get("conversations").json()["total"] == 0
    assert door.get(f"conversations?q={'x' * 201}").status_code == 422


def test_get_rename_delete(door: Any, stranger: Any, conversation: Conversation) -> None:
    path = f"conversations/{conversation.pk}"
    whole = door.get(path).json()
    assert whole["turns"][0]["question"] == "How do I fit?"
    assert door.call("PATCH", path, {"title": "Peaks"}).json()["title"] == "Peaks"
    assert door.call("PATCH", path, {"title": " "}).status_code == 422
    for method in ("GET", "PATCH", "DELETE"):
        assert stranger.call(method, path, {"title": "x"} if method == "PATCH" else None).status_code == 404
    assert door.delete(path).status_code == 204
    assert door.get(path).status_code == 404
    assert not Turn.objects.exists()


def test_share_and_end(door: Any, stranger: Any, conversation: Conversation, settings: Any) -> None:
    settings.PUBLIC_URL = "https://portal.example.org"
    path = f"conversations/{conversation.pk}/share"
    assert stranger.call("PUT", path).status_code == 404
    url = door.call("PUT", path).json()["url"]
    assert url == f"https://portal.example.org/ask/shared/{Share.objects.get().token}"
    assert door.call("PUT", path).json()["url"] == url
    assert door.get(f"conversations/{conversation.pk}").json()["share"]["url"] == url
    assert Client().get(url.removeprefix("https://portal.example.org")).status_code == 200
    assert door.delete(path).status_code == 204
    assert Client().get(url.removeprefix("https://portal.example.org")).status_code == 404


def test_export(door: Any, stranger: Any, conversation: Conversation) -> None:
    path = f"conversations/{conversation.pk}/export"
    assert door.get(path).content.decode().startswith("# Fits\n")
    made = nbformat.reads(door.get(f"{path}?format=notebook").content.decode(), as_version=4)
    nbformat.validate(made)
    assert [cell["source"] for cell in made["cells"] if cell["cell_type"] == "code"] == ["h.Fit('gaus')"]
    assert door.get(f"{path}?format=pdf").status_code == 422
    assert stranger.get(path).status_code == 404


def test_use_is_for_administrators(door: Any, staff_door: Any, person: Any) -> None:
    Usage.objects.create(kind="answer", outcome="written", owner=person, model="m", total=1.5, prompt_tokens=7)
    refused = door.get("use")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    found = staff_door.get("use?days=7").json()
    assert found["counts"]["answer"] == 1
    assert found["latency"]["total"] == {"median": 1.5, "p95": 1.5, "count": 1}
    assert found["models"][0]["prompt_tokens"] == 7
    assert len(found["days"]) == 7
    assert staff_door.get("use?days=0").status_code == 422
