"""What a module of this package offers where it reads a format, and which modules do."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from mlcore.batches.sources._places import Place
from mlcore.batches.sources.part import Part


@dataclass(frozen=True)
class Format:
    """A format of files, or a kind of objects in memory.

    Attributes
    ----------
    name
        For people.
    kinds
        Of files that it reads, as `mlcore.filetypes` calls them.
    open_file
        The table of a file that its place names, or its only one.
    takes
        Whether an object is one that `open_object` opens.
    open_object
        The table that an object is.
    """

    name: str
    kinds: tuple[str, ...] = ()
    open_file: Callable[[Place], Part] | None = None
    takes: Callable[[object], bool] | None = None
    open_object: Callable[[Any], Part] | None = None


@cache
def formats() -> tuple[Format, ...]:
    """Of all modules here whose names begin with no underscore and that have a FORMAT."""
    package = __name__.rpartition(".")[0]
    paths = import_module(package).__path__
    names = [module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_")]
    modules = [import_module(f"{package}.{name}") for name in names]
    found = tuple(module.FORMAT for module in modules if hasattr(module, "FORMAT"))
    kinds = [kind for entry in found for kind in entry.kinds]
    if len(set(kinds)) < len(kinds):
        raise RuntimeError("two sources read one kind of files")
    return found


def readers() -> dict[str, Callable[[Place], Part]]:
    """By the kinds of files, what opens them."""
    return {kind: entry.open_file for entry in formats() if entry.open_file is not None for kind in entry.kinds}


def made_by(value: object, library: str) -> bool:
    """Whether an object's class, or one of its bases, comes from a library; without importing it.

    >>> made_by(3, "pyarrow")
    False
    """
    return any(kind.__module__.partition(".")[0] == library for kind in type(value).__mro__)
