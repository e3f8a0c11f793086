"""Shapes of inputs as people write them: ``x: batch, 3, 32, 32``, one input a line or between semicolons.

A size that differs from call to call may say how large it becomes: ``particles: n<=128, 7``.

Of the standard library alone, since forms and command lines check such texts where no numerical library is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mlcore.errors import InputError

EXAMPLE = (
    "For example: x: batch, 3, 32, 32. Each size is a number, or the name of a size that differs from call to call, "
    "such as n, or n<=128 where it has a largest value."
)
MOST_AXES = 12
MOST_SIZE = 2**40
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_BOUNDED = re.compile(r"([^<=]+)<=([0-9]{1,13})")


def parse_shapes(text: str) -> dict[str, tuple[int | str, ...]]:
    """Shapes by the names of inputs.

    Parameters
    ----------
    text
        ``name: size, size``; a size is a number, a name, or ``name<=number``. Sizes may stand in brackets,
        and also be separated by ``x`` between spaces or by spaces alone.

    Raises
    ------
    InputError
        It says something else; the message names the line.

    Examples
    --------
    >>> parse_shapes("particles: n, 7; mask: [n]")
    {'particles': ('n', 7), 'mask': ('n',)}
    """
    found: dict[str, tuple[int | str, ...]] = {}
    for line in (part.strip() for part in re.split(r"[\n;]", text)):
        if not line:
            continue
        name, colon, sizes = (part.strip() for part in line.rpartition(":"))
        if not colon or not name:
            raise InputError(f"the shape {_shown(line)} names no input", hint=EXAMPLE, code="network.shapes")
        if name in found:
            raise InputError(f"the input {_shown(name)} has two shapes", hint="Give one.", code="network.shapes")
        if sizes[:1] + sizes[-1:] in ("[]", "()"):
            sizes = sizes[1:-1].strip()
        sizes = re.sub(r"\s*<=\s*", "<=", sizes)
        parts = [part for part in re.split(r"\s*[,×]\s*|\s+x\s+|\s+", sizes) if part]
        if len(parts) > MOST_AXES:
            raise InputError(
                f"the shape of {_shown(name)} has {len(parts)} axes; {MOST_AXES} are the most", code="network.shapes"
            )
        found[name] = tuple(_size(part, name) for part in parts)
    return found


def without_bounds(shapes: Mapping[str, Sequence[int | str]]) -> tuple[dict[str, tuple[int | str, ...]], dict[str, int]]:
    """Shapes with plain names, and the largest value of each name that has one.

    Raises
    ------
    InputError
        A bound is no number of 1 or more, or a name has two.

    Examples
    --------
    >>> without_bounds({"particles": ("n<=128", 7), "mask": ("n",)})
    ({'particles': ('n', 7), 'mask': ('n',)}, {'n': 128})
    """
    bounds: dict[str, int] = {}

    def plain(size: int | str) -> int | str:
        if not isinstance(size, str) or "<" not in size:
            return size
        found = _BOUNDED.fullmatch(size.replace(" ", ""))
        if found is None or not 0 < int(found[2]) <= MOST_SIZE:
            raise InputError(f"{_shown(size)} bounds no size", hint="For example: n<=128.", code="network.shapes")
        name, most = found[1], int(found[2])
        if bounds.setdefault(name, most) != most:
            raise InputError(f"the size {_shown(name)} has two bounds", hint="Give one.", code="network.shapes")
        return name

    return {name: tuple(plain(size) for size in sizes) for name, sizes in shapes.items()}, bounds


def parse_sizes(text: str) -> dict[str, int]:
    """Numbers of sizes by name, from ``n=20, batch=1``.

    Raises
    ------
    InputError
        It says something else.
    """
    found: dict[str, int] = {}
    for part in (item.strip() for item in re.split(r"[,;\n]", text)):
        if not part:
            continue
        name, _, number = (item.strip() for item in part.partition("="))
        size = _size(number, name) if number else ""
        if not _NAME.fullmatch(name) or isinstance(size, str):
            raise InputError(f"{_shown(part)} gives no size a number", hint="For example: n=20, batch=1.", code="network.sizes")
        found[name] = size
    return found


def _size(text: str, name: str) -> int | str:
    if text.isascii() and text.isdigit() and len(text) < 14:
        number = int(text)
        if number <= MOST_SIZE:
            return number
    elif _NAME.fullmatch(text) or ((bounded := _BOUNDED.fullmatch(text)) and _NAME.fullmatch(bounded[1]) and int(bounded[2])):
        return text
    raise InputError(f"{_shown(text)} in the shape of {_shown(name)} is no size", hint=EXAMPLE, code="network.shapes")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
