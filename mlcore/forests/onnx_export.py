"""A forest as an ONNX model: one TreeEnsembleRegressor and the link behind it, for runtimes that read ONNX.

The decisions are those of the IR as far as the operator can express them; what it cannot is refused by name. Sums are the
runtime's own: ONNX does not say in which order and precision it adds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.ir import Comparison, Link, Missing, TreeModel

_SOURCE_HINT = "Runtimes of ONNX cannot run this model."


def to_onnx(model: TreeModel) -> bytes:
    """The serialized ONNX model, from ``rows`` (`threshold_dtype`, shape (n_rows, n_features)) to ``prediction`` (float32).

    Raises
    ------
    UnsupportedFeatureError
        The forest splits by sets of categories, sends zeros the way of missing values, or is too large for one file.
    """
    from onnx import TensorProto, helper

    trees = model.trees
    leaf = trees.is_leaf
    inner = ~leaf
    if (trees.comparison[inner] >= Comparison.IN_SET).any():
        raise UnsupportedFeatureError("ONNX has no splits by sets of categories", hint=_SOURCE_HINT)
    less_equal = trees.comparison == Comparison.LESS_EQUAL
    zero_left = np.where(less_equal, trees.threshold >= 0, trees.threshold > 0)
    as_zero = trees.missing == Missing.ZERO
    if (inner & as_zero & (trees.default_left != zero_left)).any():
        raise UnsupportedFeatureError("ONNX has no splits where zero counts as missing", hint=_SOURCE_HINT)
    missing_left = np.where(trees.missing == Missing.NONE, zero_left, trees.default_left)
    double = model.threshold_dtype == "float64"
    number = trees.tree_of_node.astype(np.int64)
    within = np.arange(trees.n_nodes) - trees.start[number]
    leaves = np.flatnonzero(leaf)
    width = model.n_outputs if trees.vector_leaves else 1
    targets = np.tile(np.arange(width), len(leaves)) if trees.vector_leaves else trees.output[number[leaves]]
    reals: dict[str, npt.NDArray[Any]] = {
        "nodes_values": np.where(leaf, 0, trees.threshold),
        "target_weights": trees.value[leaves].ravel(),
        "base_values": model.base,
    }
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    if double:
        real_attributes: dict[str, Any] = {
            f"{name}_as_tensor": helper.make_tensor(name, kind, [len(values)], values.astype(np.float64).tolist())
            for name, values in reals.items()
        }
    else:
        real_attributes = {name: values.astype(np.float32).tolist() for name, values in reals.items()}
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        ["prediction" if _plain(model) else "margin"],
        domain="ai.onnx.ml",
        n_targets=model.n_outputs,
        nodes_treeids=number.tolist(),
        nodes_nodeids=within.tolist(),
        nodes_featureids=np.where(leaf, 0, trees.feature).tolist(),
        nodes_modes=np.where(leaf, "LEAF", np.where(less_equal, "BRANCH_LEQ", "BRANCH_LT")).tolist(),
        nodes_truenodeids=np.where(leaf, 0, trees.left).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, trees.right).tolist(),
        nodes_missing_value_tracks_true=(missing_left & inner).astype(np.int64).tolist(),
        target_treeids=np.repeat(number[leaves], width).tolist(),
        target_nodeids=np.repeat(within[leaves], width).tolist(),
        target_ids=targets.tolist(),
        **real_attributes,
    )
    nodes, constants = ([], {}) if _plain(model) else _link(model)
    graph = helper.make_graph(
        [ensemble, *nodes],
        "forest",
        [helper.make_tensor_value_info("rows", kind, [None, model.n_features])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, model.n_predictions])],
        [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if proto.ByteSize() >= 2**31:
        raise UnsupportedFeatureError("the forest is too large for one ONNX file", hint="An ONNX file holds up to 2 GB.")
    return bytes(proto.SerializeToString())


def _plain(model: TreeModel) -> bool:
    """Whether the sums are the prediction."""
    return model.link is Link.IDENTITY and model.divisor == 1


def _link(model: TreeModel) -> tuple[list[Any], dict[str, float]]:
    """Nodes from ``margin`` to ``prediction``, and the scalars that they use."""
    from onnx import TensorProto, helper

    scale = model.link_scale
    steps: dict[Link, list[tuple[str, list[str], dict[str, Any]]]] = {
        Link.IDENTITY: [("Identity", ["x"], {})],
        Link.SIGMOID: [("Mul", ["x", "scale"], {}), ("Sigmoid", ["y0"], {})],
        Link.EXP: [("Exp", ["x"], {})],
        Link.SOFTMAX: [("Softmax", ["x"], {"axis": 1})],
        Link.ARGMAX: [("ArgMax", ["x"], {"axis": 1, "keepdims": 1}), ("Cast", ["y0"], {"to": TensorProto.FLOAT})],
        Link.STEP: [("Greater", ["x", "zero"], {}), ("Cast", ["y0"], {"to": TensorProto.FLOAT})],
        Link.LOG1P_EXP: [("Softplus", ["x"], {})],
        Link.SIGNED_SQUARE: [("Abs", ["x"], {}), ("Mul", ["x", "y0"], {})],
        Link.SIGMOID_PAIR: [
            ("Mul", ["x", "scale"], {}),
            ("Sigmoid", ["y0"], {}),
            ("Sub", ["one", "y1"], {}),
            ("Concat", ["y2", "y1"], {"axis": 1}),
        ],
        Link.TANH_HALF: [("Tanh", ["x"], {})],
        Link.COMPLEMENT_PAIR: [("Sub", ["one", "x"], {}), ("Concat", ["y0", "x"], {"axis": 1})],
        Link.EXP2: [("Mul", ["x", "scale"], {}), ("Neg", ["y0"], {}), ("Pow", ["two", "y1"], {})],
    }
    if model.link not in steps:
        raise UnsupportedFeatureError(f"the link {model.link} has no ONNX form yet", hint=_SOURCE_HINT)
    chain = steps[model.link]
    nodes = [helper.make_node("Div", ["margin", "divisor"], ["x"])]
    for number, (operator, inputs, attributes) in enumerate(chain):
        output = "prediction" if number + 1 == len(chain) else f"y{number}"
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
    constants = {"divisor": model.divisor, "scale": scale, "zero": 0.0, "one": 1.0, "two": 2.0}
    used = {name for node in nodes for name in node.input}
    return nodes, {name: value for name, value in constants.items() if name in used}
