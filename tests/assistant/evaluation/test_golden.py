"""Golden questions: read, refused with the line and the field, and what counts as an answer's term."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assistant.evaluation import Golden, read_golden
from assistant.evaluation.golden import GoldenError, has_term

DATA = Path(__file__).parents[2] / "data" / "assistant"
GOOD = {"question": "How do I fit?", "gold_sources": ["TH1"], "gold_terms": ["Fit|FitPanel", "TF1"], "min_terms": 1}


def _file(folder: Path, *entries: object) -> Path:
    path = folder / "golden.jsonl"
    path.write_text("\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries), encoding="utf-8")
    return path


def test_a_question_is_read_with_its_alternatives(tmp_path: Path) -> None:
    (question,) = read_golden(_file(tmp_path, GOOD, ""))
    assert question == Golden("How do I fit?", "", (("Fit", "FitPanel"), ("TF1",)), 1, frozenset({"TH1"}))
    (all_terms,) = read_golden(_file(tmp_path, {**GOOD, "min_terms": 2, "title": "Fits"}))
    assert all_terms.text == "Fits\nHow do I fit?"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": "  "}, "'question' is empty"),
        ({"question": 3}, "'question' is 3"),
        ({"min_terms": 3}, "'min_terms' is 3"),
        ({"min_terms": True}, "'min_terms' is true"),
        ({"gold_terms": "Fit"}, "'gold_terms' is"),
        ({"gold_terms": ["Fit|"]}, "empty alternative"),
        ({"gold_sources": []}, "'gold_sources' is empty"),
        ({"gold_sources": [""]}, "'gold_sources' is"),
        ({"out_of_scope": 1}, "'out_of_scope' is 1"),
        ({"out_of_scope": True}, "out of scope, but"),
        ({"gold_source": ["TH1"]}, "no field 'gold_source'"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(GoldenError) as raised:
        read_golden(_file(tmp_path, GOOD, GOOD | change))
    assert said in raised.value.message
    assert "line 2" in raised.value.message
    assert raised.value.hint


def test_a_misspelt_field_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(GoldenError) as raised:
        read_golden(_file(tmp_path, GOOD | {"gold_term": []}))
    assert "gold_terms" in raised.value.hint


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"'])
def test_what_is_no_list_of_objects_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(GoldenError):
        read_golden(_file(tmp_path, content))


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="cannot be read"):
        read_golden(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GoldenError, match="UTF-8"):
        read_golden(tmp_path / "binary")


def test_terms_are_whole_words_in_any_case() -> None:
    assert has_term("h->FIT(f)", "Fit")
    assert has_term("TMVA_SOFIE_Keras.py", "sofie")
    assert has_term("hadd -f out.root", "-f")
    assert not has_term("the fitted curve", "fit")
    assert not has_term("Fit2", "Fit")


def test_terms_that_the_question_has_do_not_count() -> None:
    asked = Golden("Does TF1 fit?", "", (("Fit", "FitPanel"), ("TF1",), ("Chi2",)), 3, frozenset({"TH1"}))
    assert asked.countable() == (("FitPanel",), ("Chi2",))
    assert asked.covered("TF1 can Fit") == 0
    assert asked.covered("FitPanel") == 0.5
    assert asked.covered("FitPanel and Chi2") == 1
    assert Golden("TF1?", "", (("TF1",),), 1, frozenset({"TF1"})).covered("anything") is None


def test_more_terms_than_needed_are_not_better() -> None:
    asked = Golden("?", "", (("a",), ("b",), ("c",)), 2, frozenset({"x"}))
    assert asked.covered("a b c") == 1


def test_the_projects_own_questions() -> None:
    development, held_out = (read_golden(DATA / f"forum_{half}.jsonl") for half in ("development", "held_out"))
    assert len(development) + len(held_out) >= 80
    assert abs(len(development) - len(held_out)) <= 2
    assert not {q.text for q in development} & {q.text for q in held_out}
    for half in (development, held_out):
        assert sum(question.out_of_scope for question in half) >= 5
        assert sum("```" in question.question for question in half) >= 15
