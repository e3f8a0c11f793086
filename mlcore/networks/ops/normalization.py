"""Normalisations, and Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Shape, Size, TensorType, Value, ValueType, product
from mlcore.networks.ir.graph import REQUIRED
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._map import write_map
from mlcore.networks.ops._windows import MOST, same_sizes, spatial
from mlcore.networks.ops.matmul import computed


def named(node: Node, index: int) -> Value | None:
    """An output, where the node really has it."""
    value = node.outputs[index] if index < len(node.outputs) else None
    return value if value is not None and value.name else None


def maybe(node: Node, index: int, code: Writer, cpp: str) -> str:
    """The pointer of an output, or a null pointer to elements of a type where nobody reads it."""
    value = named(node, index)
    return f"static_cast<{cpp}*>(nullptr)" if value is None else code.ref(value)


def stash_type(node: Node, data: DType) -> DType:
    """The type that statistics are computed in: as `stash_type` says, or that of the data where it is more precise.

    Raises
    ------
    InputError
        It is no floating-point type.
    """
    said = DType.of_number(node.integer("stash_type", 1))
    if said is None or not said.is_float:
        raise InputError(f"{node.where} has the stash_type {node.integer('stash_type')}", code="network.attribute")
    return DType.FLOAT64 if DType.FLOAT64 in (said, data) else DType.FLOAT32


@operator("BatchNormalization", since=(1, 6, 7, 9, 14, 15))
class BatchNormalization(Operator):
    """By statistics that are given, or (training) by those of the batch, which then go into running averages.

    Before version 14 a node trains when it has more outputs than one; before version 9, ``spatial=0`` asks for the statistics of
    each element instead of each channel.
    """

    def _trains(self, node: Node) -> bool:
        if node.version >= 14:
            return bool(node.integer("training_mode", 0))
        return not node.integer("is_test", 0) and any(value.name for value in node.outputs[1:])

    def _sizes(self, node: Node) -> tuple[Size, Size, Size]:
        """Batch, channels, elements of a plane."""
        shape = node.input(0).shape
        if not shape:
            raise InputError(f"{node.where} needs a batch, and is given a single number", code="network.shape")
        if node.version < 9 and not node.integer("spatial", 1):
            return shape[0], product(shape[1:]), 1
        return shape[0], shape[1] if len(shape) > 1 else 1, product(shape[2:])

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        _, channels, _ = self._sizes(node)
        for index in range(1, 5):
            facts.same(node.input(index).count, channels, f"{node.where} has input {index} for each channel")
        statistics = [node.input(index).tensor for index in (3, 4)]
        return [data.tensor, *statistics, *statistics]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data, scale, bias, mean, variance = (node.input(index) for index in range(5))
        _, channels, _ = self._sizes(node)
        sizes = ", ".join(code.size(size) for size in self._sizes(node))
        dtype = DType.FLOAT64 if data.dtype is DType.FLOAT64 else DType.FLOAT32
        center, spread = code.ref(mean), code.ref(variance)
        if self._trains(node):
            center, spread = (code.scratch(dtype.cpp, channels, dtype.bytes) for _ in range(2))
            code.line(f"nn::batch_moments<{dtype.cpp}>({sizes}, {code.ref(data)}, {center}, {spread});")
            momentum = literal(node.number("momentum", 0.9), dtype)
            for index, (old, fresh) in enumerate(((mean, center), (variance, spread)), start=1):
                if named(node, index):
                    text = f"{code.size(channels)}, {code.ref(old)}, {fresh}, {momentum}, {code.ref(node.outputs[index])}"
                    code.line(f"nn::running_average({text});")
                if named(node, index + 2):
                    text = f"{code.size(channels)}, {fresh}, {fresh}, {literal(0.0, dtype)}, {code.ref(node.outputs[index + 2])}"
                    code.line(f"nn::running_average({text});")
        else:
            for index in range(1, len(node.outputs)):
                if named(node, index):
                    source = mean if index % 2 else variance
                    code.line(f"nn::copy({code.ref(source)}, {code.size(channels)}, {code.ref(node.outputs[index])});")
        if named(node, 0):
            epsilon = literal(node.number("epsilon", 1e-5), dtype)
            inputs = ", ".join([code.refs([data, scale, bias]), center, spread])
            code.line(f"nn::batch_normalize({sizes}, {inputs}, {epsilon}, {code.ref(node.output)});")


@operator("InstanceNormalization", since=(1, 6, 22))
class InstanceNormalization(Operator):
    """Each plane by its own mean and variance (Ulyanov et al., arXiv:1607.08022, Eq. 5)."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        spatial(data.shape, node, least=0)
        for index in (1, 2):
            same_sizes(facts, node.input(index).shape, data.shape[1:2], f"{node.where} has input {index} for each channel")
        return [data.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data = node.input(0)
        sizes = ", ".join(code.size(size) for size in (data.shape[0], data.shape[1], product(data.shape[2:])))
        epsilon = literal(node.number("epsilon", 1e-5), computed(data.dtype))
        code.line(
            f"nn::instance_normalize({sizes}, {code.refs([data, node.input(1), node.input(2)])}, {epsilon}, "
            f"{code.ref(node.output)});"
        )


@operator("GroupNormalization", since=(18, 21))
class GroupNormalization(Operator):
    """Groups of channels by their mean and variance (Wu and He, arXiv:1803.08494, Eq. 7).

    Scale and bias are of each group in version 18, of each channel later.
    """

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, groups = node.input(0), node.integer("num_groups", REQUIRED)
        spatial(data.shape, node, least=0)
        if groups < 1 or (isinstance(data.shape[1], int) and data.shape[1] % groups):
            raise InputError(f"{node.where} divides {data.shape[1]!r} channels into {groups} groups", code="network.attribute")
        if not isinstance(data.shape[1], int):
            facts.same(floordiv(data.shape[1], groups) * groups, data.shape[1], f"{node.where} has whole groups")
        stash_type(node, data.dtype)
        wanted = groups if node.version < 21 else data.shape[1]
        for index in (1, 2):
            what = f"{node.where} has input {index} for each {'group' if node.version < 21 else 'channel'}"
            same_sizes(facts, node.input(index).shape, (wanted,), what)
        return [data.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data, groups = node.input(0), node.integer("num_groups")
        per_group = floordiv(data.shape[1], groups)
        sizes = ", ".join(code.size(size) for size in (data.shape[0], groups, per_group, product(data.shape[2:])))
        by_group = "true" if node.version < 21 else "false"
        epsilon = literal(node.number("epsilon", 1e-5), stash_type(node, data.dtype))
        code.line(
            f"nn::group_normalize({sizes}, {code.refs([data, node.input(1), node.input(2)])}, {by_group}, {epsilon}, "
            f"{code.ref(node.output)});"
        )


class Rows(Operator):
    """The axes from `axis` on, normalised together; scale and bias broadcast to the tensor."""

    def parts(self, node: Node) -> tuple[Shape, Shape]:
        """The axes before, and the normalised ones."""
        data = node.input(0)
        axis = node.axis(node.integer("axis", -1), data.rank)
        return data.shape[:axis], data.shape[axis:]

    def check(self, node: Node, facts: Facts) -> None:
        data = node.input(0)
        self.parts(node)
        stash_type(node, data.dtype)
        for index in (1, 2):
            if node.has(index):
                other = node.input(index)
                if other.rank > data.rank:
                    raise InputError(f"{node.where} scales {data.tensor} by {other.tensor}", code="network.shape")
                for own, size in zip(data.shape[::-1], other.shape[::-1], strict=False):
                    if size != 1:
                        facts.same(own, size, f"{node.where} has an input {index} that broadcasts")

    def is_row(self, node: Node, index: int) -> bool:
        """Whether scale or bias, where it is there, is one number for each element of a row."""
        value = node.optional(index)
        if value is None:
            return True
        _, row = self.parts(node)
        shape = value.shape
        while len(shape) > len(row) and shape[0] == 1:
            shape = shape[1:]
        return shape == row or (len(shape) < len(row) and (*[1] * (len(row) - len(shape)), *shape) == row)


@operator("LayerNormalization", since=(17,))
class LayerNormalization(Rows):
    """By mean and variance of each row (Ba et al., arXiv:1607.06450, Eq. 3)."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        self.check(node, facts)
        lead, row = self.parts(node)
        said = DType.of_number(node.integer("stash_type", 1))
        statistics = TensorType(said or DType.FLOAT32, (*lead, *[1] * len(row)))
        return [node.input(0).tensor, statistics, statistics]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data, output = node.input(0), node.output
        dtype = stash_type(node, data.dtype)
        lead, row = self.parts(node)
        stash = (DType.of_number(node.integer("stash_type", 1)) or dtype).cpp
        statistics = ", ".join(maybe(node, index, code, stash) for index in (1, 2))
        target = code.ref(output) if output.name else code.scratch(data.dtype.cpp, data.count, data.dtype.bytes)
        direct = self.is_row(node, 1) and self.is_row(node, 2)
        null = f"static_cast<const {node.input(1).dtype.cpp}*>(nullptr)"
        factors = [code.ref(value) if direct and (value := node.optional(index)) is not None else null for index in (1, 2)]
        epsilon = literal(node.number("epsilon", 1e-5), dtype)
        code.line(
            f"nn::layer_normalize({code.size(product(lead))}, {code.fixed(product(row))}, {code.ref(data)}, "
            f"{', '.join(factors)}, {epsilon}, {target}, {statistics});"
        )
        if direct or not output.name:
            return
        bias = node.optional(2)
        if bias is None:
            write_map(code, "nn::fn::mul(a, b)", ["a", "b"], [output, node.input(1)], output)
        else:
            text = "nn::fn::add(nn::fn::mul(a, b), c)"
            write_map(code, text, ["a", "b", "c"], [output, node.input(1), bias], output)


@operator("RMSNormalization", since=(23,))
class RMSNormalization(Rows):
    """By the root of each row's mean square (Zhang and Sennrich, arXiv:1910.07467, Eq. 4)."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        self.check(node, facts)
        return [TensorType(node.input(1).dtype, node.input(0).shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data, scale, output = node.input(0), node.input(1), node.output
        lead, row = self.parts(node)
        direct = self.is_row(node, 1)
        factor = code.ref(scale) if direct else f"static_cast<const {scale.dtype.cpp}*>(nullptr)"
        epsilon = literal(node.number("epsilon", 1e-5), stash_type(node, data.dtype))
        code.line(
            f"nn::rms_normalize({code.size(product(lead))}, {code.size(product(row))}, {code.ref(data)}, {factor}, {epsilon}, "
            f"{code.ref(output)});"
        )
        if not direct:
            write_map(code, "nn::fn::mul(a, b)", ["a", "b"], [output, scale], output)


@operator("LRN", since=(1, 13))
class LRN(Operator):
    """Local response over neighbouring channels (Krizhevsky et al., NIPS 2012, Sec. 3.3)."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        spatial(node.input(0).shape, node, least=0)
        size = node.integer("size", REQUIRED)
        if not 1 <= size < MOST:
            raise InputError(f"{node.where} sums over {size} channels", code="network.attribute")
        return [node.input(0).tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data, size = node.input(0), node.integer("size")
        plane, dtype = product(data.shape[2:]), computed(data.dtype)
        numbers = (node.number("alpha", 1e-4) / size, node.number("beta", 0.75), node.number("bias", 1.0))
        factors = ", ".join(literal(item, dtype) for item in numbers)
        sizes = ", ".join(code.size(item) for item in (data.shape[0], data.shape[1], plane, (size - 1) // 2, size // 2))
        row = code.scratch(dtype.cpp, plane, dtype.bytes)
        code.line(f"nn::local_response({sizes}, {factors}, {code.ref(data)}, {code.ref(node.output)}, {row});")


@operator("MeanVarianceNormalization", since=(9, 13))
class MeanVarianceNormalization(Operator):
    """By mean and deviation over some axes."""

    epsilon = 1e-9

    def _axes(self, node: Node) -> list[int]:
        rank = node.input(0).rank
        axes = [node.axis(axis, rank) for axis in node.integers("axes", [0, 2, 3])]
        if len(set(axes)) != len(axes):
            raise InputError(f"{node.where} names an axis twice: {axes}", code="network.axis")
        return sorted(axes)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        self._axes(node)
        return [node.input(0).tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data, over = node.input(0), self._axes(node)
        kept = [axis for axis in range(data.rank) if axis not in over]
        loops = []
        for axes in (kept, over):
            sizes = code.sizes(data.shape[axis] for axis in axes)
            steps = code.sizes(product(data.shape[axis + 1 :]) for axis in axes)
            loops.append(f"nn::axes({sizes}, {steps})")
        epsilon = literal(self.epsilon, computed(data.dtype))
        code.line(f"nn::mean_variance_normalize({', '.join(loops)}, {epsilon}, {code.ref(data)}, {code.ref(node.output)});")


@operator("Dropout", since=(1, 6, 7, 10, 12, 13, 22))
class Dropout(Operator):
    """The input itself, or (training) without a random part of its elements (Srivastava et al., JMLR 15 (2014) 1929).

    Versions before 12 are taken as they are meant in inference: nothing is dropped. A `seed` gives the elements that ONNX's
    reference evaluator drops; without one they are others in each call.
    """

    deterministic: ClassVar[bool] = False

    def _trains(self, node: Node) -> bool:
        """Whether elements may be dropped, as far as can be told before the code runs."""
        if node.version < 12 or not node.has(2):
            return False
        flag = node.constant(2)
        return flag is None or bool(flag.reshape(-1)[0])

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0).tensor
        for index in (1, 2):
            if node.has(index) and node.input(index).count != 1:
                raise InputError(
                    f"{node.where} has {node.input(index).tensor} as input {index}, where one value is needed",
                    code="network.shape",
                )
        return [data, TensorType(DType.BOOL if node.version >= 10 else data.dtype, data.shape)]

    def view_of(self, node: Node) -> int | None:
        return None if self._trains(node) or named(node, 1) else 0

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/normalization.hpp")
        data, output, mask = node.input(0), named(node, 0), named(node, 1)
        count = code.size(data.count)
        mask_type = mask.dtype.cpp if mask else "bool"
        target = code.ref(output) if output else code.scratch(data.dtype.cpp, data.count, data.dtype.bytes)
        ratio = "0.0" if not self._trains(node) else self._ratio(node, code)
        code.line(
            f"nn::dropout({count}, {ratio}, {self._seed(node)}, {code.ref(data)}, {target}, {maybe(node, 1, code, mask_type)});"
        )

    @staticmethod
    def _ratio(node: Node, code: Writer) -> str:
        ratio = node.optional(1)
        text = "0.5" if ratio is None else f"static_cast<double>(nn::number({code.ref(ratio)}[0]))"
        return text if node.constant(2) is not None else f"({code.ref(node.input(2))}[0] ? {text} : 0.0)"

    @staticmethod
    def _seed(node: Node) -> str:
        seed = node.integer("seed")
        return "nn::any_seed()" if seed is None else f"{seed % 2**32}u"
