"""Poolings: of windows, of whole planes, of regions; and the way back."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import DType, Node, Shape, Size, TensorType, ValueType, product
from mlcore.networks.ir.graph import REQUIRED
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._windows import MOST, Windows, kernel_shape, nonnegative, paddings, per_axis, same_sizes, slide, spatial
from mlcore.networks.ops.matmul import computed


class Pool(Operator):
    """A number of each window."""

    def windows(self, node: Node, facts: Facts | None = None) -> Windows:
        inside = spatial(node.input(0).shape, node)
        return slide(node, inside, kernel_shape(node, len(inside)), facts, ceil_mode=bool(node.integer("ceil_mode", 0)))

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        shape = (*data.shape[:2], *self.windows(node, facts).out)
        return [TensorType(data.dtype, shape)]

    def row(self, node: Node, code: Writer) -> str:
        """Memory for a row of the output."""
        dtype = computed(node.input(0).dtype)
        return code.scratch(dtype.cpp, self.windows(node).out[-1], dtype.bytes)

    def planes(self, node: Node, code: Writer) -> str:
        return code.size(product(node.input(0).shape[:2]))


@operator("MaxPool", since=(1, 8, 10, 11, 12, 22))
class MaxPool(Pool):
    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        (kind,) = super().infer(node, facts)
        if node.integer("storage_order", 0) not in (0, 1):
            raise InputError(f"{node.where} has the storage_order {node.integer('storage_order')}", code="network.attribute")
        return [kind, TensorType(DType.INT64, kind.shape)] if isinstance(kind, TensorType) else [kind]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/pooling.hpp")
        windows, planes, data = self.windows(node).cpp(code), self.planes(node, code), node.input(0)
        output = written(node, 0, code)
        if len(node.outputs) > 1 and node.outputs[1].name:
            order = "true" if node.integer("storage_order", 0) else "false"
            code.line(
                f"nn::max_pool_indices({windows}, {planes}, {order}, {code.ref(data)}, {output}, {code.ref(node.outputs[1])});"
            )
        else:
            code.line(f"nn::max_pool({windows}, {planes}, {code.ref(data)}, {output}, {self.row(node, code)});")


def written(node: Node, index: int, code: Writer) -> str:
    """The memory of an output, which may be one that nobody reads."""
    value = node.outputs[index] if index < len(node.outputs) else None
    if value is not None and value.name:
        return code.ref(value)
    kind = node.outputs[0].tensor if value is None else value.tensor
    return code.scratch(kind.dtype.cpp, kind.count, kind.dtype.bytes)


@operator("AveragePool", since=(1, 7, 10, 11, 19, 22))
class AveragePool(Pool):
    """Of the elements in each window, or (`count_include_pad`) with the zeros of the padding."""

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/pooling.hpp")
        windows = self.windows(node)
        padded = "true" if node.integer("count_include_pad", 0) else "false"
        code.line(
            f"nn::average_pool({windows.cpp(code)}, {code.sizes(windows.after)}, {padded}, {self.planes(node, code)}, "
            f"{code.ref(node.input(0))}, {code.ref(node.output)}, {self.row(node, code)});"
        )


def norm_power(node: Node) -> str:
    """The attribute `p` of a norm as C++.

    Raises
    ------
    InputError
        It is not positive.
    """
    power = node.number("p", 2)
    if not power > 0:
        raise InputError(f"{node.where} takes the norm of p = {power}", hint="p has to be positive.", code="network.attribute")
    return literal(power, DType.FLOAT64)


@operator("LpPool", since=(1, 2, 11, 18, 22))
class LpPool(Pool):
    """``(sum |x|^p)^(1/p)`` of each window."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        norm_power(node)
        return super().infer(node, facts)

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/pooling.hpp")
        code.line(
            f"nn::lp_pool({self.windows(node).cpp(code)}, {norm_power(node)}, {self.planes(node, code)}, "
            f"{code.ref(node.input(0))}, {code.ref(node.output)}, {self.row(node, code)});"
        )


