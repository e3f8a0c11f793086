"""Webhooks: only genuine ones count, each once, and what they say is only where to look."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pydantic import SecretStr

from portal.forum import services
from portal.forum.models import Delivery, Forum, Topic
from tests.assistant.discourse_server import stamp
from tests.portal.forum.conftest import Bot

pytestmark = pytest.mark.django_db


def send(body: bytes, headers: dict[str, str]) -> Any:
    """Deliver one, as the forum does: without a cookie."""
    return Client(enforce_csrf_checks=True).post(reverse("forum-webhook"), body, content_type="application/json", headers=headers)


@pytest.fixture(autouse=True)
def _commit(django_capture_on_commit_callbacks: Any) -> Any:
    with django_capture_on_commit_callbacks(execute=True):
        yield


def test_a_new_topic_is_queued_once(bot: Bot) -> None:
    number = bot.forum.add_topic()
    hook = bot.forum.topic_event(number)
    assert send(*hook).json() == {"outcome": "taken"}
    assert send(*hook).json() == {"outcome": "ignored: seen before"}
    again = (hook[0], hook[1] | {"X-Discourse-Event-Id": "999"})
    assert send(*again).json() == {"outcome": "ignored: seen before"}, "the number is not signed, the body is"
    assert [topic.number for topic in Topic.objects.all()] == [number]
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("change", ["secret", "body", "none", "prefix", "unicode"])
def test_a_wrong_signature_is_refused(change: str, bot: Bot) -> None:
    number = bot.forum.add_topic()
    body, headers = bot.forum.topic_event(number)
    match change:
        case "secret":
            body, headers = bot.forum.webhook("topic_created", {"topic": {"id": number}}, secret="other")
        case "body":
            body = body.replace(b"TH1F", b"TH2F")
        case "none":
            del headers["X-Discourse-Event-Signature"]
        case "prefix":
            headers["X-Discourse-Event-Signature"] = headers["X-Discourse-Event-Signature"].removeprefix("sha256=")
        case "unicode":
            headers["X-Discourse-Event-Signature"] = "sha256=é"
    assert send(body, headers).status_code == 403
    assert not Topic.objects.exists()


def test_an_empty_secret_admits_nobody(bot: Bot, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"forum_webhook_secret": SecretStr("")})
    number = bot.forum.add_topic()
    assert send(*bot.forum.webhook("topic_created", {"topic": {"id": number}}, secret="")).status_code == 403


def test_an_old_body_is_refused_when_its_delivery_is_forgotten(bot: Bot) -> None:
    number = bot.forum.add_topic(age=services.OLDEST_DELIVERY + timedelta(hours=1))
    row = {"id": number, "title": "t", "category_id": 1, "created_at": bot.forum.topics[number]["created_at"]}
    assert send(*bot.forum.webhook("topic_created", {"topic": row})).json() == {"outcome": "ignored: too old"}
    assert services.OLDEST_DELIVERY < services.DELIVERIES_KEPT


@pytest.mark.parametrize("category", [2, None, "1", [1], {"a": 1}])
def test_another_category_is_ignored(category: object, bot: Bot) -> None:
    row = {"id": 5, "title": "t", "category_id": category, "created_at": stamp(datetime.now(UTC))}
    assert send(*bot.forum.webhook("topic_created", {"topic": row})).json()["outcome"].startswith("ignored")
    assert not Topic.objects.exists()
    assert not Delivery.objects.exists()


def test_an_answer_to_a_known_topic_has_it_looked_at(bot: Bot, django_capture_on_commit_callbacks: Any) -> None:
    draft = bot.draft(bot.forum.add_topic())
    post = {"id": 1, "topic_id": draft.topic.number, "category_id": 1, "created_at": stamp(datetime.now(UTC))}
    with django_capture_on_commit_callbacks(execute=True):
        assert send(*bot.forum.webhook("post_created", {"post": post})).json() == {"outcome": "taken"}
    assert ("portal.forum.recheck", (draft.topic.number,)) in bot.sent
    post["topic_id"] = 4711
    assert send(*bot.forum.webhook("post_created", {"post": post})).json()["outcome"].startswith("ignored")


@pytest.mark.parametrize(
    "payload",
    [{}, {"topic": 3}, {"topic": {}}, {"topic": {"id": "x"}}, {"topic": {"id": True, "created_at": "2999-01-01T00:00:00Z"}},
     {"topic": {"id": 3, "category_id": 1, "created_at": "2026"}}],
)  # fmt: skip
def test_what_is_not_understood_changes_nothing(payload: dict[str, Any], bot: Bot) -> None:
    assert send(*bot.forum.webhook("topic_created", payload)).json()["outcome"].startswith("ignored")
    assert not Topic.objects.exists()


def test_ping_garbage_and_too_much(bot: Bot) -> None:
    assert send(*bot.forum.webhook("ping", {"ping": "OK"})).json() == {"outcome": "pong"}
    _, headers = bot.forum.webhook("topic_created", {})
    assert send(b"x" * (2 * 2**20 + 1), headers).status_code == 413
    assert Client().get(reverse("forum-webhook")).status_code == 405
    for body in (b"[1]", b"nothing", b"[" * 100_000):
        import hashlib
        import hmac

        signed = "sha256=" + hmac.new(b"whsec", body, hashlib.sha256).hexdigest()
        assert send(body, headers | {"X-Discourse-Event-Signature": signed}).status_code == 400


def test_switched_off(bot: Bot) -> None:
    Forum.objects.update(enabled=False)
    assert "switched off" in send(*bot.forum.topic_event(bot.forum.add_topic())).json()["outcome"]


def test_hostile_fields_are_kept_short(bot: Bot) -> None:
    number = bot.forum.add_topic(title="<script>" * 1000, tags=tuple(f"@t{n}" * 100 for n in range(100)))
    assert send(*bot.forum.topic_event(number)).status_code == 200
    topic = Topic.objects.get()
    assert len(topic.title) == 300
    assert len(json.dumps(topic.tags)) < 3000
