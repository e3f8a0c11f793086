"""Asking golden questions over a small corpus, with and without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.answer import Options
from assistant.errors import AssistantError, ProviderError
from assistant.evaluation import CodeRun, Configuration, Golden, evaluate, read_report, report_json, retrieval_options
from assistant.providers.fake import FakeProvider
from assistant.retrieval import RetrievalOptions, Retriever

HISTOGRAM = Golden("How do I count entries in bins, with the histogram class?", "", (("Fill",),), 1, frozenset({"TH1"}))
TREE = Golden("Which method makes a column of a tree?", "", (("Branch",),), 1, frozenset({"TTree"}))
TEA = Golden("xyzzy quux", out_of_scope=True)
WORDS = Configuration("words", RetrievalOptions(dense=0), retrieval_only=True)


@pytest.fixture
def retriever(tmp_path: Path, build_index: Callable[..., object]) -> Retriever:
    build_index(dense=False)
    return Retriever.open(tmp_path / "index")


def test_passages_alone(retriever: Retriever) -> None:
    told: list[tuple[float, str]] = []
    outcomes = evaluate([HISTOGRAM, TREE, TEA], retriever, WORDS, progress=lambda *step: told.append(step))
    assert [outcome.rank for outcome in outcomes] == [1, 1, None]
    assert [outcome.terms_passages for outcome in outcomes] == [1.0, 1.0, None]
    assert [outcome.abstained for outcome in outcomes] == [False, False, True]
    assert outcomes[0].terms_answer is None
    assert outcomes[0].sources[0] == "TH1"
    assert outcomes[0].seconds["total"] > 0
    assert [fraction for fraction, _ in told] == [0, pytest.approx(1 / 3), pytest.approx(2 / 3)]


def test_a_source_that_is_not_there_has_no_rank(retriever: Retriever) -> None:
    (outcome,) = evaluate([replace(HISTOGRAM, sources=frozenset({"TGraph"}))], retriever, WORDS)
    assert outcome.rank is None


def test_extractive_answers(retriever: Retriever) -> None:
    first, _, tea = evaluate([HISTOGRAM, TREE, TEA], retriever, replace(WORDS, retrieval_only=False))
    assert first.terms_answer == 1.0
    assert first.citations == first.citations_valid > 0
    assert first.code_blocks is None
    assert tea.abstained
    assert "retrieve" in first.seconds


def test_a_model_answers_and_its_code_is_run(retriever: Retriever) -> None:
    reply = (
        "Use `TH1::Fill` of the class TH1.\n\n```py\nh.Fill(1)\n```\n\nOr\n\n```bash\nls\n```\n\nAnd\n\n```cpp\nh.Foo();\n```\n"
    )
    given: list[tuple[str, str]] = []

    def run(language: str, code: str) -> CodeRun | None:
        given.append((language, code))
        return None if language == "bash" else CodeRun("Fill" in code)

    configuration = replace(WORDS, retrieval_only=False, provider=FakeProvider.saying(reply), answer=Options(lead=False))
    (outcome,) = evaluate([HISTOGRAM], retriever, configuration, run_code=run)
    assert ("py", "h.Fill(1)\n") in given
    assert ("bash", "ls\n") in given
    assert (outcome.code_blocks, outcome.code_ran) == (2, 1)
    assert outcome.terms_answer == 1.0
    assert outcome.citations == outcome.citations_valid > 0


def test_a_model_that_fails_is_noted(retriever: Retriever) -> None:
    broken = FakeProvider.saying(ProviderError("down", code="provider.unreachable"))
    (outcome,) = evaluate([HISTOGRAM], retriever, replace(WORDS, retrieval_only=False, provider=broken))
    assert outcome.failed == "provider.unreachable"
    assert outcome.terms_answer == 1.0  # the passages are quoted instead


def test_a_report_is_read_back(tmp_path: Path, retriever: Retriever) -> None:
    outcomes = evaluate([HISTOGRAM, TEA], retriever, WORDS)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report_json({"words": outcomes})))
    assert read_report(path) == outcomes
    for broken in ("", "{}", '{"configurations": []}'):
        path.write_text(broken)
        with pytest.raises(AssistantError, match="no report"):
            read_report(path)


def test_options_as_text() -> None:
    assert retrieval_options("") == RetrievalOptions()
    assert retrieval_options(" dense=0, hop = 0.25 ") == RetrievalOptions(dense=0.0, hop=0.25)
    assert retrieval_options("passage_length=300", RetrievalOptions(hop=0)).hop == 0


@pytest.mark.parametrize("text", ["dense", "sparse=1", "hop=much", "passage_length=1.5", "=1"])
def test_options_that_are_none(text: str) -> None:
    with pytest.raises(AssistantError) as raised:
        retrieval_options(text)
    assert raised.value.hint
