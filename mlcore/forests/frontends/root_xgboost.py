"""XGBoost forests in the ROOT files that ``TMVA::Experimental::SaveXGBoost`` writes, for ROOT's RBDT.

Two layouts exist, and what is exact here is what RBDT makes of them, which is not always what XGBoost made of its model: RBDT
knows no missing values, only comparisons that NaN fails.

- **Class RBDT** (ROOT 6.32 to 6.36): flat arrays of float cuts, where ``x < cut`` goes left and NaN right. Sums are float; they
  start at the base score and run in the order of the trees. Trees that are a lone leaf are part of the base. A child above 0
  is a cut, one of 0 or below a leaf. The file does not say how many features the training had: as many are expected as the
  last cut on any of them needs.
- **A folder of vectors** (ROOT 6.20 to 6.30): full trees of float or double cuts, level by level, where ``x > cut`` goes right
  and NaN left, so an event at a cut goes left where XGBoost sends it right. -1 marks a leaf. RBDT sums from zero, after it has
  sorted each output's trees by feature and cut of their root; trees alike in both keep the order of the file here.

Both: objective logistic, softmax or the identity, as RBDT computes it.

References
----------
ROOT's ``tmva/tmva/src/RBDT.cxx`` (``ComputeImpl``, ``terminateTree``), ``TMVA/TreeInference/BranchlessTree.hxx`` and
``Forest.hxx``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.tables import FloatName
from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests.frontends import Iterations
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.frontends._rootfile import Buffer, RootObject, content, objects
from mlcore.forests.ir import Comparison, Link, Missing, Source, TreeModel, Trees
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS

FORMAT = "root-xgboost"

_RBDT = "TMVA::Experimental::RBDT"
_VECTORS = ("inputs", "outputs", "thresholds", "objective", "max_depth", "num_trees", "num_inputs", "num_outputs")
_INTS = {"vector<int>": ">i4"}
_REALS = {"vector<float>": ">f4", "vector<double>": ">f8"}
_LINKS = {"identity": Link.IDENTITY, "logistic": Link.SIGMOID, "softmax": Link.SOFTMAX}
_MAX_DEPTH = 30

Array = npt.NDArray[Any]


def matches(head: bytes) -> bool:
    """Any ROOT file; what is in it, only reading tells."""
    return head.startswith(b"root")


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The one model of a ROOT file, not yet verified. Only the chosen rounds are in it, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The file is damaged, or holds no such model, or several; the message lists what there is.
    """
    return _read(data, None)


def read_key(data: bytes, key: str, *, iterations: Iterations) -> TreeModel:
    """The model that a ROOT file holds by this name, not yet verified; else as `read`."""
    return _read(data, key)


def _read(data: bytes, key: str | None) -> TreeModel:
    found = objects(data)
    models = _models(found)
    if not models:
        listed = ", ".join(f"{name[:60]} ({item.class_name[:60]})" for name, item in list(found.items())[:10]) or "nothing"
        raise InputError(
            f"the ROOT file holds no forest, but {listed}",
            hint="Write one by ROOT.TMVA.Experimental.SaveXGBoost(model, key, path, num_inputs=n).",
            code="forest.unknown",
        )
    if key is None and len(models) == 1:
        key = models[0]
    if key not in models:
        what = "several forests" if key is None else f"no forest {key[:80]!r}"
        known = ", ".join(models[:20])
        raise InputError(f"the ROOT file holds {what}: {known}", hint='Name one: load("file.root:key").', code="forest.key")
    if key in found:
        return _flat(content(data, found[key], key), key)
    return _levels(data, found, key)


def _models(found: dict[str, RootObject]) -> list[str]:
    """Names of what can be read: objects of class RBDT, and folders with all the vectors."""
    names = [name for name, item in found.items() if item.class_name == _RBDT]
    folders = {name.rpartition("/")[0] for name in found if "/" in name}
    return names + sorted(folder for folder in folders if all(f"{folder}/{name}" in found for name in _VECTORS))


def _model(
    trees: Trees, base: Array, link: Link, n_features: int, precision: FloatName, version: str, objective: str
) -> TreeModel:
    return TreeModel(
        source=Source(FORMAT, "tmva", version, objective, "gbtree"),
        n_features=n_features,
        n_outputs=len(base),
        feature_names=(),
        trees=trees,
        base=base,
        threshold_dtype=precision,
        sum_dtype=precision,
        link=link,
    )


