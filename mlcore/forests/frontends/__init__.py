"""Frontends: one module a format, found by being in this folder.

A module that reads files defines

- ``FORMAT``: the format's name, as `mlcore.filetypes` calls it where it can tell,
- ``matches(head: bytes) -> bool``: whether a file that begins so is of this format, as far as a beginning tells,
- ``read(data: bytes, *, iterations: Iterations) -> TreeModel``: the model, not yet verified.

and, where a file may hold several models, ``read_key(data: bytes, key: str, *, iterations: Iterations) -> TreeModel``.

and, where `read` takes a mapped file (`mmap.mmap`) as well, which spares large ones a copy, ``MAPPED = True``.

A module that takes models of a library in the same process defines ``FORMAT`` and

- ``accepts(model: object) -> bool``: whether it is one, told without importing the library (`made_by`),
- ``convert(model: object, *, iterations: Iterations) -> TreeModel``: its trees, not yet verified.

A module may define both. Libraries are imported inside the functions that need them. Modules whose name begins with an
underscore are helpers shared by several formats.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol, cast, runtime_checkable

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.ir import TreeModel

HEAD_BYTES = 4096
"""How much of a file `matches` is shown."""

Iterations = Literal["auto", "all", "best"]
"""Which boosting rounds to keep; see `mlcore.forests.load`."""

_LIBRARIES = frozenset({"catboost", "lightgbm", "onnx", "sklearn", "treelite", "xgboost"})


class Frontend(Protocol):
    """A format of files."""

    FORMAT: str

    def matches(self, head: bytes) -> bool: ...

    def read(self, data: bytes, *, iterations: Iterations) -> TreeModel: ...


@runtime_checkable
class KeyedFrontend(Frontend, Protocol):
    """A format of files with several models, each of which has a name."""

    def read_key(self, data: bytes, key: str, *, iterations: Iterations) -> TreeModel: ...


class Converter(Protocol):
    """The models of a library in the same process."""

    FORMAT: str

    def accepts(self, model: object) -> bool: ...

    def convert(self, model: Any, *, iterations: Iterations) -> TreeModel: ...


@cache
def frontends() -> dict[str, Frontend]:
    """All formats of files, by name."""
    return {module.FORMAT: cast("Frontend", module) for module in _modules() if hasattr(module, "matches")}


@cache
def converters() -> dict[str, Converter]:
    """All formats of models in the same process, by name."""
    return {module.FORMAT: cast("Converter", module) for module in _modules() if hasattr(module, "accepts")}


def of_file(kind: str, head: bytes) -> Frontend | None:
    """The frontend of a file of this kind (`mlcore.filetypes`) with this beginning, or None."""
    known = frontends()
    if kind in known:
        return known[kind]
    return next((frontend for frontend in known.values() if frontend.matches(head)), None)


def convert(model: object, *, iterations: Iterations) -> TreeModel:
    """The tree IR of a library's model in the same process, not yet verified.

    Raises
    ------
    UnsupportedFeatureError
        It is no model that any frontend knows.
    """
    for converter in converters().values():
        if converter.accepts(model):
            return converter.convert(model, iterations=iterations)
    message = f"a {type(model).__module__}.{type(model).__qualname__} is no model that can be loaded"
    raise UnsupportedFeatureError(message, hint=f"Pass a path, or a model of: {', '.join(sorted(converters()))}.")


def made_by(model: object, library: str) -> bool:
    """Whether a model's class, or the nearest of its bases that a known library defines, is of this library.

    >>> made_by(3, "xgboost")
    False
    """
    homes = (kind.__module__.partition(".")[0] for kind in type(model).__mro__)
    return next((home for home in homes if home in _LIBRARIES), "") == library


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    found: dict[str, ModuleType] = {}
    for name in names:
        module = import_module(f"{__name__}.{name}")
        if module.FORMAT in found:
            raise RuntimeError(f"two frontends read {module.FORMAT}")
        found[module.FORMAT] = module
    return tuple(found.values())
