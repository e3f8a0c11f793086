"""Contenders behind C functions: compiled here, called by ctypes with a loop over many rows on the other side."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.forests.environment import UnavailableError
from mlcore.toolchain.compiler import find_compiler

Array = npt.NDArray[Any]

SOURCES = Path(__file__).parent / "native"
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-Wall", "-Wextra")
TARGETS = {"native": "-march=native", "avx2": "-march=x86-64-v3", "portable": "-march=x86-64"}
"""What compiled contenders are compiled for; by default all that this machine has."""


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


def adapter(
    cache: Path,
    name: str,
    *,
    target: str = "native",
    include: Sequence[Path] = (),
    depends: Sequence[Path] = (),
    options: Sequence[str] = (),
) -> Path:
    """An adapter of `native/`, compiled once for each content (`depends`: headers from elsewhere), target and machine."""
    source = SOURCES / f"{name}.cpp"
    flags = (*FLAGS, TARGETS[target], *(f"-isystem{folder}" for folder in include))
    texts = [path.read_text(encoding="utf-8") for path in (source, *sorted(SOURCES.glob("*.hpp")), *depends)]
    return compiled(cache, name, [source], texts, flags=flags, link=("-ldl", *options))


def compiled(
    cache: Path, name: str, sources: Sequence[Path], texts: Sequence[str], *, flags: Sequence[str], link: Sequence[str] = ()
) -> Path:
    """A shared library; `texts` is all that its content depends on beside the flags."""
    compiler = find_compiler()
    library = cache / "native" / f"{name}-{_digest(*texts, *flags, *link, compiler.version)}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        part = library.with_name(f"part-{library.name}")
        run([compiler.path, *flags, *sources, "-o", part, *link])
        part.rename(library)
    return library


def compiled_c(cache: Path, folder: Path, library: Path, *, target: str) -> None:
    """The C files of a folder as one library, two at a time: generated code takes minutes."""
    compiler = find_compiler()
    flags = ("-x", "c", "-std=c99", "-O3", "-fPIC", TARGETS[target], "-c")
    waiting = sorted(folder.glob("*.c"))
    running: list[subprocess.Popen[bytes]] = []
    failed = False
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            source = waiting.pop()
            running.append(subprocess.Popen([compiler.path, *flags, source, "-o", source.with_suffix(".o")]))
        failed |= running.pop(0).wait() != 0
    if failed:
        raise UnavailableError("its generated code does not compile")
    part = library.with_name(f"part-{library.name}")
    run([compiler.path, "-shared", *sorted(folder.glob("*.o")), "-o", part, "-lm"])
    part.rename(library)


def run(command: Sequence[object]) -> None:
    """Run the compiler."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"it does not compile: {done.stderr.strip()[-2000:]}")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join([*texts, _machine()]).encode()).hexdigest()[:12]


def _machine() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags")))
