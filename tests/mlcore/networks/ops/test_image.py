"""Decoded images against Pillow's, and files that are cut off or changed at random."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, node_model

Image = pytest.importorskip("PIL.Image", reason="Pillow is the oracle")
EMPTY = np.zeros(1, np.uint8)


@pytest.fixture(scope="module")
def decoders() -> dict[str, Function]:
    formats = ("RGB", "BGR", "Grayscale")
    emitted = [
        translate(
            node_model("ImageDecoder", [EMPTY], opset=20, outputs=[np.uint8], dynamic=True, pixel_format=item), item.lower()
        )
        for item in formats
    ]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    return {name: Function(library, item) for name, item in zip(formats, emitted, strict=True)}


def decode(function: Function, data: bytes) -> Array:
    (found,) = function([np.frombuffer(data, np.uint8)])
    return np.asarray(found)


def saved(image: Any, kind: str, **options: Any) -> bytes:
    with io.BytesIO() as file:
        image.save(file, format=kind, **options)
        return file.getvalue()


def picture(height: int, width: int) -> Any:
    """Smooth colors with noise and an edge."""
    rng = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width]
    colors = np.stack([x * 5, y * 3, (x + y) * 2], -1) + rng.integers(0, 60, (height, width, 3)) + 100 * (x > y)[..., None]
    return Image.fromarray((colors % 256).astype(np.uint8))


SIZES = [(1, 1), (7, 3), (8, 8), (13, 17), (16, 16), (33, 50)]


def files() -> list[tuple[str, bytes]]:
    found = []
    for size in SIZES:
        image = picture(*size)
        gray, palette = image.convert("L"), image.quantize(9)
        for name, item, kind, options in (
            ("png", image, "PNG", {}),
            ("png gray", gray, "PNG", {}),
            ("png palette", palette, "PNG", {}),
            ("png two colors", image.convert("1"), "PNG", {}),
            ("png transparent", image.convert("RGBA"), "PNG", {}),
            ("png gray transparent", image.convert("LA"), "PNG", {}),
            ("png stored", image, "PNG", {"compress_level": 0}),
            ("png fixed", image, "PNG", {"compress_type": zlib.Z_FIXED}),
            ("bmp", image, "BMP", {}),
            ("bmp palette", palette, "BMP", {}),
            ("bmp gray", gray, "BMP", {}),
            ("bmp two colors", image.convert("1"), "BMP", {}),
            ("ppm", image, "PPM", {}),
            ("pgm", gray, "PPM", {}),
            ("pbm", image.convert("1"), "PPM", {}),
            ("tiff", image, "TIFF", {}),
            ("tiff gray", gray, "TIFF", {}),
            ("tiff palette", palette, "TIFF", {}),
            ("tiff runs", image, "TIFF", {"compression": "packbits"}),
            ("tiff deflated", image, "TIFF", {"compression": "tiff_adobe_deflate"}),
            ("jpeg 4:4:4", image, "JPEG", {"subsampling": 0}),
            ("jpeg 4:2:2", image, "JPEG", {"subsampling": 1}),
            ("jpeg 4:2:0", image, "JPEG", {"subsampling": 2, "quality": 90}),
            ("jpeg coarse", image, "JPEG", {"quality": 5}),
            ("jpeg gray", gray, "JPEG", {}),
            ("jpeg optimised", image, "JPEG", {"optimize": True}),
            ("jpeg restarts", image, "JPEG", {"restart_marker_blocks": 2}),
        ):
            found.append((f"{name} of {size}", saved(item, kind, **options)))
    return found


def test_every_format(decoders: dict[str, Function]) -> None:
    wrong = []
    for name, data in files():
        opened = Image.open(io.BytesIO(data))
        # Transparency is dropped, not mixed with a background.
        colors = np.asarray(opened.convert("RGB"))
        for kind, wanted in (("RGB", colors), ("BGR", colors[..., ::-1])):
            found = decode(decoders[kind], data)
            if not np.array_equal(found, wanted):
                wrong.append(f"{name}: {found.shape}, {_largest(found, wanted)}")
        gray = np.asarray(Image.fromarray(colors).convert("L"))[..., None]
        if not np.array_equal(decode(decoders["Grayscale"], data), gray):
            wrong.append(f"{name} in gray")
    # No tolerance: these decoders are defined to the last bit, JPEG's by the arithmetic that all common ones share.
    assert not wrong, "\n".join(wrong)


def _largest(found: Array, wanted: Array) -> str:
    return f"off by {np.abs(found.astype(int) - wanted).max()}" if found.shape == wanted.shape else f"not {wanted.shape}"


def test_interlaced_and_deep_png(decoders: dict[str, Function]) -> None:
    """Pillow reads these and does not write them."""
    rng = np.random.default_rng(1)
    for height, width in ((1, 1), (5, 3), (9, 10), (16, 7)):
        for bits, color in ((8, 2), (8, 0), (16, 2), (4, 0)):
            channels = 3 if color == 2 else 1
            samples = rng.integers(0, 2**bits, (height, width, channels))
            data = b""
            for y, x, down, across in ADAM7:
                part = samples[y::down, x::across]
                for row in part if part.size else []:
                    data += b"\0" + _packed(row.reshape(-1), bits)
            head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 1)
            file = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")
            shown = samples >> 8 if bits == 16 else samples * 255 // (2**bits - 1)
            np.testing.assert_array_equal(decode(decoders["RGB"], file), np.broadcast_to(shown, (height, width, 3)))


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def _packed(row: Array, bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    text = "".join(f"{int(sample):0{bits}b}" for sample in row)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_maps_as_text(decoders: dict[str, Function]) -> None:
    for text, wanted in (
        (b"P3\n# a comment\n2 1\n15\n15 0 3 # another\n1 2 15\n", [[[255, 0, 51], [17, 34, 255]]]),
        (b"P2 1 2 255 7\n200 ", [[[7] * 3], [[200] * 3]]),
        (b"P1\n3 1\n1 01", [[[0] * 3, [255] * 3, [0] * 3]]),
        (b"P5 2 1 65535\n\xff\xff\x01\x00", [[[255] * 3, [1] * 3]]),
    ):
        np.testing.assert_array_equal(decode(decoders["RGB"], text), wanted)


def test_files_that_are_none(decoders: dict[str, Function]) -> None:
    """What cannot be decoded is empty; nothing else comes of files that are cut off or changed."""
    rng = np.random.default_rng(4)
    assert decode(decoders["RGB"], b"").shape == (0, 0, 3)
    assert decode(decoders["Grayscale"], b"no image").shape == (0, 0, 1)
    assert decode(decoders["RGB"], saved(picture(8, 8), "JPEG", progressive=True)).shape == (0, 0, 3)
    for name, data in files():
        if not name.endswith("(13, 17)"):
            continue
        # Behind the pixels there may be an end that is not needed; half of a file never holds them all.
        assert decode(decoders["RGB"], data[: len(data) // 4]).size == 0, name
        for _ in range(40):
            changed = bytearray(data[: rng.integers(1, len(data) + 1)])
            for place in rng.integers(0, len(changed), rng.integers(0, 6)):
                changed[place] = rng.integers(0, 256)
            found = decode(decoders["RGB"], bytes(changed))
            assert found.ndim == 3
            assert found.shape[2] == 3


def test_bad_requests() -> None:
    with pytest.raises(InputError, match="pixel_format 'CMYK'"):
        translate(node_model("ImageDecoder", [EMPTY], opset=20, outputs=[np.uint8], pixel_format="CMYK"), "wrong")
    with pytest.raises(InputError, match="bytes of a file"):
        translate(node_model("ImageDecoder", [EMPTY.astype(np.int32)], opset=20, outputs=[np.uint8]), "wrong")
