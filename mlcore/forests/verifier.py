"""The verifier of the tree IR: every frontend's result passes it before anything else sees it.

It looks at many trees at once, in a few passes over flat arrays that stay in the processor's cache. Only trees that fail are
looked at node by node, to say what is wrong with them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.forests.ir import Comparison, Link, Missing, TreeModel, Trees

MAX_FEATURES = (1 << 24) - 1
MAX_OUTPUTS = 1 << 16
MAX_NODES = (1 << 31) - 2
BLOCK = 1 << 14
"""Nodes that are looked at together, unless a tree has more."""

_INT = np.dtype(np.int32)
_DAMAGED = "The file is damaged or was not written by the library; save the model again."


def verify(model: TreeModel) -> TreeModel:
    """Return the model when it is a forest that every predictor can trust.

    Raises
    ------
    InputError
        Names the tree and the node: children out of range, cycles, nodes shared or never reached, features out of
        range, thresholds that are no numbers, values that are not finite, unknown kinds of node.
    """
    if not 1 <= model.n_features <= MAX_FEATURES:
        raise InputError(f"the forest has {model.n_features} features", hint=f"Between 1 and {MAX_FEATURES} are possible.")
    if not 1 <= model.n_outputs <= MAX_OUTPUTS:
        raise InputError(f"the forest has {model.n_outputs} outputs", hint=f"Between 1 and {MAX_OUTPUTS} are possible.")
    if model.feature_names and len(model.feature_names) != model.n_features:
        message = f"the forest has {model.n_features} features and {len(model.feature_names)} names for them"
        raise InputError(message, hint=_DAMAGED, code="forest.names")
    if model.base.shape != (model.n_outputs,) or not np.isfinite(model.base).all():
        raise InputError("the base score is not one finite number for each output", hint=_DAMAGED, code="forest.base")
    if not (np.isfinite(model.link_scale) and np.isfinite(model.divisor) and model.divisor > 0):
        raise InputError("the scale of the prediction is not a finite number", hint=_DAMAGED, code="forest.scale")
    if model.link in (Link.SIGMOID_PAIR, Link.COMPLEMENT_PAIR) and model.n_outputs != 1:
        raise InputError(f"a pair is made of one sum, the forest has {model.n_outputs}", hint=_DAMAGED, code="forest.link")
    trees = model.trees
    if trees.n_nodes > MAX_NODES:
        raise InputError(f"the forest has {trees.n_nodes} nodes", hint=f"At most {MAX_NODES} are possible.")
    _verify_layout(model, trees)
    edges = np.searchsorted(trees.start, np.arange(0, trees.n_nodes + BLOCK, BLOCK)).tolist()
    for first, last in pairwise(sorted({0, *edges, len(trees)} - {len(trees) + 1})):
        block = _Block(trees.between(first, last), first)
        _verify_nodes(model, block)
        _verify_shape(block)
    return model


class _Block:
    """Some trees of a forest."""

    def __init__(self, trees: Trees, first: int) -> None:
        self.trees = trees
        self.first = first  # their first one's number in the forest

    def reject_first(self, wrong: npt.NDArray[np.bool_], what: str, code: str) -> None:
        """Reject the first of the wrong nodes, if there is one."""
        if wrong.any():
            self.reject(int(wrong.argmax()), what, code)

    def reject(self, node: int, what: str, code: str) -> NoReturn:
        tree = int(self.trees.tree_of_node[node])
        _reject(self.first + tree, node - int(self.trees.start[tree]), what, code)


def _verify_layout(model: TreeModel, trees: Trees) -> None:
    """The arrays fit together and their edges ascend."""
    n_trees, n_nodes, n_sets = len(trees.output), len(trees.feature), len(trees.set_node)
    arrays = (trees.threshold, trees.left, trees.right, trees.comparison, trees.missing, trees.default_left, trees.value)
    if any(len(array) != n_nodes for array in arrays) or {trees.feature.dtype, trees.left.dtype, trees.right.dtype} != {_INT}:
        raise InputError("the arrays of nodes differ in length or type", hint=_DAMAGED, code="forest.length")
    sizes = np.diff(trees.start)
    if len(sizes) != n_trees or trees.start[0] != 0 or trees.start[-1] != n_nodes or (sizes < 0).any():
        raise InputError("the trees do not follow one another", hint=_DAMAGED, code="forest.length")
    for tree in np.flatnonzero(sizes == 0)[:1].tolist():
        _reject(tree, None, "the tree has no node", "forest.empty")
    if n_nodes and (trees.threshold.dtype != model.threshold_dtype or trees.value.dtype != model.sum_dtype):
        raise InputError("the precision of the trees is not the model's", hint=_DAMAGED, code="forest.dtype")
    if n_nodes and trees.value.shape[1:] not in ((), (model.n_outputs,)):
        message = f"a leaf holds values of the shape {trees.value.shape[1:]} for {model.n_outputs} outputs"
        raise InputError(message, hint=_DAMAGED, code="forest.width")
    last = 1 if trees.vector_leaves else model.n_outputs
    for tree in np.flatnonzero((trees.output < 0) | (trees.output >= last))[:1].tolist():
        _reject(tree, None, f"it adds to output {trees.output[tree]} of {last}", "forest.output")
    inside = not n_sets or (trees.set_node[0] >= 0 and trees.set_node[-1] < n_nodes and (np.diff(trees.set_node) > 0).all())
    edges = trees.set_start
    fits = len(edges) == n_sets + 1 and edges[0] == 0 and edges[-1] == len(trees.set_words) and (np.diff(edges) >= 0).all()
    if not (inside and fits):
        raise InputError("the sets of categories do not fit the nodes", hint=_DAMAGED, code="forest.category")


def _verify_nodes(model: TreeModel, block: _Block) -> None:
    """Each node's own fields are in range."""
    trees = block.trees
    leaf = trees.is_leaf
    block.reject_first(trees.feature >= model.n_features, "its feature is out of range", "forest.feature")
    sizes = np.diff(trees.start)
    size = np.repeat(sizes.astype(np.uint32), sizes)
    for child in (trees.left, trees.right):
        beyond = child.view(np.uint32) >= size  # and so is a negative number
        block.reject_first(beyond & ~leaf, "its child is out of range", "forest.child")
    if trees.comparison.max() > max(Comparison):
        block.reject_first(~leaf & (trees.comparison > max(Comparison)), "its comparison is unknown", "forest.comparison")
    if trees.missing.max() > max(Missing):
        block.reject_first(~leaf & (trees.missing > max(Missing)), "its missing value is unknown", "forest.missing")
    no_number = np.isnan(trees.threshold)
    if no_number.any():
        numeric = ~leaf & (trees.comparison <= Comparison.LESS_EQUAL)
        block.reject_first(no_number & numeric, "its threshold is not a number", "forest.threshold")
    finite = np.isfinite(trees.value)
    finite = finite.all(axis=1) if trees.vector_leaves else finite
    if not finite.all():
        block.reject_first(leaf & ~finite, "the leaf's value is not finite", "forest.value")


