"""Workers side by side, and two hundred topics with a tenth of all requests failing.

Each topic in scope gets one draft, none is lost, none posted unapproved.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portal.forum import engine, services
from portal.forum.models import Draft, Forum, Topic
from tests.assistant.discourse_server import random_faults
from tests.portal.forum.conftest import Bot

FAULTS = ("timeout-done", "timeout", "429", "500", "502-done", "drop")


@pytest.mark.django_db(transaction=True)
def test_workers_side_by_side(bot: Bot, reviewer: Any) -> None:
    number = bot.forum.add_topic()
    bot.poll()
    topic = Topic.objects.get(number=number)

    def together(work: Callable[[], None]) -> None:
        start = threading.Barrier(4)

        def run() -> None:
            start.wait()
            try:
                work()
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(run) for _ in range(4)]:
                done.result()

    together(lambda: engine.draft(topic.pk, bot.assistant))
    draft = Draft.objects.get()
    assert len(bot.assistant.asked) == 1
    services.approve(draft, reviewer, draft.revision)
    together(lambda: engine.post(draft.pk))
    assert [method for method, _path in bot.forum.requests].count("POST") == 1
    assert len(bot.forum.by_bot(number)) == 1


class KilledError(BaseException):
    """The worker dies: nothing after this is run."""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_hundred_topics_with_faults(bot: Bot, reviewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(6)
    forum = bot.forum
    forum.hang = 0.15
    monkeypatch.setattr(engine.client()._client, "timeout", httpx.Timeout(5.0, read=0.1))
    dealt = Counter[str]()
    fault_of = random_faults(11, 0.1, FAULTS)

    def fault(method: str, path: str) -> str | None:
        kind = fault_of(method, path)
        dealt[kind or "none"] += 1
        return kind

    forum.faults = fault
    wanted, hooks = [], []
    for n in range(200):
        in_scope = n % 5 != 0
        number = forum.add_topic(
            f"Question {n}",
            f"How do I do {n}?",
            category=1 if in_scope or n % 2 else 2,
            by="ada" if in_scope or n % 2 == 0 else "system",
        )
        wanted += [number] if in_scope else []
        hooks.append(forum.topic_event(number))
    killed = Counter[str]()

    def may_die() -> None:
        if dice.random() < 0.1:
            killed["drafting"] += 1
            raise KilledError

    bot.assistant.before = may_die
    web = Client()
    # A third by webhook, some twice and in any order; the rest is found by the poll, which breaks off like everything else.
    deliveries = [hook for hook in hooks if dice.random() < 0.33 for _ in range(dice.choice((1, 1, 2, 3)))]
    dice.shuffle(deliveries)
    for body, headers in deliveries:
        assert web.post(reverse("forum-webhook"), body, content_type="application/json", headers=headers).status_code == 200

    later = timedelta(0)
    posting = services.posted
    for _round in range(60):
        Forum.objects.update(polled_at=None, poll_started_at=None)
        engine.poll()
        later += timedelta(hours=1)
        Topic.objects.filter(state="QUEUED").update(due_at=timezone.now())
        Draft.objects.filter(state="APPROVED").update(due_at=timezone.now())
        for pk in [*Topic.objects.exclude(state="SKIPPED").values_list("pk", flat=True)]:
            for _message in range(dice.choice((1, 1, 1, 2))):
                try:
                    engine.draft(pk, bot.assistant)
                except KilledError:
                    break
        for draft in Draft.objects.filter(state="WAITING", topic__number__in=wanted[::2]):
            services.approve(draft, reviewer, draft.revision)
        for pk in [*Draft.objects.values_list("pk", flat=True)]:

            def dies_after_posting(*args: Any, **kwargs: Any) -> bool:
                if dice.random() < 0.1:
                    killed["posting"] += 1
                    raise KilledError
                return posting(*args, **kwargs)

            services.posted = dies_after_posting
            try:
                engine.post(pk)
            except KilledError:
                pass
            finally:
                services.posted = posting
        services.heal(timezone.now() + later)
        done = Draft.objects.filter(state="POSTED").count() == len(wanted[::2])
        if done and not Topic.objects.filter(state__in=("QUEUED", "WORKING")).exists():
            break

    assert sorted(Draft.objects.values_list("topic__number", flat=True)) == sorted(wanted), "one draft each, none lost"
    assert Topic.objects.filter(state="FAILED").count() == 0
    assert {n for n in forum.topics if forum.by_bot(n)} == set(wanted[::2]), "posted is what was approved, and all of it"
    assert {len(forum.by_bot(n)) for n in wanted[::2]} == {1}, "each once"
    assert set(Draft.objects.filter(topic__number__in=wanted[1::2]).values_list("state", flat=True)) == {"WAITING"}
    assert min(dealt[kind] for kind in FAULTS) >= 1, dealt
    assert sum(dealt.values()) - dealt["none"] > 60
    assert killed["drafting"] > 5
    assert killed["posting"] > 3
