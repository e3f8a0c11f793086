"""Random small forests of XGBoost and LightGBM against their libraries: some always, thousands among the slow tests.

Each is trained with random options on data with ties, zeros and NaN; then some of its thresholds, leaves and default directions
are replaced in the file by odd ones, by those of other nodes or by numbers beside them, so that more is tried than training
would ever make. The rows meet every threshold and both of its neighbours.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.forests import load
from mlcore.forests.libraries import oracle
from mlcore.forests.probes import probes
from tests.mlcore.forests.strategies import (
    LIGHTGBM_OBJECTIVES,
    XGBOOST_OBJECTIVES,
    Boosting,
    lightgbm_boosters,
    xgboost_boosters,
)

CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
FEW = settings(max_examples=60, deadline=None, suppress_health_check=CHECKS)
MANY = settings(max_examples=250, deadline=None, suppress_health_check=CHECKS)  # of each objective


def agree(path: Path, *, rtol: float, seed: int) -> None:
    """Margins bit for bit, predictions but for the last bits of `exp`, in batches and row by row."""
    forest = load(path)
    source = oracle(path, forest.model)
    for dtype in ("float32", "float64"):
        rows = probes(forest.model, dtype=dtype, n_rows=240, seed=seed)
        wanted = source.margin(rows)
        margin = forest.margin(rows).reshape(wanted.shape)
        exact = source.exact(rows)
        np.testing.assert_array_equal(margin[exact], wanted[exact])
        # XGBoost's in-place prediction rounds a dart booster's sum in another order.
        np.testing.assert_allclose(margin, wanted, rtol=1e-5, atol=1e-5)
        single = np.stack([forest.margin(row[None]).reshape(-1) for row in rows[:20]])
        np.testing.assert_array_equal(single, margin[:20])
        few = np.ascontiguousarray(rows[:67:-1].T).T[:70]
        np.testing.assert_array_equal(forest.margin(few).reshape(len(few), -1), margin[:67:-1][:70])
        prediction = source.predict(rows)
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(forest.predict(rows).reshape(prediction.shape), prediction, rtol=rtol, atol=rtol)


def xgboost_document(case: Boosting) -> Any:
    """The document of a case's booster as it was trained."""
    import xgboost

    x, target = case.training.make()
    objective = case.options["objective"]
    label: Any = target
    if objective.startswith("binary") or objective == "reg:logistic":
        label = target > 0
    elif objective.startswith(("multi", "rank")):
        label = np.digitize(target, [-0.5, 0.5])
    elif objective in ("count:poisson", "reg:tweedie", "reg:gamma"):
        label = np.abs(target) + 0.1
    elif case.two_targets:
        label = np.stack([target, -(target**2)], axis=1)
    categorical = case.training.n_categories > 0
    types = ["q"] * (x.shape[1] - 1) + ["c"] if categorical else None
    matrix = xgboost.DMatrix(
        x.astype(np.float32), np.asarray(label, np.float32), feature_types=types, enable_categorical=categorical, nthread=1
    )
    if objective.startswith("rank"):
        matrix.set_group([len(x)])
    booster = xgboost.train({**case.options, "nthread": 1}, matrix, case.n_rounds)
    return json.loads(booster.save_raw("json"))


def change_xgboost(document: Any, case: Boosting) -> None:
    """Make the case's changes of thresholds, default directions and leaves."""
    booster = document["learner"]["gradient_booster"]
    trees = booster.get("gbtree", booster)["model"]["trees"]
    inner = [np.array(tree["left_children"]) >= 0 for tree in trees]
    numeric = [
        (tree, int(node))
        for tree, is_inner in zip(trees, inner, strict=True)
        for node in np.flatnonzero(is_inner & (np.array(tree["split_type"]) == 0))
    ]
    if numeric:
        thresholds = np.array([tree["split_conditions"][node] for tree, node in numeric], np.float32)
        features = np.array([tree["split_indices"][node] for tree, node in numeric])
        for change in case.changes:
            change.apply(thresholds, features)
        for (tree, node), threshold in zip(numeric, thresholds.tolist(), strict=True):
            tree["split_conditions"][node] = threshold
    nodes = [(tree, node) for tree, is_inner in zip(trees, inner, strict=True) for node in range(len(is_inner))]
    for place in case.flips:
        tree, node = nodes[place % len(nodes)]
        tree["default_left"][node] = 1 - tree["default_left"][node]
    if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in trees):
        return  # their leaves' numbers stand elsewhere
    leaves = [(tree, int(node)) for tree, is_inner in zip(trees, inner, strict=True) for node in np.flatnonzero(~is_inner)]
    for place, number in case.leaves:
        tree, node = leaves[place % len(leaves)]
        tree["split_conditions"][node] = number


