"""CatBoost models: raw values bit for bit as the library's where the bias is zero, else within a rounding or two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.frontends import catboost_json
from mlcore.forests.ir import TreeModel
from mlcore.forests.verifier import verify

Array = np.ndarray[Any, Any]
Walk = Callable[[TreeModel, Array], Array]

DATA = Path(__file__).parents[2] / "data" / "forests" / "catboost"
EXPECTED = np.load(DATA / "expected.npz")
NAMES = sorted({key.partition("/")[0] for key in EXPECTED.files})
EPS = float(np.finfo(np.float64).eps)


def read(document: Any) -> TreeModel:
    return verify(catboost_json.read(json.dumps(document).encode(), iterations="auto"))


@pytest.mark.parametrize("name", NAMES)
def test_stored_models_predict_as_catboost(name: str, walk: Walk) -> None:
    forest = load(DATA / f"{name}.json")
    model, x = forest.model, EXPECTED[f"{name}/x"]
    margin = walk(model, x)
    np.testing.assert_array_equal(forest.margin(x).reshape(margin.shape), margin)
    np.testing.assert_array_equal(forest.margin(x.astype(np.float64)).reshape(margin.shape), margin)
    expected = EXPECTED[f"{name}/margin"].reshape(margin.shape)
    assert np.isnan(x).any()
    if model.base.any():  # CatBoost adds it last, and multiplies the sum, not the leaves, by the scale
        bound = (len(model.trees) + 2) * EPS * (abs(margin).max() + abs(model.base).max())
        np.testing.assert_allclose(margin, expected, rtol=0, atol=bound)
    else:
        np.testing.assert_array_equal(margin, expected)
    prediction = forest.predict(x).reshape(len(x), -1)
    wanted = EXPECTED[f"{name}/prediction"].reshape(prediction.shape)
    np.testing.assert_allclose(prediction, wanted, rtol=0, atol=16 * EPS * (1 + abs(wanted).max()))  # exp, and the sum's rounding


def test_the_file_says_where_it_comes_from() -> None:
    info = load(DATA / "multiclass.json").info
    assert (info.library, info.format, info.library_version) == ("catboost", "catboost-json", "1.2.10")
    assert (info.objective, info.link, info.classes) == ("MultiClass", "softmax", ("0", "1", "2"))


def test_predicts_as_an_installed_catboost(walk: Walk, walk_to_prediction: Walk) -> None:
    catboost = pytest.importorskip("catboost", reason="CatBoost is not installed")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    for label in (x[:, 0] > 0, np.digitize(np.nan_to_num(x[:, 0]), [-0.5, 0.5])):
        classifier = catboost.CatBoostClassifier(iterations=10, depth=4, verbose=0, allow_writing_files=False, thread_count=1)
        classifier.fit(x, label)
        assert catboost_json.accepts(classifier)
        model = verify(catboost_json.convert(classifier, iterations="auto"))
        raw = classifier.predict(x, prediction_type="RawFormulaVal")
        np.testing.assert_array_equal(walk(model, x), raw.reshape(len(x), -1))
        np.testing.assert_allclose(walk_to_prediction(model, x), classifier.predict_proba(x), rtol=0, atol=16 * EPS)


def stub(**changed: Any) -> dict[str, Any]:
    """A document of one oblivious tree with two levels; `split` and `feature` are changed field by field."""
    feature = {
        "feature_index": 0,
        "flat_feature_index": 0,
        "feature_id": "",
        "nan_value_treatment": "AsIs",
        "borders": [0.0, 1.0],
    }
    splits = [{"border": border, "float_feature_index": 0, "split_type": "FloatFeature"} for border in (0.0, 1.0)]
    tree = {"splits": splits, "leaf_values": [1.0, 2.0, 3.0, 4.0]}
    feature |= changed.pop("feature", {})
    splits[0] |= changed.pop("split", {})
    tree |= changed.pop("tree", {})
    document = {
        "features_info": {"float_features": [feature]},
        "model_info": {"params": {"loss_function": {"type": "RMSE"}}},
        "oblivious_trees": [tree],
        "scale_and_bias": [1, [0]],
    }
    return document | changed


def test_the_first_split_is_the_lowest_bit(walk: Walk) -> None:
    x = np.array([[-1], [0], [0.5], [1], [2], [np.nan]], np.float32)
    np.testing.assert_array_equal(walk(read(stub()), x)[:, 0], [1, 1, 2, 2, 4, 1])  # x > 0 is bit 0, x > 1 is bit 1
    largest = read(stub(feature={"nan_value_treatment": "AsTrue"}))
    np.testing.assert_array_equal(walk(largest, x)[:, 0], [1, 1, 2, 2, 4, 4])
    shifted = read(stub(scale_and_bias=[2, 0.5]))  # the bias was a number in older versions
    np.testing.assert_array_equal(walk(shifted, x)[:, 0], [2.5, 2.5, 4.5, 4.5, 8.5, 2.5])


def test_trees_without_a_split_and_names_of_features(walk: Walk) -> None:
    model = read(stub(tree={"splits": [], "leaf_values": [7.0]}, feature={"feature_id": 'pt "GeV"'}))
    assert model.feature_names == ('pt "GeV"',)
    np.testing.assert_array_equal(walk(model, np.zeros((2, 1), np.float32)), [[7], [7]])


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "leaves": ({"tree": {"leaf_values": [1.0, 2.0, 3.0]}}, "are 3 for 4 leaves"),
    "long text": ({"tree": {"leaf_values": ["x" * 1_000_000] + [1.0] * 999_999}}, "should be numbers"),
    "depth": ({"tree": {"splits": [{}] * 60}}, "more than 24"),
    "feature": ({"split": {"float_feature_index": 3}}, "out of range"),
    "border": ({"split": {"border": "x"}}, "should be numbers"),
    "missing border": ({"split": {"border": None}}, "should be numbers"),
    "category": ({"split": {"split_type": "OnlineCtr"}}, "is a OnlineCtr"),
    "categories": ({"features_info": {"categorical_features": [{}], "float_features": []}}, "categorical features"),
    "no feature": ({"features_info": {"float_features": []}}, "number its features"),
    "column": ({"feature": {"flat_feature_index": 5}}, "number its features"),
    "treatment": ({"feature": {"nan_value_treatment": "AsZero"}}, "AsZero"),
    "loss": ({"model_info": {"params": {"loss_function": {"type": "RMSEWithUncertainty"}}}}, "RMSEWithUncertainty"),
    "pair": (
        {"model_info": {"params": {"loss_function": {"type": "Logloss"}}}, "tree": {"leaf_values": [0.5] * 8}},
        "2 outputs for the loss Logloss",
    ),
    "bias": ({"scale_and_bias": [1, [0, 0, 0]]}, r"leaves of \[1, 3\]"),
    "scale": ({"scale_and_bias": [1]}, "a scale and a bias"),
    "infinite": ({"scale_and_bias": [1e999, [0]]}, "not finite"),
    "no trees": ({"oblivious_trees": None}, "no 'trees'|no 'oblivious_trees'"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_documents_name_the_place(name: str) -> None:
    changed, message = DAMAGED[name]
    with pytest.raises(InputError, match=message):
        read(stub(**changed))


def test_deep_nesting_is_an_input_error() -> None:
    head = b'{"features_info": {"float_features": []}, "trees": ['
    with pytest.raises(InputError, match="nested too deeply"):
        catboost_json.read(head + b'{"left":' * 100_000, iterations="auto")
    assert catboost_json.matches(head)
    assert not catboost_json.matches(b'{"learner": {')


@pytest.mark.parametrize("name", ["by_depth", "logloss"])
def test_truncated_and_changed_bytes_end_in_an_input_error(name: str) -> None:
    data = (DATA / f"{name}.json").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data[: rng.integers(1, 8 * len(data))])
        for place in rng.integers(0, len(damaged), rng.integers(0, 4)).tolist():
            damaged[place] = int(rng.choice(list(b'0123456789.-[]{}",:eaN')))
        try:
            verify(catboost_json.read(bytes(damaged), iterations="auto"))
        except InputError:
            continue


def test_unsupported_is_told_from_damaged() -> None:
    with pytest.raises(UnsupportedFeatureError, match="is not known"):
        read(stub(model_info={"params": {"loss_function": {"type": "Python"}}}))
