"""Resampling: Resize, Upsample, GridSample, AffineGrid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.code import Writer, literal
from mlcore.networks.ir import Array, DType, Node, Shape, Size, TensorType, Value, ValueType, product
from mlcore.networks.ir.graph import REQUIRED
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._windows import MOST, found_out, nonnegative, same_sizes

_COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_POLICIES = ("stretch", "not_larger", "not_smaller")


def choice(node: Node, key: str, options: Sequence[str], default: str) -> str:
    """An attribute that is one of some texts.

    Raises
    ------
    InputError
        It is none of them.
    """
    value: str = node.text(key, default)
    if value not in options:
        raise InputError(
            f"{node.where} has the unknown {key} {value!r}", hint=f"ONNX has {', '.join(options)}.", code="network.attribute"
        )
    return value


class Resampling(Operator):
    """Axes resized by scales or to sizes, element by element the nearest, or interpolated."""

    # What the versions of the operators have in common, read from where each has it.

    def mode(self, node: Node) -> str:
        return choice(node, "mode", ("nearest", "linear", "bilinear", "cubic"), "nearest").replace("bilinear", "linear")

    def coordinates(self, node: Node) -> str:
        return choice(node, "coordinate_transformation_mode", _COORDINATES, "half_pixel")

    def rounding(self, node: Node) -> str:
        return choice(node, "nearest_mode", _ROUNDINGS, "round_prefer_floor")

    def axes(self, node: Node) -> list[int]:
        """The axes that scales and sizes are of."""
        rank = node.input(0).rank
        axes = [node.axis(axis, rank) for axis in node.integers("axes", list(range(rank)))]
        if len(set(axes)) != len(axes):
            raise InputError(f"{node.where} names an axis twice: {axes}", code="network.axis")
        return axes

    def scales(self, node: Node) -> Array | Value | None:
        """The scales: known, or computed by the model, or None."""
        raise NotImplementedError

    def sizes(self, node: Node) -> Value | None:
        """The sizes asked for, where there are any."""
        del node
        return None

    def roi(self, node: Node) -> Value | None:
        """The part that is cut out, where the coordinates are of it."""
        del node
        return None

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, axes = node.input(0), self.axes(node)
        self.coordinates(node)
        if self.mode(node) == "nearest":
            self.rounding(node)
            if data.dtype is DType.STRING:
                raise InputError(f"{node.where} resizes texts", code="network.dtype")
        elif not (data.dtype.is_float or data.dtype.is_integer or data.dtype is DType.BOOL):
            raise InputError(f"{node.where} interpolates {data.dtype}", code="network.dtype")
        if not data.rank:
            raise InputError(f"{node.where} resizes a single number", code="network.shape")
        scales, sizes, roi = self.scales(node), self.sizes(node), self.roi(node)
        if roi is not None:
            same_sizes(facts, roi.shape, (2 * len(axes),), f"{node.where} has a start and an end for each axis")
        shape: list[Size] = list(data.shape)
        if sizes is not None:
            same_sizes(facts, sizes.shape, (len(axes),), f"{node.where} has a size for each axis")
            for axis, size in zip(axes, self._wanted(node, sizes, axes, facts), strict=True):
                shape[axis] = size
            return [TensorType(data.dtype, tuple(shape))]
        if scales is None:
            raise InputError(f"{node.where} has neither scales nor sizes", code="network.input")
        if isinstance(scales, Value):
            same_sizes(facts, scales.shape, (len(axes),), f"{node.where} has a scale for each axis")
            if scales.dtype is not DType.FLOAT32:
                raise InputError(f"{node.where} has scales of {scales.dtype}, where float32 is needed", code="network.dtype")
        known = scales.constant if isinstance(scales, Value) else scales
        if known is not None and len(known) != len(axes):
            raise InputError(f"{node.where} has {len(known)} scales for {len(axes)} axes", code="network.attribute")
        for i, axis in enumerate(axes):
            shape[axis] = self._scaled(node, data.shape[axis], None if known is None else np.float32(known[i]), roi, i, facts)
        return [TensorType(data.dtype, tuple(shape))]

    def _wanted(self, node: Node, sizes: Value, axes: list[int], facts: Facts) -> list[Size]:
        """The sizes of the named axes."""
        wanted = sizes.elements
        if wanted is not None:
            for size in wanted:
                nonnegative(size, facts, f"{node.where} wants the sizes {list(wanted)}")
        policy = choice(node, "keep_aspect_ratio_policy", _POLICIES, "stretch")
        if wanted is None or (policy != "stretch" and any(not isinstance(size, int) for size in wanted)):
            return [facts.late() for _ in axes]
        if policy == "stretch":
            return list(wanted)
        inside = [node.input(0).shape[axis] for axis in axes]
        if any(not isinstance(size, int) or not size for size in inside):
            return [facts.late() for _ in axes]
        ratios = [a / b for a, b in zip(wanted, inside, strict=True)]  # type: ignore[operator]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        return [int(np.floor(scale * size + 0.5)) for size in inside]  # type: ignore[operator]

    def _scaled(self, node: Node, size: Size, scale: np.float32 | None, roi: Value | None, i: int, facts: Facts) -> Size:
        """The size that an axis has after scaling, as floats have it."""
        part = np.float32(1)
        if roi is not None:
            known = roi.constant
            if known is None:
                return facts.late()
            half = len(known) // 2
            part = np.float32(known[half + i]) - np.float32(known[i])
        if scale is None:
            return facts.late()
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"{node.where} has a scale of {scale}", code="network.attribute")
        if isinstance(size, int):
            result = np.float32(size) * part * scale
            if not 0 <= result < MOST:
                raise InputError(f"{node.where} makes an axis of size {size} one of {result}", code="network.attribute")
            return int(result)
        over, under = float(part * scale).as_integer_ratio()
        # Ratios of small numbers are exact in floats, as long as sizes are below 2^14.
        return floordiv(size * over, under) if under <= 64 and over <= 1024 else facts.late()

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/resize.hpp")
        output, axes = node.output, self.axes(node)
        plan = self._write_plan(node, code, axes)
        own = found_out(node)
        for axis, size in enumerate(output.shape):
            if axis in own:
                code.assign(size, f"{plan}[{axis}].out")
            else:
                code.line(f'nn::require({plan}[{axis}].out == {code.size(size)}, "a size is not what Resize makes of it");')
        if own:
            code.allocate(output)
        if self.mode(node) == "nearest":
            self._write_nearest(node, code, plan)
        else:
            self._write_interpolation(node, code, plan, [axis for axis in sorted(axes) if self._moves(node, axis)])

    def _write_plan(self, node: Node, code: Writer, axes: list[int]) -> str:
        """Write how each axis is resized; the name of the array of ``nn::ResizedAxis``."""
        plan = code.fresh("axes")
        named = code.sizes(axes)
        code.line(f"auto {plan} = nn::resized_axes({code.sizes(node.input(0).shape)});")
        roi, sizes, scales = self.roi(node), self.sizes(node), self.scales(node)
        if roi is not None:
            code.line(f"nn::crop_axes({plan}, {code.ref(roi)}, {named});")
        if sizes is not None:
            policy = _POLICIES.index(choice(node, "keep_aspect_ratio_policy", _POLICIES, "stretch"))
            code.line(f"nn::size_axes({plan}, {code.ref(sizes)}, {named}, {policy});")
        elif isinstance(scales, Value):
            code.line(f"nn::scale_axes({plan}, {code.ref(scales)}, {named});")
        elif scales is not None:
            code.line(f"nn::scale_axes({plan}, {code.weights(np.asarray(scales, np.float32))}, {named});")
        return plan

    def _moves(self, node: Node, axis: int) -> bool:
        """Whether an axis may be resized, as far as can be told before the code runs."""
        if self.roi(node) is not None:
            return True
        scales = self.scales(node)
        known = scales.constant if isinstance(scales, Value) else scales
        if self.sizes(node) is None and known is not None:
            return bool(known[self.axes(node).index(axis)] != 1)
        policy = choice(node, "keep_aspect_ratio_policy", _POLICIES, "stretch")
        return self.sizes(node) is None or policy != "stretch" or node.output.shape[axis] != node.input(0).shape[axis]

    def _write_nearest(self, node: Node, code: Writer, plan: str) -> None:
        data, output = node.input(0), node.output
        cpp = "double" if data.dtype is DType.FLOAT64 else "float"
        total: Size = 0
        for size in output.shape:
            total = total + size
        tables = code.scratch("std::int64_t", total, 8)
        modes = f"nn::Coordinates::{self.coordinates(node)}, nn::Nearest::{self.rounding(node)}"
        offset: Size = 0
        for axis, size in enumerate(output.shape):
            code.line(f"nn::nearest_indices<{cpp}>({plan}[{axis}], {modes}, {tables} + {code.size(offset)});")
            offset = offset + size
        outside = f"nn::as_element<{data.dtype.cpp}>({literal(node.number('extrapolation_value', 0.0), DType.FLOAT32)})"
        code.line(f"nn::resize_nearest({plan}, {tables}, {code.ref(data)}, 0, {outside}, {code.ref(output)});")

    def _write_interpolation(self, node: Node, code: Writer, plan: str, moving: list[int]) -> None:
        data, output = node.input(0), node.output
        if not moving:
            code.line(f"nn::copy({code.ref(data)}, {code.size(output.count)}, {code.ref(output)});")
            return
        dtype = DType.FLOAT64 if data.dtype is DType.FLOAT64 else DType.FLOAT32
        antialias = bool(node.integer("antialias", 0))
        flags = [self.mode(node) == "cubic", antialias, not node.integer("exclude_outside", 0)]
        numbers = [node.number("cubic_coeff_a", -0.75), node.number("extrapolation_value", 0.0)]
        parts = [f"nn::Coordinates::{self.coordinates(node)}", *("true" if flag else "false" for flag in flags)]
        how = code.fresh("how")
        code.line(f"const nn::Interpolation {how}{{{', '.join([*parts, *(literal(item, DType.FLOAT64) for item in numbers)])}}};")
        shape: list[Size] = list(data.shape)
        source = code.ref(data)
        # From the last axis to the first, so that most passes run along neighbours.
        for number, axis in enumerate(reversed(moving)):
            outer, inner = product(shape[:axis]), product(shape[axis + 1 :])
            weights = code.scratch(dtype.cpp, shape[axis] + 1, dtype.bytes)
            shape[axis] = output.shape[axis]
            is_last = number + 1 == len(moving)
            target = code.ref(output) if is_last else code.scratch(dtype.cpp, product(shape), dtype.bytes)
            code.line(
                f"nn::resize_axis<{dtype.cpp}>({code.size(outer)}, {plan}[{axis}], {code.size(inner)}, {how}, {source}, "
                f"{target}, {weights});"
            )
            source = target


def known_scales(node: Node, index: int) -> Value | None:
    """An input of scales, where it is there and not empty."""
    value = node.optional(index)
    return None if value is None or value.count == 0 else value


@operator("Resize", since=(10, 11, 13, 18, 19))
class Resize(Resampling):
    """Version 10 has scales alone, and the coordinates of Upsample."""

    def coordinates(self, node: Node) -> str:
        return "asymmetric" if node.version == 10 else super().coordinates(node)

    def rounding(self, node: Node) -> str:
        return "floor" if node.version == 10 else super().rounding(node)

    def scales(self, node: Node) -> Array | Value | None:
        return known_scales(node, 1 if node.version == 10 else 2)

    def sizes(self, node: Node) -> Value | None:
        return known_scales(node, 3)

    def roi(self, node: Node) -> Value | None:
        if self.coordinates(node) != "tf_crop_and_resize":
            return None
        value = known_scales(node, 1)
        if value is None:
            raise InputError(f"{node.where} cuts out a part, and has no roi", code="network.input")
        return value


@operator("Upsample", since=(1, 7, 9, 10))
class Upsample(Resampling):
    """Resize by scales, of the older definitions: element 0 stays at 0, and the nearest is the one before."""

    def coordinates(self, node: Node) -> str:
        del node
        return "asymmetric"

    def rounding(self, node: Node) -> str:
        del node
        return "floor"

    def axes(self, node: Node) -> list[int]:
        rank = node.input(0).rank
        if node.version == 1 and rank < 2:
            raise InputError(f"{node.where} needs rows and columns", code="network.shape")
        return list(range(rank))

    def scales(self, node: Node) -> Array | Value | None:
        if node.version == 1:
            scales = [node.number("height_scale", REQUIRED), node.number("width_scale", REQUIRED)]
            return np.asarray([*[1.0] * (node.input(0).rank - 2), *scales], np.float32)
        if node.version == 7:
            return np.asarray(node.numbers("scales", REQUIRED), np.float32)
        return known_scales(node, 1)


@operator("GridSample", since=(16, 20, 22))
class GridSample(Operator):
    """Elements at places that are given (Jaderberg et al., arXiv:1506.02025, Eq. 3)."""

    def _mode(self, node: Node) -> str:
        modes = ("bilinear", "nearest", "bicubic") if node.version < 20 else ("linear", "nearest", "cubic")
        return choice(node, "mode", modes, modes[0]).removeprefix("bi")

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, grid = node.input(0), node.input(1)
        if data.rank < 3 or grid.rank != data.rank:
            raise InputError(f"{node.where} takes {grid.tensor} of {data.tensor}", code="network.shape")
        self._mode(node)
        choice(node, "padding_mode", ("zeros", "border", "reflection"), "zeros")
        if not grid.dtype.is_float or data.dtype is DType.STRING:
            raise InputError(f"{node.where} takes places of {grid.dtype} in {data.dtype}", code="network.dtype")
        facts.same(grid.shape[0], data.shape[0], f"{node.where} has places for each of its batch")
        facts.same(grid.shape[-1], data.rank - 2, f"{node.where} has a coordinate for each axis")
        return [TensorType(data.dtype, (*data.shape[:2], *grid.shape[1:-1]))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/resize.hpp")
        data, grid = node.input(0), node.input(1)
        padding = choice(node, "padding_mode", ("zeros", "border", "reflection"), "zeros")
        arguments = [
            code.size(data.shape[0]),
            code.size(data.shape[1]),
            code.sizes(data.shape[2:]),
            code.size(product(grid.shape[1:-1])),
            f"nn::Sampling::{self._mode(node)}",
            f"nn::Outside::{padding}",
            "true" if node.integer("align_corners", 0) else "false",
            code.refs([data, grid]),
            code.ref(node.output),
        ]
        code.line(f"nn::grid_sample({', '.join(arguments)});")


@operator("AffineGrid", since=(20,))
class AffineGrid(Operator):
    """Places for GridSample by affine maps: theta is (batch, 2, 3) or (batch, 3, 4), the size (batch, channels, ...)."""

    def _out(self, node: Node) -> Shape:
        return node.output.shape[1:-1]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        theta, size = node.input(0), node.input(1)
        if theta.rank != 3:
            raise InputError(f"{node.where} has maps {theta.tensor}", code="network.shape")
        rank = theta.shape[1]
        if rank not in (2, 3):
            raise InputError(f"{node.where} has maps of {rank!r} coordinates, where 2 or 3 are needed", code="network.shape")
        facts.same(theta.shape[2], rank + 1, f"{node.where} has maps of the shape [{rank}, {rank + 1}]")
        same_sizes(facts, size.shape, (rank + 2,), f"{node.where} has a size of batch, channels and axes")
        wanted = size.elements
        if wanted is None:
            assert isinstance(rank, int)  # noqa: S101 - one of two numbers
            return [TensorType(theta.dtype, (theta.shape[0], *(facts.late() for _ in range(rank)), rank))]
        facts.same(wanted[0], theta.shape[0], f"{node.where} has a map for each of its batch")
        out = [nonnegative(item, facts, f"{node.where} wants the size {list(wanted)}") for item in wanted[2:]]
        return [TensorType(theta.dtype, (theta.shape[0], *out, rank))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/resize.hpp")
        theta, size, output = node.input(0), node.input(1), node.output
        if size.elements is None:
            given = code.ref(size)
            code.line(f'nn::require({given}[0] == {code.size(theta.shape[0])}, "AffineGrid has a map for each of its batch");')
            for axis, item in enumerate(self._out(node)):
                code.line(f'nn::require({given}[{axis + 2}] >= 0, "AffineGrid wants a negative size");')
                code.assign(item, f"{given}[{axis + 2}]")
            code.allocate(output)
        align = "true" if node.integer("align_corners", 0) else "false"
        sizes = f"{code.size(theta.shape[0])}, {code.sizes(self._out(node))}"
        code.line(f"nn::affine_grid({sizes}, {align}, {code.ref(theta)}, {code.ref(output)});")
