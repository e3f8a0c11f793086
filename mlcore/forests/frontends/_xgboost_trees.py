"""The trees of an XGBoost document to the tree IR, all at once: each field of all trees is one array.

A document read from UBJSON has its trees as a `Table` of such arrays already; those of JSON are lists, chained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlcore.forests.frontends._fields import Fields, damaged
from mlcore.forests.frontends._ubjson import Table
from mlcore.forests.ir import MAX_CATEGORY, Comparison, Missing, Trees, bit_sets

WANTED = frozenset(
    [
        *("left_children", "right_children", "split_indices", "split_conditions", "default_left", "split_type"),
        *("categories", "categories_nodes", "categories_segments", "categories_sizes"),
        *("base_weights", "leaf_weights", "tree_param.size_leaf_vector"),
    ]
)
"""The fields of a tree that matter; `Table` has no others."""

_DELETED = 0x7FFFFFFF  # split index of a node that pruning removed and the file kept

Array = npt.NDArray[Any]


class Columns(Protocol):
    """A field of all trees as one new array, and how many of its numbers each tree has, int64, shape (n_trees,)."""

    place: str

    def __len__(self) -> int: ...
    def has(self, key: str) -> bool: ...
    def integers(self, key: str, dtype: type[np.integer[Any]]) -> tuple[Array, Array]: ...
    def reals(self, key: str) -> tuple[Array, Array]: ...
    def leaf_vectors(self) -> list[int]: ...


def columns(gbtree: Fields) -> Columns:
    """The trees of a document.

    Raises
    ------
    InputError
        They are no list of objects.
    """
    trees = gbtree.value.get("trees")
    if isinstance(trees, Table):
        return _OfTable(trees, f"{gbtree.place}.trees")
    return _OfObjects(gbtree.objects("trees"), f"{gbtree.place}.trees")


def lower(trees: Columns, outputs: npt.NDArray[np.int32], weights: npt.NDArray[np.float32] | None) -> Trees:
    """The tree IR of some trees.

    Parameters
    ----------
    trees
        Their fields.
    outputs
        The output that each adds to.
    weights
        What a dart booster multiplies the leaves of each tree by.

    Raises
    ------
    InputError
        A field is missing, of the wrong type or length, or out of range; the message gives its place.
    """
    left, sizes = trees.integers("left_children", np.int32)

    def per_node(key: str, dtype: type[np.integer[Any]]) -> Array:
        values, counts = trees.integers(key, dtype)
        _same(trees, counts, sizes)
        return values

    right = per_node("right_children", np.int32)
    split = per_node("split_indices", np.int32)
    default_left = per_node("default_left", np.uint8) != 0
    kind = per_node("split_type", np.uint8) if trees.has("split_type") else np.zeros(len(left), np.uint8)
    condition, counts = trees.reals("split_conditions")
    _same(trees, counts, sizes)

    place = _Place(trees.place, sizes)
    leaf = left == -1
    place.refuse(~np.isfinite(condition), lambda i: f"its split condition is {condition[i]}")
    place.refuse_field(~leaf & ((split < 0) | (split == _DELETED)), "split_indices", "holds a number that is no feature")
    place.refuse_field(kind > 1, "split_type", "holds an unknown kind of split")
    categorical = (kind == 1) & ~leaf
    listed = categorical.any()
    value = _vectors(trees, place, leaf, right)
    if value is None:
        value = condition * leaf  # all conditions are finite
    if weights is not None:
        factor = np.repeat(weights, sizes)
        with np.errstate(all="ignore"):  # what an infinite weight makes of a leaf, the verifier names
            value = value * (factor if value.ndim == 1 else factor[:, np.newaxis])
    deleted = leaf & (split == _DELETED)
    all_bits = -leaf.view(np.int8)  # -1 at leaves, else 0; arithmetic, as masks of no pattern cost ten times as much
    np.bitwise_or(split, all_bits, out=split)
    np.bitwise_or(right, all_bits, out=right)
    np.multiply(condition, ~(leaf | categorical) if listed else ~leaf, out=condition)
    made = Trees(
        start=place.start,
        output=outputs,
        feature=split,
        threshold=condition,
        left=left,
        right=right,
        comparison=np.where(categorical, Comparison.NOT_IN_SET, Comparison.LESS).astype(np.uint8)
        if listed
        else np.full(len(left), Comparison.LESS, np.uint8),
        missing=np.full(len(left), Missing.NAN, np.uint8),
        default_left=default_left,
        value=value,
        **(_sets(trees, place, categorical) if listed else {}),
    )
    return _without(made, deleted) if deleted.any() else made


def _same(trees: Columns, counts: Array, sizes: Array) -> None:
    """Refuse the first tree whose arrays differ in length."""
    for tree in np.flatnonzero(counts != sizes)[:1].tolist():
        damaged(f"{trees.place}[{tree}]", "has arrays of different length")


class _Place:
    """Nodes of the whole forest by their tree and their number in it."""

    def __init__(self, place: str, sizes: Array) -> None:
        self.place = place
        self.start = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(sizes, out=self.start[1:])

    def tree_of(self, node: int) -> int:
        return int(np.searchsorted(self.start, node, side="right")) - 1

    def refuse(self, wrong: npt.NDArray[np.bool_], what: Callable[[int], str]) -> None:
        """Refuse the first wrong node."""
        if wrong.any():
            node = int(wrong.argmax())
            tree = self.tree_of(node)
            damaged(f"{self.place}[{tree}], node {node - int(self.start[tree])}:", what(node))

    def refuse_field(self, wrong: npt.NDArray[np.bool_], field: str, what: str) -> None:
        """Refuse a field of the first tree that has a wrong node."""
        if wrong.any():
            damaged(f"{self.place}[{self.tree_of(int(wrong.argmax()))}].{field}", what)


def _vectors(trees: Columns, place: _Place, leaf: npt.NDArray[np.bool_], right: Array) -> Array | None:
    """The leaves' values where they are vectors, float32, shape (n_nodes, width); None where they are numbers.

    Since version 3.2 a file lists the leaves' vectors, and a leaf has its place in the list for a right child; before, it
    had a vector for every node.
    """
    widths = set(trees.leaf_vectors())
    if max(widths, default=1) <= 1:
        return None
    if len(widths) > 1:
        damaged(trees.place, "has leaves that are vectors of different length")
    width = widths.pop()
    by_leaf = trees.has("leaf_weights")
    key = "leaf_weights" if by_leaf else "base_weights"
    weights, counts = trees.reals(key)
    nodes = np.diff(place.start)
    wrong = counts % width != 0 if by_leaf else counts != nodes * width
    for tree in np.flatnonzero(wrong)[:1].tolist():
        damaged(f"{trees.place}[{tree}].{key}", f"does not hold vectors of {width} numbers")
    weights = weights.reshape(-1, width)
    if not by_leaf:
        return np.where(leaf[:, np.newaxis], weights, np.float32(0))
    n_vectors = counts // width
    place.refuse(leaf & ((right < 0) | (right >= np.repeat(n_vectors, nodes))), lambda _: "the leaf's vector is not there")
    first = np.repeat(np.cumsum(n_vectors) - n_vectors, nodes)
    value = np.zeros((len(leaf), width), np.float32)
    value[leaf] = weights[first[leaf] + right[leaf]]
    return value


def _sets(trees: Columns, place: _Place, categorical: npt.NDArray[np.bool_]) -> dict[str, Array]:
    """The sets of the categorical nodes, as fields of `Trees`."""
    nodes, counts = trees.integers("categories_nodes", np.int64)
    starts, n_starts = trees.integers("categories_segments", np.int64)
    lengths, n_lengths = trees.integers("categories_sizes", np.int64)
    values, n_values = trees.integers("categories", np.int64)
    for tree in np.flatnonzero((counts != n_starts) | (counts != n_lengths))[:1].tolist():
        damaged(f"{trees.place}[{tree}]", "has categorical arrays of different length")
    tree = np.repeat(np.arange(len(counts)), counts)
    size = np.diff(place.start)[tree]
    inside = (starts >= 0) & (lengths >= 0) & (lengths <= n_values[tree]) & (starts <= n_values[tree] - lengths)
    for entry in np.flatnonzero(~inside)[:1].tolist():
        damaged(f"{trees.place}[{tree[entry]}], node {nodes[entry]}:", "its categories are out of range")
    known = (nodes >= 0) & (nodes < size)
    known[known] = categorical[nodes[known] + place.start[tree[known]]]
    entries = np.flatnonzero(known)
    node = nodes[entries] + place.start[tree[entries]]
    node, first = np.unique(node[::-1], return_index=True)  # of a node listed twice the last entry counts
    entries = entries[::-1][first]
    missing = categorical.copy()
    missing[node] = False
    place.refuse(missing, lambda _: "its categories are missing")

    offset = (np.cumsum(n_values) - n_values)[tree[entries]] + starts[entries]
    lengths = lengths[entries]
    owner = np.repeat(np.arange(len(entries)), lengths)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    listed = values[offset[owner] + within]
    for wrong in np.flatnonzero((listed < 0) | (listed >= MAX_CATEGORY))[:1].tolist():
        number = int(node[owner[wrong]])
        at = place.tree_of(number)
        damaged(f"{trees.place}[{at}], node {number - int(place.start[at])}:", f"its category {listed[wrong]} is out of range")
    set_start, set_words = bit_sets(listed, owner, len(entries))
    return {"set_node": node, "set_start": set_start, "set_words": set_words}


def _without(trees: Trees, deleted: npt.NDArray[np.bool_]) -> Trees:
    """The trees without some nodes, renumbered; a child that is no longer there ends out of range."""
    kept = ~deleted
    kept[trees.start[:-1]] = True  # a root stays whatever it says
    place = np.concatenate([[0], np.cumsum(kept)])
    start = place[trees.start]
    root, new_root = trees.start[trees.tree_of_node], start[trees.tree_of_node]
    size = np.diff(trees.start)[trees.tree_of_node]

    def renumbered(children: Array) -> Array:
        inside = ~trees.is_leaf & (children >= 0) & (children < size)
        target = np.where(inside, root + children, 0)
        there = inside & kept[target]
        gone = np.where(trees.is_leaf, -1, size)  # more than any number that is left
        return np.where(there, place[target] - new_root, gone).astype(np.int32)[kept]

    return Trees(
        start=start,
        output=trees.output,
        feature=trees.feature[kept],
        threshold=trees.threshold[kept],
        left=renumbered(trees.left),
        right=renumbered(trees.right),
        comparison=trees.comparison[kept],
        missing=trees.missing[kept],
        default_left=trees.default_left[kept],
        value=trees.value[kept],
        set_node=place[trees.set_node],
        set_start=trees.set_start,
        set_words=trees.set_words,
    )


class _OfTable:
    """Trees that were read as columns."""

    def __init__(self, table: Table, place: str) -> None:
        self.table = table
        self.place = place

    def __len__(self) -> int:
        return len(self.table)

    def has(self, key: str) -> bool:
        return self.table.has_array(key)

    def integers(self, key: str, dtype: type[np.integer[Any]]) -> tuple[Array, Array]:
        values, counts = self._column(key, "iu", "whole numbers")
        if values.dtype == dtype:
            return values, counts
        limits = np.iinfo(dtype)
        wrong = (values < limits.min) | (values > limits.max)
        if wrong.any():
            damaged(self._where(counts, int(wrong.argmax()), key), f"holds a number beyond {dtype.__name__}")
        return values.astype(dtype), counts

    def reals(self, key: str) -> tuple[Array, Array]:
        values, counts = self._column(key, "iuf", "numbers")
        with np.errstate(over="ignore"):
            return values.astype(np.float32, copy=False), counts

    def leaf_vectors(self) -> list[int]:
        key = "tree_param.size_leaf_vector"
        if not self.table.has_text(key):
            damaged(f"{self.place}[0]", f"has no text {key!r}")
        known = {text.decode("utf-8", "replace") for text in self.table.texts(key)}
        fields = Fields({text: text for text in known}, f"{self.place}, {key}")
        return [fields.integer(text) for text in known]

    def _column(self, key: str, kinds: str, what: str) -> tuple[Array, Array]:
        if not self.table.has_array(key):
            damaged(f"{self.place}[0]", f"has no list {key!r}")
        values, counts = self.table.array(key)
        if values.dtype.kind not in kinds:
            damaged(f"{self.place}[0].{key}", f"should be a list of {what}")
        return values, counts

    def _where(self, counts: Array, index: int, key: str) -> str:
        tree = int(np.searchsorted(np.cumsum(counts), index, side="right"))
        return f"{self.place}[{tree}].{key}"


class _OfObjects:
    """Trees as objects of lists or arrays."""

    def __init__(self, trees: Sequence[Fields], place: str) -> None:
        self.trees = trees
        self.place = place

    def __len__(self) -> int:
        return len(self.trees)

    def has(self, key: str) -> bool:
        return any(tree.has(key) for tree in self.trees)

    def integers(self, key: str, dtype: type[np.integer[Any]]) -> tuple[Array, Array]:
        limits = np.iinfo(dtype)
        chained = self._chained(key)
        if chained is not None and chained[0].dtype.kind in "biu":
            values, counts = chained
            if not len(values) or (values.min() >= limits.min and values.max() <= limits.max):
                return values.astype(dtype), counts
        return self._joined([tree.integers(key, dtype) for tree in self.trees], dtype)

    def reals(self, key: str) -> tuple[Array, Array]:
        chained = self._chained(key)
        if chained is not None and chained[0].dtype.kind in "iuf":
            with np.errstate(over="ignore"):  # too large a number becomes infinite, which is named later
                return chained[0].astype(np.float32), chained[1]
        return self._joined([tree.reals(key, np.float32) for tree in self.trees], np.float32)

    def leaf_vectors(self) -> list[int]:
        return [tree.object("tree_param").integer("size_leaf_vector", 1) for tree in self.trees]

    def _chained(self, key: str) -> tuple[Array, Array] | None:
        """The numbers of all trees, where they are plain lists of numbers; else each tree is to be looked at."""
        lists = [tree.value.get(key) for tree in self.trees]
        if not all(type(part) is list for part in lists):
            return None
        try:
            values = np.array(list(chain.from_iterable(part for part in lists if part is not None)))
        except (ValueError, OverflowError):
            return None
        counts = np.array([len(part) for part in lists if part is not None], np.int64)
        return (values, counts) if values.ndim == 1 and len(values) else None

    def _joined(self, parts: list[Array], dtype: npt.DTypeLike) -> tuple[Array, Array]:
        return np.concatenate([np.empty(0, dtype), *parts]), np.array([len(part) for part in parts], np.int64)
