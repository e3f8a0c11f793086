"""Frontends: one module a format, found by being in this folder.

A module defines

- ``FORMAT``: the format's name, as `mlcore.filetypes` calls it,
- ``matches(head: bytes) -> bool``: whether a file that begins so is of this format,
- ``read(data: bytes, *, iterations: Iterations) -> TreeModel``: the model, not yet verified.

Modules whose name begins with an underscore are helpers shared by several formats.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import Literal, Protocol, cast

from mlcore.forests.ir import TreeModel

HEAD_BYTES = 4096
"""How much of a file `matches` is shown."""

Iterations = Literal["auto", "all", "best"]
"""Which boosting rounds to keep; see `mlcore.forests.load`."""


class Frontend(Protocol):
    FORMAT: str

    def matches(self, head: bytes) -> bool: ...

    def read(self, data: bytes, *, iterations: Iterations) -> TreeModel: ...


@cache
def frontends() -> dict[str, Frontend]:
    """All frontends by format."""
    found: dict[str, Frontend] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("_"):
            continue
        frontend = cast("Frontend", import_module(f"{__name__}.{module.name}"))
        if frontend.FORMAT in found:
            raise RuntimeError(f"two frontends read {frontend.FORMAT}")
        found[frontend.FORMAT] = frontend
    return found
