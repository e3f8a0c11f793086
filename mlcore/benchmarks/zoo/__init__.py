"""The model zoo: the networks of the field, built here without a download, each from its paper.

A model is a module of this folder whose name is the model's; it defines ``MODEL``, a `ZooModel`, and its docstring names the
paper. Modules whose name begins with an underscore are shared by several models. The modules import PyTorch, this package
does not: `names` lists the models without importing any, `get` imports one.

Public names: `names`, `get`, `ZooModel`, `TensorSpec`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from mlcore.benchmarks.zoo._model import TensorSpec, ZooModel
from mlcore.errors import DataError

__all__ = ["TensorSpec", "ZooModel", "get", "names"]


def names() -> tuple[str, ...]:
    """The names of all models, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def get(name: str) -> ZooModel:
    """A model by its name.

    Raises
    ------
    DataError
        There is no such model; the hint has the nearest names.
    """
    if name not in names():
        raise DataError.missing("model", name, names(), where="the model zoo")
    model = import_module(f"{__name__}.{name}").MODEL
    if not isinstance(model, ZooModel):
        raise TypeError(f"MODEL of {__name__}.{name} is no ZooModel")
    return model
