"""What a training set's page shows of many features."""

from __future__ import annotations

import numpy as np

from mlcore.batches.exploration.exploring import explore
from portal.jobs.training_pages import MOST_CORRELATED, OPEN_PLOTS, explore_result


def test_every_feature_is_drawn_and_the_most_correlated_are_compared() -> None:
    rng = np.random.default_rng(2)
    columns = {f"f{number:03d}": rng.standard_normal(300) for number in range(70)}
    columns["f069"] = columns["f068"] + 0.1 * columns["f069"]
    columns["f005"] = np.full(300, np.nan)
    columns["label"] = (np.arange(300) % 2).astype(np.float64)
    groups = {"x": tuple(name for name in columns if name != "label"), "y": ("label",)}
    result = explore_result(explore(columns, groups, 300))
    assert len(result.plots) == OPEN_PLOTS + 1
    (folded,) = result.series
    assert folded.total == len(folded.plots) == 69 - OPEN_PLOTS  # one has no value to draw
    assert folded.plots[-1].title == "f069"
    assert "label = 1" in folded.plots[-1].svg
    correlation = result.plots[-1]
    assert correlation.title == "Correlation"
    assert f"The {MOST_CORRELATED} of 70 features that correlate most" in correlation.caption
    assert "f068, f069: 0.99" in correlation.svg or "f068, f069: 1.00" in correlation.svg
    assert "f005" not in correlation.svg
    assert correlation.svg.count("<rect") == MOST_CORRELATED**2
    assert len(result.tables[0].rows) == 70


def test_few_features_are_compared_with_each_other() -> None:
    rng = np.random.default_rng(2)
    result = explore_result(explore({"a": rng.standard_normal(50), "b": rng.standard_normal(50)}, {"x": ("a", "b")}, 50))
    assert [plot.title for plot in result.plots] == ["a", "b", "Correlation"]
    assert result.series == ()
    assert "correlate most" not in result.plots[-1].caption
    alone = explore_result(explore({"a": rng.standard_normal(50)}, {"x": ("a",)}, 50))
    assert [plot.title for plot in alone.plots] == ["a"]
