"""A person's questions, a retriever that knows two pages, and a model that says what it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from assistant.passages import Passage, Retrieval
from assistant.providers.fake import FakeProvider

FIT = Passage(
    id="root:class/TH1",
    title="TH1: the base class of all histograms",
    source="TH1",
    kind="class",
    place="hist/hist/inc/TH1.h:40",
    url="https://root.cern/doc/master/classTH1.html",
    score=0.91,
    text="TH1::Fit fits the histogram with a function. Option S returns a TFitResultPtr with the full result.",
)
TUTORIAL = Passage(
    id="root:tutorial/fit1.C",
    title="Simple fitting example",
    source="fit1.C",
    kind="tutorial",
    place="tutorials/fit/fit1.C:3",
    url="",
    score=0.52,
    text='```cpp\nTH1F *h = new TH1F("h", "test", 100, -4, 4);\nh->Fit("gaus");\n```',
)
QUESTION = "How do I fit a TH1 with a Gaussian?"
REPLY = "Call `TH1::Fit` with option S, which returns a TFitResultPtr with the full result [1]."


@dataclass
class FakeRetriever:
    """Finds what it was given, and remembers what it was asked."""

    passages: tuple[Passage, ...] = (FIT, TUTORIAL)
    confidence: float | None = 0.8
    error: Exception | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)
    before: Callable[[], Any] = lambda: None

    def retrieve(self, query: str, k: int = 10) -> Retrieval:
        self.asked.append((query, k))
        self.before()
        if self.error:
            raise self.error
        return Retrieval(query, self.passages[:k], self.confidence, {"lexical": 0.01, "total": 0.02})


@pytest.fixture(autouse=True)
def _own_folders(settings: Any, tmp_path: Path) -> None:
    """No index and no static files but a test's own; nobody guesses the passwords of these tests."""
    settings.STATIC_ROOT = settings.INDEX_DIR = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def retriever(monkeypatch: pytest.MonkeyPatch) -> FakeRetriever:
    """The worker's retriever."""
    from portal.chat import engine

    made = FakeRetriever()
    monkeypatch.setattr(engine, "retriever", lambda: made)
    return made


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """The worker's language model, with one reply queued."""
    from portal.chat import engine

    made = FakeProvider.saying(REPLY)
    monkeypatch.setattr(engine, "provider", lambda: made)
    return made


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without a language model."""
    from portal.chat import engine

    monkeypatch.setattr(engine, "provider", lambda: None)


@pytest.fixture
def other_person(db: None) -> Any:
    """Somebody else."""
    from portal.accounts.models import User

    return User.objects.create_user("emmy", password="correct horse battery")


@pytest.fixture
def answered(person: Any, retriever: FakeRetriever, model: FakeProvider) -> Any:
    """A question of `person` that was answered by the model."""
    from portal.chat import engine, services

    turn = services.ask(person, QUESTION)
    engine.execute(str(turn.pk))
    turn.refresh_from_db()
    return turn