def _flat(data: bytes, place: str) -> TreeModel:
    """The model of an object of class RBDT."""
    buffer = Buffer(data, place)
    version, _ = buffer.version()
    if version != 1:
        hint = "Files of ROOT 6.32 to 6.36 hold version 1."
        raise UnsupportedFeatureError(f"{place} is of version {version} of the class RBDT", hint=hint)

    def vector(dtype: str) -> Array:
        _, end = buffer.version()
        size = buffer.number("i")
        values = np.frombuffer(buffer.bytes(4 * size), dtype).astype(dtype[1:])
        if buffer.position != end:
            damaged(place, f"has a vector of {size} numbers that ends elsewhere than it announces")
        return values

    root, feature, cut = vector(">i4"), vector(">u4"), vector(">f4")
    left, right, response = vector(">i4"), vector(">i4"), vector(">f4")
    tree_number, base_response = vector(">i4"), vector(">f4")
    base_score, logistic = np.float32(buffer.number("f")), bool(buffer.number("B"))
    buffer.end()

    if not len(feature) == len(cut) == len(left) == len(right):
        damaged(place, "has cuts whose arrays differ in length")
    if len(tree_number) != len(root) or (tree_number < 0).any():
        damaged(place, f"has {len(root)} trees and numbers that do not fit them")
    edges = np.append(root, len(cut)).astype(np.int64)
    if (np.diff(edges) < 1).any() or edges[0] != 0:
        damaged(place, "has trees that do not follow one another")
    last = int(feature.max(initial=0))
    if last >= MAX_FEATURES or not 1 <= len(base_response) <= MAX_OUTPUTS:
        damaged(place, f"has {last + 1} features and {len(base_response)} outputs")

    several = len(base_response) > 2  # RBDT's own rule; two classes have one sum
    output = tree_number % len(base_response) if several else np.zeros_like(root)
    trees = _joined(edges, np.stack([left, right], axis=1).astype(np.int64), feature, cut, response, output, place)
    objective = "softmax" if several else "logistic" if logistic else "identity"
    with np.errstate(over="ignore"):  # an infinite base is refused by the verifier
        base = base_score + (base_response if several else base_response[:1])
    return _model(trees, base, _LINKS[objective], last + 1, "float32", "RBDT 1", objective)


def _joined(edges: Array, child: Array, feature: Array, cut: Array, response: Array, output: Array, place: str) -> Trees:
    """Cuts and leaves of RBDT in one numbering: in each tree first the cuts and then the leaves, as the cuts name them."""
    n_cuts = np.diff(edges)
    tree = np.repeat(np.arange(len(n_cuts)), n_cuts)
    root, end = edges[:-1][tree, None], edges[1:][tree, None]
    leaf = child <= 0
    wrong = np.where(leaf, -child >= len(response), (child <= root) | (child >= end)).any(axis=1)
    for number in np.flatnonzero(wrong)[:1].tolist():
        damaged(f"{place}: tree {tree[number]}, node {number - edges[tree[number]]}:", "its child is out of range")

    leaves_before = np.concatenate([[0], np.cumsum(leaf)])
    first_leaf = leaves_before[2 * edges[:-1]]
    n_leaves = np.diff(leaves_before[2 * edges])
    rank = leaves_before[1:].reshape(-1, 2) - 1 - first_leaf[tree, None]
    number = np.where(leaf, n_cuts[tree, None] + rank, child - root)

    start = np.concatenate([[0], np.cumsum(n_cuts + n_leaves)])
    at_cut = start[tree] + np.arange(len(cut)) - edges[tree]
    at_leaf = (start[tree, None] + number)[leaf]
    n_nodes = int(start[-1])

    def spread(values: Array, where: Array, fill: float, dtype: type[np.generic]) -> Array:
        out = np.full(n_nodes, fill, dtype)
        out[where] = values
        return out

    return Trees(
        start=start.astype(np.int64),
        output=output.astype(np.int32),
        feature=spread(feature, at_cut, -1, np.int32),
        threshold=spread(cut, at_cut, 0, np.float32),
        left=spread(number[:, 0], at_cut, -1, np.int32),
        right=spread(number[:, 1], at_cut, -1, np.int32),
        comparison=np.full(n_nodes, Comparison.LESS, np.uint8),
        missing=np.full(n_nodes, Missing.NAN, np.uint8),
        default_left=np.zeros(n_nodes, bool),  # NaN is never < cut
        value=spread(response[-child[leaf]], at_leaf, 0, np.float32),
    )


