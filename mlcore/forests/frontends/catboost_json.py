"""CatBoost models saved as JSON, by ``model.save_model("model.json", format="json")``.

**Comparison.** Features are rounded to float32; ``x > border`` goes right. In an oblivious tree all splits of one level are alike
and split ``i`` of its list gives bit ``i`` of the leaf's number, so the last one stands at the root here. Trees grown by depth or
by loss are read as they are.

**Missing values.** NaN goes left, as a number below all borders would, where ``nan_value_treatment`` is AsIs or AsFalse, and
right where it is AsTrue.

**Sums** are in double and take the trees in order. They start at the bias, which CatBoost adds last; where it is not zero (as
after training on RMSE) results differ by a rounding or two. A scale other than 1 is multiplied into the leaves, with the same
effect.

**Predictions** are probabilities for classifiers (``predict_proba``: two columns for two classes) and the expected value
otherwise, the exponential for Poisson and Tweedie losses.

References
----------
CatBoost, ``catboost/libs/model/cpu/evaluator_impl.cpp`` and ``quantization.h``: bits of the leaf's number, treatment of NaN,
order of the sum; ``catboost/libs/model/model_export/json_model_helpers.cpp``: the format.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends import Iterations, made_by
from mlcore.forests.frontends._fields import Fields, damaged
from mlcore.forests.frontends._json import integers, parsed, reals
from mlcore.forests.ir import Comparison, Link, Missing, Source, Tree, TreeModel, Trees
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

FORMAT = "catboost-json"

_IDENTITIES = """
Cox Expectile Huber LambdaMart LogCosh LogLinQuantile Lq MAE MAPE MultiQuantile MultiRMSE MultiRMSEWithMissingValues PairLogit
PairLogitPairwise QueryCrossEntropy QueryRMSE QuerySoftMax Quantile RMSE StochasticFilter StochasticRank YetiRank
YetiRankPairwise
"""
_LINKS = (
    dict.fromkeys(("CrossEntropy", "Focal", "Logloss"), Link.SIGMOID_PAIR)
    | dict.fromkeys(("MultiClassOneVsAll", "MultiCrossEntropy", "MultiLogloss"), Link.SIGMOID)
    | dict.fromkeys(("Poisson", "Tweedie"), Link.EXP)
    | {"MultiClass": Link.SOFTMAX}
    | dict.fromkeys(_IDENTITIES.split(), Link.IDENTITY)
)
_MAX_DEPTH = 24


def matches(head: bytes) -> bool:
    """JSON text whose first field is CatBoost's."""
    text = head.lstrip()
    first = text[1:].lstrip()
    return text[:1] == b"{" and first.startswith((b'"features_info"', b'"ctr_data"', b'"oblivious_trees"'))


def accepts(model: object) -> bool:
    """A ``catboost.CatBoost`` or one of its classifiers, regressors and rankers."""
    return made_by(model, "catboost")


def convert(model: Any, *, iterations: Iterations) -> TreeModel:
    """The trees of a CatBoost model, not yet verified; errors as of `read`."""
    if not hasattr(model, "save_model"):
        raise UnsupportedFeatureError(f"a catboost {type(model).__name__} is no model", hint="Pass a trained CatBoost model.")
    with tempfile.TemporaryDirectory() as folder:  # CatBoost writes this format to files only
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return read(path.read_bytes(), iterations=iterations)


