"""Write the models of `treelite/` and what its reference implementation predicts; the README beside this file says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import treelite
import xgboost
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

LINKS = ("identity", "sigmoid", "signed_square", "hinge", "exponential", "exponential_standard_ratio", "logarithm_one_plus_exp")
FOLDER = Path(__file__).parent / "treelite"
rng = np.random.default_rng(7)
x = rng.normal(size=(300, 4)).astype(np.float32)
x[:, 3] = rng.integers(0, 6, 300)
value = x[:, 0] + x[:, 3] % 3
binary, classes = (x[:, 0] > 0).astype(int), np.digitize(x[:, 0] + x[:, 1], [-0.5, 0.5])
both = np.stack([value, value**2], axis=1)


def boosters() -> dict[str, Any]:
    cases: dict[str, tuple[Any, dict[str, Any]]] = {
        "xgb_binary": (binary, {"objective": "binary:logistic"}),
        "xgb_classes": (classes, {"objective": "multi:softprob", "num_class": 3}),
        "xgb_hinge": (binary, {"objective": "binary:hinge"}),
        "xgb_counts": (abs(value), {"objective": "count:poisson"}),
        "xgb_vectors": (both, {"multi_strategy": "multi_output_tree", "tree_method": "hist"}),
    }
    found = {}
    for name, (label, options) in cases.items():
        booster = xgboost.train({"max_depth": 3, "nthread": 1} | options, xgboost.DMatrix(x, label), 3)
        found[name] = treelite.frontend.from_xgboost(booster)
    cases = {
        "lgb_categories": (value, {"objective": "regression"}),
        "lgb_one_vs_all": (classes, {"objective": "multiclassova", "num_class": 3, "sigmoid": 0.7}),
        "lgb_forest": (binary, {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}),
        "lgb_squares": (value, {"objective": "regression", "reg_sqrt": True}),
        "lgb_log": (binary, {"objective": "cross_entropy_lambda"}),
    }
    for name, (label, options) in cases.items():
        common = {"verbosity": -1, "num_leaves": 6, "min_data_per_group": 5, "cat_smooth": 1, "num_threads": 1}
        data = lightgbm.Dataset(x, label, categorical_feature=[3] if name == "lgb_categories" else [])
        found[name] = treelite.frontend.from_lightgbm(lightgbm.train(common | options, data, 3))
    return found


def scikit_learn() -> dict[str, Any]:
    size: dict[str, Any] = {"n_estimators": 3, "max_depth": 3, "random_state": 0}
    models = {
        "skl_forest": RandomForestClassifier(**size).fit(x, classes),
        "skl_two_targets": RandomForestRegressor(**size).fit(x, both),
        "skl_boosting": GradientBoostingClassifier(**size).fit(x, classes),
        "skl_histograms": HistGradientBoostingClassifier(max_iter=3, max_depth=3).fit(x, binary),
        "skl_isolation": IsolationForest(n_estimators=3, max_samples=16, random_state=0).fit(x),
    }
    return {name: treelite.sklearn.import_model(model) for name, model in models.items()}


def built(
    dtype: str, link: str, operators: list[str], *, categories: bool = True, average: bool = False, base: float = 0.0
) -> Any:
    """Three trees of three splits with these operators, some of them categorical."""
    ratio: dict[str, Any] = {"ratio_c": 3.0} if "ratio" in link else {}
    builder = ModelBuilder(
        threshold_type=dtype,
        leaf_output_type=dtype,
        metadata=Metadata(
            num_feature=4,
            task_type="kRegressor",
            average_tree_output=average,
            num_target=1,
            num_class=[1],
            leaf_vector_shape=(1, 1),
        ),
        tree_annotation=TreeAnnotation(num_tree=3, target_id=[0] * 3, class_id=[0] * 3),
        postprocessor=PostProcessorFunc(name=link, **ratio),
        base_scores=[base],
    )
    for tree in range(3):
        builder.start_tree()
        for node in range(7):
            builder.start_node(node)
            children: dict[str, Any] = {"left_child_key": 2 * node + 1, "right_child_key": 2 * node + 2}
            default_left = bool(rng.integers(2))
            if categories and node == 2:
                right = bool((tree + node) % 2)
                options = {"category_list": [1, 3, 33], "category_list_right_child": right}
                builder.categorical_test(3, default_left=default_left, **options, **children)
            elif node < 3:
                operator = operators[(tree + node) % len(operators)]
                threshold = float(rng.integers(-2, 3))
                builder.numerical_test(node, threshold, default_left=default_left, opname=operator, **children)
            else:
                builder.leaf(float(rng.normal()))
            builder.end_node()
        builder.end_tree()
    return builder.commit()


def by_hand() -> dict[str, Any]:
    found = {link: built("float32", link, ["<", "<=", ">", ">="]) for link in LINKS}
    found["equality"] = built("float64", "identity", ["==", "<"], categories=False)
    found["average_and_base"] = built("float64", "identity", [">", "<"], average=True, base=0.3)
    return found


def rows_near(document: dict[str, Any], dtype: np.dtype[Any]) -> Any:
    nodes = [node for tree in document["trees"] for node in tree["nodes"]]
    t = np.unique([node["threshold"] for node in nodes if "threshold" in node]).astype(dtype)
    beside = [np.nextafter(t, dtype.type(side)) for side in (np.inf, -np.inf)]
    special = [np.nan, np.inf, -np.inf, 0, -0.0, -0.5, -1, 3, 2.5, 17, 1e10, 4e9, 1e30]
    rows = rng.choice(np.concatenate([t, *beside, special]), (200, document["num_feature"])).astype(dtype)
    if any(node.get("node_type") == "categorical_test_node" for node in nodes):
        numbers = [np.nan, np.inf, -np.inf, -0.0, -0.5, -1, 0, 1, 2, 3, 4, 5, 6, 2.5, 31.5, 33, 34, 1e10, 2**24 + 2, 2**32]
        rows[:, 3] = rng.choice(np.array(numbers, dtype), len(rows))
    return rows


def main() -> None:
    expected = {}
    for name, model in (boosters() | scikit_learn() | by_hand()).items():
        text = model.dump_as_json(pretty_print=False)
        (FOLDER / f"{name}.json").write_text(text)
        rows = rows_near(json.loads(text), np.dtype(model.input_type))
        expected[f"{name}/x"] = rows
        expected[f"{name}/margin"] = treelite.gtil.predict(model, rows, nthread=1, pred_margin=True)
        expected[f"{name}/prediction"] = treelite.gtil.predict(model, rows, nthread=1)
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
