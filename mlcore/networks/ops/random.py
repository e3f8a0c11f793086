"""Random numbers: equal seeds give equal numbers, on every machine, in every call.

Nodes without a seed take theirs from the workspace of the call (``workspace.random.seed``), and other numbers in each call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import REQUIRED, DType, Node, TensorType, ValueType
from mlcore.networks.ops import Facts, Operator, operator

_HEADER = "kernels/nn/random.hpp"


class _Random(Operator):
    """Numbers of a distribution."""

    deterministic = False
    draws = True

    def stream(self, node: Node, code: Writer) -> str:
        """C++ of where the numbers come from."""
        code.include(_HEADER)
        seed = node.number("seed")
        if seed is None:
            return f"{code.shared('nn::Random', 'random')}.next()"
        # Any number is a seed: its bits are.
        return f"nn::RandomStream{{{int(np.float32(seed).view(np.uint32))}u, 0}}"

    @staticmethod
    def dtype(node: Node, default: DType, allowed: str) -> DType:
        """The element type that an attribute names."""
        number = node.integer("dtype", default.number)
        dtype = DType.of_number(number)
        fits = dtype is not None and (
            (dtype in (DType.INT32, DType.INT64))
            if allowed == "classes"
            else dtype in (DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64)
            or (allowed == "numbers" and (dtype.is_integer or dtype is DType.BOOL))
        )
        if dtype is None or not fits:
            raise InputError(f"{node.where} makes elements of the type {dtype or number}", code="network.dtype")
        return dtype


class _Distributed(_Random):
    """Numbers of a shape, normal or uniform."""

    def write(self, node: Node, code: Writer) -> None:
        names = (("mean", 0.0), ("scale", 1.0)) if "Normal" in self.name else (("low", 0.0), ("high", 1.0))
        parameters = ", ".join(literal(node.number(key, default), DType.FLOAT64) for key, default in names)
        function = "normal" if "Normal" in self.name else "uniform"
        output = node.output
        code.line(
            f"nn::random_{function}({self.stream(node, code)}, {code.size(output.count)}, {parameters}, {code.ref(output)});"
        )


@operator("RandomNormal", since=(1, 22))
@operator("RandomUniform", since=(1, 22))
class Shaped(_Distributed):
    """Of a shape that is an attribute."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        shape = tuple(node.integers("shape", REQUIRED))
        if any(size < 0 for size in shape):
            raise InputError(f"{node.where} has the shape {list(shape)}", code="network.shape")
        return [TensorType(self.dtype(node, DType.FLOAT32, "floats"), shape)]


@operator("RandomNormalLike", since=(1, 22))
@operator("RandomUniformLike", since=(1, 22))
class Like(_Distributed):
    """Of the shape of another tensor, and of its type if there is no other."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        return [TensorType(self.dtype(node, data.dtype, "floats"), data.shape)]


@operator("Bernoulli", since=(15, 22))
class Bernoulli(_Random):
    """One with the probability that the input has there, else zero."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if not data.dtype.is_float:
            raise InputError(f"{node.where} needs probabilities, and is given {data.tensor}", code="network.dtype")
        return [TensorType(self.dtype(node, data.dtype, "numbers"), data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        data = node.input(0)
        stream = self.stream(node, code)
        code.line(f"nn::bernoulli({stream}, {code.ref(data)}, {code.size(data.count)}, {code.ref(node.output)});")


@operator("Multinomial", since=(7, 22))
class Multinomial(_Random):
    """Numbers of classes, by logarithms of their weights."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, samples = node.input(0), node.integer("sample_size", 1)
        if data.rank != 2 or not data.dtype.is_float:
            raise InputError(
                f"{node.where} needs a row of weights for each draw, and is given {data.tensor}", code="network.shape"
            )
        if samples < 0:
            raise InputError(f"{node.where} draws {samples} samples", code="network.attribute")
        return [TensorType(self.dtype(node, DType.INT32, "classes"), (data.shape[0], samples))]

    def write(self, node: Node, code: Writer) -> None:
        data, output = node.input(0), node.output
        batch, classes = map(code.size, data.shape)
        stream, sums = self.stream(node, code), code.scratch("double", data.shape[1], 8)
        samples = code.size(output.shape[1])
        code.line(f'nn::require({classes} > 0 || {batch} == 0, "Multinomial has no classes to draw from");')
        code.line(f"nn::multinomial({stream}, {code.ref(data)}, {batch}, {classes}, {samples}, {sums}, {code.ref(output)});")
