"""The forum's topics as a source of the corpus: when it is read, what a webhook tells, what becomes of the index."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from assistant.corpus import list_sources
from assistant.forum_mirror import Mirror
from portal.forum import corpus, services
from portal.forum.models import Forum
from portal.jobs.models import Job
from tests.portal.forum.conftest import Bot

pytestmark = pytest.mark.django_db


@pytest.fixture
def mirror(bot: Bot, settings: Any, tmp_path: Path) -> Mirror:
    settings.INDEX_DIR = tmp_path
    Forum.objects.update(mirror=True)
    return Mirror(corpus.path())


def sync() -> None:
    Forum.objects.update(mirrored_at=None)
    corpus.sync()


def answered(bot: Bot, category: int = 1) -> int:
    number = bot.forum.add_topic("Fill a TH1F", "How do I fill a TH1F from a TTree? " * 3, category=category)
    bot.forum.add_post(number, "With TTree::Draw.", accepted_answer=True)
    return number


def test_topics_become_a_source_and_the_index_is_told(bot: Bot, mirror: Mirror) -> None:
    number, secret = answered(bot), answered(bot, category=9)
    sync()
    assert [topic.number for topic in mirror.topics()] == [number]
    assert f"/t/{secret}.json" not in {path for _, path in bot.forum.requests}
    entry = next(entry for entry in list_sources(corpus.path().parent) if entry.kind == "discourse")
    assert (entry.name, entry.location, entry.url) == ("forum", str(corpus.path()), bot.forum.url)
    assert Job.objects.filter(type="corpus-ingest").count() == 1
    sync()
    assert Job.objects.filter(type="corpus-ingest").count() == 1, "nothing changed"


def test_it_is_switched_on_and_due(bot: Bot, mirror: Mirror) -> None:
    answered(bot)
    services.tick()
    assert ("portal.forum.mirror", ()) in bot.sent
    Forum.objects.update(mirror=False)
    sync()
    assert not corpus.path().exists()
    Forum.objects.update(mirror=True, mirrored_at=None)
    assert services.start_mirror()
    assert not services.start_mirror()
    bot.sent.clear()
    services.tick()
    assert ("portal.forum.mirror", ()) not in bot.sent


def send(bot: Bot, number: int, event: str) -> str:
    body, headers = bot.forum.topic_event(number, event)
    return str(Client().post("/forum/webhook", body, content_type="application/json", headers=headers).json()["outcome"])


def test_a_webhook_has_a_topic_read_again(bot: Bot, mirror: Mirror) -> None:
    number = answered(bot)
    sync()
    bot.forum.posts[number][1]["raw"] = "With RDataFrame."
    sync()
    assert "TTree::Draw" in next(mirror.topics()).text, "an edit alone shows in no list"
    assert send(bot, number, "topic_edited") == "taken"
    sync()
    assert "RDataFrame" in next(mirror.topics()).text


def test_a_topic_that_moves_into_a_private_category_leaves(bot: Bot, mirror: Mirror) -> None:
    number = answered(bot)
    sync()
    bot.forum.topics[number]["category_id"] = 9
    Forum.objects.update(categories=[1])
    assert send(bot, number, "topic_edited") == "taken"
    sync()
    assert list(mirror.topics()) == []


def test_a_forum_that_is_away_is_said_and_tried_again(bot: Bot, mirror: Mirror, client: Client, reviewer: Any) -> None:
    answered(bot)
    bot.forum.faults = lambda *_: "500"
    sync()
    assert "failed (500)" in Forum.objects.get().mirror_error
    client.force_login(reviewer)
    assert "not up to date" in client.get("/forum/").content.decode()
    bot.forum.faults = lambda *_: None
    assert not services.start_mirror(), "not at once"
    assert services.start_mirror(Forum.objects.get().mirrored_at + timedelta(seconds=services.MIRROR_SECONDS + 1))
    sync()
    assert Forum.objects.get().mirror_error == ""
    assert len(mirror) == 1
