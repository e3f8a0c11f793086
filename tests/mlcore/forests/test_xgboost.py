"""XGBoost models: margins bit for bit as the library's own, predictions within the last bits of `exp`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import Forest, load
from mlcore.forests.frontends import frontends
from mlcore.forests.ir import Link, TreeModel
from mlcore.forests.libraries import oracle
from mlcore.forests.probes import probes
from tests.mlcore.forests.conftest import events

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


def test_linear_boosters_are_refused() -> None:
    import xgboost

    with pytest.raises(UnsupportedFeatureError, match="gblinear"):
        load(xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(np.eye(4), np.arange(4)), 1))


VECTORS: dict[str, dict[str, Any]] = {
    "several targets": {"objective": "reg:squarederror"},
    "several labels": {"objective": "binary:logistic"},
    "classes": {"objective": "multi:softprob", "num_class": 3},
    "quantiles": {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]},
}


def vector_booster(case: str) -> Any:
    """A booster with leaves of three numbers."""
    import xgboost

    x, target = events(1000)
    labels = {
        "several targets": np.stack([target, target**2, np.sin(target)], axis=1),
        "several labels": np.stack([target > 0, target > 1, target < -1], axis=1).astype(float),
        "classes": np.digitize(target, [-0.5, 0.5]),
        "quantiles": target,
    }
    options = {"multi_strategy": "multi_output_tree", "tree_method": "hist", "max_depth": 4, "nthread": 1}
    return xgboost.train(options | VECTORS[case], xgboost.DMatrix(x, labels[case]), 7)


def output_alone(model: TreeModel, output: int) -> TreeModel:
    """One output of a forest with vector leaves, as a forest of its own."""
    trees = replace(model.trees, value=np.ascontiguousarray(model.trees.value[:, output]))
    return replace(model, trees=trees, base=model.base[output : output + 1], n_outputs=1, link=Link.IDENTITY)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize("case", VECTORS)
def test_vector_leaves(case: str, suffix: str, tmp_path: Path) -> None:
    import xgboost

    booster = vector_booster(case)
    path = tmp_path / f"model.{suffix}"
    booster.save_model(path)
    model = load(path).model
    assert model.trees.vector_leaves
    assert (model.n_outputs, len(model.trees)) == (3, 7)
    rows = probes(model, dtype="float32", n_rows=2000)
    rows = rows[~np.isinf(rows).any(axis=1)]
    wanted = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    for output in range(3):
        np.testing.assert_array_equal(Forest(output_alone(model, output)).margin(rows), wanted[:, output])


def test_vector_leaves_of_older_versions(tmp_path: Path) -> None:
    """Before version 3.2 every node had a vector, among the base weights."""
    document = json.loads(vector_booster("several targets").save_raw("json"))
    model = load_document(document, tmp_path)
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        leaves = np.array(tree.pop("leaf_weights")).reshape(-1, 3)
        weights = np.zeros((len(tree["left_children"]), 3))
        for node, (left, right) in enumerate(zip(tree["left_children"], tree["right_children"], strict=True)):
            if left == -1:
                weights[node] = leaves[right]
                tree["right_children"][node] = -1
        tree["base_weights"] = weights.ravel().tolist()
    older = load_document(document, tmp_path)
    np.testing.assert_array_equal(older.trees.value, model.trees.value)
    np.testing.assert_array_equal(older.trees.right, model.trees.right)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["leaf_weights"].pop(), r"trees\[1\].leaf_weights does not hold vectors of 3"),
        (lambda tree: tree["leaf_weights"].__delitem__(slice(-3, None)), r"trees\[1\], node \d+: the leaf's vector is not there"),
        (lambda tree: tree["right_children"].__setitem__(-1, -1), r"trees\[1\], node \d+: the leaf's vector is not there"),
        (lambda tree: tree["leaf_weights"].__setitem__(0, float("nan")), "tree 1, node .*: the leaf's value is not finite"),
        (lambda tree: tree["tree_param"].__setitem__("size_leaf_vector", "2"), "vectors of different length"),
        (lambda tree: tree["tree_param"].__setitem__("size_leaf_vector", "two"), "size_leaf_vector should be a whole number"),
    ],
)
def test_bad_vector_leaves(change: Callable[[Any], object], message: str, tmp_path: Path) -> None:
    document = json.loads(vector_booster("several targets").save_raw("json"))
    change(document["learner"]["gradient_booster"]["model"]["trees"][1])
    with pytest.raises(InputError, match=message):
        load_document(document, tmp_path)


def load_document(document: dict[str, Any], folder: Path) -> TreeModel:
    path = folder / "document.json"
    path.write_text(json.dumps(document))
    return load(path).model


def test_ubjson_whose_trees_differ_in_layout(xgboost_booster: Train) -> None:
    """Fields in another order, of another type, or twice: the fast way gives up, and the result is the same."""
    data = bytes(xgboost_booster(rounds=4).save_raw("ubj"))
    wanted = frontends()["xgboost-ubj"].read(data, iterations="all").trees
    starts = [match.start() for match in re.finditer(rb"\{L\0{7}\x0cbase_weights", data)]
    assert len(starts) == 4
    second = data[starts[1] : starts[2]]
    array = re.compile(rb"L\0{7}\x0bsum_hessian\[\$d#L(.{8})", re.DOTALL)
    found = array.search(second)
    assert found is not None
    end = found.end() + 4 * int.from_bytes(found.group(1), "big")
    moved = b"{" + second[found.start() : end] + second[1 : found.start()] + second[end:]
    doubled = second[:end] + second[found.start() : end] + second[end:]
    for changed, same in [(second, True), (moved, True), (doubled, False)]:
        altered = data[: starts[1]] + changed + data[starts[2] :]
        if not same:
            with pytest.raises(InputError, match="appears twice"):
                frontends()["xgboost-ubj"].read(altered, iterations="all")
            continue
        got = frontends()["xgboost-ubj"].read(altered, iterations="all").trees
        assert all(
            np.array_equal(getattr(got, name), getattr(wanted, name)) for name in ("feature", "threshold", "left", "value")
        )


def test_a_text_dump_is_refused_with_the_way_out(xgboost_booster: Train, tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    xgboost_booster().dump_model(path, dump_format="json")
    with pytest.raises(InputError, match="text dump") as caught:
        load(path)
    assert "save_model" in caught.value.hint
