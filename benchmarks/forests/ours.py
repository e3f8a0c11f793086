"""This project's contender: through Python, and through the kernels' C API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import kernels
from benchmarks.forests.native import Native
from benchmarks.forests.peers import Task
from mlcore import forests

Array = npt.NDArray[Any]

OURS = "ours"
INCLUDE = Path(kernels.__file__).parent / "include"
HEADER = INCLUDE / "kernels" / "forest.h"


def margin_call(forest: forests.Forest, rows: Array, *, threads: int = 1) -> Callable[[], object]:
    """A call that computes all margins into an array that is there already."""
    out = np.empty_like(forest.margin(rows))
    return partial(forest.margin, rows, out=out, threads=threads)


def through_c(task: Task) -> Native:
    """The forest behind the C API: saved in the own format and opened from there."""
    return task.native("ours", [library(), saved_forest(task)], task.forest.model.sum_dtype, include=[INCLUDE], depends=[HEADER])


def saved_forest(task: Task) -> Path:
    """The forest in the own format."""
    path = task.model.path.with_suffix(".forest")
    path.unlink(missing_ok=True)  # an open one is mapped into memory and stays as it is
    task.forest.save(path)
    return path


def library() -> Path:
    """The shared library that has the C API's functions, beside the kernels' Python module or below the package.

    Raises
    ------
    RuntimeError
        The kernels were built without it.
    """
    from kernels import _native

    folders = (Path(str(_native.__file__)).parent, Path(kernels.__file__).parent)
    found = [path for folder in folders for path in sorted(folder.glob("**/libkernels_forest.so*"))]
    if not found:
        raise RuntimeError("the kernels were built without libkernels_forest, their C API; build them again with `make setup`")
    return found[0]


def check(forest: forests.Forest, rows: Array, expected: Array) -> None:
    """Our margins equal the library's bit for bit where it states the order of its sums, else in their last bits."""
    mine = np.asarray(forest.margin(rows)).reshape(len(rows), -1)
    if not np.array_equal(mine, expected.astype(mine.dtype)):
        raise AssertionError(f"our margins differ from the library's by up to {np.abs(mine - expected).max():.3g}")


def engine(forest: forests.Forest) -> str:
    """Which engine runs, on which target, in the kernels' words."""
    return f"{'; '.join(forest.engine.splitlines())} (target: {kernels.active_target()})"
