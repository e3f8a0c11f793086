"""scikit-learn as an oracle of files by skops.

skops itself would build the whole estimator, whatever the file says it consists of. Here only the compiled trees are built, out
of arrays that the verifier has passed, and scikit-learn's own loops run them: `Tree.predict`, `predict_stages` and
`TreePredictor.predict`. Its losses turn sums into predictions. What estimators refuse before these loops (infinities; NaN for
gradient boosting) is answered as the loops answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mlcore.errors import InputError
from mlcore.forests.frontends import skops
from mlcore.forests.frontends._sklearn_histograms import encoder_of
from mlcore.forests.frontends._sklearn_record import Record
from mlcore.forests.ir import TreeModel
from mlcore.forests.libraries import Oracle, Rows

Run = Callable[[Rows], Rows]


def sklearn_oracle(path: Path, model: TreeModel) -> Oracle:
    """Open a skops file in scikit-learn; `model` is what the frontend read from it and the verifier passed.

    Raises
    ------
    InputError
        The installed scikit-learn refuses the trees, as it does those of versions that kept other fields.
    """
    import sklearn

    estimator = skops.record(path.read_bytes())
    family = estimator.name.removesuffix("Classifier").removesuffix("Regressor")
    build = {"AdaBoost": _adaboost, "GradientBoosting": _boosting, "HistGradientBoosting": _histograms}.get(family, _mean)
    try:
        margin, link = build(estimator, model)
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"scikit-learn refuses the model: {str(error)[:300]}", code="forest.refused") from None

    def predict(rows: Rows) -> Rows:
        with np.errstate(over="ignore"):
            return np.asarray(link(margin(rows))).reshape(len(rows), -1)

    return Oracle(
        library=f"scikit-learn {sklearn.__version__}",
        margin=margin,
        predict=predict,
        once=predict,
        exact=lambda rows: np.ones(len(rows), bool),
    )


def _single(rows: Rows) -> Rows:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(rows, np.float32)


def _compiled(member: Record) -> Any:
    """scikit-learn's own tree of these nodes and values."""
    from sklearn.tree._tree import Tree

    stored = member.record("tree_")
    nodes, values = stored.array("nodes", "V", 1), stored.array("values", "f", 3)
    n_outputs, n_classes = values.shape[1:]
    tree = Tree(member.integer("n_features_in_"), np.full(n_outputs, n_classes, np.intp), n_outputs)
    tree.__setstate__({"max_depth": 0, "node_count": len(nodes), "nodes": nodes, "values": values})
    return tree


def _mean(estimator: Record, model: TreeModel) -> tuple[Run, Run]:
    """One tree, or the mean of several, each of which may see some features and know some classes."""
    members = estimator.records("estimators_") if estimator.has("estimators_") else [estimator]
    bagging = estimator.has("estimators_features_")
    subsets: list[Any] = list(estimator.values("estimators_features_")) if bagging else [slice(None)] * len(members)
    trees = [_compiled(member) for member in members]
    columns: list[Any] = [slice(None)] * len(members)
    if bagging and model.classes:
        columns = [member.array("classes_", "iuf", 1).astype(np.intp) for member in members]

    def margin(rows: Rows) -> Rows:
        single = _single(rows)
        total = np.zeros((len(rows), model.n_outputs))
        for tree, subset, column in zip(trees, subsets, columns, strict=True):
            values = tree.predict(np.ascontiguousarray(single[:, subset]))
            total[:, column] += values.reshape(len(rows), -1)
        return total

    return margin, lambda total: total / len(trees)


def _adaboost(estimator: Record, model: TreeModel) -> tuple[Run, Run]:
    """Weighted votes."""
    from sklearn.utils.extmath import softmax

    trees = [_compiled(member) for member in estimator.records("estimators_")]
    weights = estimator.array("estimator_weights_", "f", 1)
    n_classes = len(model.classes)

    def margin(rows: Rows) -> Rows:
        single, total = _single(rows), np.zeros((len(rows), n_classes))
        for tree, weight in zip(trees, weights, strict=False):
            chosen = tree.predict(single).argmax(axis=1)[:, None] == np.arange(n_classes)
            total += np.where(chosen, weight, -1 / (n_classes - 1) * weight)
        return total[:, -model.n_outputs :]

    def link(total: Rows) -> Rows:
        decision = total / weights.sum()
        return np.asarray(softmax(np.hstack([-decision, decision]) if n_classes == 2 else decision / (n_classes - 1)))

    return margin, link


