"""Fitted scikit-learn estimators of every kind that is read, rows that try them, and a plain walk through the tree IR."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mlcore.forests import links
from mlcore.forests.ir import Comparison, FloatName, TreeModel
from mlcore.forests.probes import probes

Array = np.ndarray[Any, Any]

N_FEATURES = 5
LARGEST = float(np.finfo(np.float32).max)


def events(n_rows: int, *, missing: bool, seed: int = 0) -> tuple[Array, Array]:
    """Rows with ties, zeros of both signs and two columns of categories, some values missing, and a smooth target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, N_FEATURES))
    x[:, 0] = x[:, 0].round(1)
    x[:, 1] = rng.integers(0, 6, n_rows)
    x[:, 3] = rng.integers(3, 40, n_rows) * 2
    x[:, 2][rng.random(n_rows) < 0.1] = 0.0
    x[:, 2][rng.random(n_rows) < 0.1] = -0.0
    target = x[:, 0] + np.sin(x[:, 3]) + x[:, 1] % 2 + 0.2 * x[:, 2] * x[:, 4]
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x, target


def _targets(target: Array) -> dict[str, Array]:
    return {
        "real": target,
        "positive": np.abs(target) + 0.1,
        "pair": np.stack([target, target**2], axis=1),
        "binary": target > 0.5,
        "classes": np.array(["background", "signal", "tau"])[np.digitize(target, [0.0, 1.0])],
    }


def _cases() -> dict[str, tuple[Callable[[], Any], str, bool]]:
    """For each case: what makes the estimator, its target, and whether it is trained on missing values."""
    from sklearn import ensemble as e
    from sklearn import tree as t

    cases: dict[str, tuple[Callable[[], Any], str, bool]] = {}
    for name, make in {
        "decision tree": t.DecisionTreeClassifier,
        "extra tree": t.ExtraTreeClassifier,
        "random forest": lambda **options: e.RandomForestClassifier(12, **options),
        "extra trees": lambda **options: e.ExtraTreesClassifier(12, **options),
    }.items():
        for target in ("binary", "classes"):
            cases[f"{name}, {target}"] = (lambda make=make: make(random_state=0), target, True)
    for name, make in {
        "decision tree": t.DecisionTreeRegressor,
        "extra tree": t.ExtraTreeRegressor,
        "random forest": lambda **options: e.RandomForestRegressor(12, **options),
        "extra trees": lambda **options: e.ExtraTreesRegressor(12, **options),
    }.items():
        for target in ("real", "pair"):
            cases[f"{name}, {target}"] = (lambda make=make: make(random_state=0), target, True)
    cases |= {
        "random forest, nothing missing": (lambda: e.RandomForestClassifier(12, random_state=0), "classes", False),
        "random forest, weighted classes": (
            lambda: e.RandomForestClassifier(12, class_weight="balanced", criterion="entropy", random_state=0),
            "classes",
            True,
        ),
        "random forest, Poisson": (lambda: e.RandomForestRegressor(12, criterion="poisson", random_state=0), "positive", True),
        "pruned tree": (lambda: t.DecisionTreeRegressor(ccp_alpha=0.01, random_state=0), "real", True),
        "best first tree": (lambda: t.DecisionTreeClassifier(max_leaf_nodes=9, random_state=0), "classes", True),
        "stump": (lambda: t.DecisionTreeRegressor(min_samples_leaf=400, random_state=0), "real", False),
        "bagging": (lambda: e.BaggingRegressor(t.DecisionTreeRegressor(), 12, max_features=3, random_state=0), "real", True),
        "bagging, classes": (
            lambda: e.BaggingClassifier(t.ExtraTreeClassifier(), 12, max_features=0.7, random_state=0),
            "classes",
            True,
        ),
        "bagging, classes lost": (
            lambda: e.BaggingClassifier(t.DecisionTreeClassifier(), 12, max_samples=3, random_state=0),
            "classes",
            True,
        ),
    }
    for depth in (1, 4):
        for target in ("binary", "classes"):
            cases[f"AdaBoost of depth {depth}, {target}"] = (
                lambda depth=depth: e.AdaBoostClassifier(
                    t.DecisionTreeClassifier(max_depth=depth), n_estimators=20, random_state=0
                ),
                target,
                False,
            )
    for options, target in (
        ({}, "binary"),
        ({"loss": "exponential"}, "binary"),
        ({}, "classes"),
        ({"init": "zero"}, "binary"),
        ({"init": "zero"}, "classes"),
        ({"subsample": 0.5, "n_iter_no_change": 3}, "classes"),
    ):
        cases[f"gradient boosting {options}, {target}"] = (
            lambda options=options: e.GradientBoostingClassifier(n_estimators=20, random_state=0, **options),
            target,
            False,
        )
    for options in (
        {},
        {"loss": "absolute_error"},
        {"loss": "huber"},
        {"loss": "quantile", "alpha": 0.8},
        {"init": "zero", "learning_rate": 0.37, "max_depth": 6},
    ):
        cases[f"gradient boosting {options}"] = (
            lambda options=options: e.GradientBoostingRegressor(n_estimators=20, random_state=0, **options),
            "real",
            False,
        )
    for columns in (None, [1, 3]):
        for loss in ("squared_error", "absolute_error", "gamma", "poisson", "quantile"):
            cases[f"histograms, {loss}, categories {columns}"] = (
                lambda loss=loss, columns=columns: e.HistGradientBoostingRegressor(
                    loss=loss, quantile=0.3, max_iter=15, categorical_features=columns, random_state=0
                ),
                "positive",
                True,
            )
        for target in ("binary", "classes"):
            for missing in (True, False):
                cases[f"histograms, {target}, categories {columns}, missing {missing}"] = (
                    lambda columns=columns: e.HistGradientBoostingClassifier(
                        max_iter=15, categorical_features=columns, random_state=0
                    ),
                    target,
                    missing,
                )
    cases["histograms, monotone"] = (
        lambda: e.HistGradientBoostingRegressor(max_iter=15, monotonic_cst=[1, 0, -1, 0, 0], interaction_cst="pairwise"),
        "real",
        True,
    )
    return cases


