"""Tree ensembles of ai.onnx.ml as tables that code walks through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import Node

COMPARISONS = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
MEMBER = 6
_MISSING = 8

Vote = tuple[int, float]
"""A target and a weight."""


@dataclass
class TreeTables:
    """Nodes and leaves of all trees.

    Attributes
    ----------
    nodes
        Feature, comparison (with 8 if a missing value holds), where to go if it holds, where if not, number of a set. A child is
        a node, or a leaf as -1 - its number.
    splits, sets
        What nodes compare with.
    leaves
        The votes of each leaf.
    roots
        Of each tree, a node or a leaf.
    """

    nodes: list[list[int]] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    sets: list[list[float]] = field(default_factory=list)
    leaves: list[list[Vote]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)

    @property
    def n_features(self) -> int:
        """The least number of features that the trees can be applied to."""
        return max((node[0] + 1 for node in self.nodes), default=0)

    def targets(self) -> set[int]:
        """The targets that leaves vote for."""
        return {target for leaf in self.leaves for target, _ in leaf}

    def check(self, where: str, n_targets: int) -> None:
        """Refuse tables that a walk could leave, or never come to an end in.

        Raises
        ------
        InputError
            With what is wrong.
        """
        for feature, *_ in self.nodes:
            if feature < 0:
                raise InputError(f"{where} has a node that looks at feature {feature}", code="network.trees")
        for target in self.targets():
            if not 0 <= target < n_targets:
                raise InputError(f"{where} has a leaf that votes for {target}, of {n_targets} targets", code="network.trees")
        for child in (*self.roots, *(child for node in self.nodes for child in node[2:4])):
            if not -len(self.leaves) <= child < len(self.nodes):
                raise InputError(f"{where} has a node whose child is not there", code="network.trees")
        # Nodes from which every way comes to an end, from the leaves up.
        parents: list[list[int]] = [[] for _ in self.nodes]
        open_ways = [0] * len(self.nodes)
        for number, node in enumerate(self.nodes):
            for child in node[2:4]:
                if child >= 0:
                    parents[child].append(number)
                    open_ways[number] += 1
        ended = [number for number, count in enumerate(open_ways) if count == 0]
        n_ended = 0
        while ended:
            n_ended += 1
            for parent in parents[ended.pop()]:
                open_ways[parent] -= 1
                if open_ways[parent] == 0:
                    ended.append(parent)
        if n_ended < len(self.nodes):
            raise InputError(f"{where} has trees that run in a circle", code="network.trees")

    def write(self, code: Writer, dtype: Any) -> str:
        """Write the tables into the weights; C++ of an ``nn::Trees`` of an element type."""

        def table(items: Sequence[Any], kind: Any, *shape: int) -> str:
            # Nothing is read from a table without rows, which yet needs an address.
            return code.weights(np.array(items or [0] * (shape[0] if shape else 1), kind))

        begins = np.cumsum([0, *map(len, self.leaves)])
        set_begins = np.cumsum([0, *map(len, self.sets)])
        votes = [vote for leaf in self.leaves for vote in leaf]
        names = [
            table(self.nodes, np.int32, 5),
            table(self.splits, dtype),
            table([item for items in self.sets for item in items], dtype),
            code.weights(set_begins.astype(np.int32)),
            code.weights(begins.astype(np.int32)),
            table([target for target, _ in votes], np.int32),
            table([weight for _, weight in votes], dtype),
            table(self.roots, np.int32),
        ]
        name = code.fresh("trees")
        cpp = "double" if np.dtype(dtype) == np.float64 else "float"
        code.line(f"const nn::Trees<{cpp}> {name}{{{', '.join(names)}, {len(self.roots)}}};")
        return name


def _listed(node: Node, key: str, count: int, default: Sequence[Any] | None = None) -> list[Any]:
    """An attribute of one entry for each node, as numbers or as a tensor."""
    tensor = node.attributes.get(f"{key}_as_tensor")
    found = tensor.reshape(-1).tolist() if isinstance(tensor, np.ndarray) else node.attributes.get(key)
    if found is None and default is not None:
        found = default
    if not isinstance(found, list) or len(found) != count:
        raise InputError(f"{node.where} needs {count} entries of {key!r}", code="network.trees")
    return found


def _count(node: Node, key: str) -> int:
    found = node.attributes.get(key)
    return len(found) if isinstance(found, list) else 0


def read_ensemble(node: Node, prefix: str) -> TreeTables:
    """The trees of a TreeEnsembleClassifier (prefix ``class``) or TreeEnsembleRegressor (``target``).

    Raises
    ------
    InputError
        The attributes contradict each other.
    """
    n = _count(node, "nodes_treeids")
    tree_ids, node_ids = _listed(node, "nodes_treeids", n), _listed(node, "nodes_nodeids", n)
    features, modes = _listed(node, "nodes_featureids", n), _listed(node, "nodes_modes", n)
    values = _listed(node, "nodes_values", n)
    children = _listed(node, "nodes_truenodeids", n), _listed(node, "nodes_falsenodeids", n)
    missing = _listed(node, "nodes_missing_value_tracks_true", n, [0] * n)
    n_votes = _count(node, f"{prefix}_nodeids")
    votes: dict[tuple[int, int], list[Vote]] = {}
    fields = [_listed(node, f"{prefix}_{key}", n_votes) for key in ("treeids", "nodeids", "ids", "weights")]
    for tree, number, target, weight in zip(*fields, strict=True):
        votes.setdefault((tree, number), []).append((int(target), float(weight)))
    result = TreeTables()
    places: dict[tuple[int, int], int] = {}
    for i, key in enumerate(zip(tree_ids, node_ids, strict=True)):
        if key in places:
            raise InputError(f"{node.where} has two nodes {key[1]} in tree {key[0]}", code="network.trees")
        if modes[i] == "LEAF":
            result.leaves.append(votes.get(key, []))
            places[key] = -len(result.leaves)
        elif modes[i] in COMPARISONS[:MEMBER]:
            result.nodes.append([int(features[i]), COMPARISONS.index(modes[i]) + (_MISSING if missing[i] else 0), 0, 0, 0])
            result.splits.append(float(values[i]))
            places[key] = len(result.nodes) - 1
        else:
            raise InputError(f"{node.where} has the unknown node mode {modes[i]!r}", code="network.trees")
    pointed = set()
    for i, key in enumerate(zip(tree_ids, node_ids, strict=True)):
        place = places[key]
        if place < 0:
            continue
        for side, child in enumerate((children[0][i], children[1][i])):
            found = places.get((key[0], child))
            if found is None:
                raise InputError(f"{node.where} has no node {child} in tree {key[0]}", code="network.trees")
            result.nodes[place][2 + side] = found
            pointed.add((key[0], child))
    roots: dict[int, int] = {}
    for key, place in places.items():
        if key not in pointed:
            if key[0] in roots:
                raise InputError(f"{node.where} has two roots in tree {key[0]}", code="network.trees")
            roots[key[0]] = place
    if set(roots) != set(tree_ids):
        raise InputError(f"{node.where} has trees that run in a circle", code="network.trees")
    result.roots = [roots[tree] for tree in dict.fromkeys(tree_ids)]
    return result


def read_flat_ensemble(node: Node) -> TreeTables:
    """The trees of a TreeEnsemble of version 5, whose leaves have tables of their own.

    Raises
    ------
    InputError
        The attributes contradict each other.
    """
    n = _count(node, "nodes_featureids")
    features, splits = _listed(node, "nodes_featureids", n), node.array("nodes_splits")
    modes = node.array("nodes_modes")
    children = [(_listed(node, f"nodes_{side}nodeids", n), _listed(node, f"nodes_{side}leafs", n)) for side in ("true", "false")]
    missing = _listed(node, "nodes_missing_value_tracks_true", n, [0] * n)
    n_leaves = _count(node, "leaf_targetids")
    weights = node.array("leaf_weights")
    for key, array, count in (("nodes_splits", splits, n), ("nodes_modes", modes, n), ("leaf_weights", weights, n_leaves)):
        if array is None or array.size != count:
            raise InputError(f"{node.where} needs {count} entries of {key!r}", code="network.trees")
    result = TreeTables()
    targets = _listed(node, "leaf_targetids", n_leaves)
    result.leaves = [[(int(t), float(w))] for t, w in zip(targets, weights.reshape(-1), strict=True)]
    result.splits = [float(item) for item in splits.reshape(-1)]
    sets = _membership(node)
    for i in range(n):
        mode = int(modes.reshape(-1)[i])
        if not 0 <= mode <= MEMBER:
            raise InputError(f"{node.where} has the unknown node mode {mode}", code="network.trees")
        number = 0
        if mode == MEMBER:
            if not sets:
                raise InputError(f"{node.where} has fewer sets of members than nodes that ask for one", code="network.trees")
            number = len(result.sets)
            result.sets.append(sets.pop(0))
        ways = [-1 - int(ids[i]) if leafs[i] else int(ids[i]) for ids, leafs in children]
        if any(ids[i] < 0 for ids, _ in children):
            raise InputError(f"{node.where} has a node whose child is not there", code="network.trees")
        result.nodes.append([int(features[i]), mode + (_MISSING if missing[i] else 0), *ways, number])
    result.roots = [int(root) for root in node.integers("tree_roots") or []]
    if any(not 0 <= root < n for root in result.roots):
        raise InputError(f"{node.where} has a root that is not there", code="network.trees")
    return result


def _membership(node: Node) -> list[list[float]]:
    """The sets of members, which NaN sets apart, in the order of the nodes."""
    array = node.array("membership_values")
    sets: list[list[float]] = []
    current: list[float] = []
    for item in [] if array is None else array.reshape(-1):
        if np.isnan(item):
            sets.append(current)
            current = []
        else:
            current.append(float(item))
    return sets
