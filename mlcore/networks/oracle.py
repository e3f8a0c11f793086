"""What generated code is held against: ONNX Runtime where it is installed and takes the model, else ONNX's evaluator."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.ir import Array, DType, Graph, TensorType, Value
from mlcore.networks.ir.sizes import evaluate, symbols

EPSILON = {DType.FLOAT64: 2.2e-16, DType.FLOAT32: 1.2e-7, DType.FLOAT16: 9.8e-4, DType.BFLOAT16: 7.8e-3}
"""Distance from 1 to the next number."""

_NEWEST_IR = 11
"""Of the file format that ONNX Runtime reads; newer ones differ in nothing that a model of tensors uses."""

EQUAL_SIZES = (4, 8, 12, 16, 64, 1)
"""What all symbols are set to where a network does not take different numbers."""

ROUNDINGS = 64
"""Roundings that may pile up at each node of the longest way through a network: sums are taken in another order."""


@dataclass(frozen=True)
class Oracle:
    """Something that computes a model's outputs.

    Attributes
    ----------
    name
        With its version.
    run
        From inputs by name to outputs in the model's order.
    is_fast
        Whether it is made for speed, so that its time means something.
    """

    name: str
    run: Callable[[Mapping[str, Any]], list[Any]]
    is_fast: bool = False

    def seconds_per_call(self, feeds: Mapping[str, Any], *, seconds: float = 0.5, samples: int = 11) -> float:
        """The median time of a call from Python, of samples of calls in a row."""

        def of(count: int) -> float:
            start = time.perf_counter()
            for _ in range(count):
                self.run(feeds)
            return (time.perf_counter() - start) / count

        of(1)
        count = max(1, min(1_000_000, int(seconds / samples / max(of(1), 1e-7))))
        return float(np.median([of(count) for _ in range(samples)]))


def oracle(model: Any) -> Oracle:
    """The best oracle that takes a model.

    Parameters
    ----------
    model
        An ``onnx.ModelProto`` with all its data.

    Raises
    ------
    InputError
        None does.
    """
    reasons = []
    for make in (_onnxruntime, _reference):
        try:
            return make(model)
        except Exception as error:  # both raise whatever they like on models that they do not take
            reasons.append(f"{make.__name__.strip('_')}: {' '.join(str(error).split())[:200]}")
    raise InputError(f"nothing here can run the model to compare with: {'; '.join(reasons)}", code="network.oracle")


def _onnxruntime(model: Any) -> Oracle:
    if util.find_spec("onnxruntime") is None:
        raise ImportError("it is not installed")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    copied = type(model)()
    copied.CopyFrom(model)
    copied.ir_version = min(copied.ir_version, _NEWEST_IR)
    session = onnxruntime.InferenceSession(copied.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Oracle(f"onnxruntime {metadata.version('onnxruntime')}", lambda feeds: list(session.run(None, dict(feeds))), True)


def _reference(model: Any) -> Oracle:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return list(evaluator.run(None, dict(feeds)))

    return Oracle(f"ONNX's reference evaluator {metadata.version('onnx')}", run)


def random_inputs(graph: Graph, sizes: Mapping[str, int], seed: int) -> list[Array]:
    """Random values for all inputs: normal numbers, small whole numbers, both truths.

    Raises
    ------
    InputError
        An input is no tensor of numbers.
    """
    generator = np.random.default_rng(seed)
    return [_random(value, sizes, generator) for value in graph.inputs]


def _random(value: Value, sizes: Mapping[str, int], generator: np.random.Generator) -> Array:
    kind = value.type
    if not isinstance(kind, TensorType) or kind.dtype is DType.STRING:
        raise InputError(
            f"no random values can be made for the input {value.name!r}, a {kind}", hint="Give inputs to compare on."
        )
    shape = tuple(evaluate(size, sizes) for size in value.shape)
    if kind.dtype.is_float:
        return np.asarray(generator.standard_normal(shape)).astype(kind.dtype.numpy)
    return np.asarray(generator.integers(0, 2, shape)).astype(kind.dtype.numpy)


def chosen_sizes(graph: Graph, small: int) -> dict[str, int]:
    """A number for each symbol of the inputs' shapes."""
    names = sorted(
        {
            item.name
            for value in graph.inputs
            if isinstance(value.type, TensorType)
            for size in value.shape
            for item in symbols(size)
        }
    )
    return {name: min(small + 2 * i, graph.bounds.get(name, small + 2 * i)) for i, name in enumerate(names)}


def size_choices(graph: Graph, small: int) -> Iterator[dict[str, int]]:
    """Numbers for the symbols to try in turn, where a network does not take all: different ones, then equal ones."""
    first = chosen_sizes(graph, small)
    yield first
    if first:
        for number in (small, *EQUAL_SIZES):
            yield {name: min(number, graph.bounds.get(name, number)) for name in first}


def tolerance(graph: Graph, dtype: DType) -> float:
    """How far an output may be off, relative to 1 + its largest magnitude: by its type and the longest way to it."""
    if not dtype.is_float:
        return 0.0
    return EPSILON.get(dtype, 0.3) * ROUNDINGS * math.sqrt(max(1, _depth(graph)))


def _depth(graph: Graph) -> int:
    depth: dict[Value, int] = {}
    longest = 0
    for node in graph.nodes:
        mine = 1 + max((depth.get(value, 0) for value in node.present()), default=0)
        mine += max((_depth(inner) for inner in node.graphs), default=0)
        longest = max(longest, mine)
        depth.update(dict.fromkeys(node.outputs, mine))
    return longest


@dataclass(frozen=True)
class Agreement:
    """How well an output agrees.

    Attributes
    ----------
    sizes
        The numbers that the symbols had.
    max_difference
        Absolute, of all elements; infinite where one of two is NaN or they are of different shapes.
    scale
        The largest magnitude that was expected.
    tolerance
        Allowed, relative to 1 + scale.
    worst
        The element with the largest difference: its place, and what was expected and found there.
    """

    output: str
    sizes: Mapping[str, int]
    n_values: int
    max_difference: float
    scale: float
    tolerance: float
    worst: str

    @property
    def holds(self) -> bool:
        return self.max_difference <= self.tolerance * (1 + self.scale)


def agree(
    names: Sequence[str], found: Sequence[Any], expected: Sequence[Any], sizes: Mapping[str, int], graph: Graph
) -> list[Agreement]:
    """Hold outputs against the oracle's."""
    result = []
    for name, mine, wanted in zip(names, found, expected, strict=True):
        a, b = np.asarray(mine), np.asarray(wanted)
        dtype = DType.of(b)
        if a.shape != b.shape:
            result.append(Agreement(name, sizes, b.size, float("inf"), 0.0, 0.0, f"the shape {a.shape} instead of {b.shape}"))
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.where(same, 0.0, np.abs(a - b))
        difference = np.where(np.isnan(difference), np.inf, difference)
        finite = np.abs(b[np.isfinite(b)])
        place = np.unravel_index(int(np.argmax(difference)), b.shape) if b.size else ()
        worst = f"{[int(i) for i in place]}: {a[place]:.9g} instead of {b[place]:.9g}" if b.size else ""
        result.append(
            Agreement(
                name,
                sizes,
                b.size,
                float(difference.max(initial=0.0)),
                float(finite.max(initial=0.0)),
                tolerance(graph, dtype),
                worst,
            )
        )
    return result
