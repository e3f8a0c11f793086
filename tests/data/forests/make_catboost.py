"""Write the models of `catboost/` and what CatBoost predicts for them; the README beside this file names the version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import catboost
import numpy as np

FOLDER = Path(__file__).parent / "catboost"
rng = np.random.default_rng(5)
x = rng.normal(size=(300, 5)).astype(np.float32)
x[rng.random(x.shape) < 0.1] = np.nan
z = np.nan_to_num(x)
value = z[:, 0] + z[:, 1] * z[:, 2]
binary, classes = (value > 0).astype(int), np.digitize(value, [-0.5, 0.5])

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "logloss": (binary, {"loss_function": "Logloss"}),
    "cross_entropy": (1 / (1 + np.exp(-value)), {"loss_function": "CrossEntropy"}),
    "multiclass": (classes, {"loss_function": "MultiClass"}),
    "one_vs_all": (classes, {"loss_function": "MultiClassOneVsAll"}),
    "multilogloss": (np.stack([binary, 1 - binary], axis=1), {"loss_function": "MultiLogloss"}),
    "rmse": (value, {"loss_function": "RMSE"}),
    "two_targets": (np.stack([value, value**2], axis=1), {"loss_function": "MultiRMSE"}),
    "poisson": (abs(value), {"loss_function": "Poisson"}),
    "tweedie": (abs(value), {"loss_function": "Tweedie:variance_power=1.5"}),
    "quantile": (value, {"loss_function": "Quantile:alpha=0.3"}),
    "nan_is_largest": (value, {"loss_function": "RMSE", "nan_mode": "Max"}),
    "by_loss": (binary, {"loss_function": "Logloss", "grow_policy": "Lossguide"}),
    "by_depth": (classes, {"loss_function": "MultiClass", "grow_policy": "Depthwise"}),
    "deep": (binary, {"loss_function": "Logloss", "depth": 9, "iterations": 2}),
    "shallow": (binary, {"loss_function": "Logloss", "depth": 1}),
    "scaled": (binary, {"loss_function": "Logloss"}),
}
PREDICTIONS = {"Poisson": "Exponent", "Tweedie": "Exponent", "RMSE": "RawFormulaVal", "MultiRMSE": "RawFormulaVal"}


def main() -> None:
    expected = {}
    for name, (label, options) in CASES.items():
        basic = {"iterations": 8, "depth": 3, "verbose": 0, "allow_writing_files": False, "thread_count": 1, "random_seed": 0}
        model = catboost.CatBoost(basic | options).fit(x, label)
        if name == "scaled":
            model.set_scale_and_bias(2.5, 0.3)
        path = FOLDER / f"{name}.json"
        model.save_model(str(path), format="json")
        document = json.loads(path.read_text())
        # Only what decides and describes the model is kept; options of the training run are long and name paths.
        info = document["model_info"]
        params = {"loss_function": info["params"]["loss_function"]}
        kept = {key: info[key] for key in ("catboost_version_info", "class_params") if key in info}
        document["model_info"] = kept | {"params": params}
        path.write_text(json.dumps(document, separators=(",", ":")))

        columns = []
        for feature in document["features_info"]["float_features"]:
            border = np.array(feature["borders"] or [0], np.float32)
            with np.errstate(over="ignore"):
                beside = [np.nextafter(border, np.float32(side)) for side in (np.inf, -np.inf)]
            special = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 3.4028235e38, -3.4028235e38], np.float32)
            columns.append(rng.choice(np.concatenate([border, *beside, special]), 200))
        rows = np.stack(columns, axis=1).astype(np.float32)
        loss = options["loss_function"].partition(":")[0]
        kind = PREDICTIONS.get(loss, "RawFormulaVal" if loss == "Quantile" else "Probability")
        expected[f"{name}/x"] = rows
        expected[f"{name}/margin"] = model.predict(rows, prediction_type="RawFormulaVal")
        expected[f"{name}/prediction"] = model.predict(rows, prediction_type=kind)
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
