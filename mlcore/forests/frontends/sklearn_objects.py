"""Fitted scikit-learn estimators in memory.

Decision trees, extremely randomised trees, random forests, gradient boosting, histogram gradient boosting, AdaBoost of
classifiers, and bagging of trees. What is exact about them is said in `_sklearn_trees` and `_sklearn_histograms`. A prediction
is `predict_proba` of a classifier (all classes, two columns for two) and `predict` of a regressor.

Only attributes are read. Files come through `skops`; pickles never.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlcore.errors import InputError
from mlcore.forests.frontends import Iterations, made_by
from mlcore.forests.frontends._sklearn import LOWER, lower
from mlcore.forests.frontends._sklearn_record import MISSING, Record, Unreadable, Value
from mlcore.forests.ir import TreeModel

FORMAT = "scikit-learn"


def accepts(model: object) -> bool:
    """Whether an object is scikit-learn's, or of a class that builds on one of its."""
    return made_by(model, "sklearn")


def convert(model: object, *, iterations: Iterations) -> TreeModel:
    """The model of a fitted estimator, not yet verified. It holds the chosen rounds only, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The estimator is not fitted.
    UnsupportedFeatureError
        It is no known estimator of trees, or uses something that is not supported.
    """
    library: Any = sys.modules.get("sklearn")
    record = _wrapped(model, type(model).__name__)
    if not isinstance(record, Record):
        raise InputError(f"a {type(model).__name__} is no estimator", hint="Pass a fitted estimator of scikit-learn.")
    if record.kind in LOWER and not record.has("n_features_in_"):
        raise InputError(f"the {record.name} is not fitted", hint="Call its fit method first.", code="forest.unfitted")
    return lower(record, FORMAT, str(getattr(library, "__version__", "")))


def _kind(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _wrapped(value: object, place: str) -> Value:
    """A value as `Record` knows them; objects and the items of lists are wrapped when they are asked for."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return value if value.dtype != object else _wrapped(value.tolist(), place)
    if isinstance(value, list | tuple):
        return [_wrapped(item, place) for item in value]
    if isinstance(value, Mapping | bytes | type | slice) or callable(value):
        return Unreadable(_kind(type(value)))
    kind = _kind(type(value))
    attributes = _tree_attributes(value) if kind == "sklearn.tree._tree.Tree" else getattr(value, "__dict__", {})

    def get(key: str) -> Value:
        return _wrapped(attributes[key], f"{place}.{key}") if key in attributes else MISSING

    return Record(kind, place, get)


def _tree_attributes(tree: Any) -> Mapping[str, object]:
    """Nodes and values; a tree is compiled and has no `__dict__`."""
    state: dict[str, object] = tree.__getstate__()
    return state