class GlobalPool(Operator):
    """One number of each plane."""

    function: str

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        spatial(data.shape, node, least=0)
        return [TensorType(data.dtype, (*data.shape[:2], *[1] * (data.rank - 2)))]

    def power(self, node: Node) -> str:
        del node
        return ""

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/pooling.hpp")
        data = node.input(0)
        sizes = f"{code.size(product(data.shape[:2]))}, {code.size(product(data.shape[2:]))}"
        code.line(f"nn::{self.function}({sizes}{self.power(node)}, {code.ref(data)}, {code.ref(node.output)});")


@operator("GlobalAveragePool", since=(1, 22))
class GlobalAveragePool(GlobalPool):
    function = "global_average_pool"


@operator("GlobalMaxPool", since=(1, 22))
class GlobalMaxPool(GlobalPool):
    function = "global_max_pool"


@operator("GlobalLpPool", since=(1, 2, 22))
class GlobalLpPool(GlobalPool):
    function = "global_lp_pool"

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        norm_power(node)
        return super().infer(node, facts)

    def power(self, node: Node) -> str:
        return f", {norm_power(node)}"


@operator("MaxUnpool", since=(9, 11, 22))
class MaxUnpool(Operator):
    """Maxima put back where they stood, zeros elsewhere.

    The indices count the elements of the tensor that MaxPool with the same attributes would have been given; `output_shape` may
    ask for a larger one, whose first elements along each axis that tensor is.
    """

    def _inner(self, node: Node, facts: Facts | None = None) -> Shape:
        data = node.input(0)
        outside = spatial(data.shape, node)
        rank = len(outside)
        kernel, strides = kernel_shape(node, rank), per_axis(node, "strides", rank, 1)
        before, after = paddings(node, rank)
        sizes = []
        for axis in range(rank):
            size = (outside[axis] - 1) * strides[axis] + kernel[axis] - before[axis] - after[axis]
            if facts is not None:
                nonnegative(size, facts, f"{node.where} has an output along axis {axis + 2}")
            sizes.append(size)
        return (*data.shape[:2], *sizes)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        same_sizes(facts, node.input(1).shape, data.shape, f"{node.where} has an index for each element")
        if node.input(1).dtype is not DType.INT64:
            raise InputError(f"{node.where} has indices of {node.input(1).dtype}", code="network.dtype")
        inner = self._inner(node, facts)
        if not node.has(2):
            return [TensorType(data.dtype, inner)]
        same_sizes(facts, node.input(2).shape, (data.rank,), f"{node.where} wants a size for each axis")
        wanted = node.input(2).elements
        if wanted is None:
            return [TensorType(data.dtype, tuple(facts.late() for _ in inner))]
        for size, least in zip(wanted, inner, strict=True):
            nonnegative(size - least, facts, f"{node.where} wants the shape {list(wanted)}, and needs at least {list(inner)}")
        return [TensorType(data.dtype, wanted)]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/pooling.hpp")
        inner, output = self._inner(node), node.output
        if node.has(2) and node.input(2).elements is None:
            for axis, size in enumerate(output.shape):
                given = f"{code.ref(node.input(2))}[{axis}]"
                code.line(f'nn::require({given} >= {code.size(inner[axis])}, "MaxUnpool wants too small an output");')
                code.assign(size, given)
            code.allocate(output)
        arguments = f"{code.sizes(inner)}, {code.sizes(output.shape)}, {code.size(node.input(0).count)}"
        code.line(f"nn::max_unpool({arguments}, {code.refs([node.input(0), node.input(1)])}, {code.ref(output)});")


