"""ONNX-ML models: TreeEnsembleClassifier, TreeEnsembleRegressor (versions 1 and 3) and TreeEnsemble (version 5).

**Comparison.** Every branch mode is exact: LEQ, LT, GTE and GT as the IR's comparisons, EQ, NEQ and MEMBER as small search trees
of them (`_equality`). Features meet thresholds in the precision of the operator's input: float32, or double for double input
(then a float32 threshold is widened).

**Missing values.** NaN takes the true branch where ``nodes_missing_value_tracks_true`` says so, else the false one; as NaN
differs from any number, NEQ sends it to the true branch in any case, as onnxruntime and the definition of version 5 do.

**Sums** start at ``base_values`` and take trees in the order of the file, in float32, or in double for double input or weights.
AVERAGE divides at the end. onnxruntime adds float32 in an order of its own (and the base last), which differs by a few units in
the last place of the largest partial sum.

**Scores.** The prediction is the graph's scores or probabilities. A classifier of two classes with one set of weights gives two
columns: ``1 - s`` and ``s`` where no weight is negative, else ``-s`` and ``s`` as onnxruntime does (the ONNX reference evaluator
gives ``1 - s`` there too), and with LOGISTIC ``1 - p`` and ``p``. Where the definition, the reference evaluator and onnxruntime
contradict each other further, the model is refused by name: other post transforms with one set of weights, post transforms of a
single target, and weights of the second class only.

References
----------
ONNX operators, domain ai.onnx.ml: TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends import Iterations, made_by
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.frontends._onnx_ensembles import LEAF, Ensemble, by_index, by_numbers, lowered
from mlcore.forests.frontends._onnx_graph import Attributes, parsed, tail, tree_operator
from mlcore.forests.ir import FloatName, Link, Source, TreeModel
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

FORMAT = "onnx"

_POST_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")  # as version 5 numbers them
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")  # as well
_LINKS = {"NONE": Link.IDENTITY, "SOFTMAX": Link.SOFTMAX, "LOGISTIC": Link.SIGMOID}


def matches(head: bytes) -> bool:
    """A protobuf message whose first field is a small number, ONNX's version, with a known field after it."""
    return len(head) > 2 and head[0] == 0x08 and 1 <= head[1] < 0x40 and head[2] in b"\x12\x1a\x22\x28\x32\x3a\x42\x72"


def accepts(model: object) -> bool:
    """An ``onnx.ModelProto``."""
    return made_by(model, "onnx")


def convert(model: Any, *, iterations: Iterations) -> TreeModel:
    """The forest of an ``onnx.ModelProto``, not yet verified; errors as of `read`."""
    if not hasattr(model, "graph"):
        raise UnsupportedFeatureError(f"a {type(model).__name__} is no ONNX model", hint="Pass a ModelProto.")
    return read(bytes(model.SerializeToString()), iterations=iterations)


