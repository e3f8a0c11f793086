"""Forest contenders behind C functions, called by ctypes with a loop over many rows on the other side."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import native
from benchmarks.environment import UnavailableError

Array = npt.NDArray[Any]

SOURCES = Path(__file__).parent / "native"


class Native:
    """An open contender.

    Parameters
    ----------
    library
        An adapter of `native/`, compiled.
    texts
        The adapter's arguments.
    n_features, n_outputs
        Width of a row and of its answer.
    dtype
        Of the answer.
    """

    def __init__(self, library: Path, texts: Sequence[object], n_features: int, n_outputs: int, dtype: npt.DTypeLike) -> None:
        self.dtype, self.n_features, self.n_outputs = np.dtype(dtype), n_features, n_outputs
        self._library = ctypes.CDLL(str(library))
        self._library.contender_open.restype = ctypes.c_void_p
        self._library.contender_failure.restype = ctypes.c_char_p
        self._run = self._library.contender_run
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
        given = (ctypes.c_char_p * (len(texts) + 1))(*(str(text).encode() for text in texts), None)
        sizes = map(ctypes.c_size_t, (n_features, n_outputs, self.dtype.itemsize))
        self._opened = self._library.contender_open(given, *sizes)
        if not self._opened:
            raise UnavailableError(self._library.contender_failure().decode())

    def predict(self, rows: Array, *, batch: int | None = None) -> Array:
        """The answers, shape (n_rows, n_outputs), given in batches."""
        out = np.empty((len(rows), self.n_outputs), self.dtype)
        self.call(rows, out, batch=batch)()
        return out

    def call(self, rows: Array, out: Array | None = None, *, batch: int | None = None) -> Callable[[], None]:
        """A call that predicts all rows, `batch` at a time: the loop runs in C."""
        if rows.dtype != np.float32 or not rows.flags.c_contiguous or rows.shape[1] != self.n_features:
            raise ValueError("rows are float32, one after the other")
        answers = np.empty((len(rows), self.n_outputs), self.dtype) if out is None else out
        arguments = (self._opened, rows.ctypes.data, len(rows), batch or len(rows), answers.ctypes.data)

        def run(keep: object = (rows, answers)) -> None:
            if self._run(*arguments):
                raise RuntimeError(self._library.contender_failure().decode())

        return run


def adapter(cache: Path, name: str, **options: Any) -> Path:
    """An adapter of `native/`; the options are those of `benchmarks.native.adapter`."""
    return native.adapter(cache, SOURCES / f"{name}.cpp", **options)
