"""The nodes of ONNX's tree operators as flat arrays, tree after tree, each from its root on.

Versions 1 and 3 list nodes by number of tree and of node, and weights by the leaf that they belong to; version 5 lists splits and
leaves apart and links them by index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends._equality import Budget, Written, expanded
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.frontends._onnx_graph import Attributes
from mlcore.forests.ir import Comparison, Missing, Tree, Trees
from mlcore.forests.verifier import MAX_FEATURES

LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF = range(8)
_MODES = {f"BRANCH_{name}".encode(): i for i, name in enumerate(("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"))} | {b"LEAF": LEAF}

_FEW_VALUES, _PER_WEIGHT = 1 << 22, 64
"""Vector leaves may take `_FEW_VALUES` numbers, or `_PER_WEIGHT` for each weight in the file: few ask for little memory."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Weights:
    """What leaves add, one entry a weight.

    Attributes
    ----------
    node, output, value
        The leaf by its flat number, the output that it adds to, and what.
    """

    node: Ints
    output: Ints
    value: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The trees as the file has them.

    Attributes
    ----------
    start
        int64, shape (n_trees + 1,): first node of each tree.
    mode
        uint8, shape (n_nodes,).
    feature, true, false
        int64, shape (n_nodes,); children are numbered within their tree, -1 where the file's number is no node.
    threshold
        float32 or float64, shape (n_nodes,).
    tracks
        bool, shape (n_nodes,): whether NaN takes the true branch.
    members
        The numbers of each node that tests membership, by flat number.
    """

    start: Ints
    mode: npt.NDArray[np.uint8]
    feature: Ints
    threshold: npt.NDArray[Any]
    true: Ints
    false: Ints
    tracks: npt.NDArray[np.bool_]
    weights: Weights
    members: dict[int, frozenset[float]]

    @property
    def n_trees(self) -> int:
        return len(self.start) - 1


def by_numbers(attributes: Attributes, prefix: str) -> Ensemble:
    """The trees of versions 1 and 3; `prefix` is ``"class"`` or ``"target"``, as the attributes of the leaves begin."""
    place = attributes.place
    tree, node = attributes.integers("nodes_treeids"), attributes.integers("nodes_nodeids")
    n = len(tree)
    mode = _modes(attributes)
    columns: list[npt.NDArray[Any]] = [node, mode]
    columns += [attributes.integers(f"nodes_{name}") for name in ("featureids", "truenodeids", "falsenodeids")]
    columns.append(attributes.reals("nodes_values"))
    name = "nodes_missing_value_tracks_true"
    columns.append(
        attributes.integers(name) if attributes.has(name) and len(attributes.integers(name)) else np.zeros(n, np.int64)
    )
    if any(len(column) != n for column in columns) or n == 0:
        damaged(place, "has no nodes, or lists of nodes that differ in length")

    # Trees in the order of their first nodes, each one's nodes in the order of the file, so that its first is its root.
    numbers, first, inverse = np.unique(tree, return_index=True, return_inverse=True)
    rank = np.empty(len(numbers), np.int64)
    rank[np.argsort(first)] = np.arange(len(numbers))
    order = np.argsort(rank[inverse], kind="stable")
    node, mode, feature, true, false, threshold, tracks = (column[order] for column in columns)
    of_tree = rank[inverse][order]
    start = np.searchsorted(of_tree, np.arange(len(numbers) + 1)).astype(np.int64)

    names = np.unique(node)
    keys = of_tree * len(names) + np.searchsorted(names, node)
    by_key = np.argsort(keys, kind="stable")
    keys = keys[by_key]
    for repeated in by_key[1:][keys[1:] == keys[:-1]][:1].tolist():
        damaged(place, f"has node {node[repeated]} of tree {tree[order][repeated]} twice")

    def flat(of: Ints, wanted: Ints) -> Ints:
        """Flat numbers of nodes given by tree and number; -1 where there is none."""
        at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
        key = of * len(names) + at
        found = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        return np.where((names[at] == wanted) & (keys[found] == key) & (of >= 0), by_key[found], -1)

    def local(wanted: Ints) -> Ints:
        found = flat(of_tree, wanted)
        return np.where(found >= 0, found - start[of_tree], -1)

    leaf_tree, leaf_node = attributes.integers(f"{prefix}_treeids"), attributes.integers(f"{prefix}_nodeids")
    output, value = attributes.integers(f"{prefix}_ids"), attributes.reals(f"{prefix}_weights")
    if not len(leaf_tree) == len(leaf_node) == len(output) == len(value):
        damaged(place, "has lists of weights that differ in length")
    at = np.minimum(np.searchsorted(numbers, leaf_tree), len(numbers) - 1)
    leaf = flat(np.where(numbers[at] == leaf_tree, rank[at], -1), leaf_node)
    for wrong in np.flatnonzero((leaf < 0) | (mode[leaf] != LEAF))[:1].tolist():
        damaged(place, f"has a weight for node {leaf_node[wrong]} of tree {leaf_tree[wrong]}, which is no leaf")
    inner = mode != LEAF
    return Ensemble(
        start=start,
        mode=mode,
        feature=feature,
        threshold=threshold,
        true=np.where(inner, local(true), -1),
        false=np.where(inner, local(false), -1),
        tracks=tracks != 0,
        weights=Weights(leaf, output, value),
        members={},
    )


def by_index(attributes: Attributes) -> Ensemble:
    """The trees of version 5."""
    place = attributes.place
    mode = attributes.tensor("nodes_modes", "u")
    threshold = attributes.tensor("nodes_splits", "f")
    n = len(mode)
    names = ("featureids", "truenodeids", "falsenodeids", "trueleafs", "falseleafs")
    feature, true, false, true_leaf, false_leaf = (attributes.integers(f"nodes_{name}") for name in names)
    name = "nodes_missing_value_tracks_true"
    tracks = attributes.integers(name) if attributes.has(name) and len(attributes.integers(name)) else np.zeros(n, np.int64)
    if any(len(column) != n for column in (threshold, feature, true, false, true_leaf, false_leaf, tracks)):
        damaged(place, "has lists of nodes that differ in length")
    if (mode > MEMBER).any():
        damaged(f"{place}.nodes_modes", "holds an unknown mode")
    output, value = attributes.integers("leaf_targetids"), attributes.tensor("leaf_weights", "f")
    if len(output) != len(value):
        damaged(place, "has lists of leaves that differ in length")
    roots = attributes.integers("tree_roots")
    if not len(roots):
        damaged(place, "has no tree")

    # All trees level by level. Each split has one parent at most, so cycles end here; a leaf may stand in several places.
    seen = np.zeros(n, np.bool_)
    index, of_tree = roots, np.arange(len(roots))
    if ((index < 0) | (index >= n)).any():
        damaged(f"{place}.tree_roots", "names a node that is not there")
    is_leaf = (true_leaf[index] != 0) & (false_leaf[index] != 0) & (true[index] == false[index])
    index = np.where(is_leaf, true[index], index)  # a tree of one leaf is written as a split that does not matter
    levels: list[tuple[npt.NDArray[Any], Ints, Ints]] = []
    children: list[tuple[Ints, Ints]] = []
    n_found = 0
    while len(index):
        for wrong in np.flatnonzero((index < 0) | (index >= np.where(is_leaf, len(value), n)))[:1].tolist():
            damaged(place, f"leads to node or leaf {index[wrong]}, which is not there")
        splits = index[~is_leaf]
        if seen[splits].any() or len(np.unique(splits)) != len(splits):
            damaged(place, "reaches a node by more than one way")
        seen[splits] = True
        levels.append((is_leaf, index, of_tree))
        n_found += len(index)
        k = len(splits)
        first, second = np.full(len(index), -1), np.full(len(index), -1)
        first[~is_leaf] = n_found + np.arange(k)
        second[~is_leaf] = n_found + k + np.arange(k)
        children.append((first, second))
        of_tree = np.tile(of_tree[~is_leaf], 2)
        index = np.concatenate([true[splits], false[splits]])
        is_leaf = np.concatenate([true_leaf[splits], false_leaf[splits]]) != 0
    is_leaf, index, of_tree = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    to_true, to_false = (np.concatenate(parts) for parts in zip(*children, strict=True))

    order = np.argsort(of_tree, kind="stable")
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    of_tree, is_leaf, index = of_tree[order], is_leaf[order], index[order]
    start = np.searchsorted(of_tree, np.arange(len(roots) + 1)).astype(np.int64)

    def local(child: Ints) -> Ints:
        return np.where(is_leaf, -1, position[child[order]] - start[of_tree])

    split = np.where(is_leaf, 0, index)
    places = np.flatnonzero(is_leaf)
    members = _members(attributes, mode)
    return Ensemble(
        start=start,
        mode=np.where(is_leaf, LEAF, mode[split]).astype(np.uint8),
        feature=feature[split],
        threshold=threshold[split],
        true=local(to_true),
        false=local(to_false),
        tracks=tracks[split] != 0,
        weights=Weights(places, output[index[places]], value[index[places]]),
        members={flat: members[int(index[flat])] for flat in np.flatnonzero(~is_leaf & (mode[split] == MEMBER)).tolist()},
    )


def _modes(attributes: Attributes) -> npt.NDArray[np.uint8]:
    written = attributes.strings("nodes_modes")
    unknown = sorted(set(written) - _MODES.keys())
    if unknown:
        damaged(f"{attributes.place}.nodes_modes", f"holds {unknown[0][:40]!r}, which is no mode")
    return np.fromiter((_MODES[mode] for mode in written), np.uint8, len(written))


def _members(attributes: Attributes, mode: npt.NDArray[np.uint8]) -> dict[int, frozenset[float]]:
    """The numbers of each node that tests membership: lists in the order of the nodes, each ended by NaN."""
    nodes = np.flatnonzero(mode == MEMBER).tolist()
    if not nodes:
        return {}
    values = attributes.tensor("membership_values", "f").astype(np.float64)
    ends = np.flatnonzero(np.isnan(values))
    if len(ends) != len(nodes):
        damaged(f"{attributes.place}.membership_values", f"holds {len(ends)} lists for {len(nodes)} nodes")
    lists = np.split(values, ends + 1)
    return {node: frozenset(listed[:-1].tolist()) for node, listed in zip(nodes, lists, strict=False)}


def lowered(ensemble: Ensemble, n_outputs: int, threshold_dtype: str, sum_dtype: str, place: str) -> Trees:
    """The trees as the IR has them."""
    mode, leaf = ensemble.mode, ensemble.mode == LEAF
    if ((ensemble.feature < 0) | (ensemble.feature > MAX_FEATURES))[~leaf].any():
        damaged(place, "has a feature out of range")
    swapped = (mode == GTE) | (mode == GT) | (mode == NEQ)  # x >= t is not x < t: the branches change sides
    value, output = _values(ensemble, n_outputs, sum_dtype, place)
    trees = Trees(
        start=ensemble.start,
        output=output,
        feature=np.where(leaf, -1, ensemble.feature).astype(np.int32),
        threshold=np.where(leaf, 0, ensemble.threshold).astype(threshold_dtype),
        left=np.where(swapped, ensemble.false, ensemble.true).astype(np.int32),
        right=np.where(swapped, ensemble.true, ensemble.false).astype(np.int32),
        comparison=np.where((mode == LEQ) | (mode == GT), Comparison.LESS_EQUAL, Comparison.LESS).astype(np.uint8),
        missing=np.full(len(mode), Missing.NAN, np.uint8),
        default_left=(ensemble.tracks ^ swapped) & (mode != NEQ),  # NaN differs from any number
        value=value,
    )
    equality = (mode == EQ) | (mode == NEQ) | (mode == MEMBER)
    if not equality.any():
        return trees
    return _without_equality(ensemble, trees, equality, place)


def _without_equality(ensemble: Ensemble, trees: Trees, equality: npt.NDArray[np.bool_], place: str) -> Trees:
    budget = Budget(trees.value.shape[1] if trees.vector_leaves else 1)
    lowered_trees: list[Tree] = []
    for number, tree in enumerate(trees):
        start, end = int(ensemble.start[number]), int(ensemble.start[number + 1])
        nodes = np.flatnonzero(equality[start:end]).tolist()
        if not nodes:
            lowered_trees.append(tree)
            continue
        values = {node: ensemble.members.get(start + node, frozenset([float(tree.threshold[node])])) for node in nodes}
        for node, listed in values.items():
            if any(np.isnan(value) for value in listed):
                damaged(f"{place}, tree {number}, node {node}", "compares with NaN")
        written = Written(
            tree.feature, tree.threshold.astype(np.float64), tree.left, tree.right, tree.comparison, tree.default_left, values
        )
        new, source = expanded(written, f"{place}, tree {number}", budget)
        leaves = source >= 0
        value = np.zeros((len(source), *tree.value.shape[1:]), tree.value.dtype)
        value[leaves] = tree.value[source[leaves]]
        lowered_trees.append(
            Tree(
                output=tree.output,
                feature=new.feature,
                threshold=new.threshold.astype(tree.threshold.dtype),
                left=new.left,
                right=new.right,
                comparison=new.comparison,
                missing=np.full(len(source), Missing.NAN, np.uint8),
                default_left=new.default_left,
                value=value,
            )
        )
    return Trees.joined(lowered_trees)


def _values(ensemble: Ensemble, n_outputs: int, sum_dtype: str, place: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
    """The leaves' values, as numbers where every tree adds to one output only, and the trees' outputs."""
    weights, n_nodes = ensemble.weights, len(ensemble.mode)
    if ((weights.output < 0) | (weights.output >= n_outputs)).any():
        damaged(place, f"has a weight for an output beyond its {n_outputs}")
    tree = np.searchsorted(ensemble.start, weights.node, side="right") - 1
    least, most = np.full(ensemble.n_trees, n_outputs), np.full(ensemble.n_trees, -1)
    np.minimum.at(least, tree, weights.output)
    np.maximum.at(most, tree, weights.output)
    added = weights.value.astype(sum_dtype)
    if (most <= least).all():
        value = np.zeros(n_nodes, sum_dtype)
        np.add.at(value, weights.node, added)
        return value, np.maximum(most, 0).astype(np.int32)
    if n_nodes * n_outputs > max(_FEW_VALUES, _PER_WEIGHT * len(added)):
        message = f"{place} has {n_nodes} nodes of {n_outputs} outputs and only {len(added)} weights"
        raise UnsupportedFeatureError(message, hint="Export one tree for each output.")
    value = np.zeros((n_nodes, n_outputs), sum_dtype)
    np.add.at(value, (weights.node, weights.output), added)
    return value, np.zeros(ensemble.n_trees, np.int32)
