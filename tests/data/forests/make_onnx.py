"""Write the models of `onnx/` and what onnxruntime predicts for them; the README beside this file names the libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnx
import onnxmltools
import onnxruntime
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

FOLDER = Path(__file__).parent / "onnx"
rng = np.random.default_rng(3)
x = rng.normal(size=(300, 4)).astype(np.float32)
binary, classes = (x[:, 0] > 0).astype(int), np.digitize(x[:, 0], [-0.5, 0.5])
value = x[:, 0] + x[:, 1]
gaps = x.copy()
gaps[:, 3] = rng.integers(0, 6, 300)
gaps[rng.random(gaps.shape) < 0.1] = np.nan


def scikit_learn() -> dict[str, Any]:
    size: dict[str, Any] = {"n_estimators": 4, "max_depth": 3, "random_state": 0}
    models = {
        "skl_forest_of_two_classes": RandomForestClassifier(**size).fit(x, binary),
        "skl_trees_of_three_classes": ExtraTreesClassifier(**size).fit(x, classes),
        "skl_boosting_of_two_classes": GradientBoostingClassifier(**size).fit(x, binary),
        "skl_boosting_of_three_classes": GradientBoostingClassifier(**size).fit(x, classes),
        "skl_tree": DecisionTreeRegressor(max_depth=4, random_state=0).fit(x, value),
        "skl_two_targets": RandomForestRegressor(**size).fit(x, np.stack([value, value**2], axis=1)),
    }
    return {name: to_onnx(model, x[:1]) for name, model in models.items()}


def boosters() -> dict[str, Any]:
    inputs = [("input", FloatTensorType([None, 4]))]
    size: dict[str, Any] = {"n_estimators": 3, "max_depth": 3}
    forests = {
        "xgb_two_classes": xgboost.XGBClassifier(**size).fit(x, binary),
        "xgb_three_classes": xgboost.XGBClassifier(**size).fit(x, classes),
        "xgb_counts": xgboost.XGBRegressor(objective="count:poisson", **size).fit(x, abs(value)),
    }
    found = {name: onnxmltools.convert_xgboost(model, initial_types=inputs) for name, model in forests.items()}
    size |= {"verbosity": -1, "min_data_per_group": 5, "cat_smooth": 1}
    target = np.nan_to_num(gaps[:, 3] % 3 + gaps[:, 0])
    trees = {
        "lgb_two_classes": lightgbm.LGBMClassifier(**size).fit(gaps, binary),
        "lgb_three_classes": lightgbm.LGBMClassifier(**size).fit(gaps, classes),
        "lgb_counts": lightgbm.LGBMRegressor(objective="poisson", **size).fit(gaps, abs(target)),
        "lgb_categories": lightgbm.LGBMRegressor(**size).fit(gaps, target, categorical_feature=[3]),
    }
    return found | {name: onnxmltools.convert_lightgbm(model, initial_types=inputs) for name, model in trees.items()}


def oblivious() -> dict[str, Any]:
    found = {}
    for name, loss, label in (("cat_two_classes", "Logloss", binary), ("cat_value", "RMSE", value)):
        options = {"iterations": 3, "depth": 3, "verbose": 0, "allow_writing_files": False, "loss_function": loss}
        path = FOLDER / f"{name}.onnx"
        catboost.CatBoost(options).fit(x, label).save_model(str(path), format="onnx")
        found[name] = onnx.load(path)
    return found


def rows_near(model: Any) -> Any:
    (trees,) = (node for node in model.graph.node if node.op_type.startswith("TreeEnsemble"))
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in trees.attribute}
    t = np.unique(np.array(attributes["nodes_values"], np.float32))
    special = [np.nan, np.inf, -np.inf, 0, -0.0, 1, 2, 3, 4, 5, 6, 2.5, -1]
    near = np.concatenate([t, np.nextafter(t, np.float32(np.inf)), np.nextafter(t, np.float32(-np.inf)), special])
    return rng.choice(near, (200, 4)).astype(np.float32)


def main() -> None:
    expected = {}
    for name, model in (scikit_learn() | boosters() | oblivious()).items():
        data = model.SerializeToString()
        (FOLDER / f"{name}.onnx").write_bytes(data)
        session = onnxruntime.InferenceSession(data)
        rows = rows_near(model)
        scores = session.run(None, {session.get_inputs()[0].name: rows})[-1]
        if isinstance(scores, list):  # of dictionaries, as ZipMap makes them
            scores = np.array([list(row.values()) for row in scores], np.float32)
        expected |= {f"{name}/x": rows, f"{name}/prediction": scores}
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
