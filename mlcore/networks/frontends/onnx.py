"""ONNX models: protobuf to the IR, types inferred and constants folded on the way.

Nodes are read in the model's order, which has to be one in which they can run. A node whose operator has no class in
`mlcore.networks.ops` is replaced by the nodes of its function's body, the model's own functions first, then those of ONNX's
definitions. Nothing in a model is ever executed as code; data outside the model's folder are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.frontends import _gradient
from mlcore.networks.frontends._broadcasting import single
from mlcore.networks.frontends._legacy import legacy_function
from mlcore.networks.ir import (
    REQUIRED,
    VARIES,
    Array,
    Body,
    DType,
    Graph,
    Node,
    OptionalType,
    SequenceType,
    Size,
    Symbols,
    TensorType,
    Value,
    ValueType,
    constant,
)
from mlcore.networks.ops import Facts, find
from mlcore.networks.ops._inference import check_size, infer_node
from mlcore.networks.ops._reference import folded
from mlcore.shapes import without_bounds

Shapes = Mapping[str, Sequence[int | str]]

MOST_NODES = 200_000
MOST_DEPTH = 48
"""Of functions and subgraphs within each other."""
MOST_CONSTANT_BYTES = 8 * 2**30

OLDEST_OPSET = 1


def read(source: Path | bytes | Any, *, shapes: Shapes | None = None) -> Graph:
    """A model as a graph of the IR.

    Parameters
    ----------
    source
        A file, the bytes of one, or an ``onnx.ModelProto``.
    shapes
        Shapes of inputs, instead of those in the model: numbers, or names of sizes that are given with each call, such as
        ``"n"``, or ``"n<=128"`` where it has a largest value.

    Raises
    ------
    InputError
        It is no model, or contradicts itself.
    UnsupportedOperatorError
        It needs an operator that is not supported.
    """
    model, folder = parsed(source)
    return _Reader(model, folder, shapes or {}).model_graph()


def parsed(source: Path | bytes | Any) -> tuple[Any, Path | None]:
    """A model as protobuf, and the folder that its external data may lie in.

    Raises
    ------
    InputError
        It is no model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    folder: Path | None = None
    if isinstance(source, Path):
        folder = source.resolve().parent
        source = source.read_bytes()
    if isinstance(source, bytes):
        model = onnx.ModelProto()
        try:
            model.ParseFromString(source)
        except DecodeError as error:
            raise InputError(
                "the file is no ONNX model, or it is cut off", hint="Export the model again.", code="network.parse"
            ) from error
    else:
        model = source
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise InputError("the file holds no ONNX graph", hint="Export the model again.", code="network.empty")
    return model, folder


