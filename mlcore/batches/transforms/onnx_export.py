"""Transforms as an ONNX model of plain operators, in double precision between a float input and a float output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from mlcore.batches.blocks import Array
from mlcore.batches.transforms.numpy_backend import Group, Operation

OPSET = 17
_IR_VERSION = 8


def model(groups: Sequence[Group], n_inputs: int, n_outputs: int) -> ModelProto:
    """The model of some groups, checked by ONNX."""
    return _Builder().model(groups, n_inputs, n_outputs)


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, array: Array) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"{operator}_{len(self.nodes)}", **attributes))
        return output

    def whole(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def model(self, groups: Sequence[Group], n_inputs: int, n_outputs: int) -> ModelProto:
        wide = self.node("Cast", "features", to=TensorProto.DOUBLE)
        parts = []
        for group in groups:
            part = self.node("Slice", wide, self.whole(group.first), self.whole(group.last), self.whole(1))
            for operation in group.operations:
                part = self.operation(operation, part)
            parts.append(part)
        self.node("Cast", self.node("Concat", *parts, axis=1), output="transformed", to=TensorProto.FLOAT)
        graph = helper.make_graph(
            self.nodes,
            "transforms",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", n_inputs])],
            [helper.make_tensor_value_info("transformed", TensorProto.FLOAT, ["batch", n_outputs])],
            self.weights,
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="ml4ep"
        )
        checker.check_model(made, full_check=True)
        return made

    def operation(self, operation: Operation, x: str) -> str:
        constants = operation.constants
        match operation.name:
            case "affine":
                return self.node("Div", self.node("Sub", x, self.constant(constants[0])), self.constant(constants[1]))
            case "log":
                # ONNX has no log1p. In double precision the sum loses nothing that a float could show, but near 0.
                shifted = self.node("Add", x, self.constant(constants[0]))
                return self.node("Log", self.node("Add", shifted, self.constant(np.array(1.0))))
            case "clip":
                return self.clipped(x, constants[0], constants[1])
            case "impute":
                return self.node("Where", self.node("IsNaN", x), self.constant(constants[0]), x)
            case "curve":
                return self.curve(operation, x)
            case _:
                return self.node("Cast", self.node("Equal", x, self.constant(constants[0])), to=TensorProto.DOUBLE)

    def clipped(self, x: str, low: Array, high: Array) -> str:
        # Not Min and Max, which runtimes do not agree about for NaN.
        lowest, highest = self.constant(low), self.constant(high)
        above = self.node("Where", self.node("Less", x, lowest), lowest, x)
        return self.node("Where", self.node("Greater", above, highest), highest, above)

    def curve(self, operation: Operation, x: str) -> str:
        knots, heights = operation.constants
        n, n_pieces = len(knots), knots.shape[1] - 1
        held = self.clipped(x, knots[:, 0], knots[:, -1])
        column = self.node("Unsqueeze", held, self.whole(2))
        passed = self.node("Cast", self.node("GreaterOrEqual", column, self.constant(operation.inner())), to=TensorProto.INT64)
        piece = self.node("ReduceSum", passed, self.whole(2), keepdims=0)
        # All features' tables lie one after the other.
        place = self.node("Add", piece, self.constant(np.arange(n, dtype=np.int64) * n_pieces))
        picked = [
            self.node("Gather", self.constant(np.ascontiguousarray(table).reshape(-1)), place)
            for table in (knots[:, :-1], heights[:, :-1], operation.slopes())
        ]
        return self.node("Add", picked[1], self.node("Mul", self.node("Sub", held, picked[0]), picked[2]))
