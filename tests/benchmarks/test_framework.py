"""Measuring and reporting: what a figure is, whether its goal is met, and what is written of it. No time is asserted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import chart, report
from benchmarks.measure import LEAST_REPETITIONS, Comparison, Measured, Settings, interleaved


def _measured(value: float) -> Measured:
    return Measured(value, value, value)


def _comparison(**others: Any) -> Comparison:
    given: dict[str, Any] = {
        "task": "sorting",
        "goal": "at least twice the best peer",
        "unit": "µs",
        "ours": "ours",
        "measured": {"ours": _measured(1.0), "quick peer": _measured(3.0), "slow peer": _measured(9.0)},
        "least_ratio": 2.0,
    }
    return Comparison(**{**given, **others})


class Clock:
    """A clock that only the contenders move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def lasting(self, seconds: float, calls: list[str], name: str) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            calls.append(name)

        return run


def test_contenders_take_turns_and_slow_ones_leave(tmp_path: Path) -> None:
    clock, calls = Clock(), list[str]()
    settings = Settings(quick=True, cache=tmp_path)
    contenders = {"quick": clock.lasting(0.001, calls, "quick"), "slow": clock.lasting(1.0, calls, "slow")}
    measured = interleaved(contenders, settings, items=1, scale=1.0, clock=clock, patience=2.0)
    assert measured["quick"].median == pytest.approx(0.001)
    assert measured["slow"].median == pytest.approx(1.0)
    assert calls.count("slow") == 1 + LEAST_REPETITIONS  # one to warm up
    rounds = "".join(name[0] for name in calls[calls.index("slow") + 1 :])
    assert rounds.count("sq") >= LEAST_REPETITIONS - 1


def test_everybody_stays_without_patience(tmp_path: Path) -> None:
    clock, calls = Clock(), list[str]()
    settings = Settings(quick=True, cache=tmp_path)
    interleaved({"slow": clock.lasting(1.0, calls, "slow")}, settings, items=1, clock=clock)
    assert len(calls) == 1 + settings.repetitions


def test_the_best_peer_counts() -> None:
    comparison = _comparison()
    assert comparison.reached == 3.0
    assert "which meets it" in "\n".join(report.section(comparison))
    missed = _comparison(least_ratio=4.0)
    assert "**which misses it**" in "\n".join(report.section(missed))


def test_a_table_has_a_line_for_each_comparison() -> None:
    bounded = _comparison(task="loading", measured={"ours": _measured(6.0)}, least_ratio=None, bound=5.0)
    lines = report.table([_comparison(), _comparison(least_ratio=4.0), bounded])
    assert lines[2] == "| sorting | 1 µs | 3 (quick peer) | **3.00** | at least twice the best peer | met |"
    assert lines[3].endswith("| **missed** |")
    assert lines[4] == "| loading | 6 µs |  |  | at least twice the best peer | **missed** |"


def test_a_case_in_brief_has_a_chart_and_a_page(tmp_path: Path) -> None:
    drawn = _comparison(figure="Sorting", label="a million numbers")
    report.store(tmp_path, "sorting", "Sorts", [drawn, _comparison()], {"CPU": "fast"}, in_brief=True)
    assert "<svg" in (tmp_path / "sorting.svg").read_text(encoding="utf-8")
    page = report.render(tmp_path)
    assert f"![Chart: Sorts]({tmp_path.name}/sorting.svg)" in page
    assert f"]({tmp_path.name}/sorting.md)" in page
    assert "slow peer" not in page
    assert "slow peer" in (tmp_path / "sorting.md").read_text(encoding="utf-8")
    stored = json.loads((tmp_path / "sorting.json").read_text(encoding="utf-8"))
    assert report.comparison(stored["comparisons"][0]) == drawn


def test_without_a_figure_nothing_is_drawn(tmp_path: Path) -> None:
    assert not chart.draw([_comparison()], "Sorts", tmp_path / "sorting.svg")
    assert not (tmp_path / "sorting.svg").exists()