class _Scope:
    """Names and their values; what is not found is looked up around it."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self.values: dict[str, Value] = {}
        self.declared: dict[str, Any] = {}
        self.outer = outer
        self.depth: int = outer.depth + 1 if outer else 0
        if self.depth > MOST_DEPTH:
            raise InputError(f"subgraphs are nested deeper than {MOST_DEPTH}", code="network.depth")

    def find(self, name: str) -> Value:
        scope: _Scope | None = self
        while scope is not None:
            value = scope.values.get(name)
            if value is not None:
                return value
            scope = scope.outer
        raise InputError(
            f"{name!r} is used before anything computes it",
            hint="The nodes stand in no order in which they can run: the model has a cycle or a missing input.",
            code="network.order",
        )


@dataclass(frozen=True)
class _Context:
    """What holds for the nodes that are being read: opsets by domain, the attributes of the function around them, its depth."""

    opsets: Mapping[str, int]
    attributes: Mapping[str, Any]
    depth: int = 0
    prefix: str = ""


class _Reader:
    def __init__(self, model: Any, folder: Path | None, shapes: Shapes) -> None:
        self.model = model
        self.folder = folder
        self.shapes, bounds = without_bounds(shapes)
        self.symbols = Symbols()
        self.functions = {(item.domain, item.name): item for item in model.functions}
        self.variables = _gradient.variables(model)
        self.root = Graph(_text(model.graph.name))
        self.bounds = bounds
        self.facts = Facts(self.root, self.symbols)
        self.n_nodes = 0
        self.constant_bytes = 0

    def model_graph(self) -> Graph:
        opsets = {_domain(item.domain): item.version for item in self.model.opset_import}
        if not opsets and self.model.ir_version < 3:
            opsets[""] = 1
        if "" in opsets and opsets[""] < OLDEST_OPSET:
            raise InputError(
                f"the model uses opset {opsets['']}; {OLDEST_OPSET} is the oldest that is read",
                hint="onnx.version_converter.convert_version(model, 17) converts it.",
                code="network.opset",
            )
        scope = _Scope()
        self._initializers(self.model.graph, self.root, scope)
        for proto in self.model.graph.input:
            name = _text(proto.name)
            if name in scope.values:
                continue
            value = Value(name, self._declared(proto.type, name, self.shapes.pop(name, None)))
            check_size(value, "the input")
            scope.values[name] = value
            self.root.inputs.append(value)
        if self.shapes:
            known = ", ".join(repr(value.name) for value in self.root.inputs)
            raise InputError(
                f"the model has no input {next(iter(self.shapes))!r}", hint=f"Its inputs: {known}.", code="network.shapes"
            )
        self.root.bounds = {str(self.symbols.of_input(name)): most for name, most in self.bounds.items()}
        scope.declared = _declarations(self.model.graph)
        self._nodes(self.model.graph.node, self.root, scope, _Context(opsets, {}))
        self.root.outputs = [scope.find(_text(proto.name)) for proto in self.model.graph.output]
        return self.root

    # Types and constants.

    def _declared(self, proto: Any, name: str, override: Sequence[int | str] | None = None) -> ValueType:
        kind = proto.WhichOneof("value")
        if kind == "sequence_type":
            element = self._element(proto.sequence_type.elem_type, name)
            if not isinstance(element, TensorType):
                raise InputError(
                    f"the input {name!r} is a sequence of {element}; only sequences of tensors are read", code="network.type"
                )
            return SequenceType(element)
        if kind == "optional_type":
            inner = self._element(proto.optional_type.elem_type, name)
            if isinstance(inner, OptionalType):
                raise InputError(f"the input {name!r} is an optional of an optional", code="network.type")
            return OptionalType(inner)
        if kind != "tensor_type":
            raise InputError(
                f"{name!r} is a {kind or 'value without a type'}; tensors, sequences and optionals are read", code="network.type"
            )
        dtype = DType.of_number(proto.tensor_type.elem_type)
        if dtype is None:
            raise InputError(f"{name!r} has elements of the unsupported type {proto.tensor_type.elem_type}", code="network.dtype")
        if override is not None:
            return TensorType(dtype, tuple(self._given(size, name) for size in override))
        if not proto.tensor_type.HasField("shape"):
            return TensorType(dtype, None)
        return TensorType(dtype, tuple(self._dim(dim, f"{name}_{axis}") for axis, dim in enumerate(proto.tensor_type.shape.dim)))

    def _element(self, proto: Any, name: str) -> ValueType:
        """The type of what a sequence or an optional value holds: sizes that are no numbers vary."""
        if proto.WhichOneof("value") != "tensor_type" or not proto.tensor_type.HasField("shape"):
            return self._declared(proto, name)
        sizes = [
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else VARIES for dim in proto.tensor_type.shape.dim
        ]
        return TensorType(self._declared(proto, name, [0] * len(sizes)).dtype, tuple(sizes))  # type: ignore[union-attr]

    def _refined(self, value: Value, scope: _Scope) -> None:
        """Take the shape that the model declares for a value of unknown rank; code checks it when it runs."""
        kind, proto = value.type, scope.declared.get(value.name)
        if proto is None or not isinstance(kind, TensorType) or kind.shape is not None:
            return
        if proto.WhichOneof("value") != "tensor_type" or proto.tensor_type.elem_type != kind.dtype.number:
            return
        if proto.tensor_type.HasField("shape"):
            sizes = [
                int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value >= 0 else self.symbols.late()
                for dim in proto.tensor_type.shape.dim
            ]
            value.type = TensorType(kind.dtype, tuple(sizes))

    def _given(self, size: int | str, name: str) -> Size:
        if isinstance(size, str):
            return self.symbols.of_input(size)
        if size < 0:
            raise InputError(f"the shape of {name!r} holds {size}", hint="Sizes are 0 or more, or names.", code="network.shapes")
        return int(size)

    def _dim(self, dim: Any, fallback: str) -> Size:
        if dim.HasField("dim_value"):
            if dim.dim_value < 0:
                raise InputError(f"the shape of {fallback.rpartition('_')[0]!r} holds {dim.dim_value}", code="network.shape")
            return int(dim.dim_value)
        return self.symbols.of_input(_text(dim.dim_param) or fallback)

    def _initializers(self, proto: Any, graph: Graph, scope: _Scope) -> None:
        for tensor in proto.initializer:
            name = _text(tensor.name)
            scope.values[name] = self._opened(name, constant(name, self._array(tensor, name)), graph)
        for sparse in proto.sparse_initializer:
            name = _text(sparse.values.name)
            scope.values[name] = self._opened(name, constant(name, self._dense(sparse, name)), graph)

    def _opened(self, name: str, value: Value, graph: Graph) -> Value:
        """A constant that gradients are taken by is the output of a node, so that what depends on it is not folded."""
        if name not in self.variables or value.constant is None:
            return value
        node = _gradient.open_constant(value)
        graph.nodes.append(node)
        return node.output

    def _array(self, tensor: Any, name: str) -> Array:
        from onnx import numpy_helper

        dtype = DType.of_number(tensor.data_type)
        if dtype is None:
            raise InputError(f"the tensor {name!r} has elements of the unsupported type {tensor.data_type}", code="network.dtype")
        if any(size < 0 for size in tensor.dims):
            raise InputError(f"the tensor {name!r} has a negative size", code="network.tensor")
        self._account(math.prod(tensor.dims) * dtype.bytes, name)
        try:
            if tensor.data_location == tensor.EXTERNAL:
                return self._external(tensor, dtype, name)
            array = numpy_helper.to_array(tensor)
        except InputError:
            raise
        except (ValueError, TypeError) as error:
            raise InputError(f"the tensor {name!r} does not hold what it claims: {error}", code="network.tensor") from error
        if dtype is DType.STRING:
            texts = [
                item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item) for item in array.reshape(-1)
            ]
            result = np.empty(len(texts), np.object_)
            result[:] = texts
            return result.reshape(array.shape)
        return np.ascontiguousarray(array).reshape(tuple(tensor.dims))

    def _account(self, n_bytes: int, name: str) -> None:
        self.constant_bytes += n_bytes
        if self.constant_bytes > MOST_CONSTANT_BYTES:
            raise InputError(
                f"with {name!r} the constants need more than {MOST_CONSTANT_BYTES / 2**30:.0f} GiB", code="network.large"
            )

    def _external(self, tensor: Any, dtype: DType, name: str) -> Array:
        facts = {entry.key: entry.value for entry in tensor.external_data}
        if self.folder is None:
            raise InputError(
                f"the tensor {name!r} lies in another file, and the model was given without its folder",
                hint="Give the path of the model, or save it with all its data inside.",
                code="network.external",
            )
        location = facts.get("location", "")
        try:
            path = (self.folder / location).resolve()
            is_file = path.is_file()
        except (OSError, ValueError):  # too long a name, or one with a zero byte
            path, is_file = Path("/"), False
        if not location or not path.is_relative_to(self.folder) or Path(location).is_absolute():
            raise InputError(
                f"the tensor {name!r} points to {location!r}, outside the model's folder",
                hint="External data have to lie beside the model.",
                code="network.external",
            )
        try:
            offset, length = int(facts.get("offset", 0)), int(facts.get("length", -1))
        except ValueError:
            raise InputError(f"the tensor {name!r} has an offset or length that is no number", code="network.external") from None
        count = math.prod(tensor.dims)
        packed = {DType.INT4: 2, DType.UINT4: 2, DType.FLOAT4E2M1: 2, DType.INT2: 4, DType.UINT2: 4}.get(dtype, 0)
        wanted = -(-count // packed) if packed else count * dtype.bytes
        if not is_file:
            raise InputError(
                f"the data of {name!r} are not there: {location!r}",
                hint="Upload the data with the model.",
                code="network.external",
            )
        if offset < 0 or (length >= 0 and length != wanted) or offset + wanted > path.stat().st_size:
            raise InputError(
                f"the tensor {name!r} asks for {wanted} bytes that {location!r} does not have", code="network.external"
            )
        if packed:
            from onnx import TensorProto, numpy_helper

            inner = TensorProto(data_type=tensor.data_type, dims=tensor.dims)
            with path.open("rb") as file:
                file.seek(offset)
                inner.raw_data = file.read(wanted)
            unpacked: Array = numpy_helper.to_array(inner)
            return unpacked
        return np.fromfile(path, dtype.numpy, count, offset=offset).reshape(tuple(tensor.dims))

    def _dense(self, sparse: Any, name: str) -> Array:
        values, indices = self._array(sparse.values, name), self._array(sparse.indices, name)
        shape = tuple(int(size) for size in sparse.dims)
        self._account(math.prod(shape) * values.dtype.itemsize, name)
        result = np.zeros(shape, values.dtype)
        try:
            result[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, shape)] = values
        except (IndexError, ValueError) as error:
            raise InputError(f"the sparse tensor {name!r} has an index outside its shape", code="network.tensor") from error
        return result

    # Nodes.

    def _nodes(self, protos: Sequence[Any], graph: Graph, scope: _Scope, context: _Context) -> None:
        for proto in protos:
            self._node(proto, graph, scope, context)

    def _node(self, proto: Any, graph: Graph, scope: _Scope, context: _Context) -> None:
        self.n_nodes += 1
        if self.n_nodes > MOST_NODES:
            raise InputError(f"the model has more than {MOST_NODES} nodes", code="network.large")
        domain, kind, name = _domain(proto.domain), _text(proto.op_type), context.prefix + _text(proto.name)
        inputs = [scope.find(_text(item)) if item else None for item in proto.input]
        while inputs and inputs[-1] is None:
            inputs.pop()
        local = self.functions.get((proto.domain, proto.op_type)) or self.functions.get((domain, proto.op_type))
        if local is not None:
            self._expand(
                local, proto, inputs, graph, scope, context, {_domain(item.domain): item.version for item in local.opset_import}
            )
            return
        opset = context.opsets.get(domain, 0)
        attributes = {_text(item.name): item for item in self._attributes(proto, context)}
        if domain == "" and kind == "Constant":
            self._constant(proto, attributes, graph, scope, name)
            return
        if (domain, kind) == (_gradient.DOMAIN, "Gradient"):
            self._gradient(proto, attributes, inputs, graph, scope, Node(find(domain, kind), 1, [], [], {}, name))
            return
        if domain == "" and kind == "If" and inputs and inputs[0] is not None and inputs[0].constant is not None:
            self._taken(proto, attributes, inputs[0].constant, graph, scope, context)
            return
        operator = find(domain, kind)
        version = _version(domain, kind, opset)
        if operator is None or version not in operator.since:
            function = legacy_function(kind, version, list(attributes.values()), inputs) if domain == "" else None
            if function is None and version is not None:
                function = _schema_function(domain, kind, opset, proto, attributes.values(), inputs)
            if function is None:
                raise UnsupportedOperatorError(
                    f"{domain}::{kind}" if domain else kind,
                    opset,
                    name,
                    _why(operator, version, opset),
                    hint="docs/reference/operators.md lists the operators.",
                )
            opsets = {_domain(item.domain): item.version for item in function.opset_import} or dict(context.opsets)
            # Bodies of other domains are made of ONNX's own operators, which the model need not import.
            opsets.setdefault("", _newest_opset())
            self._expand(
                function, proto, inputs, graph, scope, context, opsets, list(attributes.values()), schema=(kind, opset, domain)
            )
            return
        graph.nodes.extend(single(operator, inputs, self.facts))
        node = Node(
            operator,
            version,
            inputs,
            [Value(_text(item), TensorType(DType.FLOAT32)) for item in proto.output],
            {key: self._attribute(item, scope, context, f"{kind} node {name!r}") for key, item in attributes.items()},
            name,
        )
        infer_node(node, self.facts)
        if operator.takes_declared:
            for value in node.outputs:
                self._refined(value, scope)
        arrays = _told(node) or folded(node)
        if arrays is not None:
            for value, array in zip(node.outputs, arrays, strict=True):
                known = constant(value.name, array)
                value.type, value.constant, value.elements = known.type, known.constant, known.elements
        else:
            graph.nodes.append(node)
        for value in node.outputs:
            if value.name:
                scope.values[value.name] = self._opened(value.name, value, graph)

    def _gradient(
        self, proto: Any, attributes: Mapping[str, Any], inputs: list[Value | None], graph: Graph, scope: _Scope, node: Node
    ) -> None:
        """Put the nodes that compute gradients in the place of one that asks for them."""
        node.attributes = {key: self._attribute(item, scope, _Context({}, {}), node.where) for key, item in attributes.items()}
        wanted = [scope.find(name) for name in node.texts("xs", REQUIRED)]
        named = [*wanted, *(scope.find(name) for name in node.texts("zs", []))]
        given = [value for value in inputs if value is not None]
        if not wanted or len(given) != len(named) or len(proto.output) > len(wanted):
            raise InputError(
                f"{node.where} has {len(inputs)} inputs and {len(proto.output)} outputs for {len(wanted)} variables of "
                f"{len(named)}",
                code="network.input",
            )
        if graph is not self.root:
            raise UnsupportedOperatorError(node.kind, 1, node.name, "it stands in a subgraph", hint="Move it out of there.")
        node.outputs = [Value(_text(item), TensorType(DType.FLOAT32)) for item in proto.output]
        y = scope.find(node.text("y", REQUIRED))
        graph.nodes += list(_gradient.gradients(node, graph.nodes, y, dict(zip(named, given, strict=True)), wanted, self.facts))
        scope.values.update((value.name, value) for value in node.outputs if value.name)

    def _taken(
        self, proto: Any, attributes: Mapping[str, Any], condition: Array, graph: Graph, scope: _Scope, context: _Context
    ) -> None:
        """Read the branch of an If whose condition is known in its place; the other need not even fit the shapes."""
        key = "then_branch" if condition.size == 1 and condition.reshape(-1)[0] else "else_branch"
        attribute = attributes.get(key)
        name = _text(proto.name)
        if condition.size != 1 or attribute is None or len(attribute.g.output) < len(proto.output):
            raise InputError(
                f"the If node {name!r} needs one condition and two graphs with its outputs", code="network.attribute"
            )
        inner = _Scope(scope)
        self._initializers(attribute.g, graph, inner)
        inner.declared = _declarations(attribute.g)
        self._nodes(attribute.g.node, graph, inner, context)
        for output, found in zip(proto.output, attribute.g.output, strict=False):
            if output:
                scope.values[_text(output)] = inner.find(_text(found.name))

    def _attributes(self, proto: Any, context: _Context) -> list[Any]:
        """A node's attributes, with those of the function around it put in their places."""
        result = []
        for attribute in proto.attribute:
            if not attribute.ref_attr_name:
                result.append(attribute)
            elif attribute.ref_attr_name in context.attributes:
                given = type(attribute)()
                given.CopyFrom(context.attributes[attribute.ref_attr_name])
                given.name = attribute.name
                result.append(given)
        return result

    def _attribute(self, proto: Any, scope: _Scope, context: _Context, where: str) -> Any:
        kinds = proto.AttributeType
        match proto.type:
            case kinds.INT:
                return int(proto.i)
            case kinds.FLOAT:
                return float(proto.f)
            case kinds.STRING:
                return proto.s.decode("utf-8", "surrogateescape")
            case kinds.INTS:
                return [int(item) for item in proto.ints]
            case kinds.FLOATS:
                return [float(item) for item in proto.floats]
            case kinds.STRINGS:
                return [item.decode("utf-8", "surrogateescape") for item in proto.strings]
            case kinds.TENSOR:
                return self._array(proto.t, f"{_text(proto.name)} of {where}")
            case kinds.SPARSE_TENSOR:
                return self._dense(proto.sparse_tensor, f"{_text(proto.name)} of {where}")
            case kinds.GRAPH:
                return self._body(proto.g, scope, context)
            case kinds.TYPE_PROTO:
                return self._declared(proto.tp, f"{_text(proto.name)} of {where}")
        raise InputError(
            f"the attribute {_text(proto.name)!r} of {where} is of a kind that is not read", code="network.attribute"
        )

    def _body(self, proto: Any, outer: _Scope, context: _Context) -> Body:
        def read(types: Sequence[ValueType]) -> Graph:
            scope = _Scope(outer)
            graph = Graph(_text(proto.name), constraints=self.root.constraints)
            self._initializers(proto, graph, scope)
            scope.declared = _declarations(proto)
            free = [item for item in proto.input if _text(item.name) not in scope.values]
            for item, kind in zip(free, types, strict=False):
                value = Value(_text(item.name), kind)
                scope.values[value.name] = value
                graph.inputs.append(value)
            self._nodes(proto.node, graph, scope, context)
            graph.outputs = [scope.find(_text(item.name)) for item in proto.output]
            return graph

        initial = {item.name for item in proto.initializer}
        names = tuple(_text(item.name) for item in proto.input if item.name not in initial)
        return Body(read, len(names), names)

    def _constant(self, proto: Any, attributes: Mapping[str, Any], graph: Graph, scope: _Scope, where: str) -> None:
        if len(attributes) != 1 or len(proto.output) != 1:
            raise InputError(f"the Constant node {where!r} needs one attribute and one output", code="network.attribute")
        ((key, attribute),) = attributes.items()
        name = _text(proto.output[0])
        value = self._attribute(attribute, scope, _Context({}, {}), f"Constant node {where!r}")
        dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if key in ("value_string", "value_strings"):
            array = np.empty(() if key == "value_string" else len(value), np.object_)
            array[...] = value
        else:
            array = np.asarray(value, dtypes.get(key))
        scope.values[name] = self._opened(name, constant(name, array), graph)

    # Functions.

    def _expand(
        self,
        function: Any,
        proto: Any,
        inputs: list[Value | None],
        graph: Graph,
        scope: _Scope,
        context: _Context,
        opsets: Mapping[str, int],
        attributes: list[Any] | None = None,
        schema: tuple[str, int, str] | None = None,
    ) -> None:
        """Read a function's body in place of the node that calls it."""
        if context.depth >= MOST_DEPTH:
            raise InputError(
                f"functions call each other more than {MOST_DEPTH} deep",
                hint="A function may not call itself.",
                code="network.depth",
            )
        given = {item.name: item for item in (attributes if attributes is not None else self._attributes(proto, context))}
        defaults = {item.name: item for item in function.attribute_proto}
        if schema is not None:
            defaults |= _schema_defaults(*schema)
        inner = _Scope()
        for i, name in enumerate(function.input):
            value = inputs[i] if i < len(inputs) else None
            inner.values[_text(name)] = self._opened(_text(name), value, graph) if value is not None else _ABSENT
        prefix = f"{context.prefix}{_text(proto.name) or _text(proto.op_type)}/"
        self._function_nodes(function.node, graph, inner, _Context(opsets, defaults | given, context.depth + 1, prefix))
        for name, output in zip(function.output, proto.output, strict=False):
            if output:
                scope.values[_text(output)] = inner.find(_text(name))

    def _function_nodes(self, protos: Sequence[Any], graph: Graph, scope: _Scope, context: _Context) -> None:
        """As `_nodes`, where arguments that were left out make inputs that are left out."""
        absent = {name for name, value in scope.values.items() if value is _ABSENT}
        for name in absent:
            del scope.values[name]
        for proto in protos:
            if absent.intersection(proto.input):
                copied = type(proto)()
                copied.CopyFrom(proto)
                del copied.input[:]
                copied.input.extend("" if name in absent else name for name in proto.input)
                self._node(copied, graph, scope, context)
            else:
                self._node(proto, graph, scope, context)


