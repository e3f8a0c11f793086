"""Trees of ``sklearn.tree`` and of the ensembles made of them, lowered to the tree IR.

scikit-learn converts the rows to float32 and compares ``float32(x) <= threshold`` with a double threshold; true goes left.
Here the threshold is rounded towards minus infinity to float32, which decides alike for every float32. NaN takes the
direction that the node recorded while it was trained: towards where the missing values went, or, where there were none,
to the child with more of the samples.

``tree_.value`` holds fractions of classes since scikit-learn 1.3, which is also when nodes began to record a direction for
missing values; older files are refused. All sums are double:

- one tree is its own prediction;
- forests and bagging start at zero, add their trees in order and divide by their number. scikit-learn does so with one job;
  with more, it adds in the order in which its threads finish;
- AdaBoost of classifiers sums the weights of the trees' votes in order and divides by the sum of all weights;
- gradient boosting starts at the raw prediction of its first estimator and adds ``learning_rate * value`` stage after
  stage. It refuses NaN; here NaN goes right there, as in the comparison of its compiled loop.

References
----------
scikit-learn's ``sklearn/tree/_tree.pyx``: ``Tree._apply_dense``; ``sklearn/ensemble/_forest.py``:
``_accumulate_prediction``; ``sklearn/ensemble/_bagging.py``: ``_parallel_predict_proba``;
``sklearn/ensemble/_weight_boosting.py``: ``AdaBoostClassifier.decision_function``, ``_compute_proba_from_decision``;
``sklearn/ensemble/_gradient_boosting.pyx``: ``predict_stages``; ``sklearn/ensemble/_gb.py``: ``_init_raw_predictions``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.frontends._sklearn_record import Record, checked, column
from mlcore.forests.ir import Comparison, Link, Missing, Source, Tree, TreeModel, Trees
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

TREES = frozenset(
    f"sklearn.tree._classes.{name}"
    for name in ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
)
_TREE = "sklearn.tree._tree.Tree"
_LEAF = -1
MAX_VALUES = 1 << 27
"""Numbers that the nodes of an ensemble hold together, where a tree in the file may hold fewer than it comes to have here."""
_OLD = "Train and save it with scikit-learn 1.3 or newer."


def lower_tree(model: Record, format_name: str, version: str) -> TreeModel:
    """A single tree."""
    classes, n_outputs = _outputs(model)
    n_features = _n_features(model)
    return TreeModel(
        source=Source(format_name, "scikit-learn", version, model.text("criterion"), model.name),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=names(model),
        trees=Trees.joined([_tree(model, n_outputs, n_classes=len(classes))]),
        base=np.zeros(n_outputs),
        threshold_dtype="float32",
        sum_dtype="float64",
        link=Link.IDENTITY,
        classes=classes,
    )


def lower_forest(model: Record, format_name: str, version: str) -> TreeModel:
    """A random forest or extremely randomised trees: the mean of the trees."""
    classes, n_outputs = _outputs(model)
    members = _members(model)
    return TreeModel(
        source=Source(format_name, "scikit-learn", version, model.text("criterion"), model.name),
        n_features=_n_features(model),
        n_outputs=n_outputs,
        feature_names=names(model),
        trees=Trees.joined(_tree(member, n_outputs, n_classes=len(classes)) for member in members),
        base=np.zeros(n_outputs),
        threshold_dtype="float32",
        sum_dtype="float64",
        link=Link.IDENTITY,
        divisor=float(len(members)),
        classes=classes,
    )


def lower_bagging(model: Record, format_name: str, version: str) -> TreeModel:
    """Bagging of trees, each of which sees some of the features."""
    classes = model.texts("classes_") if model.name == "BaggingClassifier" else ()
    members, n_features = _members(model), _n_features(model)
    subsets = model.values("estimators_features_")
    if len(subsets) != len(members):
        damaged(model.place, f"has {len(members)} trees and features for {len(subsets)}")
    n_outputs = max(1, len(classes)) if model.name == "BaggingClassifier" else _outputs(members[0])[1]
    trees = []
    n_values = 0
    for i, (member, subset) in enumerate(zip(members, subsets, strict=True)):
        features = checked(subset, "iu", 1, f"{model.place}.estimators_features_[{i}]")
        if ((features < 0) | (features >= n_features)).any():
            damaged(f"{model.place}.estimators_features_[{i}]", f"names a feature beyond {n_features}")
        positions = _positions(member, len(classes)) if classes else None
        trees.append(_tree(member, n_outputs, n_classes=len(classes), features=features, positions=positions))
        n_values += trees[-1].value.size
        if n_values > MAX_VALUES:
            raise UnsupportedFeatureError(f"{model.place} has more than {MAX_VALUES} values", hint="Train smaller trees.")
    return TreeModel(
        source=Source(format_name, "scikit-learn", version, members[0].text("criterion"), model.name),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=names(model),
        trees=Trees.joined(trees),
        base=np.zeros(n_outputs),
        threshold_dtype="float32",
        sum_dtype="float64",
        link=Link.IDENTITY,
        divisor=float(len(members)),
        classes=classes,
    )


def lower_adaboost(model: Record, format_name: str, version: str) -> TreeModel:
    """AdaBoost of classifiers: each tree votes for one class with its weight and against the others with their share of it."""
    classes, members = model.texts("classes_"), _members(model)
    n_classes = len(classes)
    if not 2 <= n_classes <= MAX_OUTPUTS:
        damaged(model.place, f"has {n_classes} classes")
    weights = model.array("estimator_weights_", "f", 1).astype(np.float64)
    if len(weights) < len(members):
        damaged(model.place, f"has {len(members)} trees and {len(weights)} weights for them")
    # Of two classes the second one's votes are the first one's with the other sign, so one sum says all.
    n_outputs = 1 if n_classes == 2 else n_classes
    trees = []
    n_values = 0
    for member, weight in zip(members, weights.tolist(), strict=False):
        if member.texts("classes_") != classes:
            damaged(f"{member.place}.classes_", "are not those of the ensemble")
        tree = member.record("tree_")
        values = _values(tree)
        if values.shape[1:] != (1, n_classes):
            damaged(tree.place, f"has values of the shape {values.shape[1:]} for {n_classes} classes")
        chosen = values[:, 0, :].argmax(axis=1)[:, None] == np.arange(n_classes)[-n_outputs:]
        votes = np.where(chosen, weight, -1 / (n_classes - 1) * weight)
        trees.append(_shaped(tree, votes[:, 0] if n_outputs == 1 else votes))
        n_values += votes.size
        if n_values > MAX_VALUES:
            raise UnsupportedFeatureError(f"{model.place} has more than {MAX_VALUES} values", hint="Train smaller trees.")
    total = float(weights.sum())
    return TreeModel(
        source=Source(format_name, "scikit-learn", version, "SAMME", model.name),
        n_features=_n_features(model),
        n_outputs=n_outputs,
        feature_names=names(model),
        trees=Trees.joined(trees),
        base=np.zeros(n_outputs),
        threshold_dtype="float32",
        sum_dtype="float64",
        link=Link.SIGMOID_PAIR if n_outputs == 1 else Link.SOFTMAX,
        link_scale=2.0 if n_outputs == 1 else 1.0,
        divisor=total if n_outputs == 1 else total * (n_classes - 1),
        classes=classes,
    )


def lower_boosting(model: Record, format_name: str, version: str) -> TreeModel:
    """Gradient boosting: regression trees, one for each class in each stage."""
    loss, rate = model.text("loss"), model.real("learning_rate")
    classifier = model.name == "GradientBoostingClassifier"
    if loss not in _LOSSES[model.name]:
        hint = f"Known losses: {', '.join(sorted(_LOSSES[model.name]))}."
        raise UnsupportedFeatureError(f"the loss {loss[:80]!r} of {model.name} is not known", hint=hint)
    classes = model.texts("classes_") if classifier else ()
    n_outputs = len(classes) if len(classes) > 2 else 1
    members = _members(model)
    if len(members) % n_outputs:
        damaged(model.place, f"has {len(members)} trees, which is no multiple of its {n_outputs} classes")
    link = Link.IDENTITY
    if classifier:
        link = Link.SIGMOID_PAIR if n_outputs == 1 else Link.SOFTMAX
    return TreeModel(
        source=Source(format_name, "scikit-learn", version, loss, model.name),
        n_features=_n_features(model),
        n_outputs=n_outputs,
        feature_names=names(model),
        trees=Trees.joined(_boosted_tree(member, i % n_outputs, rate) for i, member in enumerate(members)),
        base=_initial(model, loss, n_outputs),
        threshold_dtype="float32",
        sum_dtype="float64",
        link=link,
        link_scale=2.0 if loss == "exponential" else 1.0,
        classes=classes,
    )


_LOSSES = {
    "GradientBoostingClassifier": {"exponential", "log_loss"},
    "GradientBoostingRegressor": {"absolute_error", "huber", "quantile", "squared_error"},
}


def names(model: Record) -> tuple[str, ...]:
    """Names of the features, where the model was trained on a table that had any."""
    return model.texts("feature_names_in_") if model.has("feature_names_in_") else ()


def _n_features(model: Record) -> int:
    n_features = model.integer("n_features_in_")
    if not 1 <= n_features <= MAX_FEATURES:
        damaged(model.place, f"has {n_features} features")
    return n_features


def _outputs(model: Record) -> tuple[tuple[str, ...], int]:
    """Labels of the classes, if it is a classifier, and the number of outputs."""
    n_outputs = model.integer("n_outputs_")
    if not 1 <= n_outputs <= MAX_OUTPUTS:
        damaged(model.place, f"has {n_outputs} outputs")
    if not model.name.endswith("Classifier"):
        return (), n_outputs
    if n_outputs > 1:
        raise UnsupportedFeatureError(
            f"{model.place} predicts the classes of {n_outputs} targets at once", hint="Train one classifier for each target."
        )
    classes = model.texts("classes_")
    if not 1 <= len(classes) <= MAX_OUTPUTS:
        damaged(model.place, f"has {len(classes)} classes")
    return classes, len(classes)


def _members(model: Record) -> list[Record]:
    """The trees of an ensemble."""
    members = model.records("estimators_")
    for member in members:
        if member.kind not in TREES:
            raise UnsupportedFeatureError(
                f"{member.place} is a {member.name[:80]}, not a single tree",
                hint="Ensembles of DecisionTree and ExtraTree estimators can be loaded.",
            )
    if not members:
        damaged(model.place, "has no trees")
    return members


def _positions(member: Record, n_classes: int) -> npt.NDArray[np.int64]:
    """Which classes of the ensemble the classes of one of its trees are."""
    positions = member.array("classes_", "iuf", 1)
    wanted = np.arange(n_classes)
    if not len(positions) or not np.isin(positions, wanted).all() or (np.diff(positions) <= 0).any():
        damaged(f"{member.place}.classes_", "holds something that is no class of the ensemble")
    return positions.astype(np.int64)


def _tree(
    member: Record,
    n_outputs: int,
    *,
    n_classes: int,
    features: npt.NDArray[Any] | None = None,
    positions: npt.NDArray[np.int64] | None = None,
) -> Tree:
    """One tree whose leaves add a number to each output."""
    tree = member.record("tree_")
    values = _values(tree)
    if n_classes:
        width = n_classes if positions is None else len(positions)
        if values.shape[1:] != (1, width):
            damaged(tree.place, f"has values of the shape {values.shape[1:]} for {width} classes")
        value = values[:, 0, :]
        if positions is not None and width != n_outputs:
            if len(values) * n_outputs > MAX_VALUES:
                damaged(tree.place, f"has {len(values)} nodes for {n_outputs} classes")
            value = np.zeros((len(values), n_outputs))
            value[:, positions] = values[:, 0, :]
    else:
        if values.shape[1:] != (n_outputs, 1):
            damaged(tree.place, f"has values of the shape {values.shape[1:]} for {n_outputs} outputs")
        value = values[:, :, 0]
    return _shaped(tree, value[:, 0] if n_outputs == 1 else value, features=features)


def _boosted_tree(member: Record, output: int, rate: float) -> Tree:
    """A regression tree of one stage, its values multiplied by the learning rate as the sum would."""
    tree = member.record("tree_")
    values = _values(tree)
    if values.shape[1:] != (1, 1):
        damaged(tree.place, f"has values of the shape {values.shape[1:]}, where each leaf should hold one number")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is named by the verifier
        return _shaped(tree, rate * values[:, 0, 0], output=output, nan_right=True)


def _values(tree: Record) -> npt.NDArray[Any]:
    if tree.kind != _TREE:
        raise UnsupportedFeatureError(f"{tree.place} is a {tree.name[:80]}, not a tree", hint="Save the fitted model again.")
    values = tree.array("values", "f", 3)
    if values.dtype.itemsize != 8:
        damaged(f"{tree.place}.values", "should be double")
    return values


def _shaped(
    tree: Record,
    value: npt.NDArray[Any],
    *,
    output: int = 0,
    features: npt.NDArray[Any] | None = None,
    nan_right: bool = False,
) -> Tree:
    """The nodes of a tree together with the values of its leaves."""
    nodes, place = tree.array("nodes", "V", 1), tree.place
    if nodes.dtype.names is not None and "missing_go_to_left" not in nodes.dtype.names:
        raise UnsupportedFeatureError(f"{place} was trained by scikit-learn older than 1.3", hint=_OLD)
    n = len(nodes)
    if len(value) != n:
        damaged(place, f"has {n} nodes and {len(value)} values")
    children = [column(nodes, key, "i", place) for key in ("left_child", "right_child")]
    leaf = children[0] == _LEAF
    odd = np.flatnonzero(leaf != (children[1] == _LEAF))
    if len(odd):
        damaged(f"{place}, node {odd[0]}:", "it has one child")
    left, right = (np.where(leaf, -1, np.where((child < 0) | (child >= n), n, child)).astype(np.int32) for child in children)
    feature = column(nodes, "feature", "i", place)
    if features is not None:
        feature = _of_subset(feature, features)
    feature = np.where(leaf, -1, np.where((feature < 0) | (feature > MAX_FEATURES), MAX_FEATURES, feature))
    default_left = np.zeros(n, bool) if nan_right else ~leaf & (column(nodes, "missing_go_to_left", "biu", place) != 0)
    return Tree(
        output=output,
        feature=feature.astype(np.int32),
        threshold=np.where(leaf, np.float32(0), rounded_down(column(nodes, "threshold", "f", place))),
        left=left,
        right=right,
        comparison=np.full(n, Comparison.LESS_EQUAL, np.uint8),
        missing=np.full(n, Missing.NAN, np.uint8),
        default_left=default_left,
        # Inner nodes have values as well, of which no prediction knows.
        value=np.where(leaf if value.ndim == 1 else leaf[:, None], value, 0.0).astype(np.float64),
    )


def _of_subset(feature: npt.NDArray[Any], features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Features of a tree that was shown only some, by their numbers in the whole; out of range ones stay so."""
    inside = (feature >= 0) & (feature < len(features))
    whole = np.full(len(feature), MAX_FEATURES, np.int64)
    whole[inside] = np.clip(features.astype(np.int64)[feature[inside]], -1, MAX_FEATURES)
    return whole


