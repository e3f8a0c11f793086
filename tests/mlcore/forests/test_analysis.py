"""What is said about a forest from inside agrees with its library, with plain loops, and with known cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.forests import load
from mlcore.forests.analysis import analyse, histogram
from mlcore.forests.drawing import MOST_ENDS, MOST_LEVELS, draw_tree
from mlcore.forests.ir import Comparison, FloatName, Link, Missing, Source, Tree, TreeModel
from mlcore.forests.verifier import verify

Train = Callable[..., Any]
HOSTILE = '<script>alert("x")</script>\u202e\n&'


def model_of(*trees: Tree, n_features: int = 2, n_outputs: int = 1, names: tuple[str, ...] = ()) -> TreeModel:
    """A verified model of hand-made trees."""
    double: FloatName = "float64"
    return verify(
        TreeModel(
            source=Source("test", "test", "", "", ""),
            n_features=n_features,
            n_outputs=n_outputs,
            feature_names=names,
            trees=trees,  # type: ignore[arg-type]  # joined by the model
            base=np.zeros(n_outputs),
            threshold_dtype=double,
            sum_dtype=double,
            link=Link.IDENTITY,
        )
    )


def tree_of(feature: list[int], left: list[int], right: list[int], value: Any, missing: Missing = Missing.NAN) -> Tree:
    """A tree with thresholds 0.5, numeric splits and values at its leaves."""
    n = len(feature)
    return Tree(
        output=0,
        feature=np.array(feature, np.int32),
        threshold=np.full(n, 0.5),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        comparison=np.full(n, Comparison.LESS, np.uint8),
        missing=np.full(n, missing, np.uint8),
        default_left=np.ones(n, bool),
        value=np.array(value, np.float64),
    )


def chain(depth: int) -> Tree:
    """A tree that goes down on one side only: as deep as it has splits."""
    inner = [2 * number for number in range(depth)]
    feature, left, right = (np.full(2 * depth + 1, -1, np.int32) for _ in range(3))
    feature[inner] = 0
    left[inner], right[inner] = np.array(inner) + 1, np.array(inner) + 2
    return tree_of(feature.tolist(), left.tolist(), right.tolist(), np.arange(2 * depth + 1.0))


def test_splits_are_what_xgboost_counts(xgboost_booster: Train) -> None:
    booster = xgboost_booster(rounds=20)
    model = load(booster).model
    use = analyse(model).features
    weights = booster.get_score(importance_type="weight")
    assert {f"f{number}": count for number, count in enumerate(use.splits.tolist()) if count} == weights
    dumps = booster.get_dump()
    for number in range(model.n_features):
        cuts = [re.findall(rf"\[f{number}<([^\]]+)\]", dump) for dump in dumps]
        assert use.trees[number] == sum(map(bool, cuts))
        assert use.thresholds[number] == len({np.float32(cut) for tree in cuts for cut in tree})


def test_splits_are_what_lightgbm_counts(lightgbm_booster: Train) -> None:
    booster = lightgbm_booster(categorical=True)
    found = analyse(load(booster).model)
    assert found.features.splits.tolist() == booster.feature_importance("split").tolist()
    assert found.categorical_splits > 0
    leaves = [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]
    assert found.trees.leaves.tolist() == leaves
    assert int(found.leaf_depths.sum()) == sum(leaves)


def test_the_spread_of_a_known_tree() -> None:
    #      x0            means: root 2.5, right child 3
    #    2    x1
    #        1   5
    found = analyse(model_of(tree_of([0, -1, 1, -1, -1], [1, -1, 3, -1, -1], [2, -1, 4, -1, -1], [0, 2, 0, 1, 5])))
    assert found.features.spread.tolist() == pytest.approx([0.25, 2.0])
    assert found.features.spread_share.tolist() == pytest.approx([1 / 9, 8 / 9])
    assert found.trees.mean_depth.tolist() == pytest.approx([5 / 3])
    assert (found.trees.lowest.tolist(), found.trees.highest.tolist()) == ([1.0], [5.0])
    assert found.leaf_depths.tolist() == [0, 1, 2]


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_the_spreads_of_a_tree_add_up_to_the_variance_of_its_leaves(
    xgboost_booster: Train, lightgbm_booster: Train, library: str
) -> None:
    model = load(xgboost_booster(max_depth=6) if library == "xgboost" else lightgbm_booster(num_leaves=31)).model
    expected = 0.0
    for tree in model.trees:
        weight, waiting = {}, [(0, 1.0)]
        while waiting:
            node, share = waiting.pop()
            if tree.feature[node] < 0:
                weight[node] = share
            else:
                waiting += [(int(tree.left[node]), share / 2), (int(tree.right[node]), share / 2)]
        values = tree.value[list(weight)].astype(np.float64)
        shares = np.array(list(weight.values()))
        expected += float(shares @ values**2 - (shares @ values) ** 2)
    # float64 sums of a few thousand numbers
    assert analyse(model).features.spread.sum() == pytest.approx(expected, rel=1e-9)


def test_vector_leaves_add_up_over_the_outputs() -> None:
    one = tree_of([0, -1, -1], [1, -1, -1], [2, -1, -1], [[0, 0], [1, 0], [3, 8]])
    found = analyse(model_of(one, n_outputs=2))
    assert found.features.spread.tolist() == pytest.approx([1 + 16, 0])
    assert (found.trees.lowest[0], found.trees.highest[0]) == (0, 8)
    assert "3, 8" in draw_tree(model_of(one, n_outputs=2), 0).svg


@pytest.mark.parametrize("value", [1e308, 1e-300])
def test_extreme_leaves_have_shares(value: float) -> None:
    found = analyse(model_of(tree_of([0, -1, -1], [1, -1, -1], [2, -1, -1], [0, -value, value])))
    assert found.features.spread_share.tolist() == [1, 0]


def test_a_forest_without_splits_and_one_without_trees() -> None:
    alone = tree_of([-1], [-1], [-1], [2.0])
    found = analyse(model_of(alone))
    assert found.features.splits.tolist() == [0, 0]
    assert found.features.spread_share.tolist() == [0, 0]
    assert found.leaf_depths.tolist() == [1]
    assert "no split" in draw_tree(model_of(alone), 0).note
    assert len(analyse(model_of()).trees.depth) == 0


# --- histograms -----------------------------------------------------------------------------------------------------------------


def test_far_values_are_counted_and_do_not_flatten_the_histogram() -> None:
    values = np.concatenate([np.linspace(0, 1, 500), [-999.0]])
    edges, counts, outside = histogram(values)
    assert edges[0] > -1
    assert outside + counts.sum() == len(values)
    assert outside >= 1


@given(st.lists(st.floats(allow_nan=False), min_size=0, max_size=50))
def test_histograms_stand_any_numbers(values: list[float]) -> None:
    edges, counts, outside = histogram(values)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert counts.sum() + outside <= len(values)


# --- drawings -------------------------------------------------------------------------------------------------------------------


def text_of(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314  (our own text)
    assert not any("style" in element.attrib for element in root.iter())
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def test_a_small_tree_is_drawn_whole(xgboost_booster: Train) -> None:
    model = load(xgboost_booster(max_depth=3)).model
    drawn = draw_tree(model, 0)
    tree = model.trees[0]
    assert drawn.svg.count('class="node"') == int((tree.feature >= 0).sum())
    assert drawn.svg.count('class="leaf"') == int((tree.feature < 0).sum())
    assert "folded" not in drawn.note
    assert "feature 0" in text_of(drawn.svg)


@pytest.mark.parametrize("depth", [12, 3000])
def test_a_deep_tree_is_folded_and_the_note_says_so(depth: int) -> None:
    drawn = draw_tree(model_of(chain(depth)), 0)
    assert drawn.svg.count('class="node"') == MOST_LEVELS
    hidden = depth + 1 - MOST_LEVELS
    assert f"with {hidden:,} leaves".replace(",", "\u2009") in drawn.note
    assert len(drawn.svg) < 20_000


def test_a_wide_tree_keeps_its_ends_readable(xgboost_booster: Train) -> None:
    model = load(xgboost_booster(max_depth=9)).model
    drawn = draw_tree(model, 0)
    ends = drawn.svg.count('class="leaf"')
    assert ends <= MOST_ENDS
    told = sum(int(n) for n in re.findall(r">(\d+) leaves</text>", drawn.svg))
    alone = ends - len(re.findall(r">\d+ leaves</text>", drawn.svg))
    assert told + alone == int((model.trees[0].feature < 0).sum())


def test_hostile_names_are_text() -> None:
    tree = tree_of([0, -1, -1], [1, -1, -1], [2, -1, -1], [0, 1, 2])
    drawn = draw_tree(model_of(tree, names=(HOSTILE, "y" * 10_000)), 0)
    assert "<script" not in drawn.svg
    assert "\u202e" not in drawn.svg
    assert any(text.startswith("<script>alert") for text in text_of(drawn.svg))


def test_the_heavier_branch_is_the_way_of_missing_values() -> None:
    tree = tree_of([0, -1, -1], [1, -1, -1], [2, -1, -1], [0, 1, 2])
    assert draw_tree(model_of(tree), 0).svg.count("branch sw2") == 1
    without = tree_of([0, -1, -1], [1, -1, -1], [2, -1, -1], [0, 1, 2], Missing.NONE)
    assert draw_tree(model_of(without), 0).svg.count("branch sw2") == 0


def test_categories_are_listed(lightgbm_booster: Train) -> None:
    model = load(lightgbm_booster(categorical=True)).model
    texts = [text for number in range(4) for text in text_of(draw_tree(model, number).svg)]
    assert any(text.startswith("in {") for text in texts)


@pytest.mark.parametrize("number", [-1, 12])
def test_a_tree_that_is_not_there_is_named(xgboost_booster: Train, number: int) -> None:
    with pytest.raises(InputError, match=f"no tree {number}"):
        draw_tree(load(xgboost_booster(rounds=12)).model, number)
    with pytest.raises(InputError):
        draw_tree(replace(model_of()), 0)