class Regions(Operator):
    """A grid of numbers of each region of an image."""

    columns: int

    def grid(self, node: Node) -> tuple[int, int]:
        """Rows and columns of the output."""
        raise NotImplementedError

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, rois = node.input(0), node.input(1)
        if data.rank != 4 or rois.rank != 2:
            raise InputError(f"{node.where} takes regions {rois.tensor} of {data.tensor}", code="network.shape")
        facts.same(rois.shape[1], self.columns, f"{node.where} has {self.columns} numbers for each region")
        if rois.dtype is not data.dtype:
            raise InputError(f"{node.where} mixes {data.dtype} and {rois.dtype}", code="network.dtype")
        grid = self.grid(node)
        if any(not 1 <= size < MOST for size in grid):
            raise InputError(f"{node.where} has outputs of the shape {list(grid)}", code="network.attribute")
        return [TensorType(data.dtype, (rois.shape[0], data.shape[1], *grid))]

    def sizes(self, node: Node, code: Writer) -> str:
        listed: list[Size] = [*node.input(0).shape, node.input(1).shape[0], *self.grid(node)]
        return ", ".join(code.size(size) for size in listed)


@operator("MaxRoiPool", since=(1, 22))
class MaxRoiPool(Regions):
    """The maximum of each part of a region (Girshick, arXiv:1504.08083, Sec. 2.1)."""

    columns = 5

    def grid(self, node: Node) -> tuple[int, int]:
        shape = node.integers("pooled_shape", REQUIRED)
        if len(shape) != 2:
            raise InputError(f"{node.where} has the pooled_shape {shape}, where two sizes are needed", code="network.attribute")
        return shape[0], shape[1]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/pooling.hpp")
        scale = literal(node.number("spatial_scale", 1.0), DType.FLOAT32)
        code.line(
            f"nn::max_roi_pool({self.sizes(node, code)}, {scale}, {code.refs([node.input(0), node.input(1)])}, "
            f"{code.ref(node.output)});"
        )


@operator("RoiAlign", since=(10, 16, 22))
class RoiAlign(Regions):
    """The average or maximum of samples of each part of a region (He et al., arXiv:1703.06870, Sec. 3)."""

    columns = 4

    def grid(self, node: Node) -> tuple[int, int]:
        return node.integer("output_height", 1), node.integer("output_width", 1)

    def _half_pixel(self, node: Node) -> bool:
        default = "half_pixel" if node.version >= 16 else "output_half_pixel"
        mode = node.text("coordinate_transformation_mode", default)
        if mode not in ("half_pixel", "output_half_pixel"):
            raise InputError(f"{node.where} has the unknown coordinate_transformation_mode {mode!r}", code="network.attribute")
        return bool(mode == "half_pixel")

    def _sampling(self, node: Node) -> int:
        sampling: int = node.integer("sampling_ratio", 0)
        if not 0 <= sampling < 2**14:
            raise InputError(f"{node.where} has the sampling_ratio {sampling}", code="network.attribute")
        return sampling

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        same_sizes(facts, node.input(2).shape, node.input(1).shape[:1], f"{node.where} has an image for each region")
        if node.input(2).dtype is not DType.INT64:
            raise InputError(f"{node.where} has images numbered by {node.input(2).dtype}", code="network.dtype")
        self._half_pixel(node)
        self._sampling(node)
        if node.text("mode", "avg") not in ("avg", "max"):
            raise InputError(f"{node.where} has the unknown mode {node.text('mode')!r}", code="network.attribute")
        return super().infer(node, facts)

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/pooling.hpp")
        half = self._half_pixel(node)
        flags = ", ".join(
            [
                str(self._sampling(node)),
                literal(node.number("spatial_scale", 1.0), DType.FLOAT32),
                "0.5" if half else "0",
                "false" if half else "true",
                "true" if node.text("mode", "avg") == "max" else "false",
            ]
        )
        inputs = code.refs([node.input(0), node.input(1), node.input(2)])
        code.line(f"nn::roi_align({self.sizes(node, code)}, {flags}, {inputs}, {code.ref(node.output)});")
