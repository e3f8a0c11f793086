"""The verifier of the tree IR: every frontend's result passes it before anything else sees it."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from mlcore.errors import InputError
from mlcore.forests.ir import MAX_CATEGORY, Comparison, Missing, Tree, TreeModel

MAX_FEATURES = (1 << 24) - 1
MAX_OUTPUTS = 1 << 16
MAX_NODES = (1 << 31) - 2

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
    if model.n_nodes > MAX_NODES:
        raise InputError(f"the forest has {model.n_nodes} nodes", hint=f"At most {MAX_NODES} are possible.")
    for number, tree in enumerate(model.trees):
        _verify_tree(model, number, tree)
    return model


def _verify_tree(model: TreeModel, number: int, tree: Tree) -> None:
    n = tree.n_nodes
    if n == 0:
        _reject(number, None, "the tree has no node", "forest.empty")
    arrays = (tree.threshold, tree.left, tree.right, tree.comparison, tree.missing, tree.default_left, tree.value)
    if any(len(array) != n for array in arrays):
        _reject(number, None, "its arrays differ in length", "forest.length")
    if tree.threshold.dtype != model.threshold_dtype or tree.value.dtype != model.sum_dtype:
        _reject(number, None, "its precision is not the model's", "forest.dtype")
    if not 0 <= tree.output < model.n_outputs:
        _reject(number, None, f"it adds to output {tree.output} of {model.n_outputs}", "forest.output")

    inner = np.flatnonzero(tree.feature >= 0)
    _first(number, inner[tree.feature[inner] >= model.n_features], "its feature is out of range", "forest.feature")
    for child in (tree.left, tree.right):
        wrong = inner[(child[inner] < 0) | (child[inner] >= n)]
        _first(number, wrong, "its child is out of range", "forest.child")
    _verify_shape(number, tree, inner)

    _first(number, inner[tree.comparison[inner] > max(Comparison)], "its comparison is unknown", "forest.comparison")
    _first(number, inner[tree.missing[inner] > max(Missing)], "its missing value is unknown", "forest.missing")
    numeric = inner[tree.comparison[inner] <= Comparison.LESS_EQUAL]
    _first(number, numeric[np.isnan(tree.threshold[numeric])], "its threshold is not a number", "forest.threshold")
    leaves = np.flatnonzero(tree.feature < 0)
    _first(number, leaves[~np.isfinite(tree.value[leaves])], "the leaf's value is not finite", "forest.value")
    for node, categories in tree.categories.items():
        if categories and not (min(categories) >= 0 and max(categories) < MAX_CATEGORY):
            _reject(number, node, "its categories are out of range", "forest.category")


def _verify_shape(number: int, tree: Tree, inner: np.ndarray) -> None:
    """Each node but the root has one parent, and the root reaches all."""
    children = np.concatenate([tree.left[inner], tree.right[inner]])
    parents = np.bincount(children, minlength=tree.n_nodes)
    parents[0] += 1  # a root that is a child counts twice
    repeated = np.flatnonzero(parents > 1)
    for node in repeated[:1].tolist():
        if _reaches_itself(tree, node):
            _reject(number, node, "it is its own descendant: the children form a cycle", "forest.cycle")
        _reject(number, node, "it is the child of more than one node", "forest.shared")
    reached = np.zeros(tree.n_nodes, bool)
    level = np.zeros(1, np.int64)
    while len(level):
        reached[level] = True
        split = level[tree.feature[level] >= 0]
        level = np.concatenate([tree.left[split], tree.right[split]])
    _first(number, np.flatnonzero(~reached), "it cannot be reached from the root", "forest.unreachable")


def _reaches_itself(tree: Tree, start: int) -> bool:
    seen: set[int] = set()
    stack = [start]
    while stack:
        node = stack.pop()
        if tree.feature[node] < 0:
            continue
        for child in (int(tree.left[node]), int(tree.right[node])):
            if child == start:
                return True
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return False


def _first(tree: int, nodes: np.ndarray, what: str, code: str) -> None:
    """Reject the first of the wrong nodes, if there is one."""
    if len(nodes):
        _reject(tree, int(nodes[0]), what, code)


def _reject(tree: int, node: int | None, what: str, code: str) -> NoReturn:
    place = f"tree {tree}" if node is None else f"tree {tree}, node {node}"
    raise InputError(f"{place}: {what}", hint=_DAMAGED, code=code)