def rounded_down(threshold: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Double thresholds rounded towards minus infinity to float32: ``x <= t`` stays the same for every float32 ``x``."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        nearest = threshold.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
    rounded: npt.NDArray[np.float32] = np.where(nearest > threshold, below, nearest)
    return rounded


def _initial(model: Record, loss: str, n_outputs: int) -> npt.NDArray[np.float64]:
    """The raw prediction before the first stage."""
    value = model.value("init_")
    if isinstance(value, str) and value == "zero":
        return np.zeros(n_outputs)
    init = model.record("init_")
    if init.kind == "sklearn.dummy.DummyRegressor" and not model.name.endswith("Classifier"):
        constant = init.array("constant_", "iuf", 2)
        if constant.shape != (1, n_outputs):
            damaged(f"{init.place}.constant_", f"is not one number for each of {n_outputs} outputs")
        return np.array(constant[0], np.float64)
    if init.kind == "sklearn.dummy.DummyClassifier" and model.name.endswith("Classifier"):
        return _initial_of_classes(init, loss, n_outputs)
    raise UnsupportedFeatureError(
        f"the init estimator of {model.place} is a {init.name[:80]}",
        hint="Train with the default init or with init='zero'.",
    )


def _initial_of_classes(init: Record, loss: str, n_outputs: int) -> npt.NDArray[np.float64]:
    if init.text("strategy") != "prior":
        raise UnsupportedFeatureError(
            f"{init.place} has the strategy {init.text('strategy')[:80]!r}",
            hint="Train with the default init or with init='zero'.",
        )
    prior = init.array("class_prior_", "f", 1)
    if len(prior) != max(2, n_outputs):
        damaged(f"{init.place}.class_prior_", f"holds {len(prior)} numbers for {max(2, n_outputs)} classes")
    epsilon = np.finfo(np.float64).eps
    probability = np.clip(prior.astype(np.float64), epsilon, 1 - epsilon)
    if n_outputs > 1:
        return np.asarray(np.log(probability / np.exp(np.mean(np.log(probability)))))
    return np.array([(0.5 if loss == "exponential" else 1.0) * _logit(float(probability[1]))])


def _logit(p: float) -> float:
    """``log(p / (1 - p))`` to the last bit as SciPy computes it, which takes another form near one half."""
    if not 0.3 <= p <= 0.65:
        return math.log(p / (1 - p))
    s = 2 * (p - 0.5)
    return math.log1p(s) - math.log1p(-s)
