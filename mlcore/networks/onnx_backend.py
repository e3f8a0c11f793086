"""ONNX's Backend interface over this compiler, so that `onnx.backend.test` and others can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto
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
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device == "CPU"


prepare = NetworkBackend.prepare
run_model = NetworkBackend.run_model
run_node = NetworkBackend.run_node
supports_device = NetworkBackend.supports_device
