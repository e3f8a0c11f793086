"""The kinds of sources, discovered: every module of `assistant.corpus` that defines ``SOURCE`` adds one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from assistant.corpus.document import Source
from assistant.errors import CorpusError


def collect(sources: Iterable[Source]) -> Mapping[str, Source]:
    """`sources` by name.

    Raises
    ------
    CorpusError
        Two of them have the same name.
    """
    by_name: dict[str, Source] = {}
    for source in sources:
        if source.name in by_name:
            raise CorpusError(
                f"Two corpus sources are called {source.name!r}",
                hint="Give one of them another name.",
                code="corpus.duplicate",
            )
        by_name[source.name] = source
    return MappingProxyType(by_name)


@cache
def source_kinds() -> Mapping[str, Source]:
    """Every kind of source by its name."""
    folder = Path(__file__).parent
    modules = [importlib.import_module(f"assistant.corpus.{module.name}") for module in pkgutil.iter_modules([str(folder)])]
    return collect(module.SOURCE for module in modules if hasattr(module, "SOURCE"))


def source_kind(name: str) -> Source:
    """The kind called `name`.

    Raises
    ------
    CorpusError
        There is none; the hint lists those there are.
    """
    kinds = source_kinds()
    if name not in kinds:
        raise CorpusError(
            f"There is no kind of corpus source called {name!r}",
            hint=f"Choose one of {', '.join(sorted(kinds))}.",
            code="corpus.kind",
        )
    return kinds[name]
