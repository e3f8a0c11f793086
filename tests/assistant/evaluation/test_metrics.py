"""Measures and their comparison, against values worked out by hand and against scipy."""

from __future__ import annotations

import json

import pytest

from assistant.errors import AssistantError
from assistant.evaluation import METRICS, Outcome, compare, report_json, report_text, summarise


def _asked(name: str, rank: int | None = None, **values: object) -> Outcome:
    return Outcome(question=name, out_of_scope=False, rank=rank, **values)  # type: ignore[arg-type]


OUTCOMES = [
    _asked("first", 1, terms_passages=1.0, terms_answer=0.5, citations=4, citations_valid=3, seconds={"total": 0.1}),
    _asked("fourth", 4, terms_passages=0.5, terms_answer=1.0, citations=1, citations_valid=1, seconds={"total": 0.3}),
    _asked("nowhere", None, terms_passages=None, abstained=True, seconds={"total": 0.2}),
    Outcome("tea", out_of_scope=True, abstained=True, seconds={"total": 0.4}),
    Outcome("trains", out_of_scope=True, rank=None, seconds={"total": 9.0}),
]


def test_each_measure_by_hand() -> None:
    values = summarise(OUTCOMES).values
    assert values["hit@1"] == pytest.approx(1 / 3)
    assert values["hit@5"] == values["hit@10"] == pytest.approx(2 / 3)
    assert values["mrr"] == pytest.approx((1 + 1 / 4) / 3)
    assert values["terms.passages"] == 0.5
    assert values["terms.answer"] == 0.5
    assert values["citations"] == pytest.approx((3 / 4 + 1) / 2)
    assert values["abstention.recall"] == 0.5
    assert values["abstention.precision"] == 0.5
    assert values["abstention.false"] == pytest.approx(1 / 3)
    assert values["code"] is None


def test_counts_times_and_code() -> None:
    summary = summarise(OUTCOMES)
    assert (summary.questions, summary.out_of_scope) == (5, 2)
    assert summary.counts["hit@1"] == 3
    assert summary.counts["terms.passages"] == 2
    assert summary.seconds["total"] == (0.3, 9.0)
    assert not summary.code_was_run
    ran = summarise([_asked("a", 1, code_blocks=2, code_ran=1), _asked("b", 1, code_blocks=0, code_ran=0)])
    assert ran.code_was_run
    assert ran.values["code"] == 0.5


def test_nothing_asked_gives_no_numbers() -> None:
    assert set(summarise([]).values.values()) == {None}


def test_an_outcome_survives_json() -> None:
    for outcome in OUTCOMES:
        assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
    assert Outcome.from_json(OUTCOMES[0].to_json() | {"of a later version": 1}) == OUTCOMES[0]


def test_the_same_results_are_no_change() -> None:
    for difference in compare(OUTCOMES, OUTCOMES, resamples=200):
        assert (difference.change, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_a_comparison_is_reproducible_and_finds_what_is_there() -> None:
    before = [_asked(str(n), 1 if n % 3 == 0 else 2) for n in range(60)]
    after = [_asked(str(n), 1 if n % 3 else 2) for n in range(60)]
    found = {difference.metric: difference for difference in compare(before, after, resamples=2000)}
    assert found["hit@1"].change == pytest.approx(1 / 3)
    assert found["hit@1"].low > 0
    assert found["hit@1"].p < 0.05
    assert found["hit@5"].p == 1
    assert compare(before, after, resamples=2000) == list(found.values())
    back = {difference.metric: difference for difference in compare(after, before, resamples=2000)}
    assert back["hit@1"].high < 0


def test_the_interval_agrees_with_scipys_bootstrap() -> None:
    np = pytest.importorskip("numpy")
    stats = pytest.importorskip("scipy.stats")
    ranks = [((n * 7) % 5 + 1, (n * 3) % 4 + 1) for n in range(40)]
    before = [_asked(str(n), one) for n, (one, _) in enumerate(ranks)]
    after = [_asked(str(n), other) for n, (_, other) in enumerate(ranks)]
    ours = next(difference for difference in compare(before, after) if difference.metric == "mrr")
    change = np.array([1 / other - 1 / one for one, other in ranks])
    theirs = stats.bootstrap((change,), np.mean, method="percentile", random_state=1).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)  # two random samples of 10,000 means
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_other_questions_cannot_be_compared() -> None:
    with pytest.raises(AssistantError, match="same questions"):
        compare(OUTCOMES, OUTCOMES[:-1])


def test_the_report_in_words() -> None:
    better = [*OUTCOMES[:1], _asked("fourth", 1, terms_passages=1.0), *OUTCOMES[2:]]
    text = report_text({"now": OUTCOMES, "dense=0": better}, compare(OUTCOMES, better, resamples=200), misses=True)
    assert "5 questions, 2 of them out of scope" in text
    assert "33 %" in text
    assert "not run" in text
    assert "300.0 / 9000.0" in text
    assert "may be chance" in text
    assert "-  nowhere" in text
    assert "tea" not in text.split("Gold source not first")[1]


def test_the_report_as_json() -> None:
    report = json.loads(json.dumps(report_json({"now": OUTCOMES}, compare(OUTCOMES, OUTCOMES, resamples=50))))
    (only,) = report["configurations"]
    assert only["summary"]["metrics"].keys() == METRICS.keys()
    assert only["summary"]["metrics"]["hit@1"] == {"value": pytest.approx(1 / 3), "questions": 3}
    assert only["summary"]["code"] == "not run"
    assert len(only["outcomes"]) == 5
    assert report["differences"][0]["p"] == 1