@dataclass(frozen=True, eq=False)
class _Scores:
    """What a tree operator's sums are, and its own way from there to the scores."""

    n_outputs: int
    base: npt.NDArray[Any]
    link: Link
    average: bool = False
    mirrored: bool = False
    """One sum ``s`` gives the scores ``-s`` and ``s``."""
    classes: tuple[str, ...] = ()


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The forest of an ONNX file, not yet verified. It holds the chosen rounds only, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The file is no ONNX model, has no trees, or is damaged.
    UnsupportedFeatureError
        Another operator takes part in the prediction, or an option that is not supported; the message names it.
    """
    model = parsed(data)
    operator = tree_operator(model.graph)
    kind = str(operator.node.op_type)
    attributes = Attributes(operator.node)
    if kind == "TreeEnsemble":
        ensemble, scores = _version_5(attributes)
    elif kind == "TreeEnsembleRegressor":
        ensemble, scores = _regressor(attributes)
    else:
        ensemble, scores = _classifier(attributes)

    wide = operator.input_dtype == "float64"
    threshold_dtype: FloatName = "float64" if wide or ensemble.threshold.dtype == np.float64 else "float32"
    sum_dtype: FloatName = "float64" if wide or ensemble.weights.value.dtype == np.float64 else "float32"
    trees = lowered(ensemble, scores.n_outputs, threshold_dtype, sum_dtype, attributes.place)
    inner = ensemble.feature[ensemble.mode != LEAF]
    n_features = operator.n_features or int(inner.max(initial=0)) + 1
    if not 1 <= n_features <= MAX_FEATURES:
        damaged("the graph's input", f"has {n_features} features")

    n_columns = 2 if scores.link in (Link.COMPLEMENT_PAIR, Link.SIGMOID_PAIR) or scores.mirrored else scores.n_outputs
    after = tail(model.graph, operator, scores.link, n_columns)
    base = scores.base.astype(np.float64)
    if scores.average:
        base = base * ensemble.n_trees  # divided by them again, after the sum
    if after.factor != 1:
        base = base + np.log(after.factor) * (ensemble.n_trees if scores.average else 1)
    n_outputs = scores.n_outputs
    if scores.mirrored:
        trees = replace(trees, value=np.stack([-trees.value, trees.value], axis=1))
        base, n_outputs = np.concatenate([-base, base]), 2
    producer = f"{model.producer_name} {model.producer_version}".strip().partition("\n")[0][:100]
    return TreeModel(
        source=Source(FORMAT, "onnx", producer, _objective(kind, scores), kind),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=(),
        trees=trees,
        base=base.astype(sum_dtype),
        threshold_dtype=threshold_dtype,
        sum_dtype=sum_dtype,
        link=after.link,
        divisor=float(ensemble.n_trees) if scores.average else 1.0,
        classes=scores.classes,
    )


def _objective(kind: str, scores: _Scores) -> str:
    return "classification" if scores.classes or kind == "TreeEnsembleClassifier" else "regression"


def _classifier(attributes: Attributes) -> tuple[Ensemble, _Scores]:
    place = attributes.place
    ensemble = by_numbers(attributes, "class")
    labels = _labels(attributes)
    n_classes = len(labels)
    post = attributes.text("post_transform", "NONE")
    base = _reals_or_none(attributes, "base_values")
    if n_classes < 2:
        _refuse(f"{place} has {n_classes} class labels", "onnxruntime and the ONNX reference disagree about fewer than two.")
    ids = np.unique(ensemble.weights.output)
    if n_classes > 2 or len(ids) != 1:
        base = _base(base, n_classes, place)
        return ensemble, _Scores(n_classes, base, _link(post, place), classes=labels)
    if ids[0] != 0:
        message = f"{place} has weights of class {ids[0]} only"
        _refuse(message, "onnxruntime and the ONNX reference disagree about them; give both classes, or the first one, weights.")
    if base is not None and len(base) > 1:
        message = f"{place} has one set of weights and {len(base)} base values"
        _refuse(message, "onnxruntime and the ONNX reference disagree about them; export one base value.")
    if post not in ("NONE", "LOGISTIC"):
        message = f"{place} has one set of weights and the post transform {post[:40]!r}"
        _refuse(message, "onnxruntime and the ONNX reference disagree about it; use NONE or LOGISTIC.")
    mirrored = post == "NONE" and bool((ensemble.weights.value < 0).any())
    link = Link.SIGMOID_PAIR if post == "LOGISTIC" else Link.IDENTITY if mirrored else Link.COMPLEMENT_PAIR
    return ensemble, _Scores(1, _base(base, 1, place), link, mirrored=mirrored, classes=labels)


def _regressor(attributes: Attributes) -> tuple[Ensemble, _Scores]:
    place = attributes.place
    ensemble = by_numbers(attributes, "target")
    n_targets = _targets(attributes, ensemble)
    average = _averages(attributes.text("aggregate_function", "SUM"), place)
    link = _target_link(attributes.text("post_transform", "NONE"), n_targets, place)
    return ensemble, _Scores(n_targets, _base(_reals_or_none(attributes, "base_values"), n_targets, place), link, average)


def _version_5(attributes: Attributes) -> tuple[Ensemble, _Scores]:
    place = attributes.place
    ensemble = by_index(attributes)
    n_targets = _targets(attributes, ensemble)
    post, aggregate = attributes.integer("post_transform", 0), attributes.integer("aggregate_function", 1)
    if not 0 <= post < len(_POST_TRANSFORMS) or not 0 <= aggregate < len(_AGGREGATES):
        damaged(place, f"has the post transform {post} and the aggregate function {aggregate}")
    link = _target_link(_POST_TRANSFORMS[post], n_targets, place)
    return ensemble, _Scores(n_targets, np.zeros(n_targets), link, _averages(_AGGREGATES[aggregate], place))


def _targets(attributes: Attributes, ensemble: Ensemble) -> int:
    n_targets = attributes.integer("n_targets", int(ensemble.weights.output.max(initial=0)) + 1)
    if not 1 <= n_targets <= MAX_OUTPUTS:
        damaged(attributes.place, f"has {n_targets} targets")
    return n_targets


def _averages(aggregate: str, place: str) -> bool:
    if aggregate not in ("SUM", "AVERAGE"):
        _refuse(f"{place} has the aggregate function {aggregate[:40]!r}", "SUM and AVERAGE can be read.")
    return aggregate == "AVERAGE"


def _target_link(post: str, n_targets: int, place: str) -> Link:
    link = _link(post, place)
    if n_targets == 1 and link is not Link.IDENTITY:
        message = f"{place} has the post transform {post!r} for a single target"
        _refuse(message, "onnxruntime leaves it out, against its definition; put an operator such as Sigmoid after the trees.")
    return link


def _link(post: str, place: str) -> Link:
    if post not in _LINKS:
        _refuse(f"{place} has the post transform {post[:40]!r}", f"Known are {', '.join(sorted(_LINKS))}.")
    return _LINKS[post]


def _reals_or_none(attributes: Attributes, name: str) -> npt.NDArray[Any] | None:
    if attributes.has(name) or attributes.has(f"{name}_as_tensor"):
        values = attributes.reals(name)
        return values if len(values) else None
    return None


def _base(values: npt.NDArray[Any] | None, n_outputs: int, place: str) -> npt.NDArray[Any]:
    if values is None:
        return np.zeros(n_outputs)
    if len(values) != n_outputs:
        damaged(place, f"has {len(values)} base values for {n_outputs} outputs")
    return values


def _labels(attributes: Attributes) -> tuple[str, ...]:
    """The class labels as texts."""
    integers, strings = attributes.has("classlabels_int64s"), attributes.has("classlabels_strings")
    if integers:
        labels = tuple(map(str, attributes.integers("classlabels_int64s").tolist()))
        if labels:
            return _few(labels, attributes.place)
    return _few(tuple(attributes.texts("classlabels_strings")) if strings else (), attributes.place)


def _few(labels: tuple[str, ...], place: str) -> tuple[str, ...]:
    if len(labels) > MAX_OUTPUTS:
        damaged(place, f"has {len(labels)} classes")
    return labels


def _refuse(message: str, hint: str) -> NoReturn:
    raise UnsupportedFeatureError(message, hint=hint)