def _declarations(proto: Any) -> dict[str, Any]:
    """What a graph says of the types of its values."""
    return {_text(item.name): item.type for item in (*proto.value_info, *proto.output)}


def _told(node: Node) -> list[Array] | None:
    """The output of a node whose numbers inference has told, as for shapes that are partly symbols: nothing is left to run."""
    value = node.output
    if len(node.outputs) != 1 or value.elements is None or not all(isinstance(item, int) for item in value.elements):
        return None
    return [np.array(value.elements, value.dtype.numpy).reshape(value.shape)]  # type: ignore[arg-type]


_ABSENT = Value("", TensorType(DType.FLOAT32))


def _text(value: Any) -> str:
    return str(value)


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else _text(name)


def _version(domain: str, kind: str, opset: int) -> int | None:
    """The version of an operator's definition that an opset has; None where it has none."""
    from onnx import defs

    if not 0 < opset < 2**31:
        return None
    try:
        return int(defs.get_schema(kind, opset, domain).since_version)
    except defs.SchemaError:
        operator = find(domain, kind)
        # Domains that ONNX does not define (QONNX and others) have operators of one version.
        return operator.since[-1] if operator is not None and not _is_onnx(domain) else None


def _newest_opset() -> int:
    from onnx import defs

    return int(defs.onnx_opset_version())


