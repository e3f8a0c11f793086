"""Models of treelite 4 as JSON, as ``model.dump_as_json()`` writes them.

**Comparison.** All of treelite's operators (``<``, ``<=``, ``>``, ``>=``, ``==``) in the precision of the model's thresholds;
``==`` as a search tree of the IR's comparisons (`_equality`). A categorical split sends a number that is not negative and whose
whole part is listed to its listed side.

**Missing values.** NaN takes each split's default direction.

**Sums** are in the precision of the leaves, start at the base score and take the trees in order, as this library does throughout;
treelite adds the base score last, which differs where it is not zero by a rounding or two. Averages divide at the end.

References
----------
treelite 4, ``treelite/model_builder`` and ``gtil``: the reference implementation of its predictions, and the postprocessors'
definitions in "Postprocessor functions" of its documentation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends import Iterations, made_by
from mlcore.forests.frontends._equality import Budget, Written, expanded
from mlcore.forests.frontends._fields import Fields, damaged
from mlcore.forests.frontends._json import booleans, integers, parsed, reals
from mlcore.forests.ir import MAX_CATEGORY, Comparison, FloatName, Link, Missing, Source, Tree, TreeModel
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

FORMAT = "treelite-json"

_LINKS = {
    "exponential": Link.EXP,
    "exponential_standard_ratio": Link.EXP2,
    "hinge": Link.STEP,
    "identity": Link.IDENTITY,
    "identity_multiclass": Link.IDENTITY,
    "logarithm_one_plus_exp": Link.LOG1P_EXP,
    "multiclass_ova": Link.SIGMOID,
    "sigmoid": Link.SIGMOID,
    "signed_square": Link.SIGNED_SQUARE,
    "softmax": Link.SOFTMAX,
}
_EQUAL = 255  # beside the IR's comparisons, and gone before a tree leaves this module
_OPERATORS: dict[str, tuple[int, bool]] = {
    "<": (Comparison.LESS, False),
    "<=": (Comparison.LESS_EQUAL, False),
    ">": (Comparison.LESS_EQUAL, True),
    ">=": (Comparison.LESS, True),
    "==": (_EQUAL, False),
}
"""Comparison, and whether the children change sides."""

_FEW_VALUES, _PER_VALUE = 1 << 22, 64  # as many numbers as vector leaves may take, also for each one in the file


def matches(head: bytes) -> bool:
    """JSON text that begins with treelite's fields."""
    return head.lstrip()[:1] == b"{" and b'"threshold_type"' in head and b'"leaf_output_type"' in head


def accepts(model: object) -> bool:
    """A ``treelite.Model``."""
    return made_by(model, "treelite")


