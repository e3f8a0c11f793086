"""The graph around the one tree operator of an ONNX-ML model: what feeds it, and how its scores become predictions.

Exporters put a few operators beside the trees. Those that keep every number, or that are a link of the tree IR, are read;
any other is refused by name. Labels are made from the scores, so whatever makes them is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.ir import FloatName, Link

ML_DOMAIN = "ai.onnx.ml"
TREE_OPERATORS = ("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor")

# Numbers of onnx.TensorProto and onnx.AttributeProto, which are part of the file format.
_FLOAT, _INT32, _INT64, _DOUBLE = 1, 6, 7, 11
_KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}

_LABEL_OPERATORS = {
    "ArrayFeatureExtractor",
    "Cast",
    "Flatten",
    "Gather",
    "Identity",
    "LabelEncoder",
    "Reshape",
    "Squeeze",
    "ZipMap",
}
_HINT = "The file is truncated or damaged; export the model again."


class Attributes:
    """The attributes of a node, each read as the type it must have."""

    def __init__(self, node: Any) -> None:
        self.place = f"node {str(node.name)[:80]!r} ({str(node.op_type)[:80]})"
        self._found: dict[str, Any] = {}
        for attribute in node.attribute:
            if attribute.name in self._found:
                damaged(self.place, f"has the attribute {attribute.name[:80]!r} twice")
            self._found[attribute.name] = attribute

    def has(self, name: str) -> bool:
        return name in self._found

    def integer(self, name: str, default: int | None = None) -> int:
        return int(default) if default is not None and not self.has(name) else int(self._value(name, "i"))

    def text(self, name: str, default: str) -> str:
        return _decoded(self._value(name, "s"), self.place) if self.has(name) else default

    def integers(self, name: str) -> npt.NDArray[np.int64]:
        values = self._value(name, "ints")
        return np.fromiter(values, np.int64, len(values))

    def strings(self, name: str) -> list[bytes]:
        return list(self._value(name, "strings"))

    def texts(self, name: str) -> list[str]:
        return [_decoded(value, f"{self.place}.{name}") for value in self.strings(name)]

    def reals(self, name: str) -> npt.NDArray[Any]:
        """The numbers of `name` as float32, or of the tensor ``name_as_tensor`` as it stores them."""
        if self.has(f"{name}_as_tensor"):
            if self.has(name):
                damaged(self.place, f"has both {name} and {name}_as_tensor")
            return self.tensor(f"{name}_as_tensor", "f")
        values = self._value(name, "floats")
        return np.fromiter(values, np.float32, len(values))

    def tensor(self, name: str, kind: str) -> npt.NDArray[Any]:
        """A tensor, flat; `kind` is ``"f"`` for float or double and ``"u"`` for unsigned bytes."""
        array = tensor_values(self._value(name, "t"), f"{self.place}.{name}")
        allowed = ("float32", "float64") if kind == "f" else ("uint8",)
        if array.dtype.name not in allowed:
            raise UnsupportedFeatureError(
                f"{self.place}.{name} holds {array.dtype.name}", hint=f"It can be read as {' or '.join(allowed)}."
            )
        return array.ravel()

    def _value(self, name: str, field: str) -> Any:
        if name not in self._found:
            damaged(self.place, f"has no attribute {name!r}")
        attribute = self._found[name]
        if _KINDS.get(attribute.type) != field:
            damaged(f"{self.place}.{name}", "is of the wrong type")
        return getattr(attribute, field)


@dataclass(frozen=True, eq=False)
class TreeOperator:
    """The tree operator of a graph.

    Attributes
    ----------
    node
        The ``NodeProto``.
    input_dtype
        Precision of its input, in which features meet thresholds.
    n_features
        Width of the graph's input where the graph says, else None.
    """

    node: Any
    input_dtype: FloatName
    n_features: int | None

    @property
    def scores(self) -> str:
        """Name of its output that holds the scores."""
        number = 1 if self.node.op_type == "TreeEnsembleClassifier" else 0
        return str(self.node.output[number]) if len(self.node.output) > number else ""


@dataclass(frozen=True)
class Tail:
    """What follows a tree operator's scores: the link, and a positive factor of the prediction after it."""

    link: Link
    factor: float = 1.0


