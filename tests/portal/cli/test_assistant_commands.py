"""``ml4ep ask``, ``retrieve``, ``corpus`` and ``models`` without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assistant.passages import Passage, Retrieval
from assistant.providers.fake import FakeProvider
from portal.cli import assistant as commands

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


class Found:
    """A retriever that knows one page."""

    def retrieve(self, query: str, k: int = 10) -> Retrieval:
        return Retrieval(query, (FIT,)[:k], 0.8, {"total": 0.01})


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_retriever", Found)
    monkeypatch.setattr(commands, "provider", lambda: None)


def test_retrieve_gives_a_list_of_passages(said: Any, index: None) -> None:
    (passage,) = said("retrieve", "fit a histogram", "-k", "5")
    assert set(passage) >= {"title", "source", "url", "score", "text"}
    assert (passage["source"], passage["score"]) == ("TH1", 0.91)


def test_retrieve_in_words(ml4ep: Any, index: None) -> None:
    shown = ml4ep("retrieve", "fit a histogram").stdout
    assert "[1] TH1: the base class" in shown
    assert "https://root.cern/doc/master/classTH1.html" in shown
    assert "Option S returns" in shown


def test_without_an_index(ml4ep: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from portal import settings

    monkeypatch.setattr(settings, "INDEX_DIR", tmp_path / "index")
    for words in (("retrieve", "fit"), ("ask", "fit?")):
        result = ml4ep(*words, code=1)
        assert "no index" in result.stderr
        assert "ml4ep corpus ingest" in result.stderr


def test_an_answer_without_a_model_quotes(ml4ep: Any, said: Any, index: None) -> None:
    result = ml4ep("ask", "How do I fit a TH1?")
    assert "No language model" in result.stdout
    assert "Option S returns" in result.stdout
    answer = said("ask", "How do I fit a TH1?")
    assert (answer["extractive"], answer["provider"]) == (True, "")
    assert answer["passages"][0]["n"] == 1


def test_an_answer_with_a_model(said: Any, index: None, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = "Call `TH1::Fit` with option S, which returns a TFitResultPtr with the full result [1]."
    monkeypatch.setattr(commands, "provider", lambda: FakeProvider.saying(reply))
    answer = said("ask", "How do I fit a TH1?")
    assert answer["provider"] == "fake"
    assert 1 in answer["citations"]
    assert "TFitResultPtr" in answer["text"]
    assert answer["timings"]["total"] > 0


def test_the_model_can_be_left_out(said: Any, index: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "provider", lambda: pytest.fail("the model was asked"))
    assert said("ask", "How do I fit a TH1?", "--no-model")["extractive"]


def test_a_question_from_standard_input(said: Any, index: None) -> None:
    assert said("ask", "-", input="How do I fit\na TH1?\n")["question"] == "How do I fit\na TH1?\n"


def test_an_empty_question(ml4ep: Any, index: None) -> None:
    assert "The question is empty" in ml4ep("ask", "  ", code=1).stderr


def test_which_model_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from portal import settings

    monkeypatch.setattr(settings, "RUN_DIR", tmp_path)
    assert commands.provider() is None
    (tmp_path / "model.json").write_text(json.dumps({"url": "http://127.0.0.1:9/v1", "name": "tiny"}))
    assert commands.provider() is None, "a model server that does not answer is none"
    assert capsys.readouterr().err == ""
    configured = settings.ENV.model_copy(update={"model_url": "http://127.0.0.1:9/v1", "model_name": "big"})
    monkeypatch.setattr(settings, "ENV", configured)
    assert commands.provider() is None
    assert "does not answer" in capsys.readouterr().err


def test_sources_of_the_corpus(ml4ep: Any, said: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from portal import settings

    monkeypatch.setattr(settings, "INDEX_DIR", tmp_path / "index")
    before = {each["name"] for each in said("corpus", "list")}
    assert "root" in before
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "fit.md").write_text("# Fitting\n\nThe peak finder of our group fits two Gaussians.\n")
    assert "Added mine" in ml4ep("corpus", "add", str(notes), "--name", "mine").stdout
    assert {each["name"] for each in said("corpus", "list")} == before | {"mine"}
    assert "already" in ml4ep("corpus", "add", str(notes), "--name", "mine", code=1).stderr
    for name in before:
        ml4ep("corpus", "remove", name)
    assert "There is no index yet" in ml4ep("corpus", "stats").stdout
    assert "1 documents" in ml4ep("corpus", "ingest", "--words-only").stdout
    assert said("corpus", "stats")["documents"] == 1
    (passage,) = said("retrieve", "peak finder Gaussians")
    assert "two Gaussians" in passage["text"]
    assert passage["url"].startswith(f"{settings.PUBLIC_URL}/ask/passages/mine/")


def test_models(ml4ep: Any, said: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from portal import settings

    monkeypatch.setattr(settings, "MODELS_DIR", tmp_path / "models")
    states = said("models", "list")
    assert {each["state"] for each in states} == {"absent"}
    assert sum(each["default"] for each in states) == 1
    name = states[0]["name"]
    assert name in ml4ep("models", "list").stdout
    absent = ml4ep("models", "verify", name, code=1)
    assert f"ml4ep models pull {name}" in absent.stderr
    assert "no model called" in ml4ep("models", "pull", "no-such", code=1).stderr


def test_a_model_with_wrong_bytes(ml4ep: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from assistant.models import ModelStore
    from portal import settings

    monkeypatch.setattr(settings, "MODELS_DIR", tmp_path)
    store = ModelStore(tmp_path)
    model = min(store.manifest.models, key=lambda each: each.size)
    with store.target(model.name).open("wb") as file:
        file.truncate(model.size)
    assert "not the file of the manifest" in ml4ep("models", "verify", model.name, code=1).stderr
    assert not store.target(model.name).exists()
