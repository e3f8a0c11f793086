"""scikit-learn estimators: sums bit for bit as the library's own, predictions within the last bits of `exp`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.forest import Forest
from mlcore.forests.frontends._sklearn_trees import _logit, rounded_down
from mlcore.forests.frontends.sklearn_objects import accepts, convert
from mlcore.forests.ir import Comparison, Link, TreeModel
from mlcore.forests.libraries import oracle
from mlcore.forests.probes import probes
from mlcore.forests.verifier import verify
from tests.mlcore.forests.sklearn_cases import (
    CASES,
    N_FEATURES,
    Array,
    events,
    fitted,
    library_margin,
    library_prediction,
    linked,
    trying,
    walk,
)
from tests.mlcore.forests.strategies import ESTIMATORS, Estimator, estimators

FILES = sorted((Path(__file__).parents[2] / "data" / "forests" / "skops").glob("*.skops"))

EXACT = {Link.IDENTITY}
"""Links without `exp`, which NumPy and SciPy round differently by some units in the last place."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads of histogram boosting wait for each other longer than they compute."""
    with threadpool_limits(1, user_api="openmp"):
        yield


def model_of(estimator: Any) -> TreeModel:
    return verify(convert(estimator, iterations="auto"))


def assert_equal(estimator: Any, model: TreeModel, rows: Array) -> None:
    """Margins equal to the bit, by the words of the IR and natively; predictions too without `exp`, else within 1e-14."""
    forest = Forest(model)
    leaves, margin = walk(model, rows)
    np.testing.assert_array_equal(forest.leaves(rows), leaves)
    np.testing.assert_array_equal(forest.margin(rows).reshape(margin.shape), margin)
    wanted = library_margin(estimator, rows)
    if wanted is not None:
        np.testing.assert_array_equal(margin, wanted)
    prediction = library_prediction(estimator, rows)
    for found in (linked(model, margin), forest.predict(rows).reshape(prediction.shape)):
        if model.link in EXACT:
            np.testing.assert_array_equal(found, prediction)
        else:
            # 1 - p loses up to one unit in the last place of 1.
            np.testing.assert_allclose(found, prediction, rtol=1e-14, atol=3e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_predicts_as_the_library(case: str, dtype: Any) -> None:
    estimator = fitted(case)
    model = model_of(estimator)
    rows = trying(estimator, model, dtype)
    assert_equal(estimator, model, rows)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith(("histograms", "bagging", "AdaBoost"))])
def test_leaves_are_the_library_s_nodes(case: str) -> None:
    estimator = fitted(case)
    model = model_of(estimator)
    rows = trying(estimator, model, "float64", n_rows=300)
    with np.errstate(over="ignore", invalid="ignore"):  # its test for infinities sums all numbers
        leaves = np.asarray(estimator.apply(rows))
    np.testing.assert_array_equal(walk(model, rows)[0], leaves.reshape(len(rows), -1))


def test_deep_trees_with_more_thresholds_than_a_byte_counts() -> None:
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

    x = np.random.default_rng(0).normal(size=(3000, 2))
    target = np.sin(5 * x[:, 0]) * x[:, 1]
    for make in (RandomForestRegressor, ExtraTreesRegressor):
        estimator = make(5, random_state=0).fit(x, target)
        model = model_of(estimator)
        assert min(map(len, model.thresholds().values())) > 255
        assert model.depth > 15
        for dtype in ("float32", "float64"):
            assert_equal(estimator, model, trying(estimator, model, dtype, n_rows=6000))


def near_float32(threshold: float) -> Array:
    """float32 numbers around a double."""
    with np.errstate(over="ignore"):
        nearest = np.float32(threshold)
        below, above = np.nextafter(nearest, np.float32(-np.inf)), np.nextafter(nearest, np.float32(np.inf))
        numbers = [nearest, below, above, 0.0, -0.0, np.inf, -np.inf, np.finfo(np.float32).max, np.finfo(np.float32).min]
    return np.array(numbers, np.float32)


@given(st.floats(allow_nan=False))
def test_rounded_thresholds_decide_alike(threshold: float) -> None:
    x = near_float32(threshold)
    rounded = rounded_down(np.array([threshold]))
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(x <= rounded, x.astype(np.float64) <= threshold)


@given(st.floats(2.0**-52, 1 - 2.0**-52))
def test_the_logit_is_scipy_s(p: float) -> None:
    from scipy.special import logit

    assert _logit(p) == float(logit(p))