def check_xgboost(case: Boosting, folder: Path) -> None:
    document = xgboost_document(case)
    change_xgboost(document, case)
    path = folder / "model.json"
    path.write_text(json.dumps(document))
    agree(path, rtol=4e-6, seed=case.rows_seed)


@FEW
@given(case=xgboost_boosters())
def test_xgboost(case: Boosting, tmp_path: Path) -> None:
    check_xgboost(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("objective", XGBOOST_OBJECTIVES)
@MANY
@given(data=st.data())
def test_xgboost_many_times(objective: str, data: st.DataObject, tmp_path: Path) -> None:
    check_xgboost(data.draw(xgboost_boosters(objective)), tmp_path)


def lightgbm_text(case: Boosting) -> str:
    """The text of a case's booster as it was trained."""
    import lightgbm

    x, target = case.training.make()
    objective = case.options["objective"]
    label: Any = target
    if objective in ("binary", "cross_entropy"):
        label = target > 0
    elif objective.startswith("multiclass") or objective == "lambdarank":
        label = np.digitize(target, [-0.5, 0.5])
    elif objective in ("poisson", "gamma", "tweedie"):
        label = np.abs(target) + 0.1
    matrix = lightgbm.Dataset(
        x.astype(np.float32).astype(np.float64),
        np.asarray(label, np.float32),
        categorical_feature=[x.shape[1] - 1] if case.training.n_categories else [],
        group=[len(x)] if objective == "lambdarank" else None,
    )
    fixed = {
        "min_data_in_bin": 1,
        "min_data_per_group": 1,
        "cat_smooth": 0.1,
        "num_threads": 1,
        "verbosity": -1,
        "deterministic": True,
    }
    return str(lightgbm.train({**case.options, **fixed}, matrix, case.n_rounds).model_to_string())


def change_lightgbm(text: str, case: Boosting) -> str:
    """The text with the case's changes of thresholds, made in trees without categories."""
    text = re.sub(r"(?m)^tree_sizes=.*\n", "", text)  # by which LightGBM would find the trees
    trees = re.split(r"(?m)(?=^Tree=)", text)
    found = {
        i: [np.array(re.search(rf"(?m)^{name}=(.*)$", tree)[1].split(), np.float64) for name in ("threshold", "split_feature")]  # type: ignore[index]
        for i, tree in enumerate(trees)
        if "num_cat=0\n" in tree and "\nthreshold=" in tree
    }
    if not found:
        return text
    thresholds = np.concatenate([numbers for numbers, _ in found.values()])
    features = np.concatenate([numbers for _, numbers in found.values()])
    for change in case.changes if len(thresholds) else ():
        change.apply(thresholds, features)
    ends = np.cumsum([len(numbers) for numbers, _ in found.values()])
    for i, changed in zip(found, np.split(thresholds, ends[:-1]), strict=True):
        line = "threshold=" + " ".join(map(repr, changed.tolist()))
        trees[i] = re.sub(r"(?m)^threshold=.*$", line, trees[i])
    return "".join(trees)


def check_lightgbm(case: Boosting, folder: Path) -> None:
    text = lightgbm_text(case)
    path = folder / "model.txt"
    path.write_text(change_lightgbm(text, case) if case.changes else text)
    agree(path, rtol=1e-13, seed=case.rows_seed)


@pytest.mark.filterwarnings("ignore::UserWarning:lightgbm")
@FEW
@given(case=lightgbm_boosters())
def test_lightgbm(case: Boosting, tmp_path: Path) -> None:
    check_lightgbm(case, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:lightgbm")
@pytest.mark.parametrize("objective", LIGHTGBM_OBJECTIVES)
@MANY
@given(data=st.data())
def test_lightgbm_many_times(objective: str, data: st.DataObject, tmp_path: Path) -> None:
    check_lightgbm(data.draw(lightgbm_boosters(objective)), tmp_path)
