"""Polling, drafting and posting against a forum on this machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from assistant.errors import IndexUnavailableError
from portal.forum import engine, services
from portal.forum.models import AuditEntry, Draft, Forum, Topic
from tests.assistant.discourse_server import BOT
from tests.portal.forum.conftest import Bot

pytestmark = pytest.mark.django_db


def topic(number: int) -> Topic:
    return Topic.objects.get(number=number)


def run(bot: Bot, number: int) -> Topic:
    """Poll, and do whatever is due for one topic."""
    bot.poll()
    engine.draft(topic(number).pk, bot.assistant)
    return topic(number)


def test_a_topic_gets_a_draft_with_citations(bot: Bot) -> None:
    number = bot.forum.add_topic("Fill a TH1F", "I have a `TTree`.\n\n[quote]\nold\n[/quote]", tags=("rdf",))
    solved = bot.forum.add_topic("Fill a TH1F quickly", category=2)
    bot.forum.add_topic("Fill a secret", category=9)
    draft = bot.draft(number)
    assert draft.state == "WAITING"
    assert draft.text == draft.made == bot.assistant.text
    assert [passage["n"] for passage in draft.passages] == [1, 2]
    assert draft.confidence == 0.85
    assert draft.similar == [{"number": solved, "title": "Fill a TH1F quickly"}]
    assert bot.assistant.asked == ["Fill a TH1F\n\nI have a `TTree`."]
    assert (draft.topic.author, draft.topic.tags) == ("ada", ["rdf"])
    assert bot.forum.by_bot(number) == []
    assert [entry.action for entry in draft.topic.audit.all()] == ["seen", "drafted"]


def test_only_topics_in_scope_are_queued_and_private_ones_never_read(bot: Bot) -> None:
    Forum.objects.update(tags=["RDF"], excluded_tags=["noanswer"])
    wanted = bot.forum.add_topic(tags=("rdf",))
    bot.forum.add_topic(tags=("other",))
    bot.forum.add_topic(tags=("rdf", "NoAnswer"))
    bot.forum.add_topic(tags=("rdf",), category=2)
    private = bot.forum.add_topic(tags=("rdf",), category=9)
    bot.forum.add_topic(tags=("rdf",), age=timedelta(days=3))
    bot.forum.add_topic(tags=("rdf",), closed=True)
    bot.forum.add_topic(tags=("rdf",), archetype="private_message")
    assert bot.poll() == 1
    assert [found.number for found in Topic.objects.all()] == [wanted]
    assert bot.poll() == 0
    assert not [path for _method, path in bot.forum.requests if path in (f"/t/{private}.json", "/c/9/l/latest.json")]


def test_without_categories_nothing_is_read(bot: Bot) -> None:
    Forum.objects.update(categories=[])
    bot.forum.add_topic()
    assert bot.poll() == 0
    Forum.objects.update(categories=[1], enabled=False)
    assert bot.poll() == 0


def test_a_subcategory_of_a_private_category_is_private(bot: Bot) -> None:
    bot.forum.categories.append({"id": 10, "name": "x", "slug": "x", "read_restricted": False, "parent_category_id": 9})
    Forum.objects.update(categories=[10])
    bot.forum.add_topic(category=10)
    assert bot.poll() == 0


@pytest.mark.parametrize(
    ("by", "others", "reason"),
    [
        (BOT, [], "A bot started it."),
        ("helper-bot", [], "A bot started it."),
        ("system", [], "A bot started it."),
        ("ada", [("emmy", 1)], "A person has answered."),
        ("ada", [(BOT, 1)], "The bot has written in it."),
        ("ada", [(BOT, 4)], "The bot has written in it."),
        ("ada", [("ada", 1), ("helper-bot", 1), ("emmy", 4), ("emmy", 3), ("discobot", 1)], ""),
    ],
)
def test_who_has_written(by: str, others: list[tuple[str, int]], reason: str, bot: Bot) -> None:
    number = bot.forum.add_topic(by=by)
    for name, kind in others:
        bot.forum.add_post(number, "text", by=name, kind=kind)
    found = run(bot, number)
    assert (found.state, found.reason) == ("SKIPPED" if reason else "DRAFTED", reason)
    assert Draft.objects.count() == (0 if reason else 1)


def test_people_come_first(bot: Bot) -> None:
    Forum.objects.update(wait_minutes=10)
    number = bot.forum.add_topic()
    assert run(bot, number).state == "QUEUED"
    assert services.claim_topic(topic(number).pk, timezone.now() + timedelta(minutes=11)) is not None


def test_an_old_pinned_topic_ends_no_poll(bot: Bot) -> None:
    bot.forum.add_topic(pinned=True, age=timedelta(days=400))
    for _ in range(40):
        bot.forum.add_topic()
    assert bot.poll() == 40


def test_a_poll_that_broke_off_misses_nothing(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(70):
        bot.forum.add_topic()
    seen = services.see

    def breaks(*args: Any, **kwargs: Any) -> Any:
        if Topic.objects.count() == 10:
            raise RuntimeError("killed")
        return seen(*args, **kwargs)

    monkeypatch.setattr(services, "see", breaks)
    bot.poll()
    assert Topic.objects.count() == 10
    assert "broke off" in services.forum().poll_error
    monkeypatch.setattr(services, "see", seen)
    bot.poll()
    assert Topic.objects.count() == 70
    assert services.forum().poll_error == ""


def test_the_forum_is_away(bot: Bot) -> None:
    number = bot.forum.add_topic()
    bot.poll()
    bot.forum.faults = lambda _method, _path: "500"
    found = run(bot, number)
    assert found.state == "QUEUED"
    assert found.due_at > timezone.now()
    assert "failed (500)" in services.forum().poll_error
    bot.forum.faults = lambda _method, _path: None
    Topic.objects.update(due_at=timezone.now())
    assert run(bot, number).state == "DRAFTED"


def test_no_index_yet(bot: Bot) -> None:
    def missing() -> None:
        raise IndexUnavailableError("There is no index.")

    bot.assistant.before = missing
    assert run(bot, bot.forum.add_topic()).state == "QUEUED"


def test_a_topic_that_is_gone(bot: Bot) -> None:
    number = bot.forum.add_topic()
    bot.poll()
    bot.forum.topics[number]["gone"] = True
    engine.draft(topic(number).pk, bot.assistant)
    assert topic(number).state == "SKIPPED"


def test_a_topic_that_fails_again_and_again_can_be_tried_anew(bot: Bot, reviewer: Any) -> None:
    def fails() -> None:
        raise RuntimeError("no")

    bot.assistant.before = fails
    number = bot.forum.add_topic()
    bot.poll()
    Topic.objects.update(attempts=services.ATTEMPTS - 1)
    assert run(bot, number).state == "FAILED"
    bot.assistant.before = lambda: None
    services.try_again(topic(number), reviewer)
    assert run(bot, number).state == "DRAFTED"


def test_the_same_message_twice_makes_one_draft(bot: Bot) -> None:
    number = bot.forum.add_topic()
    bot.poll()
    pk = topic(number).pk
    bot.assistant.before = lambda: engine.draft(pk, bot.assistant)
    engine.draft(pk, bot.assistant)
    engine.draft(pk, bot.assistant)
    assert len(bot.assistant.asked) == 1
    assert Draft.objects.count() == 1


def test_a_run_that_was_given_up_writes_nothing(bot: Bot) -> None:
    number = bot.forum.add_topic()

    def given_up() -> None:
        bot.assistant.before = lambda: None
        services.heal(timezone.now() + timedelta(hours=1))
        Topic.objects.update(due_at=timezone.now())
        bot.assistant.text = "The second run's [1]."
        engine.draft(topic(number).pk, bot.assistant)
        bot.assistant.text = "The first run's [1]."

    bot.assistant.before = given_up
    draft = bot.draft(number)
    assert draft.text == "The second run's [1]."
    assert draft.revision == 1


# --- posting ------------------------------------------------------------------------------------------------------------------


def approved(bot: Bot, reviewer: Any, **topic_fields: Any) -> Draft:
    draft = bot.draft(bot.forum.add_topic(**topic_fields))
    services.approve(draft, reviewer, draft.revision)
    return draft


def test_nothing_is_posted_without_approval(bot: Bot, reviewer: Any) -> None:
    draft = bot.draft(bot.forum.add_topic())
    assert bot.post(draft).state == "WAITING"
    assert bot.forum.by_bot(draft.topic.number) == []
    with pytest.raises(IntegrityError), transaction.atomic():
        Draft.objects.update(state="APPROVED")
    services.approve(draft, reviewer, draft.revision)
    posted = bot.post(draft)
    assert posted.state == "POSTED"
    [row] = bot.forum.by_bot(draft.topic.number)
    assert posted.post == row["id"]
    assert row["post_type"] == 1
    assert "Call `TH1::Fill` for each entry [\\[1\\]](https://root.cern/TH1)." in row["raw"]
    assert "reviewed by a person" in row["raw"]
    bot.post(draft)
    assert len(bot.forum.by_bot(draft.topic.number)) == 1


@pytest.mark.parametrize("rule", [{"whisper": True}, {"whisper_categories": [1]}])
def test_whispers_by_rule(rule: dict[str, Any], bot: Bot, reviewer: Any) -> None:
    Forum.objects.update(**rule)
    draft = bot.post(approved(bot, reviewer))
    assert draft.whispered
    assert bot.forum.by_bot(draft.topic.number)[0]["post_type"] == 4


@pytest.mark.parametrize("fault", ["timeout-done", "502-done", "timeout", "drop", "500", "429"])
def test_a_post_is_there_once_whatever_the_network_does(fault: str, bot: Bot, reviewer: Any) -> None:
    draft = approved(bot, reviewer)
    bot.forum.faults = lambda method, _path: fault if method == "POST" else None
    assert bot.post(draft).state == "APPROVED"
    bot.forum.faults = lambda _method, _path: None
    posted = bot.post(draft)
    assert posted.state == "POSTED"
    assert [row["id"] for row in bot.forum.by_bot(draft.topic.number)] == [posted.post]


def test_a_worker_that_died_after_posting(bot: Bot, reviewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = approved(bot, reviewer)
    done = services.posted

    class Killed(BaseException):
        pass

    def dies(*_args: Any, **_kwargs: Any) -> bool:
        raise Killed

    monkeypatch.setattr(services, "posted", dies)
    with pytest.raises(Killed):
        bot.post(draft)
    monkeypatch.setattr(services, "posted", done)
    assert services.heal(timezone.now() + timedelta(seconds=services.LOST_SECONDS + 1)) == 1
    posted = bot.post(draft)
    assert posted.state == "POSTED"
    assert len(bot.forum.by_bot(draft.topic.number)) == 1
    assert AuditEntry.objects.get(action="posted").detail["found"]


def test_it_backs_off_when_somebody_has_answered_in_between(bot: Bot, reviewer: Any) -> None:
    draft = approved(bot, reviewer)
    bot.forum.add_post(draft.topic.number, "Like this")
    held = bot.post(draft)
    assert (held.state, held.note) == ("HELD", "A person has answered.")
    services.approve(held, reviewer, held.revision, anyway=True)
    assert bot.post(held).state == "POSTED"


def test_a_changed_question_is_looked_at_again(bot: Bot, reviewer: Any) -> None:
    draft = approved(bot, reviewer)
    bot.forum.posts[draft.topic.number][0]["raw"] = "Something else"
    assert "changed" in bot.post(draft).note
    assert bot.forum.by_bot(draft.topic.number) == []


def test_what_the_forum_refuses_comes_back_to_the_reviewer(bot: Bot, reviewer: Any) -> None:
    draft = approved(bot, reviewer)
    bot.forum.topics[draft.topic.number]["closed"] = True
    assert bot.post(draft).state == "HELD"


def test_a_webhook_of_an_answer_holds_the_draft_back(bot: Bot) -> None:
    draft = bot.draft(bot.forum.add_topic())
    engine.recheck(draft.topic.number)
    draft.refresh_from_db()
    assert draft.state == "WAITING"
    bot.forum.add_post(draft.topic.number, "Like this")
    engine.recheck(draft.topic.number)
    draft.refresh_from_db()
    assert (draft.state, draft.note) == ("HELD", "A person has answered.")


# --- posting without review ---------------------------------------------------------------------------------------------------

AUTOMATIC = {"auto_post": True, "auto_categories": [1], "auto_confidence": 0.8, "auto_daily": 2}


def test_it_is_off_by_default() -> None:
    assert not Forum().auto_post
    assert not Forum().enabled


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ({"auto_post": False}, {}),
        ({"auto_categories": [2]}, {}),
        ({"auto_confidence": 0.9}, {}),
        ({"auto_daily": 0}, {}),
        ({}, {"confidence": None}),
        ({}, {"abstained": True}),
        ({}, {"extractive": True}),
        ({}, {"unsupported": 1}),
        ({}, {"unknown": ("TFoo",)}),
        ({}, {"citations": ()}),
        ({}, {"note": "cut off"}),
    ],
)
def test_each_condition_keeps_a_draft_from_being_posted(rule: dict[str, Any], answer: dict[str, Any], bot: Bot) -> None:
    Forum.objects.update(**(AUTOMATIC | rule))
    bot.assistant.fields = answer
    assert bot.draft(bot.forum.add_topic()).state == "WAITING"


def test_where_all_conditions_hold_up_to_the_daily_cap(bot: Bot) -> None:
    Forum.objects.update(**AUTOMATIC)
    drafts = [bot.draft(bot.forum.add_topic()) for _ in range(3)]
    assert [draft.state for draft in drafts] == ["APPROVED", "APPROVED", "WAITING"]
    posted = bot.post(drafts[0])
    assert posted.automatic
    assert "No person has reviewed it" in bot.forum.by_bot(posted.topic.number)[0]["raw"]
    Forum.objects.update(auto_post=False)
    assert bot.post(drafts[1]).state == "HELD", "switching it off stops what is on its way"
