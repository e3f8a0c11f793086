"""Convolutions and poolings of tensors whose channels come last, (batch, spatial..., channels): made by passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, cast

import numpy as np

from mlcore.networks.code import Writer, cpp_size
from mlcore.networks.ir import Array, Node, Size, Value, larger, product
from mlcore.networks.ops._fused import Fused
from mlcore.networks.ops._products import BLOCK, finish_function, packed, steps_of
from mlcore.networks.ops._windows import Windows, extent

WINDOWS_AT_ONCE = 192
"""Images are taken together until they have as many windows, so that weights are not read for a few windows only."""

PADDED_BYTES = 2**18
"""Most memory of padded images that are taken together."""


LEAST_TILES = 14
"""Rows of Winograd's matrix products that make good use of their weights."""

SUMS_BYTES = 2**17
"""About how much the transformed inputs and sums of a block of Winograd's tiles take: they stay near the processor."""


class Convolution(Fused):
    """A convolution with constant weights, and elementwise steps on the result.

    Inputs: x, of shape (batch, spatial..., channels); W, of shape (groups, taps * channels / groups, outputs / groups); what the
    steps read besides. Attributes: ``windows`` (`Windows`); ``filtered``, whether by minimal filtering; ``steps`` and ``raw`` as
    those of `Linear`.
    """

    name: ClassVar[str] = "Convolution"

    def takes(self, node: Node, operands: Sequence[Value]) -> bool:
        """Whether the operands of a step lie along the result, or are numbers for its channels."""
        return all(_lead(operand) is None or _lead(operand) == node.output.shape[:-1] for operand in operands)

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/channels_last.hpp")
        for step in steps_of(node):
            code.comment(f"  {step.kind}")
        x, weights, output = node.input(0), node.input(1), node.output
        windows = cast("Windows", node.attributes["windows"])
        if weights.constant is None:
            raise AssertionError("a Convolution has weights that are no constant")
        batch, channels = x.shape[0], x.shape[-1]
        whole = padded_sizes(windows)
        filtered = node.attributes.get("filtered", False)
        if filtered:
            whole = tuple(larger(size, (out + 1) // 2 * 2 + 2) for size, out in zip(whole, windows.out, strict=True))
        inner = replace(windows, inside=whole, before=(0,) * windows.rank)
        source, first = code.ref(x), "0"
        if whole == windows.inside:
            self._images(node, code, inner, source, batch, first)
            return
        at_once = together(windows, batch, product(whole) * channels * output.dtype.bytes)
        padded = code.scratch(output.dtype.cpp, product(whole) * channels * at_once, output.dtype.bytes)
        sizes = ", ".join(map(code.sizes, (windows.inside, windows.before, whole)))
        if batch == at_once:
            code.line(f"nn::pad({code.size(batch)}, {sizes}, {code.size(channels)}, {source}, {padded});")
            self._images(node, code, inner, padded, batch, first)
            return
        first, images = code.fresh("b"), code.fresh("n")
        with code.block(f"for (std::int64_t {first} = 0; {first} < {code.size(batch)}; {first} += {at_once})"):
            code.line(f"const std::int64_t {images} = nn::smaller({code.size(batch)} - {first}, {at_once});")
            start = f"{source} + {first} * {code.size(product(windows.inside) * channels)}"
            code.line(f"nn::pad({images}, {sizes}, {code.size(channels)}, {start}, {padded});")
            self._images(node, code, inner, padded, images, first)

    def _images(self, node: Node, code: Writer, windows: Windows, source: str, images: Size | str, first: str) -> None:
        """Write the convolution of some images, from number `first` on."""
        weights = cast("Array", node.input(1).constant)
        groups, depth, columns = weights.shape
        channels, outputs = node.input(0).shape[-1], groups * columns
        taps = cast("int", product(windows.kernel))
        number = images if isinstance(images, str) else code.size(images)
        after = f"{first} * {code.size(product(windows.out))}" if first != "0" else ""
        depthwise = groups == channels and columns == 1
        for group in range(1 if depthwise else groups):
            here = 0 if depthwise else group * columns
            width = outputs if depthwise else columns
            operands = node.present()[2:]
            parts = [_operand(code, value, outputs, after, here) for value in operands]
            target = _sum(code.ref(node.output), f"{after} * {outputs}" if after else "", here)
            function = code.function(finish_function(node, operands))
            finish = ", ".join([target, code.fixed(outputs), code.fixed(width), function, *parts])
            shape = windows.cpp(code)
            if node.attributes.get("filtered", False):
                self._winograd(node, code, windows, number, source, f"nn::finish({finish})")
                continue
            if depthwise:
                packed_weights = code.weights(np.ascontiguousarray(weights[:, :, 0].T))
                arguments = f"{shape}, {number}, {outputs}, {source}, {packed_weights}, nn::finish({finish})"
                code.line(f"nn::depthwise_last<{taps}>({arguments});")
                continue
            own = depth // taps
            joined = own == channels and windows.dilations[-1] == 1
            last = cast("int", windows.kernel[-1])
            count, length = (taps // last, last * own) if joined else (taps, own)
            pixel = code.fixed(windows.strides[-1] * channels)
            kind = f"{count}, {'true' if joined else 'false'}"
            runs = f"nn::runs<{kind}>({shape}, {cpp_size(channels)}, {pixel}, {code.fixed(length)})"
            lines = windows.out[-2] if windows.rank > 1 else 1
            sizes = ", ".join(map(code.fixed, (windows.out[-1], lines, columns, depth)))
            text = f"{shape}, {number}, {cpp_size(channels)}, {sizes}, {runs}, {_sum(source, '', group * own)}"
            code.line(f"nn::conv_last({text}, {code.weights(packed(weights[group]))}, nn::finish({finish}));")

    def _winograd(self, node: Node, code: Writer, windows: Windows, images: str, source: str, finish: str) -> None:
        """Write it by minimal filtering (`kernels/nn/winograd.hpp`)."""
        code.include("kernels/nn/winograd.hpp")
        weights = cast("Array", node.input(1).constant)[0]
        dtype = node.output.dtype
        columns = weights.shape[1]
        channels = len(weights) // 9
        padded = -(-columns // BLOCK) * BLOCK
        high, wide = (-(-cast("int", size) // 2) for size in windows.out)
        most = max(LEAST_TILES, min(64, SUMS_BYTES // (16 * (channels + padded) * dtype.bytes)))
        count = high * wide * together(windows, node.input(0).shape[0], product(windows.inside) * channels * dtype.bytes)
        tiles = -(-count // -(-count // most))
        inputs, sums = (code.scratch(dtype.cpp, 16 * tiles * size, dtype.bytes) for size in (channels, padded))
        matrices = np.stack([packed(matrix) for matrix in transformed(weights)])
        sizes = f"{code.fixed(channels)}, {code.fixed(columns)}"
        code.line(
            f"nn::winograd<{tiles}>({windows.cpp(code)}, {images}, {sizes}, {source}, {code.weights(matrices)}, "
            f"{inputs}, {sums}, {finish});"
        )


def transformed(weights: Array) -> Array:
    """``G g G^T`` of 3 x 3 kernels (Lavin and Gray, arXiv:1509.09308, Eq. 9), in float64 and rounded once.

    Parameters
    ----------
    weights
        Shape (9 * channels, outputs).

    Returns
    -------
    array
        Shape (16, channels, outputs).
    """
    kernels = weights.astype(np.float64).reshape(3, 3, -1, weights.shape[1])
    g = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    result: Array = np.einsum("ia,jb,abcn->ijcn", g, g, kernels).reshape(16, -1, weights.shape[1]).astype(weights.dtype)
    return result


def padded_sizes(windows: Windows) -> tuple[Size, ...]:
    """Sizes of the images with as much padding as the windows reach."""
    sizes: list[Size] = []
    for size, before, out, stride, kernel, dilation in zip(
        windows.inside, windows.before, windows.out, windows.strides, windows.kernel, windows.dilations, strict=True
    ):
        if before == 0 and windows.after[len(sizes)] == 0:
            sizes.append(size)
        else:
            sizes.append(larger(before + size, (out - 1) * stride + extent(kernel, dilation)))
    return tuple(sizes)


def together(windows: Windows, batch: Size, padded_bytes: Size) -> int:
    """How many images are padded and convolved at a time."""
    places = product(windows.out)
    if not isinstance(places, int) or not isinstance(padded_bytes, int):
        return 1
    number = max(1, min(-(-WINDOWS_AT_ONCE // max(places, 1)), PADDED_BYTES // max(padded_bytes, 1)))
    return min(number, batch) if isinstance(batch, int) and batch > 0 else number


def _lead(value: Value) -> tuple[Size, ...] | None:
    """The axes before the last, where there are any but those of size 1."""
    lead = tuple(value.shape[:-1])
    return None if all(size == 1 for size in lead) else lead


def _sum(name: str, *offsets: str | int) -> str:
    return " + ".join([name, *(str(item) for item in offsets if item not in ("", 0))])


def _operand(code: Writer, value: Value, outputs: int, after: str, here: int) -> str:
    """What the finish of a convolution reads: from window `after` and channel `here` on."""
    wide = value.rank > 0 and value.shape[-1] != 1
    row = 0 if _lead(value) is None else (outputs if wide else 1)
    offset = f"{after} * {row}" if after and row else ""
    return f"nn::{'along' if wide else 'each'}({_sum(code.ref(value), offset, here if wide else 0)}, {code.fixed(row)})"


class Pooling(Fused):
    """MaxPool or AveragePool with the channels last.

    Attributes: ``windows``; ``maximum``; ``padded``, whether an average counts the padding.
    """

    name: ClassVar[str] = "Pooling"

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/channels_last.hpp")
        x = node.input(0)
        windows = cast("Windows", node.attributes["windows"])
        taps = cast("int", product(windows.kernel))
        rest = f"{code.size(x.shape[0])}, {code.size(x.shape[-1])}, {code.ref(x)}, {code.ref(node.output)}"
        if node.attributes["maximum"]:
            code.line(f"nn::max_pool_last<{taps}>({windows.cpp(code)}, {rest});")
            return
        padded = "true" if node.attributes["padded"] else "false"
        code.line(f"nn::average_pool_last<{taps}>({windows.cpp(code)}, {code.sizes(windows.after)}, {padded}, {rest});")


CONVOLUTION = Convolution()
POOLING = Pooling()
