"""From a fitted scikit-learn estimator, in memory or from a file, to the tree IR."""

from __future__ import annotations

from collections.abc import Callable

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends._sklearn_histograms import lower_histograms
from mlcore.forests.frontends._sklearn_record import Record
from mlcore.forests.frontends._sklearn_trees import (
    TREES,
    lower_adaboost,
    lower_bagging,
    lower_boosting,
    lower_forest,
    lower_tree,
)
from mlcore.forests.ir import TreeModel

Lower = Callable[[Record, str, str], TreeModel]

_MODULES: tuple[tuple[str, Lower, tuple[str, ...]], ...] = (
    ("sklearn.ensemble._forest", lower_forest, ("RandomForest", "ExtraTrees")),
    ("sklearn.ensemble._bagging", lower_bagging, ("Bagging",)),
    ("sklearn.ensemble._gb", lower_boosting, ("GradientBoosting",)),
    ("sklearn.ensemble._hist_gradient_boosting.gradient_boosting", lower_histograms, ("HistGradientBoosting",)),
)
LOWER: dict[str, Lower] = dict.fromkeys(TREES, lower_tree) | {
    f"{module}.{family}{role}": lower
    for module, lower, families in _MODULES
    for family in families
    for role in ("Classifier", "Regressor")
}
LOWER["sklearn.ensemble._weight_boosting.AdaBoostClassifier"] = lower_adaboost
"""What lowers each known estimator, by the qualified name of its class."""

_ADVICE = {
    "sklearn.ensemble._weight_boosting.AdaBoostRegressor": "Its median of trees is no sum; GradientBoostingRegressor is one.",
    "sklearn.pipeline.Pipeline": "Load the final step alone, model[-1], and give it what the earlier steps make of the rows.",
    "sklearn.model_selection._search.GridSearchCV": "Load model.best_estimator_.",
    "sklearn.model_selection._search.RandomizedSearchCV": "Load model.best_estimator_.",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV": "Load model.best_estimator_.",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV": "Load model.best_estimator_.",
    "sklearn.calibration.CalibratedClassifierCV": "Load the estimator before its calibration.",
}


def lower(model: Record, format_name: str, version: str) -> TreeModel:
    """The tree IR of an estimator, not yet verified.

    Raises
    ------
    InputError
        The estimator is not fitted, or an attribute is missing or of the wrong type; the message gives its place.
    UnsupportedFeatureError
        It is no known estimator of trees, or uses something that is not supported.
    """
    if model.kind not in LOWER:
        known = ", ".join(sorted(kind.rpartition(".")[2] for kind in LOWER))
        raise UnsupportedFeatureError(
            f"a {model.kind[:120]} is no estimator of trees that can be loaded",
            hint=_ADVICE.get(model.kind, f"Known estimators of scikit-learn, not their subclasses: {known}."),
        )
    return LOWER[model.kind](model, format_name, version)