def convert(model: Any, *, iterations: Iterations) -> TreeModel:
    """The trees of a ``treelite.Model``, not yet verified; errors as of `read`."""
    if not hasattr(model, "dump_as_json"):
        raise UnsupportedFeatureError(f"a treelite {type(model).__name__} is no model", hint="Pass a treelite.Model.")
    return read(model.dump_as_json(pretty_print=False).encode(), iterations=iterations)


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a JSON document, not yet verified. It holds the chosen rounds only, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The text is no JSON, or no treelite model; the message gives the place.
    UnsupportedFeatureError
        An unknown postprocessor or operator, or outputs that are not alike.
    """
    root = parsed(data)
    if not root.has("threshold_type"):
        damaged("model", "has no 'threshold_type', as the dumps of treelite 4 do")
    threshold_dtype, sum_dtype = (_precision(root, name) for name in ("threshold_type", "leaf_output_type"))
    n_features, n_targets = root.integer("num_feature"), root.integer("num_target")
    classes = set(integers(root.list("num_class"), "model.num_class").tolist())
    if not 1 <= n_features <= MAX_FEATURES or not 1 <= n_targets <= MAX_OUTPUTS or not classes:
        damaged("model", f"has {n_features} features and {n_targets} targets")
    if len(classes) > 1:
        raise UnsupportedFeatureError("the targets have different numbers of classes", hint="Export each target by itself.")
    n_classes = classes.pop()
    if not 1 <= n_classes <= MAX_OUTPUTS or n_targets * n_classes > MAX_OUTPUTS:
        damaged("model", f"has {n_targets} targets of {n_classes} classes")
    n_outputs = n_targets * n_classes

    name = root.text("postprocessor")
    if name not in _LINKS:
        hint = f"Known are {', '.join(sorted(_LINKS))}."
        raise UnsupportedFeatureError(f"the treelite postprocessor {name[:60]!r} is not known", hint=hint)
    link, scale = _LINKS[name], 1.0
    if link is Link.SOFTMAX and n_targets > 1:
        raise UnsupportedFeatureError("softmax over several targets is not known", hint="Export each target by itself.")
    if link is Link.SIGMOID:
        scale = _real(root, "sigmoid_alpha")
    elif link is Link.EXP2:
        ratio = _real(root, "ratio_c")
        if not ratio > 0:
            damaged("model.ratio_c", f"is {ratio}, not positive")
        scale = 1 / ratio

    trees, adds = _trees(root, n_targets, n_classes, threshold_dtype, sum_dtype)
    base = reals(root.list("base_scores"), np.float64, "model.base_scores")
    if len(base) != n_outputs:
        damaged("model.base_scores", f"holds {len(base)} numbers for {n_outputs} outputs")
    divisor = 1
    if booleans([root.value.get("average_tree_output")], "model.average_tree_output")[0] and len(trees):
        if adds.min() != adds.max():
            raise UnsupportedFeatureError("the outputs average different numbers of trees", hint="Export each output by itself.")
        divisor = int(adds.max())
    return TreeModel(
        source=Source(FORMAT, "treelite", "", root.text("task_type", ""), name),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=(),
        trees=trees,
        base=(base * divisor).astype(sum_dtype),
        threshold_dtype=threshold_dtype,
        sum_dtype=sum_dtype,
        link=link,
        link_scale=scale,
        divisor=float(divisor),
    )


def _precision(root: Fields, name: str) -> FloatName:
    match root.text(name):
        case "float32":
            return "float32"
        case "float64":
            return "float64"
        case other:
            raise UnsupportedFeatureError(f"model.{name} is {other[:40]!r}", hint="float32 and float64 can be read.")


def _real(root: Fields, name: str) -> float:
    return float(reals([root.value.get(name, 1.0)], np.float64, f"model.{name}")[0])


def _trees(
    root: Fields, n_targets: int, n_classes: int, threshold_dtype: FloatName, sum_dtype: FloatName
) -> tuple[Any, npt.NDArray[np.int64]]:
    """The trees, and how many of them add to each output."""
    documents = root.objects("trees")
    target, category = (integers(root.list(name), f"model.{name}") for name in ("target_id", "class_id"))
    if not len(target) == len(category) == len(documents):
        damaged("model", f"has {len(documents)} trees and outputs for {len(target)} and {len(category)}")
    out_of_range = (target < -1) | (target >= n_targets) | (category < -1) | (category >= n_classes)
    for number in np.flatnonzero(out_of_range)[:1].tolist():
        damaged(f"model.trees[{number}]", f"adds to target {target[number]} and class {category[number]}")
    n_outputs = n_targets * n_classes
    numbers = np.arange(n_outputs).reshape(n_targets, n_classes)
    adds = np.zeros(n_outputs, np.int64)
    vector = n_outputs > 1 and bool(((target < 0) | (category < 0)).any())
    budget = Budget(n_outputs if vector else 1)
    trees = []
    n_values = n_written = 0
    for number, document in enumerate(documents):
        rows = slice(None) if target[number] < 0 else slice(int(target[number]), int(target[number]) + 1)
        columns = slice(None) if category[number] < 0 else slice(int(category[number]), int(category[number]) + 1)
        outputs = numbers[rows, columns].ravel()
        adds[outputs] += 1
        tree, value = _tree(document, len(outputs), threshold_dtype, sum_dtype)
        if vector:
            n_written += value.size
            n_values += len(value) * n_outputs
            if n_values > max(_FEW_VALUES, _PER_VALUE * n_written):
                raise UnsupportedFeatureError("the leaves hold few of very many outputs", hint="Export fewer outputs.")
            spread = np.zeros((len(value), n_outputs), sum_dtype)
            spread[:, outputs] = value
            tree = replace(tree, value=spread)
        else:
            tree = replace(tree, value=value[:, 0], output=int(outputs[0]))
        trees.append(_without_equality(tree, document.place, budget))
    return tuple(trees), adds


def _tree(document: Fields, width: int, threshold_dtype: FloatName, sum_dtype: FloatName) -> tuple[Tree, npt.NDArray[Any]]:
    """A tree whose comparisons may be `_EQUAL`, and the numbers that its leaves add, shape (n_nodes, width)."""
    place = document.place
    nodes = document.list("nodes")
    if not all(isinstance(node, dict) for node in nodes):
        damaged(f"{place}.nodes", "should be objects")
    if integers([node.get("node_id") for node in nodes], f"{place}.nodes, node_id").tolist() != list(range(len(nodes))):
        damaged(f"{place}.nodes", "should stand in the order of their node_id")
    leaf = np.array(["leaf_value" in node for node in nodes], np.bool_)
    inner = [node for node in nodes if "leaf_value" not in node]

    def column(name: str, default: Any = None) -> list[Any]:
        return [node.get(name, default) for node in inner]

    def padded(values: npt.NDArray[Any], filler: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        whole = np.full(len(nodes), filler, dtype)
        whole[~leaf] = values
        return whole

    feature = integers(column("split_feature_id"), f"{place}.nodes, split_feature_id")
    left, right = (integers(column(name), f"{place}.nodes, {name}") for name in ("left_child", "right_child"))
    if ((feature < 0) | (feature > MAX_FEATURES)).any():
        damaged(f"{place}.nodes", "have a split_feature_id out of range")
    if ((left < 0) | (left >= len(nodes)) | (right < 0) | (right >= len(nodes))).any():
        damaged(f"{place}.nodes", "have a child out of range")
    default_left = booleans(column("default_left"), f"{place}.nodes, default_left")
    kinds = column("node_type")
    categorical = np.array([kind == "categorical_test_node" for kind in kinds], np.bool_)
    for kind in kinds:
        if kind not in ("categorical_test_node", "numerical_test_node"):
            damaged(f"{place}.nodes", f"have a node_type {str(kind)[:40]!r}")
    threshold = reals(
        [0.0 if c else node.get("threshold") for node, c in zip(inner, categorical, strict=True)], np.float64, place
    )
    comparison, swapped = _comparisons(inner, categorical, place)
    listed = {
        number: _categories(nodes[number], f"{place}.nodes[{number}]") for number in np.flatnonzero(~leaf)[categorical].tolist()
    }
    with np.errstate(over="ignore"):
        thresholds = threshold.astype(threshold_dtype)
    tree = Tree(
        output=0,
        feature=padded(feature, -1, np.int32),
        threshold=padded(thresholds, 0, threshold_dtype),
        left=padded(np.where(swapped, right, left), -1, np.int32),
        right=padded(np.where(swapped, left, right), -1, np.int32),
        comparison=padded(comparison, Comparison.LESS, np.uint8),
        missing=np.full(len(nodes), Missing.NAN, np.uint8),
        default_left=padded(default_left ^ swapped, False, np.bool_),
        value=np.zeros(len(nodes), sum_dtype),
        categories=listed,
    )
    value = np.zeros((len(nodes), width), sum_dtype)
    if leaf.any():
        written = [node["leaf_value"] for node in nodes if "leaf_value" in node]
        flat = [item for value in written for item in (value if isinstance(value, list) else (value,))]
        if any(len(value) != width for value in written if isinstance(value, list)) or len(flat) != len(written) * width:
            damaged(f"{place}.nodes", f"have a leaf_value that is not {width} numbers")
        value[leaf] = reals(flat, sum_dtype, f"{place}.nodes, leaf_value").reshape(-1, width)
    return tree, value


def _comparisons(
    nodes: list[dict[str, Any]], categorical: npt.NDArray[np.bool_], place: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Comparison of each split, and whether its children change sides."""
    found: list[tuple[int, bool]] = []
    for node, is_set in zip(nodes, categorical.tolist(), strict=True):
        if is_set:
            # Its listed numbers go right where it says so, which is what NOT_IN_SET does.
            found.append((Comparison.NOT_IN_SET, not node.get("category_list_right_child", False)))
            continue
        operator = node.get("comparison_op")
        if not isinstance(operator, str) or operator not in _OPERATORS:
            raise UnsupportedFeatureError(f"{place} compares by {str(operator)[:40]!r}", hint=f"Known: {' '.join(_OPERATORS)}")
        found.append(_OPERATORS[operator])
    return np.array([kind for kind, _ in found], np.uint8), np.array([swap for _, swap in found], np.bool_)


