"""Shapes of inputs as people write them: ``x: batch, 3, 32, 32``, one input a line or between semicolons.

Of the standard library alone, since forms and command lines check such texts where no numerical library is loaded.
"""

from __future__ import annotations

import re

from mlcore.errors import InputError

EXAMPLE = "For example: x: batch, 3, 32, 32. Each size is a number, or the name of a size that differs from call to call."
MOST_AXES = 12
MOST_SIZE = 2**40
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


def parse_shapes(text: str) -> dict[str, tuple[int | str, ...]]:
    """Shapes by the names of inputs.

    Parameters
    ----------
    text
        ``name: size, size``; sizes may stand in brackets, and also be separated by ``x`` between spaces or by spaces alone.

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
        parts = [part for part in re.split(r"\s*[,×]\s*|\s+x\s+|\s+", sizes) if part]
        if len(parts) > MOST_AXES:
            raise InputError(
                f"the shape of {_shown(name)} has {len(parts)} axes; {MOST_AXES} are the most", code="network.shapes"
            )
        found[name] = tuple(_size(part, name) for part in parts)
    return found


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
    elif _NAME.fullmatch(text):
        return text
    raise InputError(f"{_shown(text)} in the shape of {_shown(name)} is no size", hint=EXAMPLE, code="network.shapes")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
