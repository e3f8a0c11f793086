"""LightGBM models: margins bit for bit as the library's own, predictions within the last bits of `exp`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.frontends.lightgbm_text import ZERO_THRESHOLD
from mlcore.forests.ir import Missing
from mlcore.forests.libraries import oracle
from mlcore.forests.probes import probes

Train = Callable[..., Any]

OBJECTIVES = (
    "binary multiclass multiclassova regression regression_l1 huber fair poisson quantile mape gamma tweedie lambdarank "
    "rank_xendcg cross_entropy cross_entropy_lambda"
)
CASES: dict[str, dict[str, Any]] = {name: {"objective": name} for name in OBJECTIVES.split()} | {
    "square root": {"objective": "regression", "reg_sqrt": True},
    "sigmoid": {"objective": "binary", "sigmoid": 0.7},
    "sigmoid of classes": {"objective": "multiclassova", "sigmoid": 0.7},
    "random forest": {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "random forest of classes": {"objective": "multiclass", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "dart": {"objective": "binary", "boosting": "dart"},
    "zero is missing": {"objective": "binary", "zero_as_missing": True},
    "nothing is missing": {"objective": "binary", "use_missing": False},
    "categories": {"categorical": True, "min_data_per_group": 10, "cat_smooth": 1},
    "categories, zero is missing": {"categorical": True, "min_data_per_group": 10, "zero_as_missing": True},
    "one-hot categories": {"categorical": True, "min_data_per_group": 10, "max_cat_to_onehot": 100},
    "no split": {"objective": "binary", "min_data_in_leaf": 10_000},
}


@pytest.mark.filterwarnings("ignore::UserWarning:lightgbm")
@pytest.mark.parametrize("case", CASES)
def test_predicts_as_the_library(case: str, lightgbm_booster: Train, tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    lightgbm_booster(**CASES[case]).save_model(path)
    forest = load(path)
    source = oracle(path, forest.model)
    for dtype in ("float32", "float64"):
        rows = probes(forest.model, dtype=dtype, n_rows=3000)
        wanted = source.margin(rows)
        np.testing.assert_array_equal(forest.margin(rows).reshape(wanted.shape), wanted)
        prediction = source.predict(rows)
        # exp of NumPy and of the C library differ by some units in the last place.
        np.testing.assert_allclose(forest.predict(rows).reshape(prediction.shape), prediction, rtol=1e-14)


@pytest.mark.filterwarnings("ignore::UserWarning:lightgbm")
def test_each_kind_of_missing_value_is_kept(lightgbm_booster: Train) -> None:
    kinds = {"zero_as_missing": Missing.ZERO, "use_missing": Missing.NONE, "": Missing.NAN}
    for option, kind in kinds.items():
        options = {} if not option else {option: option == "zero_as_missing"}
        model = load(lightgbm_booster(objective="binary", **options)).model
        found = {Missing(value) for tree in model.trees for value in tree.missing[tree.feature >= 0].tolist()}
        assert kind in found


def test_thresholds_in_the_gap_around_zero(lightgbm_booster: Train, tmp_path: Path) -> None:
    """Thresholds too small for LightGBM to see decide as it does, whichever number meets them."""
    text = lightgbm_booster(objective="regression", rounds=1).model_to_string()
    line = next(line for line in text.splitlines() if line.startswith("threshold="))
    n = len(line.split())
    gap = [0.0, 1e-40, -1e-40, 1e-35, -1e-35, ZERO_THRESHOLD, -ZERO_THRESHOLD, 5e-324, -5e-324, 1.1e-35, -1.1e-35, 2e-35]
    path = tmp_path / "model.txt"
    path.write_text(text.replace(line, "threshold=" + " ".join(repr(gap[i % len(gap)]) for i in range(n))))
    forest = load(path)
    rng = np.random.default_rng(0)
    near = np.array([f * np.nextafter(abs(t), side) for t in gap for side in (0, 1) for f in (1, -1)] + [np.nan, 1.0, -1.0])
    for dtype in (np.float64, np.float32):
        rows = rng.choice(near, (4000, 6)).astype(dtype)
        np.testing.assert_array_equal(forest.margin(rows), oracle(path, forest.model).margin(rows)[:, 0])


def test_an_infinite_threshold_separates_missing_values(lightgbm_booster: Train, tmp_path: Path) -> None:
    text = lightgbm_booster(objective="regression", rounds=1).model_to_string()
    line = next(line for line in text.splitlines() if line.startswith("threshold="))
    path = tmp_path / "model.txt"
    path.write_text(text.replace(line, "threshold=inf " + line.split(maxsplit=1)[1]))
    forest = load(path)
    rows = probes(forest.model, dtype="float64", n_rows=1000)
    np.testing.assert_array_equal(forest.margin(rows), oracle(path, forest.model).margin(rows)[:, 0])


def test_loads_objects_and_shows_what_they_are(lightgbm_booster: Train) -> None:
    import lightgbm

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3))
    classifier = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=4, verbosity=-1, n_jobs=1)
    classifier.fit(x, x[:, 0] > 0)
    forest = load(classifier)
    np.testing.assert_allclose(forest.predict(x), classifier.booster_.predict(x), rtol=1e-14)
    info = load(lightgbm_booster(objective="multiclass")).info
    assert (info.library, info.format, info.booster, info.link) == ("lightgbm", "lightgbm-text", "gbdt", "softmax")
    assert (info.n_features, info.n_outputs, info.n_trees) == (6, 3, 36)
    assert info.feature_names == tuple(f"Column_{i}" for i in range(6))


def test_linear_trees_are_refused(lightgbm_booster: Train) -> None:
    with pytest.raises(UnsupportedFeatureError, match="tree 0 has linear leaves"):
        load(lightgbm_booster(objective="regression", linear_tree=True))