def test_a_node_that_parts_missing_values_from_all_others() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.tree import DecisionTreeRegressor

    x = np.repeat([[1.0], [2.0], [np.nan]], 40, axis=0)
    target = np.isnan(x[:, 0]) * 3.0
    for estimator in (DecisionTreeRegressor(), HistGradientBoostingRegressor(max_iter=3)):
        model = model_of(estimator.fit(x, target))
        assert np.isinf(model.trees.threshold).any()
        assert_equal(estimator, model, np.array([[np.nan], [-3e38], [3e38], [0.0], [1.5]]))


def test_categories_are_listed_as_they_are_in_the_rows() -> None:
    """Unknown categories go where NaN goes; features keep their places although scikit-learn reorders them."""
    estimator = fitted("histograms, binary, categories [1, 3], missing True")
    model = model_of(estimator)
    trees = model.trees
    assert set(trees.feature[trees.comparison == Comparison.NOT_IN_SET].tolist()) == {1, 3}
    listed = {
        category for tree in trees for node, found in tree.categories.items() if tree.feature[node] == 3 for category in found
    }
    assert listed
    assert listed <= set(range(6, 80, 2))
    rows = np.tile(events(1, missing=False)[0], (200, 1))
    rows[:, 3] = np.arange(200) - 100
    rows[::7, 3] = np.nan
    assert_equal(estimator, model, rows)


def test_fractions_of_categories_are_read_as_the_number_below() -> None:
    estimator = fitted("histograms, binary, categories [1, 3], missing True")
    model = model_of(estimator)
    rows = events(200, missing=False)[0]
    fractions = rows.copy()
    fractions[:, [1, 3]] += 0.5
    np.testing.assert_array_equal(walk(model, fractions)[1], walk(model, rows)[1])


def test_what_a_forest_says_about_itself() -> None:
    import sklearn
    from sklearn.ensemble import GradientBoostingClassifier

    x, target = events(300, missing=False)
    names = ["pt", 'η"', "mass", "nx", "φ"]
    estimator = GradientBoostingClassifier(n_estimators=4).fit(x, np.where(target > 0, "s", "b"))
    wanted = estimator.predict_proba(x)
    estimator.feature_names_in_ = np.array(names, object)  # as training on a table leaves them
    forest = load(estimator)
    info = forest.info
    assert (info.format, info.library, info.library_version) == ("scikit-learn", "scikit-learn", sklearn.__version__)
    assert (info.objective, info.booster, info.link) == ("log_loss", "GradientBoostingClassifier", "sigmoid_pair")
    assert (info.n_features, info.n_outputs, info.n_trees) == (N_FEATURES, 1, 4)
    assert info.feature_names == tuple(names)
    assert forest.model.classes == ("b", "s")
    np.testing.assert_allclose(forest.predict(x), wanted, rtol=1e-14)


def test_the_decision_function_of_adaboost() -> None:
    for target in ("binary", "classes"):
        estimator = fitted(f"AdaBoost of depth 4, {target}")
        model = model_of(estimator)
        rows = events(300, missing=False, seed=3)[0]
        scale = 2.0 if target == "binary" else 1.0  # of two classes it is the difference of their votes
        decision = scale * (walk(model, rows)[1] / estimator.estimator_weights_.sum())
        np.testing.assert_array_equal(decision.squeeze(), estimator.decision_function(rows))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_are_read_without_skops(path: Path) -> None:
    """Files that skops once wrote, against scikit-learn's own trees with their nodes."""
    forest = load(path)
    assert forest.info.format == "skops"
    source = oracle(path, forest.model)
    for dtype in ("float32", "float64"):
        rows = probes(forest.model, dtype=dtype, n_rows=500)
        wanted, prediction = source.margin(rows), source.predict(rows)
        np.testing.assert_array_equal(forest.margin(rows).reshape(wanted.shape), wanted)
        np.testing.assert_allclose(forest.predict(rows).reshape(prediction.shape), prediction, rtol=1e-14, atol=3e-16)


def test_labels_of_every_type() -> None:
    from sklearn.tree import DecisionTreeClassifier

    x, target = events(100, missing=False)
    for low, high in ((False, True), (-1, 3), (0.0, 2.0), ("b", "s")):
        estimator = DecisionTreeClassifier(max_depth=2).fit(x, np.where(target > 0, high, low))
        assert model_of(estimator).classes == (str(low), str(high))
    only = DecisionTreeClassifier().fit(x, np.zeros(100, int))
    assert model_of(only).classes == ("0",)
    np.testing.assert_array_equal(linked(model_of(only), walk(model_of(only), x)[1]), only.predict_proba(x))


