"""Random small forests of XGBoost and LightGBM against their libraries: a few hundred always, thousands among the slow tests.

Each is trained with random options on data with ties, zeros and NaN; then some of its thresholds, leaves and default directions
are replaced by odd ones in the file, so that more is tried than training would ever make. The rows meet every threshold and both
of its neighbours.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.forests import load
from mlcore.forests.ir import TreeModel
from mlcore.forests.libraries import oracle
from mlcore.forests.probes import probes

BATCHES = 12
MANY = [*range(BATCHES), *(pytest.param(i, marks=pytest.mark.slow) for i in range(BATCHES, 20 * BATCHES))]
PER_BATCH = 12

Random = np.random.Generator

ODD = [0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 1e-35, -1e-35, 3e38, -3e38, 0.5, 1.0, -1.0, 2.0]


def data(rng: Random, *, n_rows: int, categorical: bool) -> tuple[Any, Any]:
    """Rows with ties, zeros and NaN, float32, shape (n_rows, n_features), and a target that depends on them."""
    n_features = int(rng.integers(1, 7))
    x = rng.normal(size=(n_rows, n_features))
    if rng.random() < 0.5:
        x = np.round(x, int(rng.integers(0, 3)))
    target = x[:, 0] + np.sin(2 * x.sum(axis=1)) + 0.2 * rng.normal(size=n_rows)
    if categorical:
        x[:, -1] = rng.integers(0, int(rng.integers(2, 60)), n_rows)
        target += np.isin(x[:, -1] % 7, (1, 2, 4))
    if rng.random() < 0.7:
        x[rng.random(x.shape) < rng.uniform(0, 0.4)] = np.nan
    if rng.random() < 0.5:
        x[:, : n_features - categorical][rng.random((n_rows, n_features - categorical)) < 0.3] = 0
    return x.astype(np.float32), target


def agree(path: Path, model: TreeModel, forest: Any, *, rtol: float, seed: int) -> None:
    """Margins bit for bit, predictions but for the last bits of `exp`, in batches and row by row."""
    source = oracle(path, model)
    for dtype in ("float32", "float64"):
        rows = probes(model, dtype=dtype, n_rows=240, seed=seed)
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


XGBOOST_OBJECTIVES = [
    *("binary:logistic", "binary:hinge", "reg:squarederror", "reg:logistic", "reg:absoluteerror", "reg:pseudohubererror"),
    *("count:poisson", "reg:tweedie", "reg:gamma", "rank:ndcg", "multi:softprob", "multi:softmax", "reg:quantileerror"),
]


def random_xgboost(rng: Random) -> Any:
    """The document of a random booster."""
    import xgboost

    categorical = bool(rng.random() < 0.35)
    n_rows = int(rng.integers(30, 200))
    x, target = data(rng, n_rows=n_rows, categorical=categorical)
    objective = str(rng.choice(XGBOOST_OBJECTIVES))
    options: dict[str, Any] = {
        "objective": objective,
        "max_depth": int(rng.integers(1, 8)),
        "eta": float(rng.uniform(0.1, 1)),
        "min_child_weight": float(rng.choice([0.0, 1.0])),
        "num_parallel_tree": int(rng.choice([1, 1, 1, 3])),
        "subsample": 0.8,
        "nthread": 1,
        "seed": int(rng.integers(1000)),
        "booster": str(rng.choice(["gbtree", "gbtree", "gbtree", "dart"])),
    }
    if options["booster"] == "dart":
        options |= {"rate_drop": 0.4, "normalize_type": str(rng.choice(["tree", "forest"]))}
    if rng.random() < 0.3:
        options |= {"grow_policy": "lossguide", "max_leaves": int(rng.integers(2, 40)), "max_depth": 0}
    elif not categorical and rng.random() < 0.2:
        options["tree_method"] = "exact"
    if categorical:
        options["max_cat_to_onehot"] = int(rng.choice([1, 100]))
    if rng.random() < 0.3:
        options["base_score"] = float(rng.uniform(0.1, 0.9))
    label: Any = target
    if objective.startswith("binary") or objective == "reg:logistic":
        label = target > 0
    elif objective.startswith("multi"):
        label = np.digitize(target, [-0.5, 0.5])
        options["num_class"] = 3
    elif objective.startswith("rank"):
        label = np.digitize(target, [-0.5, 0.5])
    elif objective in ("count:poisson", "reg:tweedie", "reg:gamma"):
        label = np.abs(target) + 0.1
    elif objective == "reg:quantileerror":
        options["quantile_alpha"] = [0.2, 0.5, 0.9]
        options.pop("base_score", None)
    elif objective == "reg:squarederror" and rng.random() < 0.5:
        label = np.stack([target, -(target**2)], axis=1)
    several = options.get("num_class") or "quantile_alpha" in options or np.ndim(label) == 2
    plain = options["booster"] == "gbtree" and options.get("tree_method") != "exact" and objective != "reg:absoluteerror"
    if several and plain and not categorical and rng.random() < 0.5:
        options["multi_strategy"] = "multi_output_tree"
        options["num_parallel_tree"] = 1
        options["subsample"] = 1.0
    types = ["q"] * (x.shape[1] - 1) + ["c"] if categorical else None
    matrix = xgboost.DMatrix(x, np.asarray(label, np.float32), feature_types=types, enable_categorical=categorical, nthread=1)
    if objective.startswith("rank"):
        matrix.set_group([n_rows])
    booster = xgboost.train(options, matrix, int(rng.integers(1, 6)))
    return json.loads(booster.save_raw("json"))


def with_odd_numbers(document: Any, rng: Random) -> Any:
    """Some thresholds, leaves and default directions replaced."""
    booster = document["learner"]["gradient_booster"]
    trees = booster.get("gbtree", booster)["model"]["trees"]
    for tree in trees:
        inner = np.array(tree["left_children"]) >= 0
        numeric = inner & (np.array(tree["split_type"]) == 0)
        if rng.random() < 0.5:
            tree["default_left"] = [int(value) for value in rng.random(len(inner)) < 0.5]
        vectors = int(tree["tree_param"]["size_leaf_vector"]) > 1
        for node in range(len(inner)):
            if (numeric[node] and rng.random() < 0.3) or (not inner[node] and not vectors and rng.random() < 0.1):
                tree["split_conditions"][node] = float(np.float32(rng.choice(ODD) if numeric[node] else rng.normal() * 1e3))
    return document


@pytest.mark.parametrize("batch", MANY)
def test_xgboost(batch: int, tmp_path: Path) -> None:
    for number in range(PER_BATCH):
        seed = 1000 * batch + number
        rng = np.random.default_rng([seed, 1])
        document = random_xgboost(rng)
        if rng.random() < 0.6:
            document = with_odd_numbers(document, rng)
        path = tmp_path / f"{seed}.json"
        path.write_text(json.dumps(document))
        forest = load(path)
        agree(path, forest.model, forest, rtol=4e-6, seed=seed)


LIGHTGBM_OBJECTIVES = [
    *("binary", "multiclass", "multiclassova", "regression", "regression_l1", "huber", "quantile", "cross_entropy"),
    *("poisson", "gamma", "tweedie", "lambdarank"),
]


def random_lightgbm(rng: Random) -> str:
    """The text of a random booster."""
    import lightgbm

    categorical = bool(rng.random() < 0.35)
    n_rows = int(rng.integers(60, 250))
    x, target = data(rng, n_rows=n_rows, categorical=categorical)
    objective = str(rng.choice(LIGHTGBM_OBJECTIVES))
    options: dict[str, Any] = {
        "objective": objective,
        "num_leaves": int(rng.integers(2, 32)),
        "learning_rate": float(rng.uniform(0.1, 1)),
        "min_data_in_leaf": int(rng.choice([1, 5])),
        "min_data_in_bin": 1,
        "min_data_per_group": 1,
        "max_cat_to_onehot": int(rng.choice([1, 4, 100])),
        "cat_smooth": 0.1,
        "boosting": str(rng.choice(["gbdt", "gbdt", "dart", "rf"])),
        "use_missing": bool(rng.random() < 0.8),
        "zero_as_missing": bool(rng.random() < 0.3),
        "num_threads": 1,
        "verbosity": -1,
        "seed": int(rng.integers(1000)),
        "deterministic": True,
    }
    if options["boosting"] == "rf":
        options |= {"bagging_freq": 1, "bagging_fraction": 0.6}
    label: Any = target
    if objective in ("binary", "cross_entropy"):
        label = target > 0
    elif objective.startswith("multiclass") or objective == "lambdarank":
        label = np.arange(n_rows) % 3 if rng.random() < 0.1 else np.digitize(target, [-0.5, 0.5])
        if objective != "lambdarank":
            options["num_class"] = 3
    elif objective in ("poisson", "gamma", "tweedie"):
        label = np.abs(target) + 0.1
    matrix = lightgbm.Dataset(
        x.astype(np.float64),
        np.asarray(label, np.float32),
        categorical_feature=[x.shape[1] - 1] if categorical else [],
        group=[n_rows] if objective == "lambdarank" else None,
    )
    return str(lightgbm.train(options, matrix, int(rng.integers(1, 6))).model_to_string())


def with_odd_thresholds(text: str, rng: Random) -> str:
    """Some thresholds of trees without categories replaced."""

    def replaced(line: re.Match[str]) -> str:
        numbers = [repr(float(rng.choice(ODD))) if rng.random() < 0.3 else number for number in line.group(1).split()]
        return "threshold=" + " ".join(numbers)

    text = re.sub(r"(?m)^tree_sizes=.*\n", "", text)  # by which LightGBM would find the trees
    trees = re.split(r"(?m)(?=^Tree=)", text)
    return "".join(re.sub(r"(?m)^threshold=(.*)$", replaced, tree) if "num_cat=0" in tree else tree for tree in trees)


@pytest.mark.filterwarnings("ignore::UserWarning:lightgbm")
@pytest.mark.parametrize("batch", MANY)
def test_lightgbm(batch: int, tmp_path: Path) -> None:
    for number in range(PER_BATCH):
        seed = 1000 * batch + number
        rng = np.random.default_rng([seed, 2])
        text = random_lightgbm(rng)
        if rng.random() < 0.6:
            text = with_odd_thresholds(text, rng)
        path = tmp_path / f"{seed}.txt"
        path.write_text(text)
        forest = load(path)
        agree(path, forest.model, forest, rtol=1e-13, seed=seed)