def _is_onnx(domain: str) -> bool:
    return domain in ("", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.preview")


def _why(operator: Any, version: int | None, opset: int) -> str:
    if version is None and not opset:
        return "the model imports no opset of its domain"
    if operator is None:
        return "this operator is not supported" if version is not None else "this opset has no such operator"
    if operator.refusal:
        return str(operator.refusal)
    return f"version {version} of it is not supported (supported: {', '.join(map(str, operator.since))})"


def _schema_function(domain: str, kind: str, opset: int, proto: Any, attributes: Any, inputs: Sequence[Value | None]) -> Any:
    """The body that ONNX's definition of an operator has, for these inputs; None where it has none."""
    from onnx import FunctionProto, defs

    schema = defs.get_schema(kind, opset, domain)
    function = FunctionProto()
    if schema.has_context_dependent_function:
        copied = type(proto)()
        copied.CopyFrom(proto)
        del copied.attribute[:]
        copied.attribute.extend(attributes)
        types = [_type_proto(value).SerializeToString() for value in inputs if value is not None]
        # Arguments that were left out at the end are left out here too.
        del copied.input[len(inputs) :]
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= max(opset, schema.since_version)]
        body = schema.get_context_dependent_function_with_opset_version(
            max(versions, default=schema.since_version), copied.SerializeToString(), types
        )
        if not body:
            return None
        function.ParseFromString(body)
        return function
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= opset] or list(schema.function_opset_versions)
        function.ParseFromString(schema.get_function_with_opset_version(max(versions)))
        return function
    return None


def _schema_defaults(kind: str, opset: int, domain: str) -> dict[str, Any]:
    from onnx import defs

    found = {}
    for name, attribute in defs.get_schema(kind, opset, domain).attributes.items():
        if attribute.default_value.type:
            found[name] = attribute.default_value
    return found


def _type_proto(value: Value) -> Any:
    from onnx import helper

    kind = value.type
    if isinstance(kind, TensorType):
        shape = None if kind.shape is None else [size if isinstance(size, int) else str(size) for size in kind.shape]
        return helper.make_tensor_type_proto(kind.dtype.number, shape)
    element = kind.element
    inner = _type_proto(Value("", element))
    return helper.make_sequence_type_proto(inner) if isinstance(kind, SequenceType) else helper.make_optional_type_proto(inner)
