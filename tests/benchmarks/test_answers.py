"""The answers' benchmark: what it times is an answer of the model, within the prompt's budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assistant.models.store import ModelStore
from assistant.passages import Passage, Retrieval
from assistant.providers.fake import FakeProvider
from assistant.retrieval import Retriever
from benchmarks.cases import answers as case
from benchmarks.measure import Settings

PASSAGE = Passage(
    "a", "TH1: histograms", "TH1", "class", "TH1.h:1", "", 0.9, "TH1::Fill adds an entry to a histogram of the forum."
)


class FakeRetriever:
    """Finds the same for every question; of each other one nothing that answers it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def retrieve(self, text: str, k: int = 8, **_options: Any) -> Retrieval:
        if text not in self.asked:
            self.asked.append(text)
        fits = self.asked.index(text) % 2
        return Retrieval(passages=(PASSAGE,), confidence=0.9 if fits else 0.1, unknown=0.0 if fits else 0.5, query=text)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """Stands for the embedded model."""
    fake = FakeProvider.saying(*["Call `TH1::Fill`."] * 100)

    @contextmanager
    def serving(_model: Path) -> Iterator[FakeProvider]:
        yield fake

    monkeypatch.setattr(case, "_serving", serving)
    monkeypatch.setattr(case, "_long", lambda *_: 20.0)
    monkeypatch.setattr(case, "index", lambda settings: (settings.cache, {}))
    monkeypatch.setattr(Retriever, "open", lambda _folder: FakeRetriever())
    monkeypatch.setattr(ModelStore, "pull", lambda *_args, **_kwargs: Path("model.gguf"))
    return fake


def test_only_answers_of_the_model_are_timed(provider: FakeProvider, tmp_path: Path) -> None:
    quoted, first, long = case.run(Settings(quick=False, cache=tmp_path))
    assert (quoted.bound, first.bound, long.bound) == (0.5, 10.0, 35.0)
    assert 0 < int(first.facts["questions"]) < 15, "those that were turned away are left out"
    assert int(first.facts["questions"]) == len(provider.requests) - 1, "the first one is asked twice"
    assert first.facts["ended"] == f"{first.facts['questions']} by stop"
    assert long.measured[long.ours].median == 20.0
    assert all(comparison.within for comparison in (quoted, first, long))


def test_a_prompt_beyond_the_budget_is_no_figure(provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "PROMPT_TOKENS", 100)
    with pytest.raises(AssertionError, match="a prompt had"):
        case.run(Settings(quick=True, cache=tmp_path))


def test_a_model_that_fails_is_no_figure(provider: FakeProvider, tmp_path: Path) -> None:
    provider.replies.clear()
    with pytest.raises(AssertionError, match="the model gave no answer"):
        case.run(Settings(quick=True, cache=tmp_path))
