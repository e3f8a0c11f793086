"""A forum on this machine, a bot that reads its first category, reviewers, and an assistant that says what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from assistant.answer import Answer
from assistant.discourse import Discourse
from assistant.passages import Passage
from portal.forum import engine, services
from portal.forum.models import Draft, Forum, Topic
from tests.assistant.discourse_server import BOT, KEY, SECRET, FakeDiscourse, serving

FILL = Passage(
    "root:class/TH1", "TH1: histograms", "TH1", "class", "TH1.h:1", "https://root.cern/TH1", 0.9, "TH1::Fill adds an entry."
)
HERE = Passage("local:page", "Our own page", "page", "page", "page.md:1", "", 0.5, "Nothing of interest.")


@dataclass
class FakeAssistant:
    """Answers with `text`, and remembers what it was asked."""

    text: str = "Call `TH1::Fill` for each entry [1]."
    confidence: float | None = 0.85
    fields: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    before: Callable[[], Any] = lambda: None

    def __call__(self, question: str, _stop: Callable[[], bool]) -> Answer:
        self.asked.append(question)
        self.before()
        values: dict[str, Any] = {"citations": (1,), "passages": (FILL, HERE), "confidence": self.confidence, "provider": "fake"}
        return Answer(self.text, **(values | self.fields))


@dataclass
class Bot:
    """The bot's worker, one step at a time; messages to it are kept in `sent`."""

    forum: FakeDiscourse
    assistant: FakeAssistant
    sent: list[tuple[str, tuple[int, ...]]]

    def poll(self) -> int:
        Forum.objects.update(polled_at=None, poll_started_at=None)
        return engine.poll()

    def draft(self, number: int) -> Draft:
        """Poll, and make the draft of a topic."""
        self.poll()
        engine.draft(Topic.objects.get(number=number).pk, self.assistant)
        return Draft.objects.get(topic__number=number)

    def post(self, draft: Draft) -> Draft:
        """Post a draft that is due."""
        Draft.objects.filter(pk=draft.pk).update(due_at=draft.made_at)
        engine.post(draft.pk)
        return Draft.objects.get(pk=draft.pk)


@pytest.fixture
def discourse() -> Iterator[FakeDiscourse]:
    with serving() as made:
        yield made


@pytest.fixture
def configured(discourse: FakeDiscourse, settings: Any, monkeypatch: pytest.MonkeyPatch, db: None) -> Iterator[FakeDiscourse]:
    """A portal whose bot is switched on."""
    settings.ENV = settings.ENV.model_copy(
        update={
            "forum_url": discourse.url,
            "forum_user": BOT,
            "forum_key": SecretStr(KEY),
            "forum_webhook_secret": SecretStr(SECRET),
        }
    )
    engine.forget()
    services.cache.clear()
    Forum.objects.update_or_create(
        pk=1, defaults={"enabled": True, "categories": [1, 9], "wait_minutes": 0, "bots": ["helper-bot"]}
    )
    with Discourse(discourse.url, api_key=KEY, username=BOT, timeout=0.3, sleep=lambda _seconds: None) as client:
        monkeypatch.setattr(engine, "client", lambda: client)
        yield discourse


@pytest.fixture
def bot(configured: FakeDiscourse, monkeypatch: pytest.MonkeyPatch) -> Bot:
    sent: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(services, "_send", lambda task, *arguments: sent.append((task, arguments)))
    return Bot(configured, FakeAssistant(), sent)


@pytest.fixture
def reviewer(db: None) -> Any:
    """A member of the group."""
    from django.contrib.auth.models import Group

    from portal.accounts.models import User

    services.make_group()
    person = User.objects.create_user("rita", password="correct horse battery")
    person.groups.add(Group.objects.get(name=services.GROUP))
    return person
