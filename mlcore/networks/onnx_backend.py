"""ONNX's Backend interface over this compiler, so that `onnx.backend.test` and others can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, defs, helper
from onnx.backend.base import Backend, BackendRep

from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from mlcore.networks.ir import DType, TensorType


class NetworkRep(BackendRep):  # type: ignore[misc]
    """A model that is compiled, or will be at the first call where it lacks shapes."""

    def __init__(self, model: ModelProto, options: BuildOptions) -> None:
        self._model = model
        self._options = options
        self._function: Function | None = None

    def run(self, inputs: Sequence[Any] | Mapping[str, Any], **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for some inputs, in the model's order."""
        del kwargs
        if isinstance(inputs, Mapping):
            inputs = [inputs[name] for name in input_names(self._model)]
        if self._function is None:
            emitted = translate(self._model, "network", shapes=missing_shapes(self._model, inputs))
            library, _ = build([emitted], self._options)
            self._function = Function(library, emitted)
        return tuple(
            self._function([prepared(item, port) for item, port in zip(inputs, self._function.emitted.inputs, strict=False)])
        )


def prepared(item: Any, port: Any) -> Any:
    """An input with the element type that the model declares: ONNX's tests give some as plain Python values."""
    kind = port.value.type
    if isinstance(kind, TensorType) and kind.dtype is not DType.STRING and not isinstance(item, list):
        return np.asarray(item, kind.dtype.numpy)
    return item


def input_names(model: ModelProto) -> list[str]:
    """The inputs that a caller gives: those without an initial value."""
    initial = {item.name for item in model.graph.initializer} | {item.values.name for item in model.graph.sparse_initializer}
    return [item.name for item in model.graph.input if item.name not in initial]


def missing_shapes(model: ModelProto, inputs: Sequence[Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors for which the model declares none, from the inputs of a call."""
    found = {}
    values = {item.name: item for item in model.graph.input}
    for name, item in zip(input_names(model), inputs, strict=False):
        kind = values[name].type
        if kind.WhichOneof("value") == "tensor_type" and not kind.tensor_type.HasField("shape"):
            found[name] = np.shape(item)
    return found


def _newest_opset(domain: str) -> int:
    versions = [schema.since_version for schema in defs.get_all_schemas() if schema.domain == domain]
    return int(defs.onnx_opset_version()) if not domain else max(versions, default=1)


def _type_of(item: Any) -> Any:
    """The type of a value: its element type, and its shape where it is a tensor."""
    if isinstance(item, list | tuple):
        if not item:
            raise ValueError("an empty sequence does not tell the type of its elements")
        element = np.asarray(item[0])
        return helper.make_sequence_type_proto(helper.make_tensor_type_proto(DType.of(element).number, None))
    array = np.asarray(item)
    return helper.make_tensor_type_proto(DType.of(array).number, array.shape)


class NetworkBackend(Backend):  # type: ignore[misc]
    """Prepares models by compiling them."""

    options = BuildOptions(flags=QUICK)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> NetworkRep:
        """A model that can be run; compiled with the first call."""
        del kwargs
        if not cls.supports_device(device):
            raise ValueError(f"there is no device {device!r}; models run on the CPU")
        return NetworkRep(model, cls.options)

    @classmethod
    def run_node(
        cls, node: NodeProto, inputs: Sequence[Any], device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """The outputs of one node.

        Parameters
        ----------
        inputs
            Arrays, lists of arrays for sequences; only of the inputs that the node names.
        outputs_info
            Not needed: types and shapes are inferred.
        **kwargs
            ``opset_version``: of the node's domain; by default the newest.
        """
        del outputs_info
        opset = kwargs.pop("opset_version", None) or _newest_opset(node.domain)
        named = [name for name in node.input if name]
        if len(named) != len(inputs):
            raise ValueError(f"the node has {len(named)} inputs, and {len(inputs)} are given")
        graph = helper.make_graph(
            [node],
            "node",
            [helper.make_value_info(name, _type_of(item)) for name, item in zip(named, inputs, strict=True)],
            [ValueInfoProto(name=name) for name in node.output if name],
        )
        opsets = [helper.make_opsetid(node.domain, opset)]
        model = helper.make_model(graph, opset_imports=opsets)
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device == "CPU"


prepare = NetworkBackend.prepare
run_model = NetworkBackend.run_model
run_node = NetworkBackend.run_node
supports_device = NetworkBackend.supports_device
