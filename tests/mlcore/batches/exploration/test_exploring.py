"""What features hold, against NumPy and SciPy; what a filter keeps, against counting."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mlcore.batches import open_source
from mlcore.batches.blocks import Jagged
from mlcore.batches.exploration.exploring import explore
from mlcore.batches.exploration.previewing import BLOCK_ROWS, preview
from mlcore.errors import InputError

ROWS = 5000


@pytest.fixture
def columns() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, ROWS).astype(np.int32)
    mass = rng.normal(91 + 8 * label, 5).astype(np.float32)
    holes = rng.standard_normal(ROWS) + mass
    holes[:40], holes[40:50], holes[50] = np.nan, np.inf, 1e6
    return {"mass": mass, "holes": holes, "n": rng.integers(0, 7, ROWS), "same": np.ones(ROWS), "label": label}


GROUPS = {"x": ("mass", "holes", "n", "same"), "y": ("label",)}


def test_features_are_what_numpy_says(columns: dict[str, Any]) -> None:
    found = explore(columns, GROUPS, 10 * ROWS)
    assert (found.rows, found.sampled, found.target) == (10 * ROWS, ROWS, "label")
    assert found.classes == (("label = 1", int(columns["label"].sum())), ("label = 0", int((1 - columns["label"]).sum())))
    mass, holes, n, same = found.features
    assert mass.mean == pytest.approx(float(columns["mass"].astype(float).mean()))
    assert mass.median == pytest.approx(float(np.median(columns["mass"])))
    assert (holes.missing, holes.infinite, holes.count, holes.far) == (40, 10, ROWS - 50, 1)
    assert holes.edges[-1] < 1e3, "a long tail does not flatten the histogram"
    assert n.edges == tuple(np.arange(-0.5, 7).tolist())
    assert (same.minimum, same.maximum, same.deviation) == (1.0, 1.0, 0.0)
    for feature in found.features:
        inside = sum(map(sum, feature.counts)) + feature.below + feature.above
        assert inside == feature.count == ROWS - feature.missing - feature.infinite
    assert np.histogram(columns["n"][columns["label"] == 1], n.edges)[0].tolist() == list(n.counts[0])


def test_the_separation_is_that_of_kolmogorov_and_smirnov(columns: dict[str, Any]) -> None:
    mass = explore(columns, GROUPS, ROWS).features[0]
    signal, background = (columns["mass"][columns["label"] == value] for value in (1, 0))
    assert mass.separation == pytest.approx(stats.ks_2samp(signal, background).statistic, abs=1e-12)


def test_correlations_leave_out_what_is_not_finite(columns: dict[str, Any]) -> None:
    found = explore(columns, GROUPS, ROWS).correlation
    good = np.isfinite(columns["holes"])
    wanted = np.corrcoef(columns["mass"][good].astype(float), columns["holes"][good])[0, 1]
    assert found[0][1] == found[1][0] == pytest.approx(wanted, abs=1e-9)
    assert found[0][2] == pytest.approx(np.corrcoef(columns["mass"], columns["n"])[0, 1], abs=1e-9)
    assert found[0][0] == pytest.approx(1)
    assert found[3] == (None,) * 4


def test_without_classes_there_is_one(columns: dict[str, Any]) -> None:
    for groups in ({"x": ("mass",)}, {"x": ("mass",), "y": ("holes",)}):
        found = explore(columns, groups, ROWS)
        assert found.classes == (("all rows", ROWS),)
        assert found.features[0].separation is None


def test_jagged_and_wide_columns_and_nothing_at_all() -> None:
    jagged = Jagged(np.ones(3), np.array([0, 0, 2, 3]))
    found = explore({"jet": jagged, "p": np.zeros((3, 2)), "bad": np.full(3, np.nan)}, {"x": ("jet", "p", "bad")}, 3)
    assert [feature.name for feature in found.features] == ["values of jet", "p[0]", "p[1]", "bad"]
    assert found.features[0].mean == 1
    assert found.features[3].mean is None
    json.dumps(found.to_json(), allow_nan=False)


def test_numbers_at_the_ends_of_the_range() -> None:
    values = np.array([-1.7e308, 1.7e308, 0.0, 1e-320])
    json.dumps(explore({"x": values}, {"x": ("x",)}, 4).to_json(), allow_nan=False)


# --- what a filter keeps --------------------------------------------------------------------------------------------------------


def test_a_small_source_is_counted_in_full(columns: dict[str, Any]) -> None:
    found = preview(open_source(columns), keep="n > 2 && mass < 95")
    kept = (columns["n"] > 2) & (columns["mass"] < 95)
    assert (found.looked_at, found.kept, found.complete) == (ROWS, int(kept.sum()), True)
    assert found.column == "n"
    assert np.histogram(columns["n"], found.edges)[0].tolist() == list(found.before)
    assert np.histogram(columns["n"][kept], found.edges)[0].tolist() == list(found.after)


def test_a_large_source_is_sampled_all_over() -> None:
    rows = 40 * BLOCK_ROWS
    source = open_source({"x": np.arange(rows, dtype=np.float32)})
    found = preview(source, keep=f"x < {rows / 2}", seconds=0)
    assert found.looked_at == BLOCK_ROWS
    assert not found.complete
    shares = [preview(source, keep=f"x < {rows / 2}", seconds=0, seed=seed).share for seed in range(40)]
    assert 0.3 < np.mean(shares) < 0.7, "blocks come from the beginning and from the end"


def test_the_column_of_the_histogram_can_be_chosen(columns: dict[str, Any]) -> None:
    found = preview(open_source(columns), define={"double": "2 * mass"}, column="double")
    assert found.column == "double"
    assert found.before == found.after
    assert 150 < found.edges[0] < found.edges[-1] < 240


def test_jagged_values_count_one_by_one() -> None:
    source = open_source({"jet": Jagged(np.array([1.0, 2.0, 3.0]), np.array([0, 2, 2, 3])), "n": np.array([2, 0, 1])})
    found = preview(source, keep="n > 1", column="jet")
    assert (sum(found.before), sum(found.after), found.kept) == (3, 2, 1)
    assert preview(source).column == "jet", "the first one, where none is named"


def test_a_wrong_filter_points_at_the_word(columns: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"(?s)mas .*\^\^\^") as caught:
        preview(open_source(columns), keep="n > 2 && mas < 95")
    assert "mass" in caught.value.hint