def _levels(data: bytes, found: dict[str, RootObject], place: str) -> TreeModel:
    """The model of a folder of vectors."""

    def vector(name: str, kinds: dict[str, str]) -> Array:
        item, where = found[f"{place}/{name}"], f"{place}/{name}"
        if item.class_name not in kinds:
            damaged(where, f"is of class {item.class_name[:60]}")
        buffer = Buffer(content(data, item, where), where)
        dtype = np.dtype(kinds[item.class_name])
        values = np.frombuffer(buffer.bytes(dtype.itemsize * buffer.number("i")), dtype)
        buffer.end()
        return values.astype(dtype.newbyteorder("="))

    def number(name: str, low: int, high: int) -> int:
        values = vector(name, _INTS)
        if len(values) != 1 or not low <= values[0] <= high:
            damaged(f"{place}/{name}", f"should be one number from {low} to {high}")
        return int(values[0])

    depth = number("max_depth", 1, _MAX_DEPTH)
    n_trees = number("num_trees", 0, 1 << 30)
    n_features = number("num_inputs", 1, MAX_FEATURES)
    n_outputs = number("num_outputs", 1, MAX_OUTPUTS)
    objective = _text(data, found, f"{place}/objective")
    if objective not in _LINKS:
        raise UnsupportedFeatureError(f"the RBDT objective {objective[:80]!r} is not known", hint=f"Known: {', '.join(_LINKS)}.")
    inputs, outputs, thresholds = vector("inputs", _INTS), vector("outputs", _INTS), vector("thresholds", _REALS)
    n_inner, n_nodes = (1 << depth) - 1, (1 << depth + 1) - 1
    if (len(inputs), len(outputs), len(thresholds)) != (n_trees * n_inner, n_trees, n_trees * n_nodes):
        damaged(place, f"has vectors that do not hold {n_trees} trees of depth {depth}")
    if (inputs < -1).any() or (inputs >= n_features).any():
        damaged(f"{place}/inputs", "holds a number that is no feature")
    if (outputs < 0).any() or (outputs >= n_outputs).any():
        damaged(f"{place}/outputs", "holds a number that is no output")

    feature = inputs.reshape(n_trees, n_inner)
    threshold = thresholds.reshape(n_trees, n_nodes)
    # RBDT fills the space below a leaf with leaves of feature 0 before it sorts, so that is a lone leaf's feature.
    order = np.lexsort((threshold[:, 0], np.maximum(feature[:, 0], 0), outputs))
    trees = _sparse(feature[order], threshold[order], outputs[order])
    precision: FloatName = "float32" if threshold.dtype == np.float32 else "float64"
    return _model(trees, np.zeros(n_outputs, threshold.dtype), _LINKS[objective], n_features, precision, "", objective)


def _sparse(feature: Array, threshold: Array, output: Array) -> Trees:
    """Full trees, level by level, without what is below a leaf."""
    n_inner = feature.shape[1]
    inner = np.zeros(threshold.shape, bool)
    inner[:, :n_inner] = feature >= 0
    there = np.zeros(threshold.shape, bool)
    there[:, 0] = True
    first, stop = 0, 1
    while first < n_inner:
        split = there[:, first:stop] & inner[:, first:stop]
        there[:, 2 * first + 1 : 2 * stop + 1] = np.repeat(split, 2, axis=1)
        first, stop = stop, 2 * stop + 1
    inner &= there
    number = np.cumsum(there, axis=1) - 1
    positions = np.nonzero(inner)
    split = inner[there]

    def child(side: int) -> Array:
        out = np.full(len(split), -1, np.int32)
        out[split] = number[positions[0], 2 * positions[1] + side]
        return out

    values = threshold[there]
    features = np.full(len(split), -1, np.int32)
    features[split] = feature[positions]
    return Trees(
        start=np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64),
        output=output.astype(np.int32),
        feature=features,
        threshold=np.where(split, values, 0).astype(values.dtype),
        left=child(1),
        right=child(2),
        comparison=np.full(len(split), Comparison.LESS_EQUAL, np.uint8),
        missing=np.full(len(split), Missing.NAN, np.uint8),
        default_left=np.ones(len(split), bool),  # NaN is never > cut
        value=np.where(split, 0, values).astype(values.dtype),
    )


def _text(data: bytes, found: dict[str, RootObject], place: str) -> str:
    """A std::string: its length in one byte, or 255 and then in four."""
    if found[place].class_name != "string":
        damaged(place, f"is of class {found[place].class_name[:60]}")
    buffer = Buffer(content(data, found[place], place), place)
    length = buffer.number("B")
    text = buffer.bytes(buffer.number("i") if length == 255 else length)
    return text.decode("utf-8", "replace")
