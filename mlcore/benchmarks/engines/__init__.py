"""The engines that run models: one module each, whose name is the engine's; it defines ``ENGINE``, an `Engine`.

Modules whose name begins with an underscore are shared by several engines. An engine's module imports the libraries of the engine
where they are used, so that listing all engines is quick and needs none of them.

Public names: `names`, `get`, `Engine`, `NativeEngine`, `PythonEngine`, `Session`, `Made`, `Site`, `RefusedError`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from mlcore.benchmarks.engines._engine import Engine, Made, NativeEngine, PythonEngine, RefusedError, Session, Site
from mlcore.errors import DataError

__all__ = ["Engine", "Made", "NativeEngine", "PythonEngine", "RefusedError", "Session", "Site", "get", "names"]

FIRST = ("own_avx512", "own_avx2", "own_portable", "own_forest")


def names() -> tuple[str, ...]:
    """The names of all engines, this project's own first."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return (*(name for name in FIRST if name in found), *(name for name in found if name not in FIRST))


def get(name: str) -> Engine:
    """An engine by its name.

    Parameters
    ----------
    name
        Of a module of this folder; or ``package.module:NAME`` for an engine from elsewhere, as tests have them.

    Raises
    ------
    DataError
        There is no such engine; the hint has the nearest names.
    """
    module, _, attribute = name.partition(":")
    if attribute:
        engine = getattr(import_module(module), attribute)
    elif name in names():
        engine = import_module(f"{__name__}.{name}").ENGINE
    else:
        raise DataError.missing("engine", name, names(), where="the benchmark")
    if not isinstance(engine, Engine):
        raise TypeError(f"{name} is no Engine")
    return engine
