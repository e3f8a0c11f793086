"""Convolutions and their transposes."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import DType, Node, Shape, Size, TensorType, Value, ValueType, larger, product
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._windows import (
    Windows,
    auto_pad,
    extent,
    found_out,
    halves,
    kernel_shape,
    nonnegative,
    paddings,
    per_axis,
    same_sizes,
    slide,
    spatial,
)
from mlcore.networks.ops.matmul import computed


def groups_of(node: Node) -> int:
    """The attribute `group`.

    Raises
    ------
    InputError
        It is not positive.
    """
    groups: int = node.integer("group", 1)
    if groups < 1:
        raise InputError(f"{node.where} has {groups} groups", code="network.attribute")
    return groups


def per_group(node: Node, channels: Size, groups: int, what: str) -> Size:
    """Channels in each group.

    Raises
    ------
    InputError
        They cannot be divided.
    """
    if isinstance(channels, int) and channels % groups:
        raise InputError(f"{node.where} divides {channels} {what} into {groups} groups", code="network.shape")
    return floordiv(channels, groups)


def check_bias(node: Node, index: int, channels: Size, facts: Facts) -> None:
    """A bias, where there is one, has a number for each output channel."""
    if node.has(index):
        same_sizes(facts, node.input(index).shape, (channels,), f"{node.where} has a bias for each of its channels")


def pointer(node: Node, index: int, code: Writer, like: str) -> str:
    """The name of an optional input's pointer, or a null pointer to elements of type `like`."""
    value = node.optional(index)
    return f"static_cast<const {like}*>(nullptr)" if value is None else code.ref(value)


class Convolution(Operator):
    """What all convolutions share: X is (batch, groups * channels, ...), W (outputs, channels, kernel)."""

    data_index = 0
    weight_index = 1

    def windows(self, node: Node, facts: Facts | None = None) -> Windows:
        data, weights = node.input(self.data_index), node.input(self.weight_index)
        inside = spatial(data.shape, node)
        if weights.rank != data.rank:
            raise InputError(f"{node.where} applies weights {weights.tensor} to {data.tensor}", code="network.shape")
        return slide(node, inside, kernel_shape(node, len(inside), weights.shape[2:]), facts)

    def shape(self, node: Node, facts: Facts) -> Shape:
        """The shape of the output."""
        data, weights = node.input(self.data_index), node.input(self.weight_index)
        windows = self.windows(node, facts)
        groups = groups_of(node)
        per_group(node, weights.shape[0], groups, "output channels")
        facts.same(weights.shape[1] * groups, data.shape[1], f"{node.where} has weights for the channels of its input")
        return (data.shape[0], weights.shape[0], *windows.out)

    def channels(self, node: Node, code: Writer) -> str:
        """As an argument of a kernel."""
        data, weights = node.input(self.data_index), node.input(self.weight_index)
        groups = groups_of(node)
        sizes = (data.shape[0], groups, weights.shape[1], floordiv(weights.shape[0], groups))
        return f"nn::Channels{{{', '.join(code.size(size) for size in sizes)}}}"

    def row(self, node: Node, code: Writer, cpp: str, element_bytes: int) -> str:
        """Memory for one row of the output."""
        return code.scratch(cpp, node.output.shape[-1], element_bytes)


def same_dtype(node: Node, values: Sequence[Value]) -> DType:
    """The element type that some inputs share.

    Raises
    ------
    InputError
        They do not.
    """
    kinds = {value.dtype for value in values}
    if len(kinds) > 1:
        raise InputError(
            f"{node.where} mixes {', '.join(sorted(map(str, kinds)))}",
            hint="Its inputs need one element type.",
            code="network.dtype",
        )
    return values[0].dtype


