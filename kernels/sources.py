"""The engines' headers as text, for generated code that carries them along."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

_FOLDERS = ("include", "src")
_INCLUDE = re.compile(r'#include (?:"(?P<own>[^"]+)"|<(?P<system>[^>]+)>)')


@dataclass(frozen=True)
class Joined:
    """Headers joined into one text.

    Attributes
    ----------
    system
        Names of the standard headers that the text needs, in alphabetical order.
    names
        Names of the headers that are in the text.
    text
        The headers, each after those that it includes.
    """

    system: tuple[str, ...]
    names: tuple[str, ...]
    text: str


def header(name: str) -> str:
    """The text of one header, by its name as others include it.

    Raises
    ------
    FileNotFoundError
        The kernels have no such header.
    """
    for folder in _FOLDERS:
        path = files("kernels").joinpath(folder, *name.split("/"))
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"the kernels have no header {name!r}")


def joined(*names: str, without: tuple[str, ...] = ()) -> Joined:
    """Some headers and all that they include, each once, in an order that compiles.

    Parameters
    ----------
    names
        Headers as others include them, for example ``"run.hpp"``.
    without
        Headers to leave out, with what only they include.
    """
    seen = set(without)
    system: set[str] = set()
    texts: list[str] = []

    def add(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        kept = []
        for line in header(name).splitlines():
            include = _INCLUDE.match(line)
            if include is None:
                if line != "#pragma once":
                    kept.append(line)
            elif include["own"]:
                add(include["own"])
            else:
                system.add(include["system"])
        texts.append("\n".join(kept).strip() + "\n")

    for name in names:
        add(name)
    return Joined(tuple(sorted(system)), tuple(sorted(seen.difference(without))), "\n".join(texts))