CASES = _cases()


@cache
def fitted(case: str) -> Any:
    """The estimator of a case."""
    make, target, missing = CASES[case]
    x, y = events(700, missing=missing)
    return make().fit(x, _targets(y)[target])


def split_thresholds(estimator: Any) -> dict[int, Array]:
    """The thresholds as the estimator itself has them, in double; of estimators made of `sklearn.tree` on all features."""
    members = np.ravel(getattr(estimator, "estimators_", [estimator]))
    found: dict[int, list[Array]] = {}
    for member in members if not hasattr(estimator, "estimators_features_") else ():
        tree = getattr(member, "tree_", None)
        if tree is not None:
            for feature in np.unique(tree.feature[tree.feature >= 0]).tolist():
                found.setdefault(feature, []).append(tree.threshold[tree.feature == feature])
    return {feature: np.unique(np.concatenate(parts)) for feature, parts in found.items()}


def trying(estimator: Any, model: TreeModel, dtype: FloatName, n_rows: int = 1500, seed: int = 1) -> Array:
    """Rows at and beside the thresholds of the IR and of the estimator, and such as it was trained on.

    What the estimator refuses to predict is left out: infinities and numbers beyond float32, except for histograms; NaN
    for gradient boosting and AdaBoost; infinite categories.
    """
    rng = np.random.default_rng(seed)
    rows = probes(model, dtype=dtype, n_rows=n_rows, seed=seed)
    for feature, thresholds in split_thresholds(estimator).items():
        near = np.concatenate([thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)])
        with np.errstate(over="ignore"):
            near = near.astype(dtype)
        chosen = rng.random(n_rows) < 0.4
        rows[chosen, feature] = rng.choice(near, int(chosen.sum()))
    if model.n_features == N_FEATURES:
        known = events(300, missing=True, seed=2)[0].astype(dtype)
        known[:, 1] += rng.integers(-1, 3, 300)
        known[:, 3] += rng.integers(-1, 2, 300)
        rows = np.concatenate([rows, known])
    name = type(estimator).__name__
    if not name.startswith("Hist"):
        rows = np.clip(rows, -LARGEST, LARGEST).astype(dtype)
    elif estimator.is_categorical_ is not None:
        categorical = rows[:, estimator.is_categorical_]
        whole = np.floor(np.where(np.isfinite(categorical), categorical, np.nan))
        rows[:, estimator.is_categorical_] = np.where(np.abs(whole) < 1e30, whole, np.nan)
    if name.startswith(("GradientBoosting", "AdaBoost")):
        rows = np.nan_to_num(rows, nan=0.5)
    return rows


def library_prediction(estimator: Any, rows: Array) -> Array:
    """`predict_proba` of a classifier, `predict` of a regressor, shape (n_rows, n_predictions)."""
    predict = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
    with np.errstate(over="ignore", invalid="ignore"):  # its test for infinities sums all numbers
        return np.asarray(predict(rows)).reshape(len(rows), -1)


def library_margin(estimator: Any, rows: Array) -> Array | None:
    """The raw sums of boosting, shape (n_rows, n_outputs); None for what shows the prediction only."""
    with np.errstate(over="ignore", invalid="ignore"):
        if hasattr(estimator, "_predictors"):
            return np.asarray(estimator._raw_predict(rows))
        if type(estimator).__name__ == "GradientBoostingClassifier":
            return np.asarray(estimator.decision_function(rows)).reshape(len(rows), -1)
    return None


def walk(model: TreeModel, rows: Array) -> tuple[Array, Array]:
    """Leaves, int64 of shape (n_rows, n_trees), and margins, shape (n_rows, n_outputs), by the words of the IR."""
    with np.errstate(over="ignore"):
        x = rows.astype(model.threshold_dtype)
    every = np.arange(len(x))
    margin = np.tile(model.base.astype(model.sum_dtype), (len(x), 1))
    leaves = np.empty((len(x), len(model.trees)), np.int64)
    for number, tree in enumerate(model.trees):
        sets = {node: np.array(listed) for node, listed in tree.categories.items()}
        node = np.zeros(len(x), np.int64)
        for _ in range(tree.depth):
            feature = tree.feature[node]
            inner = feature >= 0
            value = x[every, np.maximum(feature, 0)]
            left = value <= tree.threshold[node]
            for split in np.unique(node[inner & (tree.comparison[node] == Comparison.NOT_IN_SET)]).tolist():
                here = node == split
                left[here] = ~((value[here] >= 0) & np.isin(np.floor(value[here]), sets.get(split, np.empty(0))))
            left = np.where(np.isnan(value), tree.default_left[node], left)
            node = np.where(inner, np.where(left, tree.left[node], tree.right[node]), node)
        leaves[:, number] = node
        if tree.value.ndim == 2:
            margin += tree.value[node]
        else:
            margin[:, tree.output] += tree.value[node]
    return leaves, margin


def linked(model: TreeModel, margin: Array) -> Array:
    """The prediction of margins, shape (n_rows, n_predictions)."""
    return np.asarray(links.apply(model.link, margin / model.divisor, model.link_scale))