@operator("Conv", since=(1, 11, 22))
class Conv(Convolution):
    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        dtype = same_dtype(node, node.present())
        shape = self.shape(node, facts)
        check_bias(node, 2, shape[1], facts)
        return [TensorType(dtype, shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/convolution.hpp")
        dtype = computed(node.output.dtype)
        row = self.row(node, code, dtype.cpp, dtype.bytes)
        bias = pointer(node, 2, code, node.output.dtype.cpp)
        code.line(
            f"nn::conv({self.windows(node).cpp(code)}, {self.channels(node, code)}, {code.refs([node.input(0), node.input(1)])}, "
            f"{bias}, {code.ref(node.output)}, {row});"
        )


@operator("ConvInteger", since=(10,))
class ConvInteger(Convolution):
    """Of 8-bit numbers less their zero points, as 32-bit numbers."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        shape = self.shape(node, facts)
        check_zero_point(node, 2, None, facts)
        check_zero_point(node, 3, shape[1], facts)
        return [TensorType(DType.INT32, shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/convolution.hpp")
        row = self.row(node, code, "std::int32_t", 4)
        code.line(
            f"nn::conv_integer({self.windows(node).cpp(code)}, {self.channels(node, code)}, "
            f"{code.refs([node.input(0), node.input(1)])}, {zero_point(node, 2, code)}, {zero_points(node, 3, code)}, "
            f"{code.ref(node.output)}, {row});"
        )


def check_zero_point(node: Node, index: int, channels: Size | None, facts: Facts) -> None:
    """A zero point or scale, where it is there, is one number, or (where `channels` is given) one for each channel."""
    value = node.optional(index)
    if value is None or value.count == 1:
        return
    if channels is None or value.rank != 1:
        raise InputError(f"{node.where} has {value.tensor} as input {index}, where one number is needed", code="network.shape")
    same_sizes(facts, value.shape, (channels,), f"{node.where} has input {index} for each channel")


def zero_point(node: Node, index: int, code: Writer) -> str:
    """The C++ that takes off a tensor's zero point, which may be left out."""
    value = node.optional(index)
    return "nn::unshifted()" if value is None else f"nn::shifted({code.ref(value)})"


def zero_points(node: Node, index: int, code: Writer) -> str:
    """The C++ that takes off the zero points of output channels, which may be one, or left out."""
    value = node.optional(index)
    if value is None:
        return "nn::NoZeroPoints{}"
    return f"nn::zero_points({code.ref(value)}, {0 if value.count == 1 else 1})"


@operator("ConvTranspose", since=(1, 11, 22))
class ConvTranspose(Operator):
    """The transpose of a convolution: inputs add multiples of the kernel to the output. W is (inputs, outputs, kernel)."""

    def windows(self, node: Node, facts: Facts | None = None) -> Windows:
        """The windows of the convolution whose transpose it is: over the output, as many as there are inputs."""
        data, weights = node.input(0), node.input(1)
        outside = spatial(data.shape, node)
        rank = len(outside)
        if weights.rank != data.rank:
            raise InputError(f"{node.where} applies weights {weights.tensor} to {data.tensor}", code="network.shape")
        kernel = kernel_shape(node, rank, weights.shape[2:])
        strides = per_axis(node, "strides", rank, 1)
        dilations = per_axis(node, "dilations", rank, 1)
        extra = per_axis(node, "output_padding", rank, 0, 0)
        mode = auto_pad(node)
        wanted: Sequence[Size] | None = node.integers("output_shape")
        if wanted is not None:
            # Some exporters name the batch and the channels too.
            wanted = wanted[2:] if len(wanted) == rank + 2 else wanted
            if len(wanted) != rank or any(isinstance(size, int) and size < 0 for size in wanted):
                raise InputError(f"{node.where} wants the output_shape {list(wanted)}", code="network.attribute")
        elif mode.startswith("SAME"):
            wanted = [size * stride for size, stride in zip(outside, strides, strict=True)]
        inside: list[Size] = []
        before, after = (list[Size](side) for side in (paddings(node, rank) if mode == "NOTSET" else ((0,) * rank, (0,) * rank)))
        for axis in range(rank):
            # What the inputs reach without padding; of no inputs nothing.
            full = (outside[axis] - 1) * strides[axis] + extent(kernel[axis], dilations[axis]) + extra[axis]
            if wanted is None:
                inside.append(full - before[axis] - after[axis])
            else:
                inside.append(wanted[axis])
                total = larger(full - wanted[axis], 0)
                before[axis], after[axis] = halves(total, upper=mode == "SAME_UPPER")
            if facts is not None:
                nonnegative(inside[axis], facts, f"{node.where} has an output along axis {axis + 2}")
        return Windows(tuple(inside), kernel, strides, dilations, tuple(before), tuple(after), outside)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        dtype = same_dtype(node, node.present())
        data, weights = node.input(0), node.input(1)
        windows = self.windows(node, facts)
        groups = groups_of(node)
        per_group(node, data.shape[1], groups, "channels")
        facts.same(weights.shape[0], data.shape[1], f"{node.where} has weights for the channels of its input")
        channels = weights.shape[1] * groups
        check_bias(node, 2, channels, facts)
        return [TensorType(dtype, (data.shape[0], channels, *windows.inside))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/convolution.hpp")
        data, weights, groups = node.input(0), node.input(1), groups_of(node)
        dtype = computed(node.output.dtype)
        row = code.scratch(dtype.cpp, node.output.shape[-1], dtype.bytes)
        sizes = (data.shape[0], groups, floordiv(data.shape[1], groups), weights.shape[1])
        channels = f"nn::Channels{{{', '.join(code.size(size) for size in sizes)}}}"
        bias = pointer(node, 2, code, node.output.dtype.cpp)
        code.line(
            f"nn::conv_transpose({self.windows(node).cpp(code)}, {channels}, {code.refs([data, weights])}, {bias}, "
            f"{code.ref(node.output)}, {row});"
        )


@operator("DeformConv", since=(19, 22))
class DeformConv(Convolution):
    """A convolution whose taps are moved by offsets (Dai et al., arXiv:1703.06211) and weighted by a mask (arXiv:1811.11168)."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        dtype = same_dtype(node, node.present())
        data, offsets = node.input(0), node.input(2)
        shape = self.shape(node, facts)
        windows = self.windows(node)
        offset_groups = node.integer("offset_group", 1)
        if offset_groups < 1:
            raise InputError(f"{node.where} has {offset_groups} offset groups", code="network.attribute")
        per_group(node, data.shape[1], offset_groups, "channels")
        taps = product(windows.kernel) * offset_groups
        wanted = (shape[0], taps * windows.rank, *windows.out)
        same_sizes(facts, offsets.shape, wanted, f"{node.where} has an offset for each tap and window")
        check_bias(node, 3, shape[1], facts)
        if node.has(4):
            wanted = (shape[0], taps, *windows.out)
            same_sizes(facts, node.input(4).shape, wanted, f"{node.where} has a mask for each tap and window")
        return [TensorType(dtype, shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/convolution.hpp")
        bias, mask = (pointer(node, index, code, node.output.dtype.cpp) for index in (3, 4))
        code.line(
            f"nn::deform_conv({self.windows(node).cpp(code)}, {self.channels(node, code)}, {node.integer('offset_group', 1)}, "
            f"{code.refs([node.input(0), node.input(1), node.input(2)])}, {bias}, {mask}, {code.ref(node.output)});"
        )


@operator("Col2Im", since=(18,))
class Col2Im(Operator):
    """Columns of windows added up to images: the transpose of taking windows out of images.

    The input is (batch, channels * taps, windows); `image_shape` and `block_shape` may be computed by the model.
    """

    def _rank(self, node: Node) -> int:
        counts = [node.input(index).count for index in (1, 2)]
        rank = counts[0]
        if not isinstance(rank, int):
            raise InputError(f"{node.where} has a result whose rank is not known before it runs", code="network.rank")
        if rank < 1 or counts[1] != rank:
            raise InputError(f"{node.where} has an image of {counts[0]!r} axes and blocks of {counts[1]!r}", code="network.shape")
        return rank

    def _attributes(self, node: Node) -> tuple[tuple[int, ...], ...]:
        rank = self._rank(node)
        before, after = paddings(node, rank)
        return per_axis(node, "strides", rank, 1), per_axis(node, "dilations", rank, 1), before, after

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, rank = node.input(0), self._rank(node)
        if data.rank != 3 or data.dtype is DType.STRING:
            raise InputError(
                f"{node.where} is given {data.tensor}, where (batch, channels, windows) is needed", code="network.shape"
            )
        self._attributes(node)
        image, block = node.input(1).elements, node.input(2).elements
        if block is not None and all(isinstance(size, int) for size in block):
            taps = product(block)
            if not isinstance(taps, int) or taps < 1 or (isinstance(data.shape[1], int) and data.shape[1] % taps):
                raise InputError(
                    f"{node.where} divides {data.shape[1]!r} rows into blocks of {list(block)}", code="network.shape"
                )
            channels = floordiv(data.shape[1], taps)
            if not isinstance(channels, int):
                facts.same(channels * taps, data.shape[1], f"{node.where} has whole blocks")
        else:
            channels = facts.late()
        if image is None:
            sizes: Shape = tuple(facts.late() for _ in range(rank))
        else:
            sizes = tuple(nonnegative(size, facts, f"{node.where} wants an image of the shape {list(image)}") for size in image)
        return [TensorType(data.dtype, (data.shape[0], channels, *sizes))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/convolution.hpp")
        data, output, rank = node.input(0), node.output, self._rank(node)
        strides, dilations, before, after = self._attributes(node)
        image, block = (self._sizes(node, index, rank, code) for index in (1, 2))
        padding = code.sizes(a + b for a, b in zip(before, after, strict=True))
        out = code.fresh("windows")
        code.line(
            f"const auto {out} = nn::col2im_windows({image}, {block}, {code.sizes(strides)}, {code.sizes(dilations)}, {padding}, "
            f"{code.size(data.shape[2])});"
        )
        if node.input(2).elements is None or not all(isinstance(size, int) for size in node.input(2).elements or ()):
            rows = code.size(data.shape[1])
            code.line(f'nn::require({rows} % nn::product({block}) == 0, "Col2Im is given rows that make no whole blocks");')
            code.assign(output.shape[1], f"{rows} / nn::product({block})")
        if node.input(1).elements is None:
            for axis in range(rank):
                code.assign(output.shape[2 + axis], f"{image}[{axis}]")
        if found_out(node):
            code.allocate(output)
        dtype = computed(output.dtype)
        row = code.scratch(dtype.cpp, output.shape[-1], dtype.bytes)
        windows = f"nn::windows({image}, {block}, {out}, {code.sizes(strides)}, {code.sizes(dilations)}, {code.sizes(before)})"
        sizes = ", ".join(code.size(size) for size in output.shape[:2])
        code.line(f"nn::col2im({windows}, {sizes}, {code.ref(data)}, {code.ref(output)}, {row});")

    def _sizes(self, node: Node, index: int, rank: int, code: Writer) -> str:
        value = node.input(index)
        if value.elements is not None:
            return code.sizes(value.elements)
        name = code.fresh("shape")
        code.line(f"const auto {name} = nn::sizes({', '.join(f'{code.ref(value)}[{axis}]' for axis in range(rank))});")
        return name


@operator("CausalConvWithState", since=(27,))
class CausalConvWithState(Operator):
    """Each channel's own convolution over the past, as state-space models and gated linear attention have it."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        dtype = same_dtype(node, node.present())
        data, weights = node.input(0), node.input(1)
        if data.rank != 3 or weights.rank != 3:
            raise InputError(f"{node.where} applies weights {weights.tensor} to {data.tensor}", code="network.shape")
        batch, channels, _ = data.shape
        same_sizes(facts, weights.shape[:2], (channels, 1), f"{node.where} has one kernel for each channel")
        check_bias(node, 2, channels, facts)
        state = (batch, channels, nonnegative(weights.shape[2] - 1, facts, f"{node.where} has a tap"))
        if node.has(3):
            same_sizes(facts, node.input(3).shape, state, f"{node.where} continues from its past state")
        if node.text("activation", "none") not in ("none", "silu", "swish"):
            raise InputError(f"{node.where} has the unknown activation {node.text('activation')!r}", code="network.attribute")
        return [TensorType(dtype, data.shape), TensorType(dtype, state)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/convolution.hpp")
        data, weights = node.input(0), node.input(1)
        sizes = ", ".join(code.size(size) for size in (*data.shape, weights.shape[2]))
        cpp = data.dtype.cpp
        bias, past = (pointer(node, index, code, cpp) for index in (2, 3))
        state = code.ref(node.outputs[1]) if len(node.outputs) > 1 and node.outputs[1].name else f"static_cast<{cpp}*>(nullptr)"
        function = "x" if node.text("activation", "none") == "none" else "x * nn::fn::sigmoid(x)"
        output = code.ref(node.output) if node.output.name else code.scratch(cpp, data.count, data.dtype.bytes)
        code.line(
            f"nn::causal_conv({sizes}, {code.refs([data, weights])}, {bias}, {past}, {output}, {state}, "
            f"[](auto x) {{ return {function}; }});"
        )
