"""Fourier transforms, of whole signals and of frames, and the mel scale. The windows are functions of other operators.

Transforms are computed in the element type (16-bit floats in float32); their error grows with the logarithm of the length.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import DType, Node, Size, TensorType, Value, ValueType, larger
from mlcore.networks.ir.sizes import floordiv
from mlcore.networks.ops import Facts, Operator, operator

_HEADER = "kernels/nn/signal.hpp"


def _scalar(node: Node, index: int) -> Value | None:
    """A whole number that is an input and may be left out."""
    value = node.optional(index)
    if value is not None and (value.count != 1 or not value.dtype.is_integer):
        raise InputError(
            f"{node.where} needs one whole number as input {index}, and is given {value.tensor}", code="network.shape"
        )
    return value


def _known(value: Value | None) -> Size | None:
    return value.elements[0] if value is not None and value.elements else None


def _text(code: Writer, value: Value) -> str:
    """A number that is an input, in C++."""
    known = _known(value)
    return f"static_cast<std::int64_t>({code.ref(value)}[0])" if known is None else code.size(known)


def _check_signal(node: Node, data: Value, *, least: int) -> None:
    if data.rank < least or data.shape[-1] not in (1, 2):
        raise InputError(
            f"{node.where} needs real numbers (a last axis of 1) or complex ones (2), and is given {data.tensor}",
            code="network.shape",
        )
    if not data.dtype.is_float:
        raise InputError(f"{node.where} transforms floating-point numbers, and is given {data.dtype}", code="network.dtype")


def _flag(value: object) -> str:
    return "true" if value else "false"


@operator("DFT", since=(17, 20))
class DFT(Operator):
    """The discrete Fourier transform along an axis, or its inverse; of real signals only half of the spectrum if asked."""

    def _how(self, node: Node) -> tuple[bool, bool]:
        return bool(node.integer("inverse", 0)), bool(node.integer("onesided", 0))

    def _axis(self, node: Node) -> int | None:
        """The axis counted from the front; None where only running tells."""
        rank = node.input(0).rank
        axis = node.integer("axis", 1) if node.version < 20 else -2
        if node.version >= 20 and node.has(2):
            known = _known(_scalar(node, 2))
            if not isinstance(known, int):
                return None
            axis = known
        axis = node.axis(axis, rank)
        if axis == rank - 1:
            raise InputError(f"{node.where} transforms the axis of the real and imaginary parts", code="network.axis")
        return axis

    @staticmethod
    def _length(node: Node, samples: Size, inverse: bool, half: bool) -> Size | None:
        if node.has(1):
            return _known(_scalar(node, 1))
        return 2 * (samples - 1) if inverse and half else samples

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, (inverse, half) = node.input(0), self._how(node)
        _check_signal(node, data, least=2)
        parts = 1 if inverse and half else 2
        axis = self._axis(node)
        if axis is None:
            return [TensorType(data.dtype, (*(facts.late() for _ in range(data.rank - 1)), parts))]
        length = self._length(node, data.shape[axis], inverse, half)
        if isinstance(length, int) and length < 1:
            raise InputError(f"{node.where} transforms {length} samples", code="network.shape")
        bins: Size
        bins = facts.late("bins") if length is None else floordiv(length, 2) + 1 if half and not inverse else length
        return [TensorType(data.dtype, (*data.shape[:axis], bins, *data.shape[axis + 1 : -1], parts))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, output, (inverse, half) = node.input(0), node.output, self._how(node)
        axis, shape = self._axis(node), code.sizes(data.shape)
        place = str(axis)
        if axis is None:
            place = code.fresh("axis")
            code.line(f"const std::size_t {place} = nn::signal_axis({_text(code, node.input(2))}, {data.rank});")
        flags = f"{_flag(inverse)}, {_flag(half)}"
        length = self._length(node, data.shape[axis], inverse, half) if axis is not None else None
        if length is not None:
            text = code.size(length)
        elif node.has(1):
            text = _text(code, node.input(1))
        else:
            text = f"nn::default_length({shape}[{place}], {flags})"
        how = code.fresh("transform")
        code.line(f"const nn::Transform {how}{{{text}, {flags}}};")
        if axis is None or length is None:
            code.line(f'nn::require({how}.length > 0, "a Fourier transform has no samples");')
            for i, size in enumerate(output.shape[:-1]):
                if axis is None:
                    code.assign(size, f"{place} == {i} ? {how}.bins() : {code.size(data.shape[i])}")
                elif axis == i:
                    code.assign(size, f"{how}.bins()")
            code.allocate(output)
        fourier = code.object(f"nn::Fourier<nn::computed_t<{data.dtype.cpp}>>")
        code.line(f"nn::dft({fourier}, {code.ref(data)}, {shape}, {place}, {how}, {code.ref(output)});")


@operator("STFT", since=(17,))
class STFT(Operator):
    """Fourier transforms of the frames that a window sees as it moves over a signal."""

    def _frame(self, node: Node) -> Size | None:
        """The length of a frame; None where only running tells."""
        if node.has(3):
            return _known(_scalar(node, 3))
        return node.input(2).count if node.has(2) else node.input(0).shape[1]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data, window = node.input(0), node.optional(2)
        _check_signal(node, data, least=3)
        if data.rank != 3:
            raise InputError(f"{node.where} needs a batch of signals, and is given {data.tensor}", code="network.shape")
        frame, step = self._frame(node), _known(_scalar(node, 1))
        if node.optional(1) is None:
            raise InputError(f"{node.where} has no step between frames", code="network.input")
        for number, what in ((frame, "frames"), (step, "steps")):
            if isinstance(number, int) and number < 1:
                raise InputError(f"{node.where} has {what} of {number} samples", code="network.shape")
        if window is not None:
            if window.rank != 1 or window.dtype is not data.dtype:
                raise InputError(f"{node.where} has a window {window.tensor} for {data.tensor}", code="network.shape")
            if frame is not None:
                facts.same(window.count, frame, f"{node.where} has a window of the length of its frames")
        bins: Size
        bins = facts.late("bins") if frame is None else floordiv(frame, 2) + 1 if node.integer("onesided", 1) else frame
        frames: Size
        frames = facts.late("frames") if frame is None or step is None else larger(floordiv(data.shape[1] - frame, step) + 1, 0)
        return [TensorType(data.dtype, (data.shape[0], frames, bins, 2))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, window, output = node.input(0), node.optional(2), node.output
        frame, step = self._frame(node), _text(code, node.input(1))
        how = code.fresh("transform")
        length = code.size(frame) if frame is not None else _text(code, node.input(3))
        code.line(f"const nn::Transform {how}{{{length}, false, {_flag(node.integer('onesided', 1))}}};")
        if window is not None and frame is None:
            code.line(
                f'nn::require({how}.length == {code.size(window.count)}, "STFT has a window of another length than its frames");'
            )
        if frame is None or _known(node.input(1)) is None:
            code.assign(output.shape[1], f"nn::frame_count({code.size(data.shape[1])}, {how}.length, {step})")
            if frame is None:
                code.assign(output.shape[2], f"{how}.bins()")
            code.allocate(output)
        batch, samples, parts = map(code.size, data.shape)
        view = "nullptr" if window is None else code.ref(window)
        pointer = f"static_cast<const {data.dtype.cpp}*>({view})"
        fourier = code.object(f"nn::Fourier<nn::computed_t<{data.dtype.cpp}>>")
        code.line(
            f"nn::stft({fourier}, {code.ref(data)}, {batch}, {samples}, {parts}, {pointer}, {step}, {how}, {code.ref(output)});"
        )


@operator("MelWeightMatrix", since=(17,))
class MelWeightMatrix(Operator):
    """Triangles on the mel scale, by which a spectrum becomes bands."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        number = node.integer("output_datatype", DType.FLOAT32.number)
        dtype = DType.of_number(number)
        if dtype is None or dtype in (DType.STRING, DType.BOOL):
            raise InputError(f"{node.where} has the unsupported element type {number}", code="network.dtype")
        for index in (3, 4):
            if node.input(index).count != 1:
                raise InputError(f"{node.where} needs one frequency as input {index}", code="network.shape")
        bands, length = _known(_scalar(node, 0)), _known(_scalar(node, 1))
        for size in (bands, length):
            if size is not None:
                facts.nonnegative(size, f"{node.where} has 0 or more bands and samples")
        bins: Size = facts.late("bins") if length is None else floordiv(length, 2) + 1
        return [TensorType(dtype, (bins, facts.late("bands") if bands is None else bands))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        output = node.output
        bands, length, rate = (_text(code, node.input(index)) for index in range(3))
        if _known(node.input(0)) is None or _known(node.input(1)) is None:
            code.line(f'nn::require({length} >= 0 && {bands} >= 0, "MelWeightMatrix has a negative number of bands or samples");')
            if _known(node.input(1)) is None:
                code.assign(output.shape[0], f"{length} / 2 + 1")
            if _known(node.input(0)) is None:
                code.assign(output.shape[1], bands)
            code.allocate(output)
        edges = ", ".join(f"static_cast<double>(static_cast<float>({code.ref(node.input(index))}[0]))" for index in (3, 4))
        bins, columns = map(code.size, output.shape)
        code.line(f"nn::mel_weights({bins}, {columns}, {length}, {rate}, {edges}, {code.ref(output)});")
