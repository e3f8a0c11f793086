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
HEADER = Path(kernels.__file__).parent / "include" / "kernels" / "forest.h"


def margin_call(forest: forests.Forest, rows: Array, *, threads: int = 1) -> Callable[[], object]:
    """A call that computes all margins into an array that is there already."""
    out = np.empty_like(forest.margin(rows))
    return partial(forest.margin, rows, out=out, threads=threads)


def through_c(task: Task) -> Native:
    """The forest behind the C API: saved in the own format and opened from there.

    Raises
    ------
    RuntimeError
        The kernels were built without it.
    """
    if not HEADER.exists():
        raise RuntimeError(f"the kernels have no C API: there is no {HEADER.name}; build them with `make setup`")
    saved = saved_forest(task)
    return task.native("ours", [library(), saved], task.forest.model.sum_dtype, include=[HEADER.parents[1]])


def saved_forest(task: Task) -> Path:
    """The forest in the own format."""
    path = task.model.path.with_suffix(".forest")
    task.forest.save(path)
    return path


def library() -> Path:
    """The shared library that has the C API's functions."""
    folder = Path(kernels.__file__).parent
    found = sorted([*folder.glob("libml4ep*.so*"), *folder.glob("**/libml4ep*.so*")]) or [_extension()]
    return found[0]


def _extension() -> Path:
    from kernels import _native

    return Path(str(_native.__file__))


def check(forest: forests.Forest, rows: Array, expected: Array) -> None:
    """Our margins equal the library's bit for bit where it states the order of its sums, else in their last bits."""
    mine = np.asarray(forest.margin(rows)).reshape(len(rows), -1)
    if not np.array_equal(mine, expected.astype(mine.dtype)):
        raise AssertionError(f"our margins differ from the library's by up to {np.abs(mine - expected).max():.3g}")


def engine(forest: forests.Forest) -> str:
    """Which engine runs, on which target, in the kernels' words."""
    return f"{'; '.join(forest.engine.splitlines())} (target: {kernels.active_target()})"