@dataclass(frozen=True, eq=False)
class _Features:
    """The float features, in the order that splits number them.

    Attributes
    ----------
    column
        int64: the column of the input that each one is.
    as_true
        bool: whether NaN counts as the largest number.
    """

    column: npt.NDArray[np.int64]
    as_true: npt.NDArray[np.bool_]
    names: tuple[str, ...]


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a JSON document, not yet verified. It holds the chosen rounds only, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The text is no JSON, or no CatBoost model; the message gives the place.
    UnsupportedFeatureError
        Categorical, text or embedding features, or an unknown loss.
    """
    root = parsed(data)
    features = _features(root.object("features_info"))
    scale, bias = _scale_and_bias(root)
    if root.has("oblivious_trees"):
        documents, booster = root.objects("oblivious_trees"), "oblivious trees"
        pairs = [_oblivious(document, features) for document in documents]
    else:
        documents, booster = root.objects("trees"), "trees"
        pairs = [_asymmetric(document, features) for document in documents]
    widths = {value.shape[1] for _, value in pairs} | ({len(bias)} if len(bias) > 1 else set())
    if len(widths) > 1:
        damaged("model", f"has leaves of {sorted(widths)} numbers")
    n_outputs = widths.pop() if widths else 1
    if n_outputs > MAX_OUTPUTS:
        damaged("model", f"has {n_outputs} outputs")
    loss, labels, version = _about(root)
    if loss not in _LINKS:
        hint = f"Known losses: {', '.join(sorted(_LINKS))}."
        raise UnsupportedFeatureError(f"the CatBoost loss {loss[:60]!r} is not known", hint=hint)
    link = _LINKS[loss]
    if link is Link.SIGMOID_PAIR and n_outputs != 1:
        damaged("model", f"has {n_outputs} outputs for the loss {loss}")
    return TreeModel(
        source=Source(FORMAT, "catboost", version, loss, booster),
        n_features=len(features.names),
        n_outputs=n_outputs,
        feature_names=features.names if all(features.names) else (),
        trees=Trees.joined(_with_value(tree, value, scale) for tree, value in pairs),
        base=np.broadcast_to(bias, n_outputs).astype(np.float64),
        threshold_dtype="float32",
        sum_dtype="float64",
        link=link,
        classes=labels,
    )


def _with_value(tree: Tree, value: npt.NDArray[np.float64], scale: float) -> Tree:
    with np.errstate(over="ignore", invalid="ignore"):  # the verifier names what is not finite
        value = value * scale
    return replace(tree, value=value[:, 0] if value.shape[1] == 1 else value)


def _features(fields: Fields) -> _Features:
    for kind in ("categorical_features", "text_features", "embedding_features"):
        if fields.has(kind) and fields.list(kind):
            raise UnsupportedFeatureError(f"the CatBoost model has {kind.replace('_', ' ')}", hint="Train on numbers alone.")
    columns: list[int] = []
    as_true: list[bool] = []
    names: dict[int, str] = {}
    for item in fields.objects("float_features"):
        column = item.integer("flat_feature_index")
        if not 0 <= column < MAX_FEATURES or column in names:
            damaged(f"{item.place}.flat_feature_index", f"is {column}")
        if item.integer("feature_index") != len(columns):
            damaged(f"{item.place}.feature_index", "is out of order")
        treatment = item.text("nan_value_treatment", "AsIs")
        if treatment not in ("AsIs", "AsFalse", "AsTrue"):
            damaged(f"{item.place}.nan_value_treatment", f"is {treatment[:40]!r}")
        columns.append(column)
        as_true.append(treatment == "AsTrue")
        names[column] = item.text("feature_id", "")
    if sorted(names) != list(range(len(names))) or not names:
        damaged(fields.place, "does not number its features from 0 on")
    ordered = tuple(names[column] for column in range(len(names)))
    return _Features(np.array(columns, np.int64), np.array(as_true, np.bool_), ordered)


def _scale_and_bias(root: Fields) -> tuple[float, npt.NDArray[np.float64]]:
    if not root.has("scale_and_bias"):
        return 1.0, np.zeros(1)
    place = "model.scale_and_bias"
    pair = root.list("scale_and_bias")
    if len(pair) != 2:
        damaged(place, "should be a scale and a bias")
    bias = pair[1] if isinstance(pair[1], list) else [pair[1]]  # before version 0.24 a number
    scale = float(reals(pair[:1], np.float64, place)[0])
    if not np.isfinite(scale):
        damaged(place, f"has the scale {scale}, which is not finite")
    return scale, reals(bias or [0], np.float64, place)


def _about(root: Fields) -> tuple[str, tuple[str, ...], str]:
    """Loss, labels of the classes, version."""
    info = root.object("model_info")
    loss = info.object("params").object("loss_function").text("type")
    labels: tuple[str, ...] = ()
    if info.has("class_params") and info.object("class_params").has("class_names"):
        labels = tuple(str(label) for label in info.object("class_params").list("class_names"))
    version = info.text("catboost_version_info", "").partition("tags/v")[2].split()
    return loss, labels, version[0][:40] if version else ""


def _splits(documents: Sequence[Any], features: _Features, place: str) -> tuple[npt.NDArray[Any], ...]:
    """Feature, border and default direction of splits."""
    for number, split in enumerate(documents):
        if not isinstance(split, dict):
            damaged(f"{place}[{number}]", "should be an object")
        kind = split.get("split_type", "FloatFeature")
        if kind != "FloatFeature":
            raise UnsupportedFeatureError(f"{place}[{number}] is a {str(kind)[:40]}", hint="Train on numbers alone.")
    index = integers([split.get("float_feature_index") for split in documents], f"{place}.float_feature_index")
    if ((index < 0) | (index >= len(features.column))).any():
        damaged(f"{place}.float_feature_index", "is out of range")
    border = reals([split.get("border") for split in documents], np.float32, f"{place}.border")
    return features.column[index].astype(np.int32), border, ~features.as_true[index]


def _oblivious(document: Fields, features: _Features) -> tuple[Tree, npt.NDArray[np.float64]]:
    """A tree whose levels split alike, and the numbers of its leaves, shape (n_nodes, n_outputs)."""
    splits = document.list("splits") if document.value.get("splits") is not None else []
    depth = len(splits)
    if depth > _MAX_DEPTH:
        damaged(f"{document.place}.splits", f"are {depth}, more than {_MAX_DEPTH}")
    leaves = reals(document.list("leaf_values"), np.float64, f"{document.place}.leaf_values")
    n_inner = (1 << depth) - 1
    if not len(leaves) or len(leaves) % (n_inner + 1):
        damaged(f"{document.place}.leaf_values", f"are {len(leaves)} for {n_inner + 1} leaves")
    by_level = _splits(splits[::-1], features, f"{document.place}.splits")
    repeats = 1 << np.arange(depth)
    feature, border, default_left = (np.repeat(column, repeats) for column in by_level)
    n_nodes = 2 * n_inner + 1
    first = 2 * np.arange(n_inner, dtype=np.int32) + 1

    def padded(values: npt.NDArray[Any], filler: Any) -> npt.NDArray[Any]:
        return np.concatenate([values, np.full(n_nodes - n_inner, filler, values.dtype)])

    width = len(leaves) // (n_inner + 1)
    tree = Tree(
        output=0,
        feature=padded(feature.astype(np.int32), -1),
        threshold=padded(border.astype(np.float32), 0),
        left=padded(first, -1),
        right=padded(first + 1, -1),
        comparison=np.full(n_nodes, Comparison.LESS_EQUAL, np.uint8),
        missing=np.full(n_nodes, Missing.NAN, np.uint8),
        default_left=padded(default_left.astype(np.bool_), False),
        value=np.zeros(n_nodes),
    )
    return tree, np.concatenate([np.zeros((n_inner, width)), leaves.reshape(-1, width)])


def _asymmetric(document: Fields, features: _Features) -> tuple[Tree, npt.NDArray[np.float64]]:
    """A tree of nested nodes, and the numbers of its leaves, shape (n_nodes, n_outputs)."""
    place = document.place
    nodes: list[Any] = [document.value]
    left, right, splits, inner, leaf_values, leaves = [], [], [], [], [], []
    for number, node in enumerate(nodes):  # which grows meanwhile: level after level
        if not isinstance(node, dict):
            damaged(f"{place}, node {number}", "should be an object")
        if "split" in node:
            left.append(len(nodes))
            right.append(len(nodes) + 1)
            nodes += [node.get("left"), node.get("right")]
            splits.append(node["split"])
            inner.append(number)
        else:
            value = node.get("value")
            leaf_values.append(value if isinstance(value, list) else [value])
            leaves.append(number)
    widths = {len(value) for value in leaf_values}
    if len(widths) != 1 or 0 in widths:
        damaged(place, "has leaves of different length")
    width = widths.pop()
    at_split, at_leaf = np.array(inner, np.int64), np.array(leaves, np.int64)
    feature, border, default_left = _splits(splits, features, f"{place}.split")

    def spread(values: Any, filler: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        whole = np.full(len(nodes), filler, dtype)
        whole[at_split] = values
        return whole

    value = np.zeros((len(nodes), width))
    value[at_leaf] = reals([item for values in leaf_values for item in values], np.float64, f"{place}.value").reshape(-1, width)
    tree = Tree(
        output=0,
        feature=spread(feature, -1, np.int32),
        threshold=spread(border, 0, np.float32),
        left=spread(left, -1, np.int32),
        right=spread(right, -1, np.int32),
        comparison=np.full(len(nodes), Comparison.LESS_EQUAL, np.uint8),
        missing=np.full(len(nodes), Missing.NAN, np.uint8),
        default_left=spread(default_left, False, np.bool_),
        value=np.zeros(len(nodes)),
    )
    return tree, value
