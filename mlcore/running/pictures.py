"""Pictures that code drew: decoded and written anew, so that what leaves the sandbox is a small PNG and nothing else."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

MOST = 8
SIDE = 4096  # pixels
PIXELS = 8_000_000
FILE_BYTES = 8 * 2**20  # of a picture as the code left it
BYTES = 2 * 2**20  # of a picture as it is kept

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A picture as PNG."""

    name: str
    width: int
    height: int
    png: bytes


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG.

    Raises
    ------
    ValueError
        It is none, or larger than pictures may be.
    """
    if len(png) > BYTES or png[:8] != _SIGNATURE or png[12:16] != b"IHDR" or len(png) < 33:
        raise ValueError("this is no PNG, or too large a one")
    width, height = struct.unpack(">II", png[16:24])
    if not (0 < width <= SIDE and 0 < height <= SIDE and width * height <= PIXELS):
        raise ValueError(f"a picture of {width} × {height} pixels is too large")
    return width, height


def collect(folders: list[Path]) -> tuple[list[Picture], int]:
    """The pictures in some folders, each once, and how many were left out: too many, too large, or no pictures."""
    found: list[Picture] = []
    seen: set[bytes] = set()
    left_out = 0
    for folder in folders:
        for path in sorted(folder.glob("*.png")):
            if path.is_symlink() or not path.is_file():
                continue
            picture = _clean(path)
            if picture is None or len(found) == MOST:
                left_out += 1
            elif picture.png not in seen:
                seen.add(picture.png)
                found.append(picture)
    return found, left_out


def _clean(path: Path) -> Picture | None:
    from PIL import Image

    if path.stat().st_size > FILE_BYTES:
        return None
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width > SIDE or image.height > SIDE or image.width * image.height > PIXELS:
                return None
            plain = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
        target = BytesIO()
        plain.info.clear()
        plain.save(target, "PNG", optimize=True)
        png = target.getvalue()
        width, height = size_of(png)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Picture(path.name, width, height, png)
