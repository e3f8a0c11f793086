"""The tree IR: a forest exactly as its library decides and sums, with nothing left for a predictor or emitter to guess.

A `Tree` is a structure of arrays, one entry a node, so a node's fields are ``tree.feature[i]``, ``tree.comparison[i]`` and
so on; node 0 is the root. `Trees` holds all trees of a forest in such arrays, one tree after the other, and gives each as a
`Tree`. A `TreeModel` adds where the sums start and the link from sum to prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

import kernels
from kernels import Comparison, ForestTables, Missing
from kernels.tables import FloatName
from mlcore.errors import InputError

__all__ = ["Comparison", "FloatName", "Link", "Missing", "Source", "Tree", "TreeModel", "Trees"]

MAX_CATEGORY = 1 << 24
"""Categories are numbers below this one, the range in which a float32 is exact."""

MAX_SET_WORDS = 1 << 25
"""Words of 32 bits that all sets of categories of a forest take together; so small a file cannot ask for much memory."""


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
    SIGMOID_PAIR = "sigmoid_pair"
    """Two columns from one sum: ``1 - p`` and ``p = 1 / (1 + exp(-s m))``."""
    TANH_HALF = "tanh_half"
    """``2 / (1 + exp(-2 m)) - 1``"""
    COMPLEMENT_PAIR = "complement_pair"
    """Two columns from one sum, which is a probability itself: ``1 - m`` and ``m``."""
    EXP2 = "exp2"
    """``2 ** (-s m)``"""


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes
    ----------
    format
        Name of the frontend, for example ``"xgboost-json"``.
    library
        The library that trained it, for example ``"xgboost"`` or ``"lightgbm"``.
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
        The output that the leaf's value is added to; 0 where leaves are vectors.
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
        float32 or float64, the leaves' values, in the precision of the sum; shape (n_nodes,), or (n_nodes, n_outputs)
        where a leaf is a vector and adds a number to every output.
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
class Trees(Sequence[Tree]):
    """All trees of a forest in flat arrays, the nodes of one tree after those of the other; a sequence of `Tree` views.

    Build it with `joined` from trees, or from the arrays themselves. Only the verifier makes sure that they fit together.

    Attributes
    ----------
    start
        int64, shape (n_trees + 1,): first node of each tree, its root, and at last the number of nodes.
    output
        int32, shape (n_trees,): the output that each tree adds to.
    feature, threshold, left, right, comparison, missing, default_left
        Shape (n_nodes,), as of `Tree`; children are numbered within their tree.
    value
        Shape (n_nodes,), or (n_nodes, n_outputs) where leaves are vectors.
    set_node
        int64, shape (n_sets,): the nodes that list categories, ascending, numbered through the whole forest.
    set_start
        int64, shape (n_sets + 1,): where each one's bit set begins in `set_words`.
    set_words
        uint32: category ``c`` is bit ``c % 32`` of word ``c // 32`` of the node's set.
    """

    start: npt.NDArray[np.int64]
    output: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[Any]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    comparison: npt.NDArray[np.uint8]
    missing: npt.NDArray[np.uint8]
    default_left: npt.NDArray[np.bool_]
    value: npt.NDArray[Any]
    set_node: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    set_start: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    set_words: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))

    @classmethod
    def joined(cls, trees: Iterable[Tree]) -> Trees:
        """The trees, in order; `Trees` come back as they are.

        Raises
        ------
        InputError
            A tree's arrays differ in length, leaves are vectors of different length, or categories are out of range.
        """
        if isinstance(trees, cls):
            return trees
        trees = tuple(trees)
        widths = {tree.value.shape[1:] for tree in trees}
        if len(widths) > 1:
            raise InputError("the leaves of some trees are vectors, of others not", hint=_DAMAGED, code="forest.width")
        for number, tree in enumerate(trees):
            if any(len(getattr(tree, name)) != tree.n_nodes for name in _PER_NODE):
                raise InputError(f"tree {number}: its arrays differ in length", hint=_DAMAGED, code="forest.length")

        def flat(name: str, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
            parts = [getattr(tree, name) for tree in trees]
            return np.concatenate(parts, dtype=dtype, casting="unsafe") if parts else np.empty(0, dtype)

        start = np.cumsum([0, *(tree.n_nodes for tree in trees)], dtype=np.int64)
        value = flat("value")
        return cls(
            start,
            np.array([tree.output for tree in trees], np.int32),
            flat("feature", np.int32),
            flat("threshold"),
            flat("left", np.int32),
            flat("right", np.int32),
            flat("comparison", np.uint8),
            flat("missing", np.uint8),
            flat("default_left", np.bool_),
            value.ravel() if value.shape[1:] == (1,) else value,
            *_joined_sets(trees, start),
        )

    def __len__(self) -> int:
        return len(self.output)

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tree, ...]: ...
    def __getitem__(self, index: int | slice) -> Tree | tuple[Tree, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"tree {index} of {len(self)}")
        nodes = slice(int(self.start[number]), int(self.start[number + 1]))
        arrays = {name: getattr(self, name)[nodes] for name in _PER_NODE}
        return Tree(int(self.output[number]), **arrays, categories=self._categories(nodes))

    def first(self, n_trees: int) -> Trees:
        """The first so many trees, as views of the same arrays."""
        return self.between(0, n_trees)

    def between(self, first: int, last: int) -> Trees:
        """The trees from one on and before another, as views of the same arrays."""
        nodes = slice(int(self.start[first]), int(self.start[last]))
        sets = slice(*np.searchsorted(self.set_node, [nodes.start, nodes.stop]).tolist())
        words = slice(int(self.set_start[sets.start]), int(self.set_start[sets.stop]))
        return replace(
            self,
            start=self.start[first : last + 1] - nodes.start,
            output=self.output[first:last],
            set_node=self.set_node[sets] - nodes.start,
            set_start=self.set_start[sets.start : sets.stop + 1] - words.start,
            set_words=self.set_words[words],
            **{name: getattr(self, name)[nodes] for name in _PER_NODE},
        )

    @property
    def n_nodes(self) -> int:
        return len(self.feature)

    @property
    def vector_leaves(self) -> bool:
        """Whether a leaf adds a number to every output."""
        return self.value.ndim == 2

    @cached_property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        leaf: npt.NDArray[np.bool_] = self.feature < 0
        return leaf

    @cached_property
    def tree_of_node(self) -> npt.NDArray[np.int32]:
        """int32, shape (n_nodes,): the tree that each node belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.start))

    @cached_property
    def depths(self) -> npt.NDArray[np.int32]:
        """int32, shape (n_trees,): the depth of each tree; of verified trees only."""
        depths = np.zeros(len(self), np.int32)
        level, depth = self.start[:-1], 0
        while True:
            inner = level[self.feature[level] >= 0]
            if not len(inner):
                return depths
            depth += 1
            trees = self.tree_of_node[inner]
            depths[trees] = depth
            root = self.start[trees]
            level = np.concatenate([root + self.left[inner], root + self.right[inner]])

    def _categories(self, nodes: slice) -> dict[int, tuple[int, ...]]:
        """The listed categories of the categorical nodes of a tree."""
        if not len(self.set_node):
            return {}
        first, last = np.searchsorted(self.set_node, [nodes.start, nodes.stop]).tolist()
        edges = self.set_start[first : last + 1].tolist()
        numbers = (self.set_node[first:last] - nodes.start).tolist()
        return {number: listed(self.set_words[a:b]) for number, a, b in zip(numbers, edges, edges[1:], strict=False)}


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
    trees
        `Trees`; a sequence of `Tree` is joined here.
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
    classes
        Labels of the classes where the file has them, in the order of the outputs, else empty; any text at all.
    """

    source: Source
    n_features: int
    n_outputs: int
    feature_names: tuple[str, ...]
    trees: Trees
    base: npt.NDArray[Any]
    threshold_dtype: FloatName
    sum_dtype: FloatName
    link: Link
    link_scale: float = 1.0
    divisor: float = 1.0
    zero_threshold: float = 0.0
    best_iteration: int | None = None
    n_rounds: int | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "trees", Trees.joined(self.trees))

    @property
    def n_predictions(self) -> int:
        """Columns of a prediction: one where the link picks a class, two where it makes a pair of one sum."""
        return {Link.ARGMAX: 1, Link.SIGMOID_PAIR: 2, Link.COMPLEMENT_PAIR: 2}.get(self.link, self.n_outputs)

    @property
    def n_nodes(self) -> int:
        return self.trees.n_nodes

    @property
    def n_leaves(self) -> int:
        return int(np.count_nonzero(self.trees.is_leaf))

    @property
    def depth(self) -> int:
        return int(self.trees.depths.max(initial=0))

    def thresholds(self) -> dict[int, npt.NDArray[Any]]:
        """The distinct numeric thresholds of each feature that has any, ascending, of `threshold_dtype`."""
        trees = self.trees
        numeric = np.flatnonzero(~trees.is_leaf & (trees.comparison <= Comparison.LESS_EQUAL))
        numeric = numeric[np.argsort(trees.feature[numeric], kind="stable")]
        features, first = np.unique(trees.feature[numeric], return_index=True)
        parts = np.split(trees.threshold[numeric], first[1:])
        return {feature: np.unique(part) for feature, part in zip(features.tolist(), parts, strict=False)}

    def tables(self) -> ForestTables:
        """The forest as the kernels take it; of a verified model only. Arrays that fit already are not copied."""
        trees = self.trees
        sizes = np.zeros(trees.n_nodes + 1, np.int64)
        sizes[trees.set_node + 1] = np.diff(trees.set_start)
        with np.errstate(invalid="ignore"):  # a file may hold any NaN where no number counts
            threshold, value = (array.astype(np.float64, copy=False) for array in (trees.threshold, trees.value))
        return ForestTables(
            n_features=self.n_features,
            n_outputs=self.n_outputs,
            threshold_dtype=self.threshold_dtype,
            sum_dtype=self.sum_dtype,
            zero_threshold=self.zero_threshold,
            tree_start=trees.start,
            tree_output=trees.output,
            feature=trees.feature,
            threshold=threshold,
            left=trees.left,
            right=trees.right,
            comparison=trees.comparison,
            missing=trees.missing,
            default_left=trees.default_left.view(np.uint8),
            value=value.reshape(-1),
            category_start=np.cumsum(sizes) if len(trees.set_node) else sizes,
            category_words=trees.set_words,
            base=self.base.astype(np.float64, copy=False),
            vector_leaves=trees.vector_leaves,
            link=kernels.Link[self.link.name],
            link_scale=self.link_scale,
            divisor=self.divisor,
        )


_DAMAGED = "The file is damaged or was not written by the library; save the model again."
_PER_NODE = ("feature", "threshold", "left", "right", "comparison", "missing", "default_left", "value")


def bits(categories: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """The bit set of some categories: category ``c`` is bit ``c % 32`` of word ``c // 32``."""
    members = np.array(categories, np.int64)
    return bit_sets(members, np.zeros(len(members), np.int64), 1)[1]


