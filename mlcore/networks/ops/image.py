"""Images from the bytes of files: PNG, BMP, portable maps, TIFF, sequential JPEG."""

from __future__ import annotations

from collections.abc import Sequence

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import DType, Node, TensorType, ValueType
from mlcore.networks.ops import Facts, Operator, operator

_FORMATS = {"RGB": ("rgb", 3), "BGR": ("bgr", 3), "Grayscale": ("gray", 1)}


@operator("ImageDecoder", since=(20,))
class ImageDecoder(Operator):
    """Pixels of a file; none where it cannot be decoded, as ONNX has it."""

    def _format(self, node: Node) -> tuple[str, int]:
        name = node.text("pixel_format", "RGB")
        if name not in _FORMATS:
            raise InputError(
                f"{node.where} has the unknown pixel_format {name!r}",
                hint=f"One of {', '.join(_FORMATS)}.",
                code="network.attribute",
            )
        return _FORMATS[name]

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.dtype is not DType.UINT8 or data.rank != 1:
            raise InputError(f"{node.where} needs the bytes of a file, and is given {data.tensor}", code="network.dtype")
        return [TensorType(DType.UINT8, (facts.late("height"), facts.late("width"), self._format(node)[1]))]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/image.hpp")
        data, output = node.input(0), node.output
        image = code.object("nn::Image")
        code.line(f"nn::decode_image({code.ref(data)}, {code.size(data.count)}, {image});")
        code.assign(output.shape[0], f"{image}.height")
        code.assign(output.shape[1], f"{image}.width")
        code.allocate(output)
        code.line(f"nn::put_pixels({image}, nn::PixelFormat::{self._format(node)[0]}, {code.ref(output)});")
