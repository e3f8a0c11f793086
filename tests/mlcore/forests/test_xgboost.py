"""XGBoost models: margins bit for bit as the library's own, predictions within the last bits of `exp`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.libraries import oracle
from mlcore.forests.probes import probes

Train = Callable[..., Any]

OBJECTIVES = (
    "binary:logistic binary:logitraw binary:hinge reg:squarederror reg:logistic reg:squaredlogerror reg:absoluteerror "
    "reg:pseudohubererror count:poisson reg:tweedie reg:gamma survival:cox survival:aft rank:ndcg rank:pairwise rank:map "
    "multi:softprob multi:softmax"
)
CASES: dict[str, dict[str, Any]] = {name: {"objective": name} for name in OBJECTIVES.split()} | {
    "several quantiles": {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]},
    "random forest": {"objective": "binary:logistic", "num_parallel_tree": 5, "subsample": 0.7, "rounds": 3},
    "random forest of classes": {"objective": "multi:softprob", "num_parallel_tree": 3, "subsample": 0.7, "rounds": 3},
    "dart": {"booster": "dart", "objective": "binary:logistic", "rate_drop": 0.5, "one_drop": 1},
    "dart of classes": {"booster": "dart", "objective": "multi:softprob", "rate_drop": 0.5, "one_drop": 1},
    "pruned": {"tree_method": "exact", "gamma": 20},
    "leaf-wise": {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0},
    "given base score": {"objective": "binary:logistic", "base_score": 0.123},
    "one-hot categories": {"categorical": True, "max_cat_to_onehot": 100},
    "partitioned categories": {"categorical": True, "max_cat_to_onehot": 1},
    "no round": {"rounds": 0},
}


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize("case", CASES)
def test_predicts_as_the_library(case: str, suffix: str, xgboost_booster: Train, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    xgboost_booster(**CASES[case]).save_model(path)
    forest = load(path)
    source = oracle(path, forest.model)
    for dtype in ("float32", "float64"):
        rows = probes(forest.model, dtype=dtype, n_rows=3000)
        wanted = source.margin(rows)
        margin = forest.margin(rows).reshape(wanted.shape)
        exact = source.exact(rows)
        np.testing.assert_array_equal(margin[exact], wanted[exact])
        # XGBoost's in-place prediction rounds a dart booster's sum in another order.
        np.testing.assert_allclose(margin, wanted, rtol=1e-5, atol=1e-5)
        prediction = source.predict(rows)
        # exp of NumPy and of the C library differ by some units in the last place.
        np.testing.assert_allclose(forest.predict(rows).reshape(prediction.shape), prediction, rtol=2e-6, atol=1e-7)


def test_leaves_are_the_library_s(xgboost_booster: Train) -> None:
    import xgboost

    booster = xgboost_booster(objective="binary:logistic")
    forest = load(booster)
    rows = probes(forest.model, dtype="float32", n_rows=2000)
    rows = rows[~np.isinf(rows).any(axis=1)]
    np.testing.assert_array_equal(forest.leaves(rows), booster.predict(xgboost.DMatrix(rows), pred_leaf=True))


def test_shapes_and_info(xgboost_booster: Train) -> None:
    import xgboost

    x = np.zeros((7, 6), np.float32)
    binary = load(xgboost_booster(objective="binary:logistic"))
    assert binary.margin(x).shape == binary.predict(x).shape == (7,)
    assert binary.margin(x).dtype == binary.predict(x).dtype == np.float32
    classes = load(xgboost_booster(objective="multi:softprob"))
    assert classes.margin(x).shape == classes.predict(x).shape == (7, 3)
    info = classes.info
    assert (info.library, info.library_version, info.format) == ("xgboost", xgboost.__version__, "xgboost-ubj")
    assert (info.n_features, info.n_outputs, info.n_trees, info.depth) == (6, 3, 36, 4)
    assert info.n_leaves == (info.n_nodes + info.n_trees) / 2


def test_rows_of_the_wrong_shape_are_refused(xgboost_booster: Train) -> None:
    forest = load(xgboost_booster())
    with pytest.raises(InputError, match=r"shape \(3, 5\), the forest needs \(n_rows, 6\)"):
        forest.margin(np.zeros((3, 5)))
    with pytest.raises(InputError, match="not numbers"):
        forest.margin(np.array([["a"] * 6]))


def test_best_iteration(tmp_path: Path) -> None:
    """The scikit-learn style class predicts with the best rounds, and so does its file; a booster's with all."""
    import xgboost

    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 4)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=1000) > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=4, max_depth=4, n_jobs=1)
    model.fit(x[:500], y[:500], eval_set=[(x[500:], y[500:])], verbose=False)
    path, plain = tmp_path / "model.json", tmp_path / "plain.json"
    model.save_model(path)
    model.get_booster().save_model(plain)
    rounds = model.best_iteration + 1
    assert rounds < model.get_booster().num_boosted_rounds()

    wanted = model.predict_proba(x)[:, 1]
    for forest in (load(path), load(model), load(plain, iterations="best")):
        assert forest.info.n_trees == rounds
        assert forest.info.best_iteration == model.best_iteration
        np.testing.assert_allclose(forest.predict(x), wanted, rtol=1e-6)
    for forest in (load(plain), load(path, iterations="all")):
        assert forest.info.n_trees == model.get_booster().num_boosted_rounds()
        np.testing.assert_allclose(forest.predict(x), model.get_booster().predict(xgboost.DMatrix(x)), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*Found JSON model saved before XGBoost:UserWarning")
@pytest.mark.parametrize(("version", "base_score"), [([3, 1, 0], "[2.5E-1]"), ([2, 1, 0], "2.5E-1"), ([1, 0, 0], "0.25")])
def test_base_score_of_old_and_new_versions(version: list[int], base_score: str, xgboost_booster: Train, tmp_path: Path) -> None:
    document = json.loads(xgboost_booster(objective="binary:logistic").save_raw("json"))
    document["version"] = version
    document["learner"]["learner_model_param"]["base_score"] = base_score
    if version[0] == 1:  # written before these fields existed
        model = document["learner"]["gradient_booster"]["model"]
        del model["iteration_indptr"], model["cats"], document["learner"]["learner_model_param"]["num_target"]
        del document["learner"]["feature_names"], document["learner"]["feature_types"]
        for tree in model["trees"]:
            tree["default_left"] = [bool(value) for value in tree["default_left"]]
            del tree["split_type"]
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    forest = load(path)
    assert forest.info.library_version == ".".join(map(str, version))
    assert forest.model.base[0] == np.float32(np.log(0.25 / 0.75))
    if version[0] > 1:
        rows = probes(forest.model, dtype="float32", n_rows=500)
        np.testing.assert_array_equal(forest.margin(rows), oracle(path, forest.model).margin(rows)[:, 0])


def test_a_scalar_base_score_holds_for_every_class(xgboost_booster: Train, tmp_path: Path) -> None:
    document = json.loads(xgboost_booster(objective="multi:softprob").save_raw("json"))
    document["learner"]["learner_model_param"]["base_score"] = "5E-1"
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    forest = load(path)
    assert forest.model.base.tolist() == [0.5] * 3
    rows = probes(forest.model, dtype="float32", n_rows=500)
    np.testing.assert_array_equal(forest.margin(rows), oracle(path, forest.model).margin(rows))


def test_features_keep_their_names() -> None:
    import xgboost

    data = xgboost.DMatrix(np.eye(3), np.arange(3), feature_names=["pt", 'η "jet"\n', "*/"])
    assert load(xgboost.train({"max_depth": 1}, data, 1)).info.feature_names == ("pt", 'η "jet"\n', "*/")


def test_linear_boosters_and_vector_leaves_are_refused() -> None:
    import xgboost

    data = xgboost.DMatrix(np.eye(4), np.eye(4)[:, :2])
    with pytest.raises(UnsupportedFeatureError, match="gblinear"):
        load(xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(np.eye(4), np.arange(4)), 1))
    with pytest.raises(UnsupportedFeatureError, match="vector leaves"):
        load(xgboost.train({"multi_strategy": "multi_output_tree", "tree_method": "hist"}, data, 1))


def test_a_text_dump_is_refused_with_the_way_out(xgboost_booster: Train, tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    xgboost_booster().dump_model(path, dump_format="json")
    with pytest.raises(InputError, match="text dump") as caught:
        load(path)
    assert "save_model" in caught.value.hint