def refused() -> dict[str, tuple[Any, str, str]]:
    """Estimators that cannot be loaded, with what the message and the hint say."""
    from sklearn import ensemble as e
    from sklearn import tree as t
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    class Mine(t.DecisionTreeRegressor):  # type: ignore[misc]
        """Might predict otherwise than its base."""

    x, target = events(120, missing=False)
    binary = target > 0
    words = x.astype(object)
    words[:, 1] = np.array(["u", "d", "s", "c", "b", "t"])[x[:, 1].astype(int)]
    negative = x.copy()
    negative[:, 1] -= 3
    regressor, classifier = t.DecisionTreeRegressor(max_depth=2), t.DecisionTreeClassifier(max_depth=2)
    return {
        "pipeline": (make_pipeline(StandardScaler(), regressor).fit(x, target), "pipeline.Pipeline", "final step"),
        "search": (GridSearchCV(regressor, {"max_depth": [1]}, cv=2).fit(x, target), "GridSearchCV", "best_estimator_"),
        "calibration": (CalibratedClassifierCV(classifier, cv=2).fit(x, binary), "CalibratedClassifierCV", "calibration"),
        "AdaBoost, regression": (e.AdaBoostRegressor(n_estimators=2).fit(x, target), "AdaBoostRegressor", "median"),
        "isolation": (e.IsolationForest(n_estimators=2).fit(x), "IsolationForest", "Known estimators"),
        "voting": (e.VotingRegressor([("a", regressor)]).fit(x, target), "VotingRegressor", "Known estimators"),
        "no trees": (LinearRegression().fit(x, target), "LinearRegression", "Known estimators"),
        "subclass": (Mine().fit(x, target), "Mine is no estimator of trees", "not their subclasses"),
        "subclass bagged": (e.BaggingRegressor(Mine(), 2).fit(x, target), r"estimators_\[0\] is a .*Mine", "DecisionTree"),
        "bagged otherwise": (
            e.BaggingRegressor(LinearRegression(), 2).fit(x, target),
            r"estimators_\[0\] is a LinearRegression",
            "DecisionTree",
        ),
        "targets": (
            e.RandomForestClassifier(2).fit(x, np.stack([binary, ~binary], axis=1)),
            "classes of 2 targets",
            "one classifier for each",
        ),
        "init": (
            e.GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(x, target),
            "init estimator of GradientBoostingRegressor is a LinearRegression",
            "init='zero'",
        ),
        "init of classes": (
            e.GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(x, binary),
            "is a LogisticRegression",
            "init='zero'",
        ),
        "words": (
            e.HistGradientBoostingRegressor(max_iter=2, categorical_features=[1], min_samples_leaf=2).fit(words, target),
            "categories of feature 1 are not whole numbers",
            "OrdinalEncoder",
        ),
        "negative": (
            e.HistGradientBoostingRegressor(max_iter=2, categorical_features=[1], min_samples_leaf=2).fit(negative, target),
            "categories of feature 1 are not whole numbers",
            "OrdinalEncoder",
        ),
    }


@pytest.mark.filterwarnings("ignore::FutureWarning:sklearn", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_cannot_be_loaded_is_named() -> None:
    for estimator, message, hint in refused().values():
        assert accepts(estimator)
        with pytest.raises(UnsupportedFeatureError, match=message) as caught:
            load(estimator)
        assert hint in caught.value.hint


def test_estimators_that_are_not_fitted() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    for estimator in (RandomForestClassifier(), HistGradientBoostingClassifier()):
        with pytest.raises(InputError, match="is not fitted") as caught:
            load(estimator)
        assert "fit" in caught.value.hint


def test_losses_that_are_objects_are_refused() -> None:
    import copy

    from sklearn._loss import HalfTweedieLoss

    estimator = copy.copy(fitted("histograms, monotone"))
    estimator.loss = HalfTweedieLoss()
    with pytest.raises(InputError, match=r"loss is a .*HalfTweedieLoss.*cannot be read"):
        load(estimator)
    estimator.loss = "tweedie"
    with pytest.raises(UnsupportedFeatureError, match="loss 'tweedie'"):
        load(estimator)


def check_estimator(case: Estimator) -> None:
    """An estimator against its forest, met at its thresholds."""
    estimator = case.fitted()
    model = model_of(estimator)
    for dtype in ("float32", "float64"):
        assert_equal(estimator, model, trying(estimator, model, dtype, n_rows=200, seed=case.rows_seed)[:200])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(estimators())
def test_random_forests(case: Estimator) -> None:
    check_estimator(case)


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=350, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_many_random_forests(name: str, data: st.DataObject) -> None:
    check_estimator(data.draw(estimators(name)))
