"""The tree IR: a forest exactly as its library decides and sums, with nothing left for a predictor or emitter to guess.

A `Tree` is a structure of arrays, one entry a node, so a node's fields are ``tree.feature[i]``, ``tree.comparison[i]`` and
so on; node 0 is the root. A `TreeModel` holds the trees, where the sums start, and the link from sum to prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import Comparison, ForestTables, Missing
from kernels.tables import FloatName

__all__ = ["Comparison", "FloatName", "Link", "Missing", "Source", "Tree", "TreeModel"]

MAX_CATEGORY = 1 << 24
"""Categories are numbers below this one, the range in which a float32 is exact."""


class Link(StrEnum):
    """From the margins of a row (its sums) to the library's own prediction. ``s`` is `TreeModel.link_scale`."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    """``1 / (1 + exp(-s m))``"""
    EXP = "exp"
    SOFTMAX = "softmax"
    ARGMAX = "argmax"
    """The number of the first largest margin."""
    STEP = "step"
    """1 where ``m > 0``, else 0."""
    LOG1P_EXP = "log1p_exp"
    """``log(1 + exp(m))``"""
    SIGNED_SQUARE = "signed_square"
    """``sign(m) m²``"""


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes
    ----------
    format
        Name of the frontend, for example ``"xgboost-json"``.
    library
        ``"xgboost"`` or ``"lightgbm"``.
    version
        Version of the library that wrote the file, or of the file format where only that is recorded; may be empty.
    objective
        The library's name of the objective.
    booster
        The library's name of the boosting scheme, for example ``"dart"``.
    """

    format: str
    library: str
    version: str
    objective: str
    booster: str


@dataclass(frozen=True, eq=False)
class Tree:
    """One decision tree; every array has one entry a node.

    Attributes
    ----------
    output
        The output that the leaf's value is added to.
    feature
        int32; -1 marks a leaf.
    threshold
        float32 or float64, the precision in which the feature meets it; unused at leaves and categorical nodes.
    left, right
        int32, the children; -1 at leaves.
    comparison
        uint8, a `Comparison`; true goes left.
    missing
        uint8, a `Missing`: which values take the default direction.
    default_left
        bool, the default direction.
    value
        float32 or float64, the leaves' values, in the precision of the sum.
    categories
        The listed categories of each categorical node.
    """

    output: int
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[Any]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    comparison: npt.NDArray[np.uint8]
    missing: npt.NDArray[np.uint8]
    default_left: npt.NDArray[np.bool_]
    value: npt.NDArray[Any]
    categories: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def n_nodes(self) -> int:
        return len(self.feature)

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        leaf: npt.NDArray[np.bool_] = self.feature < 0
        return leaf

    @cached_property
    def depth(self) -> int:
        """Number of splits on the longest way from the root to a leaf; of a verified tree only."""
        level = np.zeros(1, np.int64)
        depth = -1
        while len(level):
            depth += 1
            inner = level[self.feature[level] >= 0]
            level = np.concatenate([self.left[inner], self.right[inner]])
        return depth


@dataclass(frozen=True, eq=False)
class TreeModel:
    """A forest: the margin is ``base + its trees' leaves, in order`` and the prediction
    ``link(margin / divisor)``, both in `sum_dtype`.

    Attributes
    ----------
    source
        Library, format and objective.
    feature_names
        One name for each feature, or empty; any text at all, as it came from the file.
    base
        Where each sum starts, shape (n_outputs,), of `sum_dtype`.
    threshold_dtype, sum_dtype
        Precision of comparisons and of sums.
    zero_threshold
        Bound of what counts as zero for `Missing.ZERO`.
    divisor
        What the margin is divided by before the link: the rounds of a forest that averages.
    best_iteration
        Early stopping's choice as recorded in the file, counted from 0.
    n_rounds
        To how many boosting rounds `trees` was cut; None where it holds all of the file's.
    """

    source: Source
    n_features: int
    n_outputs: int
    feature_names: tuple[str, ...]
    trees: tuple[Tree, ...]
    base: npt.NDArray[Any]
    threshold_dtype: FloatName
    sum_dtype: FloatName
    link: Link
    link_scale: float = 1.0
    divisor: float = 1.0
    zero_threshold: float = 0.0
    best_iteration: int | None = None
    n_rounds: int | None = None

    @property
    def n_predictions(self) -> int:
        """Columns of a prediction: one where the link picks a class."""
        return 1 if self.link is Link.ARGMAX else self.n_outputs

    @property
    def n_nodes(self) -> int:
        return sum(tree.n_nodes for tree in self.trees)

    @property
    def n_leaves(self) -> int:
        return sum(int(tree.is_leaf.sum()) for tree in self.trees)

    @property
    def depth(self) -> int:
        return max((tree.depth for tree in self.trees), default=0)

    def thresholds(self) -> dict[int, npt.NDArray[Any]]:
        """The distinct numeric thresholds of each feature that has any, ascending, of `threshold_dtype`."""
        features, thresholds = [], []
        for tree in self.trees:
            numeric = (tree.feature >= 0) & (tree.comparison <= Comparison.LESS_EQUAL)
            features.append(tree.feature[numeric])
            thresholds.append(tree.threshold[numeric])
        if not features:
            return {}
        feature, threshold = np.concatenate(features), np.concatenate(thresholds)
        return {int(number): np.unique(threshold[feature == number]) for number in np.unique(feature)}

    def tables(self) -> ForestTables:
        """The forest as the kernels take it; of a verified model only."""
        trees = self.trees
        words = [bits(tree.categories.get(node, ())) for tree in trees for node in range(tree.n_nodes)]

        def joined(name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
            parts = [getattr(tree, name) for tree in trees]
            return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)

        return ForestTables(
            n_features=self.n_features,
            n_outputs=self.n_outputs,
            threshold_dtype=self.threshold_dtype,
            sum_dtype=self.sum_dtype,
            zero_threshold=self.zero_threshold,
            tree_start=np.cumsum([0, *(tree.n_nodes for tree in trees)], dtype=np.int64),
            tree_output=np.array([tree.output for tree in trees], np.int32),
            feature=joined("feature", np.int32),
            threshold=joined("threshold", np.float64),
            left=joined("left", np.int32),
            right=joined("right", np.int32),
            comparison=joined("comparison", np.uint8),
            missing=joined("missing", np.uint8),
            default_left=joined("default_left", np.uint8),
            value=joined("value", np.float64),
            category_start=np.cumsum([0, *map(len, words)], dtype=np.int64),
            category_words=np.concatenate([np.empty(0, np.uint32), *(word for word in words if len(word))]),
            base=self.base.astype(np.float64),
        )


_NO_BITS = np.empty(0, np.uint32)


def bits(categories: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """The bit set of some categories: category ``c`` is bit ``c % 32`` of word ``c // 32``."""
    if not categories:
        return _NO_BITS
    listed = np.array(categories, np.int64)
    words = np.zeros(int(listed.max()) // 32 + 1, np.uint32)
    np.bitwise_or.at(words, listed // 32, np.left_shift(np.uint32(1), (listed % 32).astype(np.uint32)))
    return words