def parsed(data: bytes) -> Any:
    """The ``ModelProto`` of a file."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own error, whose class differs between its implementations
        message = f"the file is no ONNX model: {str(error)[:200]}"
        raise InputError(message, hint=_HINT, code="forest.onnx") from None
    if not model.HasField("graph"):
        raise InputError("the ONNX model has no graph", hint=_HINT, code="forest.onnx")
    return model


def tree_operator(graph: Any) -> TreeOperator:
    """The one tree operator of a graph, and what feeds it."""
    found = [node for node in graph.node if node.op_type in TREE_OPERATORS and node.domain == ML_DOMAIN]
    if not found:
        operators = sorted({str(node.op_type)[:40] for node in graph.node})
        raise InputError(
            f"the ONNX graph has no tree operator; it has {', '.join(operators[:8]) or 'no node'}",
            hint=f"A forest is one of {', '.join(TREE_OPERATORS)}. Neural networks are read elsewhere.",
            code="forest.onnx",
        )
    if len(found) > 1:
        raise UnsupportedFeatureError(f"the ONNX graph has {len(found)} tree operators", hint="Export each forest by itself.")
    if not found[0].input:
        damaged("the tree operator", "has no input")
    dtype, n_features = _source(graph, str(found[0].input[0]))
    return TreeOperator(found[0], dtype, n_features)


def _source(graph: Any, name: str) -> tuple[FloatName, int | None]:
    """Precision and width of a value that comes from the graph's input through operators that keep its numbers."""
    makers = {str(output): node for node in graph.node for output in node.output}
    inputs = {str(value.name): value for value in graph.input}
    casts: list[int] = []
    for _ in range(len(graph.node) + 1):
        if name in inputs:
            break
        node = makers.get(name)
        if node is None or not node.input:
            damaged("the graph", f"takes the trees' features from {name[:80]!r}, which is no input of it")
        if node.op_type not in ("Cast", "Identity", "Flatten", "Reshape"):
            raise _refusal(node, "stands before the trees")
        if node.op_type == "Cast":
            casts.append(Attributes(node).integer("to"))
        name = str(node.input[0])
    else:
        damaged("the graph", "feeds the trees from a cycle of nodes")
    tensor = inputs[name].type.tensor_type
    kinds = [int(tensor.elem_type), *reversed(casts)]
    for kind in kinds:
        if kind not in (_FLOAT, _DOUBLE, _INT32, _INT64):
            raise UnsupportedFeatureError(
                f"the trees' features are of ONNX type {kind}", hint="Export with float or double input."
            )
    rounds = any(kind in (_INT32, _INT64) for kind in kinds[1:])  # a cast to whole numbers cuts features
    narrows = kinds[-1] == _DOUBLE and _FLOAT in kinds and kinds.index(_FLOAT) > 0
    if rounds or narrows:
        raise UnsupportedFeatureError("a Cast before the trees loses digits of the features", hint="Export without it.")
    dimensions = tensor.shape.dim
    width = int(dimensions[-1].dim_value) if len(dimensions) == 2 else 0
    return ("float64" if kinds[-1] == _DOUBLE else "float32"), (width if width > 0 else None)


def tail(graph: Any, operator: TreeOperator, link: Link, n_columns: int) -> Tail:
    """The link from the tree operator's sums to the graph's prediction, its first output that comes from the scores.

    Parameters
    ----------
    graph
        The ``GraphProto``.
    operator
        Its tree operator.
    link
        The operator's own link.
    n_columns
        Columns of its scores.

    Raises
    ------
    UnsupportedFeatureError
        Another operator takes part, or no output holds the scores.
    """
    constants = dict(_constants(graph))
    tails = {operator.scores: Tail(link)}
    labels = {str(output) for output in operator.node.output} - {operator.scores}
    before = _before(graph, operator)
    for number, node in enumerate(graph.node):
        if number in before or node.op_type == "Constant":
            continue
        inputs = [str(name) for name in node.input]
        scored = [name for name in inputs if name in tails]
        if scored and node.op_type != "ArgMax":
            if len(node.output) != 1 or len(scored) != 1:
                raise _refusal(node, "follows the trees")
            others = [name for name in inputs if name not in tails]
            tails[str(node.output[0])] = _after(node, tails[scored[0]], [constants.get(name) for name in others], n_columns)
        elif scored or (node.op_type in _LABEL_OPERATORS and labels.intersection(inputs)):
            labels.update(str(name) for name in node.output)
        else:
            raise _refusal(node, "stands beside the trees")
    for output in graph.output:
        if output.name in tails:
            return tails[output.name]
    raise UnsupportedFeatureError("no output of the ONNX graph holds the trees' scores", hint="Export the probabilities as well.")


