"""From an XGBoost document, read from JSON or UBJSON, to the tree IR.

XGBoost converts features to float32, sends ``x < threshold`` left, NaN in the node's default direction, and sums float32
leaves in float32, starting at the base margin, tree after tree. A categorical split sends the listed categories right.

References
----------
XGBoost's model schema, ``doc/model.schema`` of its sources.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import log_float32
from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests.frontends import Iterations, _xgboost_trees
from mlcore.forests.frontends._fields import Fields, damaged
from mlcore.forests.ir import Link, Source, TreeModel
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

_LINKS = {
    "binary:hinge": Link.STEP,
    "binary:logistic": Link.SIGMOID,
    "binary:logitraw": Link.IDENTITY,
    "count:poisson": Link.EXP,
    "multi:softmax": Link.ARGMAX,
    "multi:softprob": Link.SOFTMAX,
    "rank:map": Link.IDENTITY,
    "rank:ndcg": Link.IDENTITY,
    "rank:pairwise": Link.IDENTITY,
    "reg:absoluteerror": Link.IDENTITY,
    "reg:expectileerror": Link.IDENTITY,
    "reg:gamma": Link.EXP,
    "reg:linear": Link.IDENTITY,
    "reg:logistic": Link.SIGMOID,
    "reg:pseudohubererror": Link.IDENTITY,
    "reg:quantileerror": Link.IDENTITY,
    "reg:squarederror": Link.IDENTITY,
    "reg:squaredlogerror": Link.IDENTITY,
    "reg:tweedie": Link.EXP,
    "survival:aft": Link.EXP,
    "survival:cox": Link.EXP,
}
_LOGIT_BASE = {"binary:logistic", "reg:logistic"}
"""Objectives whose base score is a probability; of those with an exponential link it is the exponential."""


def lower(document: object, format_name: str, iterations: Iterations) -> TreeModel:
    """The tree IR of an XGBoost model, not yet verified.

    Raises
    ------
    InputError
        Something is missing or of the wrong type; the message gives its place.
    UnsupportedFeatureError
        A linear booster or an unknown objective.
    """
    if isinstance(document, list):
        raise InputError(
            "this is a text dump of XGBoost trees, not a model",
            hint='Save the model with booster.save_model("model.json").',
            code="forest.dump",
        )
    root = Fields(document, "model")
    learner = root.object("learner")
    booster, gbtree, weights = _booster(learner.object("gradient_booster"))
    parameters = learner.object("learner_model_param")
    objective = learner.object("objective").text("name")
    if objective not in _LINKS:
        hint = f"Known objectives: {', '.join(sorted(_LINKS))}."
        raise UnsupportedFeatureError(f"the XGBoost objective {objective!r} is not known", hint=hint)

    n_features = parameters.integer("num_feature")
    n_outputs = max(1, parameters.integer("num_class", 0), parameters.integer("num_target", 1))
    if not 1 <= n_features <= MAX_FEATURES or n_outputs > MAX_OUTPUTS:
        damaged(parameters.place, f"has {n_features} features and {n_outputs} outputs")

    best = _best_iteration(learner)
    outputs = gbtree.integers("tree_info", np.int32)
    columns = _xgboost_trees.columns(gbtree)
    if len(outputs) != len(columns):
        damaged(gbtree.place, f"has {len(columns)} trees and tree_info for {len(outputs)}")
    if weights is not None and len(weights) != len(columns):
        damaged(gbtree.place, f"has {len(columns)} trees and dart weights for {len(weights)}")
    by_wrapper = learner.has("attributes") and learner.object("attributes").has("scikit_learn")
    trees = _xgboost_trees.lower(columns, outputs, weights)
    n_rounds = None
    if best is not None and (iterations == "best" or (iterations == "auto" and by_wrapper)):
        trees = trees.first(_trees_until(gbtree, best, n_outputs, len(trees)))
        n_rounds = best + 1
    return TreeModel(
        source=Source(format_name, "xgboost", _version(root), objective, booster),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=_names(learner),
        trees=trees,
        base=_base(parameters, objective, n_outputs),
        threshold_dtype="float32",
        sum_dtype="float32",
        link=_LINKS[objective],
        best_iteration=best,
        n_rounds=n_rounds,
    )


def _booster(fields: Fields) -> tuple[str, Fields, npt.NDArray[Any] | None]:
    """Name of the booster, its trees, and the weights of a dart booster."""
    name = fields.text("name")
    if name == "gbtree":
        return name, fields.object("model"), None
    if name == "dart":
        return name, fields.object("gbtree").object("model"), fields.reals("weight_drop", np.float32)
    raise UnsupportedFeatureError(f"the XGBoost booster {name!r} has no trees", hint="Train with booster gbtree or dart.")


def _version(root: Fields) -> str:
    return ".".join(str(part) for part in root.list("version")[:3]) if root.has("version") else ""


def _names(learner: Fields) -> tuple[str, ...]:
    names = learner.list("feature_names") if learner.has("feature_names") else []
    if not all(isinstance(name, str) for name in names):
        damaged(f"{learner.place}.feature_names", "should be texts")
    return tuple(names)


def _best_iteration(learner: Fields) -> int | None:
    if not learner.has("attributes") or not learner.object("attributes").has("best_iteration"):
        return None
    return learner.object("attributes").integer("best_iteration")


def _trees_until(gbtree: Fields, best: int, n_outputs: int, n_trees: int) -> int:
    """Number of trees in the rounds up to and with the best one."""
    if gbtree.has("iteration_indptr"):
        ends = gbtree.integers("iteration_indptr", np.int32)[1:]
    else:  # written before version 2: every round has the same size
        parallel = gbtree.object("gbtree_model_param").integer("num_parallel_tree", 1)
        per_round = n_outputs * max(1, parallel)
        ends = np.arange(per_round, n_trees + 1, per_round, dtype=np.int32)
    if not 0 <= best < len(ends) or not 0 <= ends[best] <= n_trees:
        damaged("model.learner.attributes.best_iteration", f"is {best}, of {len(ends)} rounds")
    return int(ends[best])


def _base(parameters: Fields, objective: str, n_outputs: int) -> npt.NDArray[np.float32]:
    """The base score as a margin for each output; it is stored as a prediction, since version 3.1 as a list."""
    text = parameters.text("base_score", "0.5")
    place = f"{parameters.place}.base_score"
    try:
        with np.errstate(over="ignore"):
            values = [np.float32(float(part)) for part in text.strip().strip("[]").split(",")]
    except ValueError:
        damaged(place, f"is {text[:40]!r}, not a number or a list of numbers")
    if len(values) == 1:
        values *= n_outputs
    if len(values) != n_outputs:
        damaged(place, f"holds {len(values)} numbers for {n_outputs} outputs")
    one = np.float32(1)
    margins = []
    for value in values:
        if objective in _LOGIT_BASE:
            if not 0 < value < 1:
                damaged(place, f"is {value}, not a probability between 0 and 1")
            margins.append(-log_float32(float(one / value - one)))
        elif _LINKS[objective] is Link.EXP:
            if not value > 0:
                damaged(place, f"is {value}, not positive")
            margins.append(log_float32(float(value)))
        else:
            margins.append(float(value))
    return np.array(margins, np.float32)