def _verify_shape(block: _Block) -> None:
    """Each node but the root has one parent, and the root reaches all; the children are in range."""
    trees = block.trees
    inner = np.flatnonzero(~trees.is_leaf)
    left, right = trees.left[inner], trees.right[inner]
    root = np.repeat(trees.start[:-1], np.diff(trees.start))[inner]
    met = np.zeros(trees.n_nodes, bool)
    met[left + root] = True
    met[right + root] = True
    # Where children stand behind their parents there is no way back, and where there are as many children as nodes to be
    # met, and all are met, none has two parents: these are trees. Most files are written like this.
    if 2 * len(inner) + len(trees) == trees.n_nodes == np.count_nonzero(met) + len(trees):
        own = inner - root
        if (left > own).all() and (right > own).all():
            return
    _reject_shape(block, inner, root)


def _reject_shape(block: _Block, inner: npt.NDArray[np.int64], root: npt.NDArray[np.int64]) -> None:
    """Walk through the trees level by level; the first node with two parents, or with none, is named."""
    trees = block.trees
    children = np.concatenate([trees.left[inner] + root, trees.right[inner] + root])
    parents = np.bincount(children, minlength=trees.n_nodes)
    parents[trees.start[:-1]] += 1  # a root that is a child counts twice
    for node in np.flatnonzero(parents > 1)[:1].tolist():
        if _reaches_itself(trees, node):
            block.reject(node, "it is its own descendant: the children form a cycle", "forest.cycle")
        block.reject(node, "it is the child of more than one node", "forest.shared")
    reached = np.zeros(trees.n_nodes, bool)
    level = trees.start[:-1]
    while len(level):
        reached[level] = True
        split = level[trees.feature[level] >= 0]
        first = trees.start[trees.tree_of_node[split]]
        level = np.concatenate([trees.left[split] + first, trees.right[split] + first])
    block.reject_first(~reached, "it cannot be reached from the root", "forest.unreachable")


def _reaches_itself(trees: Trees, start: int) -> bool:
    root = int(trees.start[trees.tree_of_node[start]])
    seen: set[int] = set()
    stack = [start]
    while stack:
        node = stack.pop()
        if trees.feature[node] < 0:
            continue
        for child in (root + int(trees.left[node]), root + int(trees.right[node])):
            if child == start:
                return True
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return False


def _reject(tree: int, node: int | None, what: str, code: str) -> NoReturn:
    place = f"tree {tree}" if node is None else f"tree {tree}, node {node}"
    raise InputError(f"{place}: {what}", hint=_DAMAGED, code=code)