def _categories(node: dict[str, Any], place: str) -> tuple[int, ...]:
    listed = node.get("category_list")
    if not isinstance(listed, list):
        damaged(place, "has no category_list")
    numbers = integers(listed, f"{place}.category_list")
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < MAX_CATEGORY:
        raise UnsupportedFeatureError(
            f"{place} lists a category beyond {MAX_CATEGORY - 1}", hint="Number the categories from 0 on."
        )
    return tuple(np.unique(numbers).tolist())


def _without_equality(tree: Tree, place: str, budget: Budget) -> Tree:
    nodes = np.flatnonzero(~tree.is_leaf & (tree.comparison == _EQUAL)).tolist()
    if not nodes:
        return tree
    if tree.categories:
        raise UnsupportedFeatureError(f"{place} has both == and categorical splits", hint="Write == as a set of one category.")
    if np.isnan(tree.threshold[nodes]).any():
        damaged(place, "compares with NaN")
    values = {node: frozenset([float(tree.threshold[node])]) for node in nodes}
    wide = tree.threshold.astype(np.float64)
    written = Written(tree.feature, wide, tree.left, tree.right, tree.comparison, tree.default_left, values)
    new, source = expanded(written, place, budget)
    value = np.where((source >= 0).reshape(-1, *[1] * (tree.value.ndim - 1)), tree.value[source], 0).astype(tree.value.dtype)
    return Tree(
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
