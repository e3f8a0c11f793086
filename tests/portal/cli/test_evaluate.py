"""``ml4ep evaluate`` on a search that knows two pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assistant.passages import Passage, Retrieval
from assistant.providers.fake import FakeProvider
from assistant.retrieval import RetrievalOptions
from portal.cli import assistant as commands

QUESTIONS = [
    {
        "question": "How do I fit a histogram?",
        "gold_sources": ["TH1"],
        "gold_terms": ["Fit|FitPanel"],
        "min_terms": 1,
        "title": "Fits",
    },
    {"question": "When does the train leave?", "out_of_scope": True},
]


class Found:
    """Knows two pages; with names switched off, in the wrong order."""

    def retrieve(self, query: str, k: int = 10, *, options: RetrievalOptions | None = None) -> Retrieval:
        if "train" in query:
            return Retrieval(query, (), 0.1, {"total": 0.01})
        texts = {"TH1": "The histogram class. TH1::FitPanel opens a window to fit a histogram.", "TF1": "A function to fit."}
        names = ["TH1", "TF1"] if options is None or options.names else ["TF1", "TH1"]
        found = (Passage(f"root:{n}", f"{n}: a class", n, "class", f"{n}.h:1", "", 1.0, texts[n]) for n in names)
        return Retrieval(query, tuple(found)[:k], 0.8, {"total": 0.01})


@pytest.fixture
def golden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setattr(commands, "_retriever", Found)
    monkeypatch.setattr(commands, "provider", lambda model="": None)
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return str(path)


def test_passages_only_in_words(ml4ep: Any, golden: str) -> None:
    result = ml4ep("evaluate", golden, "--retrieval-only")
    assert "2 questions, 1 of them out of scope" in result.stdout
    assert "not run" in result.stdout
    assert "100 %" in result.stdout
    assert "now: Fits" in result.stderr  # progress


def test_answers_without_a_model_are_quoted(ml4ep: Any, said: Any, golden: str) -> None:
    (only,) = said("evaluate", golden)["configurations"]
    metrics = only["summary"]["metrics"]
    assert metrics["terms.answer"] == {"value": 1.0, "questions": 1}
    assert metrics["citations"]["value"] == 1.0
    assert metrics["abstention.recall"]["value"] == 1.0
    assert "No language model" in ml4ep("evaluate", golden).stderr


def test_a_named_model_is_asked(said: Any, golden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def provider(model: str = "") -> FakeProvider:
        asked.append(model)
        return FakeProvider.saying("Call TH1::FitPanel to fit a histogram [1].")

    monkeypatch.setattr(commands, "provider", provider)
    report = said("evaluate", golden, "--model", "large")
    assert asked == ["large"]
    assert "generate" in report["configurations"][0]["summary"]["seconds"]
    said("evaluate", golden, "--model", "none")
    assert asked == ["large"]


def test_a_named_model_that_is_not_there(ml4ep: Any, golden: str) -> None:
    assert "ML4EP_MODEL_URL" in ml4ep("evaluate", golden, "--model", "large", code=1).stderr


def test_two_configurations(ml4ep: Any, said: Any, golden: str) -> None:
    report = said("evaluate", golden, "--retrieval-only", "--compare", "names=0")
    assert [each["name"] for each in report["configurations"]] == ["now", "names=0"]
    first = next(each for each in report["differences"] if each["metric"] == "hit@1")
    assert (first["before"], first["after"]) == (1, 0)
    shown = ml4ep("evaluate", golden, "--retrieval-only", "--compare", "names=0", "--misses").stdout
    assert "95 % interval" in shown
    assert "2  Fits: TF1, TH1" in shown


def test_an_earlier_report(said: Any, golden: str, tmp_path: Path) -> None:
    kept = tmp_path / "before.json"
    kept.write_text(json.dumps(said("evaluate", golden, "--retrieval-only", "--options", "names=0")))
    report = said("evaluate", golden, "--retrieval-only", "--compare", str(kept))
    assert [each["name"] for each in report["configurations"]] == ["now", "before.json"]
    first = next(each for each in report["differences"] if each["metric"] == "hit@1")
    assert (first["before"], first["after"]) == (0, 1)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("--compare", "nowhere.json"), "no report"),
        (("--compare", "sparse=1"), "the names are"),
        (("--options", "hop=x"), "Write a number"),
    ],
)
def test_what_cannot_be_compared(ml4ep: Any, golden: str, words: tuple[str, ...], shown: str) -> None:
    assert shown in ml4ep("evaluate", golden, "--retrieval-only", *words, code=1).stderr


def test_a_file_that_is_no_golden_set(ml4ep: Any, golden: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"question": "?"}\n')
    assert "bad.jsonl, line 1: 'gold_sources' is empty" in ml4ep("evaluate", str(path), code=1).stderr


def test_the_help_teaches(ml4ep: Any) -> None:
    text = ml4ep("evaluate", "--help").stdout
    for word in ("gold_sources", "--compare", "bootstrap", "ml4ep evaluate golden.jsonl --retrieval-only"):
        assert word in text


def test_code_of_answers_is_run(ml4ep: Any, said: Any, golden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.running import CodeRun
    from mlcore.toolchain import sandbox

    code = "Call TH1::FitPanel [1].\n\n```cpp\nh->Fit();\n```\n\n```python\nh.Fit()\n```\n\n```sh\nls\n```\n\n```cpp\n...\n```\n"
    ran: list[tuple[str, str]] = []

    def run_code(language: str, text: str, **_options: Any) -> CodeRun:
        ran.append((language, text))
        return CodeRun("ran" if language == "cpp" else "failed", error="" if language == "cpp" else "NameError")

    monkeypatch.setattr(commands, "provider", lambda model="": FakeProvider.saying(code))
    monkeypatch.setattr("mlcore.running.run_code", run_code)
    monkeypatch.setattr(sandbox, "foreign_isolation", lambda: sandbox.Isolation("bubblewrap", "", fenced=True))
    summary = said("evaluate", golden)["configurations"][0]["summary"]
    assert ran == [("cpp", "h->Fit();\n"), ("python", "h.Fit()\n")]
    assert (summary["code"], summary["metrics"]["code"]) == ("run", {"value": 0.5, "questions": 1})
    assert said("evaluate", golden, "--no-code")["configurations"][0]["summary"]["code"] == "not run"
    monkeypatch.setattr(sandbox, "foreign_isolation", lambda: sandbox.RLIMITS)
    assert "Code is not run" in ml4ep("evaluate", golden).stderr
    assert len(ran) == 2