def _before(graph: Any, operator: TreeOperator) -> set[int]:
    """Numbers of the tree operator's node and of those that feed it."""
    wanted, numbers = {str(operator.node.input[0])}, set()
    for number in range(len(graph.node) - 1, -1, -1):
        node = graph.node[number]
        if node == operator.node:
            numbers.add(number)
        elif wanted.intersection(str(name) for name in node.output):
            numbers.add(number)
            wanted.update(str(name) for name in node.input)
    return numbers


def _after(node: Any, before: Tail, others: list[npt.NDArray[Any] | None], n_columns: int) -> Tail:
    """What an operator makes of the scores; `others` are its further inputs, None where they are not constant."""
    match node.op_type:
        case "Identity" | "ZipMap":
            return before
        case "Cast" if Attributes(node).integer("to") in (_FLOAT, _DOUBLE):
            return before
        case "Flatten" if Attributes(node).integer("axis", 1) == 1:
            return before
        case "Squeeze" if n_columns == 1:
            return before
        case "Reshape" if len(others) == 1 and others[0] is not None and _keeps_rows(others[0], n_columns):
            return before
        case "Exp" if before.link is Link.IDENTITY:
            return replace(before, link=Link.EXP)
        case "Sigmoid" if before.link is Link.IDENTITY:
            return replace(before, link=Link.SIGMOID)
        case "Softmax" if before.link is Link.IDENTITY and Attributes(node).integer("axis", -1) in (-1, 1):
            return replace(before, link=Link.SOFTMAX)
        case "Mul" if len(others) == 1 and others[0] is not None and others[0].size and others[0].dtype.kind == "f":
            factor = float(others[0].ravel()[0])
            if (others[0] == factor).all() and (factor == 1 or (before.link is Link.EXP and 0 < factor < np.inf)):
                return replace(before, factor=before.factor * factor)
    raise _refusal(node, "follows the trees")


def _keeps_rows(shape: npt.NDArray[Any], n_columns: int) -> bool:
    """Whether a shape leaves one row an event."""
    sizes = shape.ravel().tolist()
    return sizes in ([-1, n_columns], [0, n_columns], [0, -1]) or (n_columns == 1 and sizes == [-1])


def _constants(graph: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Values of the small tensors that the file holds."""
    for tensor in graph.initializer:
        if not _too_large(tensor):
            yield str(tensor.name), tensor_values(tensor, f"initializer {str(tensor.name)[:80]!r}")
    for node in graph.node:
        if node.op_type == "Constant" and len(node.output) == 1:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.type == 4 and not _too_large(attribute.t):
                    yield str(node.output[0]), tensor_values(attribute.t, "a Constant node")


def _too_large(tensor: Any) -> bool:
    """Whether it is more than a shape or a factor, or of a type that is neither: nothing that is looked at."""
    size = 1
    for dimension in tensor.dims:
        size *= max(1, int(dimension))
    return size > 4096 or tensor.data_type not in (_FLOAT, _DOUBLE, _INT32, _INT64)


def tensor_values(tensor: Any, place: str) -> npt.NDArray[Any]:
    """The numbers of a ``TensorProto`` that the file itself holds."""
    from onnx import numpy_helper

    if tensor.data_location == 1 or len(tensor.external_data):
        raise UnsupportedFeatureError(f"{place} lies in another file", hint="Save the model in one file.")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # a damaged tensor raises whatever NumPy stumbles upon
        damaged(place, f"is a damaged tensor: {str(error)[:120]}")


def _decoded(value: bytes, place: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        damaged(place, "is no UTF-8 text")


def _refusal(node: Any, where: str) -> UnsupportedFeatureError:
    operator = f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)
    return UnsupportedFeatureError(
        f"the operator {operator[:80]} {where}",
        hint="Only trees with casts, reshapes, ZipMap, Exp, Sigmoid and Softmax around them are read; export the forest alone.",
    )
