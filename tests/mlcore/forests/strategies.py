"""What Hypothesis draws random forests of the source libraries from: data with ties, zeros and NaN, options, and changes.

Cases are plain data, so that a failure shrinks to the simplest one and its report says how to make it again. The rows of the
training come from a generator whose seed is drawn: their number, ties, zeros and missing values shrink, single numbers do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

Array = np.ndarray[Any, Any]

ODD = [0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 1e-35, -1e-35, 3e38, -3e38, 0.5, 1.0, -1.0, 2.0]


@dataclass(frozen=True)
class Training:
    """Rows to train on.

    Attributes
    ----------
    decimals
        To which numbers are rounded, so that they are tied; None where they are not.
    n_categories
        Of the last feature; 0 where it is a number as well.
    missing, zeros
        Their share of all values.
    exponent
        Power of ten that all numbers are multiplied by.
    """

    n_rows: int
    n_features: int
    decimals: int | None = None
    n_categories: int = 0
    missing: float = 0.0
    zeros: float = 0.0
    exponent: int = 0
    seed: int = 0

    def make(self) -> tuple[Array, Array]:
        """The rows, float64, shape (n_rows, n_features), and a target that depends on them, shape (n_rows,)."""
        rng = np.random.default_rng(self.seed)
        x = rng.normal(size=(self.n_rows, self.n_features))
        target = x[:, 0] + np.sin(2 * x.sum(axis=1)) + 0.2 * rng.normal(size=self.n_rows)
        if self.decimals is not None:
            x = np.round(x, self.decimals)
        x *= 10.0**self.exponent
        numeric = self.n_features - (self.n_categories > 0)
        x[:, :numeric][rng.random((self.n_rows, numeric)) < self.zeros] = 0
        if self.n_categories:
            x[:, -1] = rng.integers(0, self.n_categories, self.n_rows)
            target += np.isin(x[:, -1] % 7, (1, 2, 4))
        x[rng.random(x.shape) < self.missing] = np.nan
        return x, target


def seeds() -> st.SearchStrategy[int]:
    return st.integers(0, 2**32 - 1)


@st.composite
def trainings(
    draw: st.DrawFn,
    *,
    n_rows: tuple[int, int],
    most_features: int,
    categorical: bool = False,
    missing: bool = True,
    most_exponent: int = 0,
) -> Training:
    """Rows of a training; `categorical` asks for a feature of categories, `missing` allows for NaN."""
    return Training(
        n_rows=draw(st.integers(*n_rows)),
        n_features=draw(st.integers(1, most_features)),
        decimals=draw(st.none() | st.integers(0, 2)),
        n_categories=draw(st.integers(2, 60)) if categorical else 0,
        missing=draw(st.just(0.0) | st.floats(0.01, 0.4)) if missing else 0.0,
        zeros=draw(st.sampled_from([0.0, 0.3])),
        exponent=draw(st.integers(-most_exponent, most_exponent)),
        seed=draw(seeds()),
    )


@dataclass(frozen=True)
class Change:
    """Of one threshold: to a number, or to that of another node of the feature, or beside it.

    Attributes
    ----------
    place, other
        Numbers of nodes, counted around where there are fewer.
    number
        The new threshold; None for the other node's.
    ulps
        Units in the last place that are added to it.
    """

    place: int
    number: float | None
    other: int
    ulps: int

    def apply(self, thresholds: Array, features: Array) -> None:
        """Change one of the thresholds, given with their features."""
        node = self.place % len(thresholds)
        if self.number is None:
            same = thresholds[features == features[node]]
            new = same[self.other % len(same)]
        else:
            new = thresholds.dtype.type(self.number)
        with np.errstate(over="ignore", under="ignore"):
            new = np.nextafter(new, thresholds.dtype.type(self.ulps * np.inf)) if self.ulps else new
        if np.isfinite(new):
            thresholds[node] = new


def changes(width: int) -> st.SearchStrategy[list[Change]]:
    """Changes of thresholds of 32 or of 64 bits."""
    numbers = st.none() | st.sampled_from(ODD) | st.floats(allow_nan=False, allow_infinity=False, width=width)
    change = st.builds(Change, st.integers(0, 500), numbers, st.integers(0, 500), st.sampled_from([0, 1, -1]))
    return st.lists(change, max_size=12)


@dataclass(frozen=True)
class Boosting:
    """A booster of XGBoost or LightGBM to train, and what to change in its file.

    Attributes
    ----------
    flips
        Nodes whose default direction is turned around, counted around where there are fewer.
    leaves
        Nodes among the leaves, and the numbers that they get.
    rows_seed
        Of the rows that the forest is asked for.
    """

    training: Training
    options: dict[str, Any]
    n_rounds: int
    two_targets: bool = False
    changes: list[Change] = field(default_factory=list)
    flips: list[int] = field(default_factory=list)
    leaves: list[tuple[int, float]] = field(default_factory=list)
    rows_seed: int = 0


XGBOOST_OBJECTIVES = [
    *("binary:logistic", "binary:hinge", "reg:squarederror", "reg:logistic", "reg:absoluteerror", "reg:pseudohubererror"),
    *("count:poisson", "reg:tweedie", "reg:gamma", "rank:ndcg", "multi:softprob", "multi:softmax", "reg:quantileerror"),
]


@st.composite
def xgboost_boosters(draw: st.DrawFn, objective: str | None = None) -> Boosting:
    """A booster of XGBoost, of one objective or of any."""
    objective = objective or draw(st.sampled_from(XGBOOST_OBJECTIVES))
    categorical = draw(st.booleans())
    booster = draw(st.sampled_from(["gbtree", "gbtree", "dart"]))
    options: dict[str, Any] = {
        "objective": objective,
        "booster": booster,
        "max_depth": draw(st.integers(1, 7)),
        "eta": draw(st.floats(0.1, 1)),
        "min_child_weight": draw(st.sampled_from([0.0, 1.0])),
        "num_parallel_tree": draw(st.sampled_from([1, 1, 3])),
        "subsample": 0.8,
        "seed": draw(st.integers(0, 999)),
    }
    if booster == "dart":
        options |= {"rate_drop": 0.4, "normalize_type": draw(st.sampled_from(["tree", "forest"]))}
    growth = draw(st.sampled_from(["depthwise", "lossguide", "exact"]))
    if growth == "lossguide":
        options |= {"grow_policy": "lossguide", "max_leaves": draw(st.integers(2, 40)), "max_depth": 0}
    elif growth == "exact" and not categorical:
        options["tree_method"] = "exact"
    if categorical:
        options["max_cat_to_onehot"] = draw(st.sampled_from([1, 100]))
    if objective == "reg:quantileerror":
        options["quantile_alpha"] = [0.2, 0.5, 0.9]
    elif draw(st.booleans()):
        options["base_score"] = draw(st.floats(0.1, 0.9))
    if objective.startswith("multi"):
        options["num_class"] = 3
    two_targets = objective == "reg:squarederror" and draw(st.booleans())
    several = two_targets or "num_class" in options or "quantile_alpha" in options
    plain = booster == "gbtree" and options.get("tree_method") != "exact" and not categorical
    if several and plain and draw(st.booleans()):
        options |= {"multi_strategy": "multi_output_tree", "num_parallel_tree": 1, "subsample": 1.0}
    return Boosting(
        training=draw(trainings(n_rows=(30, 200), most_features=6, categorical=categorical)),
        options=options,
        n_rounds=draw(st.integers(1, 5)),
        two_targets=two_targets,
        changes=draw(changes(32)),
        flips=draw(st.lists(st.integers(0, 500), max_size=12)),
        leaves=draw(st.lists(st.tuples(st.integers(0, 500), st.floats(-1e4, 1e4, width=32)), max_size=4)),
        rows_seed=draw(seeds()),
    )


LIGHTGBM_OBJECTIVES = [
    *("binary", "multiclass", "multiclassova", "regression", "regression_l1", "huber", "quantile", "cross_entropy"),
    *("poisson", "gamma", "tweedie", "lambdarank"),
]


@st.composite
def lightgbm_boosters(draw: st.DrawFn, objective: str | None = None) -> Boosting:
    """A booster of LightGBM, of one objective or of any."""
    objective = objective or draw(st.sampled_from(LIGHTGBM_OBJECTIVES))
    options: dict[str, Any] = {
        "objective": objective,
        "num_leaves": draw(st.integers(2, 31)),
        "learning_rate": draw(st.floats(0.1, 1)),
        "min_data_in_leaf": draw(st.sampled_from([1, 5])),
        "max_cat_to_onehot": draw(st.sampled_from([1, 4, 100])),
        "boosting": draw(st.sampled_from(["gbdt", "gbdt", "dart", "rf"])),
        "use_missing": draw(st.booleans()),
        "zero_as_missing": draw(st.booleans()),
        "seed": draw(st.integers(0, 999)),
    }
    if options["boosting"] == "rf":
        options |= {"bagging_freq": 1, "bagging_fraction": 0.6}
    if objective.startswith("multiclass"):
        options["num_class"] = 3
    return Boosting(
        training=draw(trainings(n_rows=(60, 250), most_features=6, categorical=draw(st.booleans()))),
        options=options,
        n_rounds=draw(st.integers(1, 5)),
        changes=draw(changes(64)),
        rows_seed=draw(seeds()),
    )


@dataclass(frozen=True)
class Estimator:
    """An estimator of scikit-learn to fit.

    Attributes
    ----------
    n_classes
        Of a classifier; 0 for a regressor.
    positive
        The target has no negative numbers, which some losses refuse.
    """

    name: str
    options: dict[str, Any]
    training: Training
    n_classes: int
    positive: bool
    rows_seed: int

    def fitted(self) -> Any:
        """The estimator, fitted."""
        from sklearn import ensemble, tree

        x, target = self.training.make()
        label: Any = np.abs(target) + 0.1 if self.positive else target
        if self.n_classes:
            label = np.digitize(target, np.quantile(target, np.linspace(0, 1, self.n_classes + 1)[1:-1]))
        make = getattr(tree, self.name, None) or getattr(ensemble, self.name)
        return make(**self.options).fit(x, label)


ESTIMATORS = (
    *("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeRegressor", "RandomForestClassifier", "ExtraTreesRegressor"),
    *("GradientBoostingClassifier", "GradientBoostingRegressor"),
    *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
)


@st.composite
def estimators(draw: st.DrawFn, name: str | None = None) -> Estimator:
    """An estimator of scikit-learn, of one class or of any."""
    name = name or draw(st.sampled_from(ESTIMATORS))
    histograms, boosts = name.startswith("Hist"), name.startswith("Gradient")
    categorical = histograms and draw(st.booleans())
    training = draw(trainings(n_rows=(20, 90), most_features=4, categorical=categorical, missing=not boosts, most_exponent=30))
    options: dict[str, Any] = {"random_state": draw(st.integers(0, 999))}
    positive = False
    if histograms:
        options |= {
            "max_iter": draw(st.integers(1, 4)),
            "min_samples_leaf": draw(st.integers(1, 8)),
            "max_leaf_nodes": draw(st.none() | st.integers(2, 31)),
            "max_bins": draw(st.integers(60, 255)),
            "early_stopping": False,
            "categorical_features": [training.n_features - 1] if categorical else None,
        }
        if name.endswith("Regressor"):
            options["loss"] = draw(st.sampled_from(["squared_error", "absolute_error", "gamma", "poisson", "quantile"]))
            options["quantile"] = 0.3 if options["loss"] == "quantile" else None
            positive = options["loss"] in ("gamma", "poisson")
    else:
        options["max_depth"] = draw(st.none() | st.integers(1, 4))
        options["min_samples_leaf"] = draw(st.integers(1, 5))
        if "DecisionTree" not in name and "ExtraTreeR" not in name:
            options["n_estimators"] = draw(st.integers(1, 4))
        if boosts:
            options["learning_rate"] = draw(st.floats(0.05, 1))
            options["subsample"] = draw(st.sampled_from([1.0, 0.7]))
        if boosts and name.endswith("Regressor"):
            options["loss"] = draw(st.sampled_from(["squared_error", "absolute_error", "huber", "quantile"]))
    n_classes = draw(st.integers(2, 4)) if name.endswith("Classifier") else 0
    return Estimator(name, options, training, n_classes, positive, draw(seeds()))
