"""treelite models: margins bit for bit as its own where the base score is zero, else within a rounding or two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.frontends import treelite_json
from mlcore.forests.ir import Comparison, Link, TreeModel
from mlcore.forests.verifier import verify

Array = np.ndarray[Any, Any]
Walk = Callable[[TreeModel, Array], Array]

DATA = Path(__file__).parents[2] / "data" / "forests" / "treelite"
EXPECTED = np.load(DATA / "expected.npz")
NAMES = sorted({key.partition("/")[0] for key in EXPECTED.files})
FLOAT_SOFTMAX = {"skl_boosting"}
"""Of double models treelite computes this link in float32."""


def read(document: Any) -> TreeModel:
    return verify(treelite_json.read(json.dumps(document).encode(), iterations="auto"))


@pytest.mark.parametrize("name", NAMES)
def test_stored_models_predict_as_treelite(name: str, walk: Walk) -> None:
    forest = load(DATA / f"{name}.json")
    model, x = forest.model, EXPECTED[f"{name}/x"]
    margin = walk(model, x)
    np.testing.assert_array_equal(forest.margin(x).reshape(margin.shape), margin)
    eps = float(np.finfo(margin.dtype).eps)
    expected = EXPECTED[f"{name}/margin"].reshape(margin.shape)
    assert expected.dtype == margin.dtype
    assert np.isnan(x).any()
    if model.base.any() or model.divisor != 1:
        # treelite divides before it adds the base: one rounding of the sum for each tree and for the base
        bound = (len(model.trees) + 2) * eps * (abs(margin / model.divisor).max() + abs(model.base / model.divisor).max())
        np.testing.assert_allclose(margin / model.divisor, expected, rtol=0, atol=bound)
    else:
        np.testing.assert_array_equal(margin, expected)
    prediction = forest.predict(x).reshape(len(x), -1)
    if name in FLOAT_SOFTMAX:
        eps = float(np.finfo(np.float32).eps)
    wanted = EXPECTED[f"{name}/prediction"].reshape(prediction.shape)
    np.testing.assert_allclose(prediction, wanted, rtol=16 * eps, atol=16 * eps)  # exp differs by some units in the last place


def test_the_stored_models_cover_every_postprocessor() -> None:
    used = {json.loads((DATA / f"{name}.json").read_text())["postprocessor"] for name in NAMES}
    assert used | {"identity_multiclass"} == set(treelite_json._LINKS)


def test_loads_from_a_file_and_predicts(tmp_path: Path) -> None:
    name = "xgb_classes"
    forest = load(DATA / f"{name}.json")
    expected = EXPECTED[f"{name}/prediction"]
    predicted = forest.predict(EXPECTED[f"{name}/x"])
    np.testing.assert_allclose(predicted, expected.reshape(predicted.shape), rtol=0, atol=8 * np.finfo(np.float32).eps)
    assert (forest.info.library, forest.info.format, forest.info.link) == ("treelite", "treelite-json", "softmax")


def test_each_side_of_a_set_of_categories(walk: Walk) -> None:
    for listed_right in (False, True):
        document = one_split(node_type="categorical_test_node", category_list=[1, 40], category_list_right_child=listed_right)
        model = read(document)
        x = np.array([[1], [1.5], [40], [2], [-0.5], [-1], [np.inf], [np.nan], [1e12]], np.float32)
        listed = np.array([True, True, True, False, False, False, False, False, False])
        went_left = walk(model, x)[:, 0] == 1
        wanted = ~listed if listed_right else listed
        wanted[7] = True  # NaN goes by the default, which is left
        np.testing.assert_array_equal(went_left, wanted)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), double=st.booleans())
def test_random_trees_predict_as_treelite(walk: Walk, seed: int, double: bool) -> None:
    treelite = pytest.importorskip("treelite", reason="treelite is not installed")
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    rng, kind = np.random.default_rng(seed), "float64" if double else "float32"
    thresholds = rng.choice(np.array([-2.5, -0.0, 0.0, 0.1, 1.0, 3.0], kind), 4)
    n_trees, categorical = 3, bool(rng.integers(2))
    builder = ModelBuilder(
        threshold_type=kind,
        leaf_output_type=kind,
        metadata=Metadata(3, "kRegressor", False, 1, [1], (1, 1)),
        tree_annotation=TreeAnnotation(n_trees, [0] * n_trees, [0] * n_trees),
        postprocessor=PostProcessorFunc(name="identity"),
        base_scores=[0.0],
    )
    for _ in range(n_trees):
        builder.start_tree()
        for node in range(15):
            builder.start_node(node)
            if node >= 7:
                builder.leaf(float(rng.normal()))
            else:
                children = {"left_child_key": 2 * node + 1, "right_child_key": 2 * node + 2}
                default_left, feature = bool(rng.integers(2)), int(rng.integers(3))
                if categorical and rng.random() < 0.3:
                    listed = rng.choice(40, 3, replace=False).tolist()
                    right = bool(rng.integers(2))
                    options = {"default_left": default_left, "category_list": listed, "category_list_right_child": right}
                    builder.categorical_test(feature, **options, **children)
                else:
                    operators = ["<", "<=", ">", ">="] if categorical else ["<", "<=", ">", ">=", "=="]
                    operator = str(rng.choice(operators))
                    threshold = float(rng.choice(thresholds))
                    builder.numerical_test(feature, threshold, default_left=default_left, opname=operator, **children)
            builder.end_node()
        builder.end_tree()
    source = builder.commit()
    sides = [np.nextafter(thresholds, np.array(side, kind)) for side in (np.inf, -np.inf)]
    near = np.concatenate([thresholds, *sides, np.array([np.nan, np.inf, -np.inf, 7, 12, 39, 2.5, -0.5], kind)])
    x = rng.choice(near, (60, 3))
    model = verify(treelite_json.convert(source, iterations="auto"))
    assert treelite_json.accepts(source)
    np.testing.assert_array_equal(walk(model, x), treelite.gtil.predict(source, x, nthread=1, pred_margin=True)[:, 0])


def one_split(**changed: Any) -> dict[str, Any]:
    """A document of one split; what is changed may be a field of the document or of the split."""
    split: dict[str, Any] = {
        "node_id": 0,
        "split_feature_id": 0,
        "default_left": True,
        "node_type": "numerical_test_node",
        "comparison_op": "<",
        "threshold": 0.5,
        "left_child": 1,
        "right_child": 2,
    }
    document: dict[str, Any] = {
        "threshold_type": "float32",
        "leaf_output_type": "float32",
        "num_feature": 1,
        "task_type": "kRegressor",
        "average_tree_output": False,
        "num_target": 1,
        "num_class": [1],
        "leaf_vector_shape": [1, 1],
        "target_id": [0],
        "class_id": [0],
        "postprocessor": "identity",
        "sigmoid_alpha": 1.0,
        "ratio_c": 1.0,
        "base_scores": [0.0],
    }
    leaves = [{"node_id": 1, "leaf_value": 1.0}, {"node_id": 2, "leaf_value": 2.0}]
    for key, value in changed.items():
        (document if key in document or key == "trees" else split)[key] = value
    return {"trees": [{"nodes": [split, *leaves]}]} | document


def test_a_split_reads_as_it_says() -> None:
    model = read(one_split())
    assert (model.link, model.trees.comparison[0], model.trees.default_left[0]) == (Link.IDENTITY, Comparison.LESS, True)
    swapped = read(one_split(comparison_op=">"))
    assert (swapped.trees.left[0], swapped.trees.comparison[0], swapped.trees.default_left[0]) == (
        2,
        Comparison.LESS_EQUAL,
        False,
    )


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "child": ({"left_child": 9}, "child out of range"),
    "cycle": ({"left_child": 0}, "cycle"),
    "feature": ({"split_feature_id": -1}, "split_feature_id out of range"),
    "wide": ({"split_feature_id": 4}, "feature is out of range"),
    "text": ({"threshold": "0.5"}, "should be numbers"),
    "order": ({"node_id": 1}, "order of their node_id"),
    "kind": ({"node_type": "oblique"}, "node_type 'oblique'"),
    "postprocessor": ({"postprocessor": "tanh"}, "postprocessor 'tanh'"),
    "operator": ({"comparison_op": "~"}, "compares by '~'"),
    "precision": ({"threshold_type": "float16"}, "float16"),
    "base": ({"base_scores": [1.0, 2.0]}, "2 numbers for 1 outputs"),
    "targets": ({"num_target": 1 << 40}, "targets"),
    "classes": ({"num_class": [1 << 40]}, "classes"),
    "unlike": ({"num_target": 2, "num_class": [1, 2]}, "different numbers of classes"),
    "output": ({"class_id": [3]}, "class 3"),
    "trees": ({"trees": [{"nodes": []}, {"nodes": []}]}, "2 trees and outputs for 1"),
    "leaf": ({"trees": [{"nodes": [{"node_id": 0, "leaf_value": [1.0, 2.0]}]}]}, "not 1 numbers"),
    "NaN": ({"threshold": float("nan")}, "threshold is not a number"),
    "equals NaN": ({"threshold": float("nan"), "comparison_op": "=="}, "compares with NaN"),
    "category": ({"node_type": "categorical_test_node", "category_list": [1 << 30]}, "beyond"),
    "no list": ({"node_type": "categorical_test_node"}, "no category_list"),
    "flag": ({"default_left": 3}, "truth values"),
    "long text": ({"trees": [{"nodes": [{"node_id": 0, "leaf_value": ["x" * 1_000_000] + [1.0] * 1_000_000}]}]}, "not 1 numbers"),
    "long texts": ({"class_id": ["x" * 1_000_000] + [0] * 1_000_000}, "should be whole numbers"),
    "ratio": ({"postprocessor": "exponential_standard_ratio", "ratio_c": 0.0}, "ratio_c is 0.0"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_documents_name_the_place(name: str) -> None:
    changed, message = DAMAGED[name]
    with pytest.raises(InputError, match=message):
        read(one_split(**changed))


def test_few_leaves_of_many_outputs_ask_for_little_memory() -> None:
    node = {"node_id": 0, "leaf_value": [1.0]}
    many = {"num_target": 1, "num_class": [60_000], "base_scores": [0.0] * 60_000}
    document = one_split(trees=[{"nodes": [node]}] * 80, target_id=[-1] * 80, class_id=[5] * 80, **many)
    with pytest.raises(UnsupportedFeatureError, match="few of very many outputs"):
        read(document)


@pytest.mark.parametrize("name", ["lgb_categories", "skl_forest", "equality"])
def test_truncated_and_changed_bytes_end_in_an_input_error(name: str) -> None:
    data = (DATA / f"{name}.json").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data[: rng.integers(1, 8 * len(data))])
        for place in rng.integers(0, len(damaged), rng.integers(0, 4)).tolist():
            damaged[place] = int(rng.choice(list(b'0123456789.-[]{}",:eaN')))
        try:
            verify(treelite_json.read(bytes(damaged), iterations="auto"))
        except InputError:
            continue
