"""Windows over the spatial axes: attributes of convolutions and poolings, and the sizes that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import Constraint, Node, Shape, Size, TensorType, larger, smaller
from mlcore.networks.ir.sizes import floordiv, is_late, is_nonnegative, symbols
from mlcore.networks.ops import Facts

MOST = 2**31
"""Sizes, strides, dilations and paddings are smaller, so that products of two are 64-bit numbers."""


@dataclass(frozen=True)
class Windows:
    """Windows along each spatial axis.

    Attributes
    ----------
    inside
        Sizes of what they slide over.
    kernel, strides, dilations
        Taps of a window; steps from window to window, and from tap to tap.
    before, after
        Padding.
    out
        The number of windows.
    """

    inside: Shape
    kernel: Shape
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: Shape
    after: Shape
    out: Shape

    @property
    def rank(self) -> int:
        return len(self.inside)

    def cpp(self, code: Writer) -> str:
        """As an argument of a kernel: ``nn::windows(...)``."""
        code.include("kernels/nn/windows.hpp")
        parts = (self.inside, self.kernel, self.out, self.strides, self.dilations, self.before)
        return f"nn::windows({', '.join(code.sizes(part) for part in parts)})"


def nonnegative(size: Size, facts: Facts, why: str) -> Size:
    """A size that must not be negative: checked now, or when the code runs.

    Raises
    ------
    InputError
        It is.
    """
    if isinstance(size, int):
        if size < 0:
            raise InputError(f"{why}: it would have {size} of them", code="network.shape")
    elif not is_nonnegative(size):
        facts.graph.constraints.append(Constraint(larger(size, 0), size, why))
    return size


def per_axis(node: Node, key: str, rank: int, default: int, least: int = 1) -> tuple[int, ...]:
    """An attribute with a number for each spatial axis.

    Raises
    ------
    InputError
        It has another length, or numbers out of range.
    """
    values = node.integers(key)
    if values is None:
        return (default,) * rank
    if len(values) != rank:
        raise InputError(f"{node.where} has {len(values)} {key} for {rank} spatial axes", code="network.attribute")
    for value in values:
        if not least <= value < MOST:
            raise InputError(f"{node.where} has {key} of {value}, out of range", code="network.attribute")
    return tuple(values)


def spatial(shape: Shape, node: Node, *, least: int = 1) -> Shape:
    """The axes of a tensor behind batch and channels.

    Raises
    ------
    InputError
        There are fewer than `least`.
    """
    if len(shape) < 2 + least:
        raise InputError(
            f"{node.where} needs a batch, channels and {least} or more spatial axes, and is given {len(shape)} axes",
            code="network.shape",
        )
    return shape[2:]


def kernel_shape(node: Node, rank: int, weights: Shape | None = None) -> Shape:
    """The attribute `kernel_shape`, or the spatial axes of the weights.

    Raises
    ------
    InputError
        There is none, or it contradicts the weights.
    """
    if weights is not None and node.integers("kernel_shape") is None:
        return weights
    if node.integers("kernel_shape") is None:
        raise InputError(f"{node.where} has no kernel_shape", code="network.attribute")
    kernel: Shape = per_axis(node, "kernel_shape", rank, 1)
    if weights is not None:
        for said, real in zip(kernel, weights, strict=True):
            if isinstance(real, int) and real != said:
                raise InputError(
                    f"{node.where} says kernel_shape {list(kernel)}, but its weights have {list(weights)}", code="network.shape"
                )
    return kernel


def paddings(node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The attribute `pads`: before and after each spatial axis."""
    values = per_axis(node, "pads", 2 * rank, 0, -MOST + 1)
    return values[:rank], values[rank:]


def auto_pad(node: Node) -> str:
    """The attribute `auto_pad`.

    Raises
    ------
    InputError
        It is none of ONNX's.
    """
    mode: str = node.text("auto_pad", "NOTSET") or "NOTSET"
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise InputError(
            f"{node.where} has the unknown auto_pad {mode!r}",
            hint="ONNX has NOTSET, VALID, SAME_UPPER and SAME_LOWER.",
            code="network.attribute",
        )
    return mode


def extent(kernel: Size, dilation: int) -> Size:
    """How far a window reaches."""
    return (kernel - 1) * dilation + 1


def halves(total: Size, *, upper: bool) -> tuple[Size, Size]:
    """Padding before and after; what is odd goes behind for SAME_UPPER, else before."""
    half = floordiv(total, 2)
    return (half, total - half) if upper else (total - half, half)


def slide(node: Node, inside: Shape, kernel: Shape, facts: Facts | None = None, *, ceil_mode: bool = False) -> Windows:
    """The windows of a convolution or pooling, by its attributes.

    Parameters
    ----------
    facts
        Told what has to hold of the sizes; left out when that has been done.
    ceil_mode
        Whether a window that reaches beyond the padding counts, if it begins before its end.
    """
    rank = len(inside)
    strides = per_axis(node, "strides", rank, 1)
    dilations = per_axis(node, "dilations", rank, 1)
    mode = auto_pad(node)
    before: list[Size] = []
    after: list[Size] = []
    out: list[Size] = []
    given = paddings(node, rank) if mode == "NOTSET" else ((0,) * rank, (0,) * rank)
    for axis, (size, taps, stride, dilation) in enumerate(zip(inside, kernel, strides, dilations, strict=True)):
        reach = extent(taps, dilation)
        if mode.startswith("SAME"):
            count = floordiv(size + stride - 1, stride)
            first, second = halves(larger((count - 1) * stride + reach - size, 0), upper=mode == "SAME_UPPER")
        else:
            first, second = given[0][axis], given[1][axis]
            free = size + first + second - reach
            if ceil_mode and mode == "NOTSET":
                count = floordiv(free + stride - 1, stride) + 1
                beyond = second + stride - reach
                if not isinstance(beyond, int) or beyond > 0:
                    # No window begins behind the input and the padding before it.
                    count = smaller(count, floordiv(size + first - 1, stride) + 1)
            else:
                count = floordiv(free, stride) + 1
        if facts is not None:
            nonnegative(count, facts, f"{node.where} has windows that fit into axis {axis + 2}, of size {size!r}")
        before.append(first)
        after.append(second)
        out.append(count)
    return Windows(inside, kernel, strides, dilations, tuple(before), tuple(after), tuple(out))


def same_sizes(facts: Facts, left: Sequence[Size], right: Sequence[Size], why: str) -> None:
    """Require two shapes to be the same.

    Raises
    ------
    InputError
        They differ.
    """
    if len(left) != len(right):
        raise InputError(f"{why}: {list(left)} and {list(right)} differ", code="network.shape")
    for one, other in zip(left, right, strict=True):
        facts.same(one, other, why)


def found_out(node: Node) -> list[int]:
    """The axes of the output whose sizes the node finds out itself when it runs: its code has to assign them."""
    told = {
        item
        for value in node.present()
        if isinstance(value.type, TensorType)
        for size in (*(value.type.shape or ()), *(value.elements or ()))
        for item in symbols(size)
    }
    return [
        axis
        for axis, size in enumerate(node.output.shape)
        if not isinstance(size, int) and is_late(size) and not told.intersection(symbols(size))
    ]
