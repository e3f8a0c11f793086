"""A forest as flat arrays and as ONNX, for the peers that have no reader of their own for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.forests.ir import Comparison, TreeModel

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Flat:
    """All nodes of all trees, for float32 rows; children are numbered within their tree.

    Attributes
    ----------
    less_equal
        Whether ``x <= threshold`` goes left; else ``x < threshold``.
    threshold
        float32. A double that is met by float32 features decides them as the largest float32 below or at it does.
    """

    n_features: int
    n_outputs: int
    less_equal: bool
    start: Array
    output: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    default_left: Array
    value: Array
    base: Array

    @classmethod
    def of(cls, model: TreeModel) -> Flat:
        """The flat form of a forest of numeric splits."""
        trees = model.trees
        comparisons = {Comparison(number) for number in np.unique(trees.comparison[~trees.is_leaf]).tolist()}
        if len(comparisons) > 1 or not comparisons <= {Comparison.LESS, Comparison.LESS_EQUAL} or trees.vector_leaves:
            raise ValueError("only forests of one numeric comparison are compared with the peers")
        less_equal = comparisons == {Comparison.LESS_EQUAL}
        return cls(
            model.n_features,
            model.n_outputs,
            less_equal,
            trees.start,
            trees.output,
            trees.feature,
            rounded(trees.threshold, down=less_equal),
            trees.left,
            trees.right,
            trees.default_left,
            trees.value.astype(np.float64),
            model.base.astype(np.float64),
        )

    def write(self, path: Path) -> None:
        """The file that `native/flat.hpp` reads."""
        head = [len(self.output), len(self.feature), self.n_features, self.n_outputs, int(self.less_equal)]
        integers = (head, self.start, self.output, self.feature, self.left, self.right, self.default_left)
        with path.open("wb") as file:
            for numbers in integers:
                file.write(np.asarray(numbers).astype(np.int32).tobytes())
            file.write(self.threshold.astype(np.float32).tobytes())
            file.write(self.value.tobytes())
            file.write(self.base.tobytes())

    def write_arrays(self, path: Path) -> None:
        """The same by names, for the programs that run in a peer's own environment."""
        np.savez(path, **self.__dict__)


def rounded(threshold: Array, *, down: bool) -> Array:
    """Thresholds as float32, so that float32 features are decided alike: rounded down for ``<=``, up for ``<``."""
    single = threshold.astype(np.float32)
    if down:
        return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
    return np.where(single < threshold, np.nextafter(single, np.float32(np.inf)), single)


def write_onnx(flat: Flat, path: Path) -> None:
    """The forest as one TreeEnsembleRegressor from ``rows`` to ``margin``."""
    from onnx import TensorProto, checker, helper

    leaf = flat.feature < 0
    sizes = np.diff(flat.start)
    trees = np.repeat(np.arange(len(sizes)), sizes)
    nodes = np.arange(len(leaf)) - np.repeat(flat.start[:-1], sizes)
    branch = "BRANCH_LEQ" if flat.less_equal else "BRANCH_LT"
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        ["margin"],
        domain="ai.onnx.ml",
        n_targets=flat.n_outputs,
        base_values=flat.base.astype(np.float32).tolist(),
        nodes_treeids=trees.tolist(),
        nodes_nodeids=nodes.tolist(),
        nodes_featureids=np.where(leaf, 0, flat.feature).tolist(),
        nodes_modes=np.where(leaf, "LEAF", branch).tolist(),
        nodes_values=np.where(leaf, 0, flat.threshold).astype(np.float32).tolist(),
        nodes_truenodeids=np.where(leaf, 0, flat.left).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, flat.right).tolist(),
        nodes_missing_value_tracks_true=(flat.default_left & ~leaf).astype(int).tolist(),
        target_treeids=trees[leaf].tolist(),
        target_nodeids=nodes[leaf].tolist(),
        target_ids=np.repeat(flat.output, sizes)[leaf].tolist(),
        target_weights=flat.value[leaf].astype(np.float32).tolist(),
    )
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, flat.n_features])
    margin = helper.make_tensor_value_info("margin", TensorProto.FLOAT, [None, flat.n_outputs])
    graph = helper.make_graph([node], "forest", [rows], [margin])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