def _boosting(estimator: Record, model: TreeModel) -> tuple[Run, Run]:
    """Stages of regression trees."""
    from sklearn._loss.loss import ExponentialLoss, HalfBinomialLoss, HalfMultinomialLoss
    from sklearn.ensemble._gradient_boosting import predict_stages

    trees = [SimpleNamespace(tree_=_compiled(member)) for member in estimator.records("estimators_")]
    stages = np.array(trees, object).reshape(-1, model.n_outputs)
    rate = estimator.real("learning_rate")
    loss: Any = None
    if model.n_outputs > 1:
        loss = HalfMultinomialLoss(n_classes=model.n_outputs)
    elif model.classes:
        loss = ExponentialLoss() if model.source.objective == "exponential" else HalfBinomialLoss()
    start = np.zeros((1, model.n_outputs))
    init = estimator.value("init_")
    if isinstance(init, Record) and loss is not None:
        epsilon = np.finfo(np.float64).eps
        prior = np.clip(init.array("class_prior_", "f", 1), epsilon, 1 - epsilon)
        start = np.asarray(loss.link.link(prior[None] if loss.is_multiclass else prior[1:])).reshape(1, -1)
    elif isinstance(init, Record):
        start = init.array("constant_", "iuf", 2).astype(np.float64)

    def margin(rows: Rows) -> Rows:
        total = np.repeat(start, len(rows), axis=0)
        predict_stages(stages, _single(rows), rate, total)
        return total

    return margin, (loss.predict_proba if loss is not None else lambda total: total)


def _histograms(estimator: Record, model: TreeModel) -> tuple[Run, Run]:
    """Histogram boosting. Categories with a fraction are rounded down before, as said in `_sklearn_histograms`."""
    from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss, HalfPoissonLoss
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    trees = [
        TreePredictor(
            predictor.array("nodes", "V", 1).astype(PREDICTOR_RECORD_DTYPE),
            np.zeros((0, 8), np.uint32),  # of rows that training has put into bins
            np.ascontiguousarray(predictor.array("raw_left_cat_bitsets", "u", 2), np.uint32),
        )
        for predictor in estimator.records("_predictors")
    ]
    base = estimator.array("_baseline_prediction", "f", 2).astype(np.float64)
    encode, known, numbers = _encoding(estimator, model.n_features)

    def margin(rows: Rows) -> Rows:
        encoded = encode(rows.astype(np.float64))
        total = np.zeros((len(rows), model.n_outputs)) + base
        for i, tree in enumerate(trees):
            total[:, i % model.n_outputs] += tree.predict(encoded, known, numbers, 1)
        return total

    if model.n_outputs > 1:
        return margin, HalfMultinomialLoss(n_classes=model.n_outputs).predict_proba
    if model.classes:
        return margin, HalfBinomialLoss().predict_proba
    # Gamma and Poisson have one link, the logarithm.
    logarithmic = model.source.objective in {"gamma", "poisson"}
    return margin, (HalfPoissonLoss().link.inverse if logarithmic else lambda total: total)


def _encoding(estimator: Record, n_features: int) -> tuple[Run, Rows, Rows]:
    """What numbers the categories and moves them to the front; the sets of known ones; the set of each feature."""
    numbers = np.zeros(n_features, np.uint32)
    if not estimator.has("_preprocessor"):
        return lambda rows: rows, np.zeros((0, 8), np.uint32), numbers
    from sklearn.preprocessing import OrdinalEncoder

    categorical = estimator.array("is_categorical_", "b", 1)
    found: Any = encoder_of(estimator.record("_preprocessor")).values("categories_")
    categories = [np.asarray(known, np.float64) for known in found]
    categories = [known[~np.isnan(known)] for known in categories]
    numbers[: len(categories)] = np.arange(len(categories))
    flags = np.zeros((len(categories), 256), np.uint8)
    for i, known in enumerate(categories):
        flags[i, : len(known)] = 1
    options = {"handle_unknown": "use_encoded_value", "unknown_value": np.nan, "encoded_missing_value": np.nan}
    encoder = OrdinalEncoder(categories=categories, **options).fit(np.array([[known[0] for known in categories]]))

    def encode(rows: Rows) -> Rows:
        whole = np.floor(rows[:, categorical])
        encoded = encoder.transform(np.where(np.isinf(whole), np.nan, whole))
        return np.concatenate([encoded, rows[:, ~categorical]], axis=1)

    return encode, np.packbits(flags, axis=1, bitorder="little").view("<u4").astype(np.uint32), numbers
