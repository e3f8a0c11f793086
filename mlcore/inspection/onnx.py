"""ONNX models, read by onnx: operators, inputs, outputs, weights, and a drawing of the graph. Nothing is run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mlcore.errors import InputError
from mlcore.inspection.drawing import Node, draw
from mlcore.inspection.report import Inspection, Rows, Value, clean, shape_text, size_text, tables

MAX_DEPTH = 32
STANDARD = "ai.onnx"


def inspect(path: Path) -> Inspection:
    """What an ONNX model computes, from what and with how many parameters. External data are checked, not read.

    Raises
    ------
    InputError
        It is no model, a tensor does not hold what it claims, or external data lie outside the model's folder.
    """
    import onnx

    model = onnx.load_model(path, format="protobuf", load_external_data=False)
    if not model.ir_version or not model.HasField("graph"):
        raise InputError("the file holds no ONNX graph", hint="Export the model again.", code="onnx.empty")
    graph = model.graph
    external = _check_tensors(model, path)
    operators: Counter[tuple[str, str]] = Counter()
    functions = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model):
        operators[node.domain or STANDARD, node.op_type] += 1
    counted, stored = _parameters(graph)
    facts: tuple[tuple[str, Value], ...] = (
        ("Graph", clean(graph.name)),
        ("Nodes", sum(operators.values())),
        ("Operators", len(operators)),
        ("Parameters", counted),
        ("Parameter size", size_text(stored)),
        ("Opset", _opset_text(model)),
        ("IR version", model.ir_version),
        ("Written by", clean(f"{model.producer_name} {model.producer_version}".strip() or "unknown")),
        *((("Model version", model.model_version),) if model.model_version else ()),
        *((("Domain", clean(model.domain)),) if model.domain else ()),
        *((("Functions", len(functions)),) if functions else ()),
        *((("External data", clean(", ".join(external))),) if external else ()),
        ("Size", size_text(path.stat().st_size)),
    )
    operator_rows, opset_rows, metadata = Rows(), Rows(), Rows(most=100)
    for (domain, name), count in operators.most_common():
        operator_rows.add(name, domain, count, "function of the model" if (domain, name) in functions else "")
    for opset in model.opset_import:
        opset_rows.add(opset.domain or STANDARD, opset.version)
    for entry in model.metadata_props:
        metadata.add(entry.key, entry.value)
    initial = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    return Inspection(
        "onnx",
        "ONNX model",
        facts,
        tables(
            _values([value for value in graph.input if value.name not in initial]).table("Inputs", ("Name", "Type", "Shape")),
            _values(graph.output).table("Outputs", ("Name", "Type", "Shape")),
            operator_rows.table("Operators", ("Operator", "Domain", "Count", "Note")),
            opset_rows.table("Opsets", ("Domain", "Version")),
            metadata.table("Metadata", ("Key", "Value")),
        ),
        graph=_drawing(graph, initial) or None,
    )


def _opset_text(model: Any) -> str:
    return clean(", ".join(f"{opset.domain or STANDARD} {opset.version}" for opset in model.opset_import) or "none")


def _nodes(model: Any) -> Iterator[Any]:
    """Every node of the graph, of the graphs inside its nodes, and of the functions."""
    for graph in (model.graph, *model.functions):
        yield from _nodes_of(graph, MAX_DEPTH)


def _nodes_of(graph: Any, depth: int) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for inner in _inner_graphs(node) if depth else ():
            yield from _nodes_of(inner, depth - 1)


def _inner_graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


# Tensors.


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor that the model holds."""
    graphs = [model.graph, *(inner for node in _nodes(model) for inner in _inner_graphs(node))]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def _check_tensors(model: Any, path: Path) -> list[str]:
    """Check that each tensor holds what it claims; the names of the external files, with those missing marked."""
    files: dict[str, bool] = {}
    for tensor in _tensors(model):
        if any(size < 0 for size in tensor.dims):
            raise _damaged(f"the tensor {clean(tensor.name)!r} has a negative size")
        if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            if location not in files:
                files[location] = _external(path, clean(tensor.name), location).is_file()
        elif tensor.HasField("raw_data"):
            bits = _bits(tensor.data_type)
            expected = -(-math.prod(tensor.dims) * bits // 8)
            if bits and len(tensor.raw_data) != expected:
                held = len(tensor.raw_data)
                raise _damaged(f"the tensor {clean(tensor.name)!r} claims {expected:,} bytes and holds {held:,}")
    return [name if present else f"{name} (not here)" for name, present in files.items()]


def _external(path: Path, tensor: str, location: str) -> Path:
    """The file that a tensor's data lie in, which must be beneath the model's folder, also behind symbolic links."""
    hint = "Save the model with its weights inside: onnx.save_model(model, path, save_as_external_data=False)."
    shown = clean(location)
    message = f"the tensor {tensor!r} refers to data outside the model's folder: {shown!r}"
    pure = PurePosixPath(location.replace("\\", "/"))
    if not location or "\0" in location or pure.is_absolute() or PureWindowsPath(location).drive or ".." in pure.parts:
        raise InputError(message, hint=hint, code="onnx.external")
    folder = path.resolve().parent
    file = (folder / pure).resolve()
    if not file.is_relative_to(folder):
        raise InputError(message, hint=hint, code="onnx.external")
    return file


def _damaged(what: str) -> InputError:
    return InputError(f"the model is damaged: {what}", hint="Export the model again.", code="onnx.tensor")


def _bits(data_type: int) -> int:
    """Bits of one element, 0 where that is not fixed."""
    from onnx import helper
    from onnx.onnx_pb import TensorProto

    try:
        name = TensorProto.DataType.Name(data_type)
    except ValueError:
        return 0
    if name in {"UNDEFINED", "STRING"}:
        return 0
    if name in {"INT4", "UINT4", "FLOAT4E2M1"}:
        return 4
    if name in {"INT2", "UINT2"}:
        return 2
    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def _parameters(graph: Any) -> tuple[int, int]:
    """How many numbers the initializers hold, and their bytes."""
    counted = stored = 0
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        count = math.prod(tensor.dims)
        counted += count
        stored += -(-count * _bits(tensor.data_type) // 8)
    return counted, stored


# Values and their types.


def _values(values: Any) -> Rows:
    rows = Rows()
    for value in values:
        rows.add(value.name, *_type(value.type))
    return rows


def _type(kind: Any, depth: int = 4) -> tuple[str, str]:
    """The type and the shape of a value as texts; an unknown dimension is shown as ``?``."""
    which = kind.WhichOneof("value")
    if which in {"tensor_type", "sparse_tensor_type"}:
        tensor = getattr(kind, which)
        name = _element(tensor.elem_type)
        shape = shape_text(_sizes(tensor)) if tensor.HasField("shape") else "unknown"
        return (f"sparse {name}" if which == "sparse_tensor_type" else name), shape
    if which in {"sequence_type", "optional_type"} and depth:
        inner, shape = _type(getattr(kind, which).elem_type, depth - 1)
        return f"{which.removesuffix('_type')} of {inner}", shape
    if which == "map_type" and depth:
        return f"map from {_element(kind.map_type.key_type)} to {_type(kind.map_type.value_type, depth - 1)[0]}", ""
    return "unknown", "unknown"


def _element(data_type: int) -> str:
    from onnx.onnx_pb import TensorProto

    try:
        name: str = TensorProto.DataType.Name(data_type)
    except ValueError:
        return f"type {data_type}"
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())


def _sizes(tensor: Any) -> list[str]:
    sizes = []
    for dimension in tensor.shape.dim:
        which = dimension.WhichOneof("value")
        sizes.append("?" if which is None else str(getattr(dimension, which)) or "?")
    return sizes


# The drawing.


def _drawing(graph: Any, initial: set[str]) -> str:
    """The graph with its inputs and outputs; weights and constants are told in the boxes that take them."""
    shapes = {tensor.name: shape_text(tensor.dims) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and not node.input and not node.domain:
            sizes = {
                output: attribute.t.dims for output in node.output for attribute in node.attribute if attribute.HasField("t")
            }
            # Single numbers, such as axes, say nothing by their shape.
            shapes.update((name, shape_text(dims)) for name, dims in sizes.items() if math.prod(dims) > 1)
        else:
            nodes.append(node)
    boxes: list[Node] = []
    made_by: dict[str, int] = {}
    edges: dict[int, list[int]] = {}
    for value in graph.input:
        if value.name not in initial:
            made_by[value.name] = len(boxes)
            boxes.append(Node(value.name, _type(value.type)[1], f"input {value.name}", terminal=True))
    first = len(boxes)
    for number, node in enumerate(nodes, first):
        weights = ", ".join(shapes[name] for name in node.input if name in shapes)
        title = f"{node.op_type} {node.name}: {', '.join(node.input)} to {', '.join(node.output)}"
        boxes.append(Node(node.op_type, weights, title))
        made_by.update((name, number) for name in node.output if name)
    for number, node in enumerate(nodes, first):
        # What the graphs inside a node take from outside leads to the node, too.
        inner = (name for within in _inner_graphs(node) for each in _nodes_of(within, MAX_DEPTH) for name in each.input)
        for name in (*node.input, *inner):
            if name in made_by:
                edges.setdefault(made_by[name], []).append(number)
    for value in graph.output:
        if value.name in made_by:
            edges.setdefault(made_by[value.name], []).append(len(boxes))
        boxes.append(Node(value.name, _type(value.type)[1], f"output {value.name}", terminal=True))
    return draw(boxes, edges, title=f"Graph of {graph.name}: {len(graph.node)} nodes")
