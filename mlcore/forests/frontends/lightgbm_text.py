"""LightGBM models saved as text.

LightGBM compares in double precision, ``x <= threshold`` goes left, and sums double leaves from zero, tree after tree; a
random forest (``average_output``) divides by the number of rounds. Each split says which values take its default direction:
none (NaN then reads as zero), zero (and NaN), or NaN. A categorical split sends the listed categories left and NaN right.

Before any comparison LightGBM replaces features of at most ``1e-35f`` by zero. Thresholds in that gap are therefore moved to
its nearer end here, which decides alike for every feature and leaves nothing for predictors to do.

References
----------
LightGBM's ``include/LightGBM/tree.h``: ``NumericalDecision``, ``CategoricalDecision``; ``meta.h``: ``kZeroThreshold``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests.frontends import Iterations, made_by
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.ir import Comparison, Link, Missing, Source, Tree, TreeModel, Trees
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

FORMAT = "lightgbm-text"

ZERO_THRESHOLD = float(np.float32(1e-35))

_CATEGORICAL, _DEFAULT_LEFT = 1, 2  # bits of decision_type; the next two are the kind of missing value
_LINKS = {
    "": Link.IDENTITY,
    "binary": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.LOG1P_EXP,
    "custom": Link.IDENTITY,
    "fair": Link.IDENTITY,
    "gamma": Link.EXP,
    "huber": Link.IDENTITY,
    "lambdarank": Link.IDENTITY,
    "mape": Link.IDENTITY,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.SIGMOID,
    "poisson": Link.EXP,
    "quantile": Link.IDENTITY,
    "rank_xendcg": Link.IDENTITY,
    "regression": Link.IDENTITY,
    "regression_l1": Link.IDENTITY,
    "tweedie": Link.EXP,
    "xentlambda": Link.LOG1P_EXP,
    "xentropy": Link.SIGMOID,
}


def matches(head: bytes) -> bool:
    """Text that begins as LightGBM's does."""
    return head.split(b"\n", 1)[0].strip() == b"tree"


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a text file, not yet verified. The file holds the chosen rounds only, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The text is truncated or no LightGBM model.
    UnsupportedFeatureError
        Linear trees, or an unknown objective.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        damaged("the model", f"is no UTF-8 text: {error.reason} at byte {error.start}")
    header, blocks = _blocks(text)
    n_outputs = _integer(header, "num_tree_per_iteration", "the header")
    n_features = _integer(header, "max_feature_idx", "the header") + 1
    if not 1 <= n_outputs <= MAX_OUTPUTS or not 1 <= n_features <= MAX_FEATURES:
        damaged("the header", f"has {n_features} features and {n_outputs} trees a round")
    if len(blocks) % n_outputs:
        damaged("the model", f"has {len(blocks)} trees, which is no multiple of {n_outputs} trees a round")
    objective, link, scale = _objective(header.get("objective", ""))
    trees = Trees.joined(_tree(block, f"tree {i}", i % n_outputs) for i, block in enumerate(blocks))
    average = "average_output" in header
    return TreeModel(
        source=Source(FORMAT, "lightgbm", header.get("version", ""), objective, "random forest" if average else "gbdt"),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=tuple(header.get("feature_names", "").split()),
        trees=trees,
        base=np.zeros(n_outputs),
        threshold_dtype="float64",
        sum_dtype="float64",
        link=link,
        link_scale=scale,
        divisor=float(max(1, len(blocks) // n_outputs)) if average else 1.0,
        zero_threshold=ZERO_THRESHOLD,
    )


def accepts(model: object) -> bool:
    """A booster, or a scikit-learn style model."""
    return made_by(model, "lightgbm") and (hasattr(model, "model_to_string") or hasattr(model, "booster_"))


def convert(model: Any, *, iterations: Iterations) -> TreeModel:
    """The model as LightGBM writes it, with the rounds that it would save."""
    booster = model if hasattr(model, "model_to_string") else model.booster_
    return read(str(booster.model_to_string()).encode(), iterations=iterations)


Block = Mapping[str, str]


def _blocks(text: str) -> tuple[Block, list[Block]]:
    """The header and the trees, each as its lines ``key=value``."""
    header: dict[str, str] = {}
    blocks: list[dict[str, str]] = []
    current = header
    for line in text.splitlines():
        key, _, value = line.strip().partition("=")
        if key == "end of trees":
            # What follows says nothing about the prediction, but LightGBM itself crashes where it is cut short.
            if "\nparameters:" in text and "\nend of parameters" not in text:
                raise _truncated("end of parameters")
            return header, list(blocks)
        if key == "Tree":
            if value != str(len(blocks)):
                damaged(f"tree {len(blocks)}", f"is numbered {value[:20]!r}")
            blocks.append({})
            current = blocks[-1]
        elif key in current:
            damaged("the header" if current is header else f"tree {len(blocks) - 1}", f"has {key[:40]!r} twice")
        elif key:
            current[key] = value
    raise _truncated("end of trees")


def _truncated(mark: str) -> InputError:
    return InputError(
        f'the text ends before "{mark}"',
        hint="The file is truncated; save the model again.",
        code="forest.truncated",
    )


def _objective(text: str) -> tuple[str, Link, float]:
    """Name, link and sigmoid scale of an objective such as ``"binary sigmoid:1"``."""
    name, *parameters = text.split() or [""]
    if name not in _LINKS:
        hint = f"Known objectives: {', '.join(sorted(filter(None, _LINKS)))}."
        raise UnsupportedFeatureError(f"the LightGBM objective {name[:80]!r} is not known", hint=hint)
    link = _LINKS[name]
    if link is Link.IDENTITY and "sqrt" in parameters:
        link = Link.SIGNED_SQUARE
    scale = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition(":")
        if key == "sigmoid":
            scale = float(_numbers(value, np.float64, "the header, objective")[0])
    return name, link, scale


def _tree(block: Block, place: str, output: int) -> Tree:
    if block.get("is_linear", "0").strip() != "0":
        raise UnsupportedFeatureError(f"{place} has linear leaves", hint="Train with linear_tree=false.")
    n_leaves = _integer(block, "num_leaves", place)
    leaf_value = _array(block, "leaf_value", np.float64, place)
    if n_leaves < 1 or len(leaf_value) != n_leaves:
        damaged(place, f"has num_leaves={n_leaves} and {len(leaf_value)} values for them")
    n_inner = n_leaves - 1
    n_nodes = n_inner + n_leaves

    def inner(key: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
        values = _array(block, key, dtype, place) if n_inner else np.empty(0, dtype)
        if len(values) != n_inner:
            damaged(place, f"has {len(values)} numbers in {key} for {n_inner} splits")
        return values

    def padded(values: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
        return np.concatenate([values, np.full(n_leaves, fill, values.dtype)])

    def children(key: str) -> npt.NDArray[np.int32]:
        """Splits count from 0, leaves from -1 downwards; here leaves follow the splits."""
        child = inner(key, np.int64)
        number = np.where(child >= 0, child, n_inner - 1 - child)
        outside = (child >= n_inner) | (number >= n_nodes)
        return padded(np.where(outside, n_nodes, number), -1).astype(np.int32)

    decision = inner("decision_type", np.int64)
    if ((decision < 0) | (decision > 11)).any():
        damaged(place, "has an unknown decision_type")
    categorical = (decision & _CATEGORICAL) != 0
    # A categorical split knows one kind of missing value, NaN, and sends it right.
    missing = np.where(categorical, Missing.NAN, decision >> 2)
    default_left = ((decision & _DEFAULT_LEFT) != 0) & ~categorical
    threshold = inner("threshold", np.float64)
    return Tree(
        output=output,
        feature=padded(_features(inner("split_feature", np.int64), place), -1),
        threshold=padded(np.where(categorical, 0.0, _outside_the_gap(threshold)), 0.0),
        left=children("left_child"),
        right=children("right_child"),
        comparison=padded(np.where(categorical, Comparison.IN_SET, Comparison.LESS_EQUAL).astype(np.uint8), 0),
        missing=padded(missing.astype(np.uint8), Missing.NAN),
        default_left=padded(default_left, False),
        value=np.concatenate([np.zeros(n_inner), leaf_value]),
        categories=_categories(block, categorical, threshold, place) if categorical.any() else {},
    )


def _features(features: npt.NDArray[np.int64], place: str) -> npt.NDArray[np.int32]:
    if ((features < 0) | (features > MAX_FEATURES)).any():
        damaged(place, "has a split_feature out of range")
    return features.astype(np.int32)


def _outside_the_gap(threshold: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Thresholds that decide alike for features of which the smallest have not been replaced by zero."""
    inside = (threshold >= -ZERO_THRESHOLD) & (threshold < ZERO_THRESHOLD)
    moved = np.where(threshold >= 0, ZERO_THRESHOLD, np.nextafter(-ZERO_THRESHOLD, -np.inf))
    return np.where(inside, moved, threshold)


def _categories(
    block: Block, categorical: npt.NDArray[np.bool_], threshold: npt.NDArray[np.float64], place: str
) -> dict[int, tuple[int, ...]]:
    """The listed categories of each categorical split, whose threshold numbers its bit set."""
    edges = _array(block, "cat_boundaries", np.int64, place)
    words = _array(block, "cat_threshold", np.int64, place)
    if ((words < 0) | (words >= 1 << 32)).any():
        damaged(place, "has a cat_threshold that is no word of 32 bits")
    listed = {}
    for node in np.flatnonzero(categorical).tolist():
        number = threshold[node]
        if not (number >= 0 and number == np.floor(number) and number + 1 < len(edges)):
            damaged(f"{place}, node {node}:", "its set of categories is out of range")
        start, end = int(edges[int(number)]), int(edges[int(number) + 1])
        if not 0 <= start <= end <= len(words):
            damaged(f"{place}, node {node}:", "its set of categories is out of range")
        bits = np.unpackbits(words[start:end].astype("<u4").view(np.uint8), bitorder="little")
        listed[node] = tuple(np.flatnonzero(bits).tolist())
    return listed


def _integer(block: Block, key: str, place: str) -> int:
    text = block.get(key, "")
    if not text.strip().removeprefix("-").isascii() or not text.strip().removeprefix("-").isdigit() or len(text) > 18:
        damaged(place, f"has {key}={text[:20]!r}, which is no whole number")
    return int(text)


def _array(block: Block, key: str, dtype: type[np.generic], place: str) -> npt.NDArray[Any]:
    if key not in block:
        damaged(place, f"has no {key}")
    return _numbers(block[key], dtype, f"{place}, {key}")


def _numbers(text: str, dtype: type[np.generic], place: str) -> npt.NDArray[Any]:
    convert = int if issubclass(dtype, np.integer) else float
    try:
        if "_" in text:  # which Python would accept within a number
            raise ValueError
        values = np.array([convert(item) for item in text.split()], dtype)
    except (ValueError, OverflowError):
        damaged(place, "holds something that is no number")
    if not len(values):
        damaged(place, "is empty")
    return values