def bit_sets(
    categories: npt.NDArray[np.int64], owner: npt.NDArray[np.int64], n_sets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Many bit sets at once, as `Trees.set_start` and `Trees.set_words`.

    Parameters
    ----------
    categories
        int64, shape (n,): members of the sets, from 0 to below `MAX_CATEGORY`, in any order.
    owner
        int64, shape (n,): which set each belongs to.
    n_sets
        How many sets there are.

    Raises
    ------
    InputError
        The sets would take more than `MAX_SET_WORDS`.
    """
    largest = np.full(n_sets, -1, np.int64)
    np.maximum.at(largest, owner, categories)
    set_start = np.zeros(n_sets + 1, np.int64)
    np.cumsum(largest // 32 + 1, out=set_start[1:])
    if set_start[-1] > MAX_SET_WORDS:
        hint = "Number the categories from 0 without gaps and train again."
        raise InputError("the sets of categories take too much memory", hint=hint, code="forest.category")
    words = np.zeros(int(set_start[-1]), np.uint32)
    np.bitwise_or.at(words, set_start[owner] + categories // 32, np.left_shift(np.uint32(1), (categories % 32).astype(np.uint32)))
    return set_start, words


def listed(words: npt.NDArray[np.uint32]) -> tuple[int, ...]:
    """The categories of a bit set, ascending."""
    flags = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return tuple(np.flatnonzero(flags).tolist())


def _joined_sets(
    trees: tuple[Tree, ...], start: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """`set_node`, `set_start` and `set_words` of some trees."""
    nodes: list[int] = []
    members: list[int] = []
    sizes: list[int] = []
    for number, tree in enumerate(trees):
        for node, categories in sorted(tree.categories.items()):
            if not 0 <= node < tree.n_nodes or (categories and not (min(categories) >= 0 and max(categories) < MAX_CATEGORY)):
                message = f"tree {number}, node {node}: its categories are out of range"
                raise InputError(message, hint=_DAMAGED, code="forest.category")
            nodes.append(int(start[number]) + node)
            members += categories
            sizes.append(len(categories))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return np.array(nodes, np.int64), *bit_sets(np.array(members, np.int64), owner, len(sizes))
