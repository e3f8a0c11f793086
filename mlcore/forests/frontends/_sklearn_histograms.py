"""Histogram gradient boosting of scikit-learn, lowered to the tree IR.

Rows and thresholds are double and ``x <= threshold`` goes left. NaN takes the direction that each node recorded. The sums are
double: they start at the baseline and take one tree for each class, iteration after iteration.

Categorical features are encoded first: scikit-learn numbers the known categories of a feature in ascending order and moves
these features before the others. A node sends some of the known categories left, the other known ones right, and what is
unknown wherever it sends NaN. Here a node lists categories as they are in the rows, and the features keep their places. That
takes whole numbers from 0 on as categories; others are refused. A number with a fraction is read as the whole number below
it, where scikit-learn calls it unknown.

References
----------
scikit-learn's ``sklearn/ensemble/_hist_gradient_boosting/_predictor.pyx``: ``_predict_one_from_raw_data``;
``gradient_boosting.py``: ``_preprocess_X``, ``_raw_predict``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.frontends._sklearn_record import Record, checked, column
from mlcore.forests.frontends._sklearn_trees import names
from mlcore.forests.ir import MAX_CATEGORY, Comparison, Link, Missing, Source, Tree, TreeModel, Trees
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

_MODULE = "sklearn.ensemble._hist_gradient_boosting"
_LINKS = {
    "HistGradientBoostingClassifier": {"log_loss": Link.SIGMOID_PAIR},
    "HistGradientBoostingRegressor": {
        "absolute_error": Link.IDENTITY,
        "gamma": Link.EXP,
        "poisson": Link.EXP,
        "quantile": Link.IDENTITY,
        "squared_error": Link.IDENTITY,
    },
}


def lower_histograms(model: Record, format_name: str, version: str) -> TreeModel:
    """Classifier or regressor."""
    loss, links = model.text("loss"), _LINKS[model.name]
    if loss not in links:
        raise UnsupportedFeatureError(
            f"the loss {loss[:80]!r} of {model.name} is not known", hint=f"Known losses: {', '.join(sorted(links))}."
        )
    n_outputs, n_features = model.integer("n_trees_per_iteration_"), model.integer("n_features_in_")
    if not 1 <= n_features <= MAX_FEATURES or not 1 <= n_outputs <= MAX_OUTPUTS:
        damaged(model.place, f"has {n_features} features and {n_outputs} outputs")
    classes = model.texts("classes_") if model.name == "HistGradientBoostingClassifier" else ()
    if classes and len(classes) != max(2, n_outputs):
        damaged(model.place, f"has {len(classes)} classes and {n_outputs} trees an iteration")
    base = model.array("_baseline_prediction", "f", 2)
    if base.shape != (1, n_outputs):
        damaged(f"{model.place}._baseline_prediction", f"is not one number for each of {n_outputs} outputs")
    predictors = model.records("_predictors")
    if len(predictors) % n_outputs:
        damaged(model.place, f"has {len(predictors)} trees, which is no multiple of its {n_outputs} outputs")
    columns = _columns(model, n_features)
    return TreeModel(
        source=Source(format_name, "scikit-learn", version, loss, model.name),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=names(model),
        trees=Trees.joined(_tree(predictor, i % n_outputs, columns) for i, predictor in enumerate(predictors)),
        base=base[0].astype(np.float64),
        threshold_dtype="float64",
        sum_dtype="float64",
        link=Link.SOFTMAX if n_outputs > 1 else links[loss],
        classes=classes,
    )


class _Columns:
    """How the trees number the features: `order[f]` is the column of feature ``f``; categorical ones have `categories`."""

    def __init__(self, order: npt.NDArray[np.int64], categories: list[list[int]]) -> None:
        self.order = order
        self.categories = categories


def _columns(model: Record, n_features: int) -> _Columns:
    if not model.has("_preprocessor"):
        if model.has("is_categorical_"):
            raise UnsupportedFeatureError(
                f"{model.place} has categorical features as scikit-learn older than 1.4 keeps them",
                hint="Train and save it with scikit-learn 1.4 or newer.",
            )
        return _Columns(np.arange(n_features), [])
    categorical = model.array("is_categorical_", "b", 1)
    if len(categorical) != n_features:
        damaged(f"{model.place}.is_categorical_", f"is not one truth value for each of {n_features} features")
    order = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    known = encoder_of(model.record("_preprocessor")).values("categories_")
    n_categorical = int(categorical.sum())
    if len(known) != n_categorical:
        damaged(model.place, f"has {n_categorical} categorical features and categories for {len(known)}")
    return _Columns(order, [_categories(value, int(order[i])) for i, value in enumerate(known)])


def encoder_of(preprocessor: Record) -> Record:
    """What numbers the categories: the first of the column transformer's parts, called so by scikit-learn."""
    parts = [part for part in preprocessor.values("transformers_") if isinstance(part, list) and part[:1] == ["encoder"]]
    encoder = parts[0][1] if parts and len(parts[0]) == 3 else None
    if not isinstance(encoder, Record):
        damaged(preprocessor.place, "has no encoder of categories")
    return encoder


