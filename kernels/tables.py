"""A forest as flat arrays: what every forest kernel is built from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from typing import Literal

import numpy as np
import numpy.typing as npt

from kernels._native import NativeForest

FloatName = Literal["float32", "float64"]


class Comparison(IntEnum):
    """How an inner node decides; true goes left."""

    LESS = 0
    """``x < threshold``"""
    LESS_EQUAL = 1
    """``x <= threshold``"""
    IN_SET = 2
    """``trunc(x)`` is a listed category; a negative number after truncation is not."""
    NOT_IN_SET = 3
    """``x`` is negative, or ``floor(x)`` is not a listed category."""


class Missing(IntEnum):
    """Which values take an inner node's default direction."""

    NONE = 0
    """None does; NaN is read as zero."""
    ZERO = 1
    """``abs(x) <= zero_threshold`` does, and so does NaN."""
    NAN = 2
    """NaN does."""


class Link(IntEnum):
    """From the margins of a row to its prediction; ``m`` is a margin over the divisor, ``s`` the link's scale."""

    IDENTITY = 0
    SIGMOID = 1
    """``1 / (1 + exp(-s m))``"""
    EXP = 2
    SOFTMAX = 3
    ARGMAX = 4
    """The number of the first largest margin."""
    STEP = 5
    """1 where ``m > 0``, else 0."""
    LOG1P_EXP = 6
    """``log(1 + exp(m))``"""
    SIGNED_SQUARE = 7
    """``sign(m) m²``"""
    SIGMOID_PAIR = 8
    """``1 - p`` and ``p`` with ``p = 1 / (1 + exp(-s m))``"""
    TANH_HALF = 9
    """``2 / (1 + exp(-2 m)) - 1``"""
    COMPLEMENT_PAIR = 10
    """``1 - m`` and ``m``"""
    EXP2 = 11
    """``2 ** (-s m)``"""


@dataclass(frozen=True, eq=False)
class ForestTables:
    """All nodes of all trees, tree after tree.

    Attributes
    ----------
    n_features, n_outputs
        Width of the input and of the output.
    threshold_dtype
        Precision in which a feature meets a threshold: the feature is converted to it first.
    sum_dtype
        Precision of the leaves' values and of their sum, which starts at `base` and takes the trees in order.
    zero_threshold
        Bound of what counts as zero for `Missing.ZERO`.
    tree_start
        int64, shape (n_trees + 1,): first node of each tree, its root.
    tree_output
        int32, shape (n_trees,): the output that each tree adds to.
    feature
        int32, shape (n_nodes,): -1 marks a leaf.
    threshold
        float64, shape (n_nodes,): numbers of `threshold_dtype`, exactly.
    left, right
        int32, shape (n_nodes,): children, numbered within the tree.
    comparison, missing, default_left
        uint8, shape (n_nodes,): `Comparison`, `Missing` and 0 or 1.
    value
        float64, shape (n_nodes,): the leaves' values, numbers of `sum_dtype` exactly. For vector leaves (n_nodes * n_outputs,),
        a node's numbers side by side.
    category_start
        int64, shape (n_nodes + 1,): where each node's bit set begins in `category_words`.
    category_words
        uint32: category ``c`` is bit ``c % 32`` of word ``c // 32`` of the node's set.
    base
        float64, shape (n_outputs,): where each sum starts.
    vector_leaves
        A leaf adds one number to every output.
    link, link_scale, divisor
        From the sums to the prediction, see `Link`.
    """

    n_features: int
    n_outputs: int
    threshold_dtype: FloatName
    sum_dtype: FloatName
    zero_threshold: float
    tree_start: npt.NDArray[np.int64]
    tree_output: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    comparison: npt.NDArray[np.uint8]
    missing: npt.NDArray[np.uint8]
    default_left: npt.NDArray[np.uint8]
    value: npt.NDArray[np.float64]
    category_start: npt.NDArray[np.int64]
    category_words: npt.NDArray[np.uint32]
    base: npt.NDArray[np.float64]
    vector_leaves: bool = False
    link: Link = Link.IDENTITY
    link_scale: float = 1.0
    divisor: float = 1.0


def build_forest(tables: ForestTables) -> NativeForest:
    """Plan a forest for the active CPU target.

    Raises
    ------
    ValueError
        The tables are no forest: an index out of range, a node reached twice or never, lengths that do not fit. Or
        KERNELS_FORCE_TARGET names a target that cannot run here.
    """
    return NativeForest.build(**vars(tables))


def forest_from_plan(plan: bytes | memoryview | mmap) -> NativeForest:
    """A forest that runs a plan in place, for example in a mapped file.

    Parameters
    ----------
    plan
        What `NativeForest.plan` gave, at an address that is a multiple of 64; locked as long as the forest lives.

    Raises
    ------
    ValueError
        The bytes are no plan that can be run, or were written by another version.
    """
    return NativeForest.from_plan(plan)
