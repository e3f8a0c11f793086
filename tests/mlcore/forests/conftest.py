"""Small data sets and trained models for the tests of forests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlcore.forests import links
from mlcore.forests.ir import Comparison, Missing, TreeModel

Array = np.ndarray[Any, Any]


def events(n_rows: int = 2000, *, categorical: bool = False, seed: int = 0) -> tuple[Array, Array]:
    """Features with NaN and zeros among them, float32, shape (n_rows, 6), and a smooth target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 6))
    target = x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=n_rows)
    if categorical:
        x[:, 4] = rng.integers(0, 3, n_rows)
        x[:, 5] = rng.integers(0, 70, n_rows)
        target = np.isin(x[:, 5], range(0, 70, 3)) + (x[:, 4] == 1) + 0.1 * x[:, 0] - 0.9
    x[rng.random(x.shape) < 0.1] = np.nan
    x[:, :4][rng.random((n_rows, 4)) < 0.1] = 0
    return x.astype(np.float32), target.astype(np.float32)


def train_xgboost(*, categorical: bool = False, rounds: int = 12, **parameters: Any) -> Any:
    """A small booster; the labels fit the objective."""
    import xgboost

    x, target = events(categorical=categorical)
    objective = parameters.get("objective", "reg:squarederror")
    label = target
    if objective.startswith(("binary", "rank", "reg:logistic")):
        label = (target > 0).astype(np.float32)
    elif objective.startswith("multi"):
        label = np.digitize(target, [-0.5, 0.5]).astype(np.float32)
        parameters["num_class"] = 3
    elif objective.startswith(("count", "reg:gamma", "reg:tweedie", "survival", "reg:squaredlog")):
        label = np.abs(target) + 0.1
    types = ["q"] * 4 + ["c", "c"] if categorical else None
    data = xgboost.DMatrix(x, label, feature_types=types, enable_categorical=categorical)
    if objective.startswith("rank"):
        data.set_group([100] * 20)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", label)
        data.set_float_info("label_upper_bound", label + 1)
    return xgboost.train({"max_depth": 4, "nthread": 1, **parameters}, data, rounds)


def train_lightgbm(*, categorical: bool = False, rounds: int = 12, **parameters: Any) -> Any:
    """A small booster; the labels fit the objective."""
    import lightgbm

    x, target = events(categorical=categorical)
    objective = parameters.get("objective", "regression")
    label = target
    if objective in ("binary", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg"):
        label = (target > 0).astype(np.float32)
    elif objective.startswith("multiclass"):
        label = np.digitize(target, [-0.5, 0.5]).astype(np.float32)
        parameters["num_class"] = 3
    elif objective in ("poisson", "gamma", "tweedie", "mape"):
        label = np.abs(target) + 0.1
    data = lightgbm.Dataset(
        x.astype(np.float64),
        label,
        categorical_feature=[4, 5] if categorical else [],
        group=[100] * 20 if objective in ("lambdarank", "rank_xendcg") else None,
    )
    return lightgbm.train({"num_leaves": 13, "verbosity": -1, "num_threads": 1, **parameters}, data, rounds)


Train = Callable[..., Any]


@pytest.fixture(scope="session")
def xgboost_booster() -> Train:
    return train_xgboost


@pytest.fixture(scope="session")
def lightgbm_booster() -> Train:
    return train_lightgbm


def walked(model: TreeModel, x: Array) -> Array:
    """The margins of a forest by walking its trees in NumPy, one level after the other; shape (n_rows, n_outputs)."""
    with np.errstate(over="ignore"):
        x = x.astype(model.threshold_dtype)
    margin = np.tile(model.base, (len(x), 1))
    rows = np.arange(len(x))
    for tree in model.trees:
        node = np.zeros(len(x), np.int64)
        while True:
            active = tree.feature[node] >= 0
            if not active.any():
                break
            value = x[rows, np.maximum(tree.feature[node], 0)]
            kind = tree.comparison[node]
            left = np.where(kind == Comparison.LESS, value < tree.threshold[node], value <= tree.threshold[node])
            for number in np.unique(node[kind >= Comparison.IN_SET]).tolist():
                at = node == number
                inside = tree.comparison[number] == Comparison.IN_SET
                whole = np.trunc(value[at]) if inside else np.floor(value[at])
                left[at] = np.isin(whole, tree.categories.get(number, ())) == inside
            missing = tree.missing[node]
            nan = np.isnan(value)
            zero_left = np.where(kind == Comparison.LESS, tree.threshold[node] > 0, tree.threshold[node] >= 0)
            left = np.where(nan & (missing == Missing.NONE), zero_left, left)
            default = (nan & (missing != Missing.NONE)) | ((missing == Missing.ZERO) & (abs(value) <= model.zero_threshold))
            left = np.where(default, tree.default_left[node], left)
            node = np.where(active, np.where(left, tree.left[node], tree.right[node]), node)
        with np.errstate(over="ignore", invalid="ignore"):
            if tree.value.ndim == 2:
                margin += tree.value[node]
            else:
                margin[:, tree.output] += tree.value[node]
    return margin


def walked_prediction(model: TreeModel, x: Array) -> Array:
    """The predictions that follow from `walked`, shape (n_rows, n_predictions)."""
    margin = walked(model, x)
    if model.divisor != 1:
        margin = margin / margin.dtype.type(model.divisor)
    return links.apply(model.link, margin, model.link_scale)


Walk = Callable[[TreeModel, Array], Array]


@pytest.fixture(scope="session")
def walk() -> Walk:
    """An oracle for any forest, vector leaves included."""
    return walked


@pytest.fixture(scope="session")
def walk_to_prediction() -> Walk:
    return walked_prediction