def _categories(value: object, feature: int) -> list[int]:
    """The known categories of a feature in the order of their numbers, without NaN."""
    found = value if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf" else None
    if found is not None and found.dtype.kind == "f":
        found = found[: len(found) - int(len(found) > 0 and np.isnan(found[-1]))]
    if found is None or not ((found >= 0) & (found < MAX_CATEGORY) & (found == np.floor(found))).all():
        raise UnsupportedFeatureError(
            f"the categories of feature {feature} are not whole numbers from 0 on",
            hint="Number them from 0 on before training, for example with sklearn.preprocessing.OrdinalEncoder.",
        )
    return [int(category) for category in found.tolist()]


def _tree(predictor: Record, output: int, columns: _Columns) -> Tree:
    place = predictor.place
    if predictor.kind != f"{_MODULE}.predictor.TreePredictor":
        raise UnsupportedFeatureError(f"{place} is a {predictor.name[:80]}, not a tree", hint="Save the fitted model again.")
    nodes = predictor.array("nodes", "V", 1)
    n = len(nodes)

    def field(name: str, kinds: str) -> npt.NDArray[Any]:
        return column(nodes, name, kinds, place)

    leaf = field("is_leaf", "biu") != 0
    categorical = ~leaf & (field("is_categorical", "biu") != 0)
    missing_left = ~leaf & (field("missing_go_to_left", "biu") != 0)
    left, right = (np.where(leaf, -1, np.minimum(field(key, "u"), n)).astype(np.int32) for key in ("left", "right"))
    feature = field("feature_idx", "i")
    inside = (feature >= 0) & (feature < len(columns.order))
    place_of = np.where(inside, columns.order[np.where(inside, feature, 0)], MAX_FEATURES)
    listed: dict[int, tuple[int, ...]] = {}
    if categorical.any():
        sets = predictor.array("raw_left_cat_bitsets", "u", 2)
        if sets.shape[1:] != (8,) or sets.dtype.itemsize != 4:
            damaged(f"{place}.raw_left_cat_bitsets", "should hold 8 words of 32 bits for each split")
        lists = np.unpackbits(np.ascontiguousarray(sets, "<u4").view(np.uint8), axis=1, bitorder="little")
        numbers = field("bitset_idx", "iu")
        for node in np.flatnonzero(categorical).tolist():
            if not (0 <= numbers[node] < len(lists) and inside[node] and feature[node] < len(columns.categories)):
                damaged(f"{place}, node {node}:", "its set of categories is out of range")
            known = columns.categories[feature[node]]
            goes_left = lists[numbers[node], : len(known)] != 0
            if len(goes_left) < len(known):
                damaged(f"{place}, node {node}:", f"its feature has {len(known)} categories")
            # NOT_IN_SET sends what is unlisted left, unknown categories and NaN among it. So the listed ones are those
            # that part from the missing values, and the child of the missing values is the left one.
            listed[node] = tuple(known[i] for i in np.flatnonzero(goes_left != missing_left[node]).tolist())
    swapped = categorical & ~missing_left
    return Tree(
        output=output,
        feature=np.where(leaf, -1, place_of).astype(np.int32),
        threshold=np.where(leaf | categorical, 0.0, field("num_threshold", "f")).astype(np.float64),
        left=np.where(swapped, right, left),
        right=np.where(swapped, left, right),
        comparison=np.where(categorical, Comparison.NOT_IN_SET, Comparison.LESS_EQUAL).astype(np.uint8),
        missing=np.full(n, Missing.NAN, np.uint8),
        default_left=missing_left | categorical,
        value=np.where(leaf, checked(field("value", "f"), "f", 1, place), 0.0).astype(np.float64),
        categories=listed,
    )
