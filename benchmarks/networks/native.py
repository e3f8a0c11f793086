"""Network contenders behind C functions: opened with their tensors in place, called by ctypes with the loop on the other side."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import native
from benchmarks.environment import UnavailableError
from mlcore.benchmarks.native import SOURCES, write_tensors
from mlcore.toolchain.compiler import find_compiler

Array = npt.NDArray[Any]

ELEMENTS = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}
"""ONNX's numbers of the element types that the zoo has at its edges."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("element", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("data", ctypes.c_void_p),
    ]


@dataclass(frozen=True)
class Fresh:
    """A contender in a process of its own: seconds until it is open and of its first inference, peak of its memory in bytes."""

    load: float
    first: float
    peak: int


class Native:
    """An open contender.

    Parameters
    ----------
    library
        An adapter of `native/`, compiled.
    texts
        The adapter's arguments.
    inputs
        Arrays by name, float32 or int64, C-contiguous; they stay where they are, so new values are written into them.
    outputs
        Shapes of the float32 outputs by name.
    """

    def __init__(
        self, library: Path, texts: Sequence[object], inputs: Mapping[str, Array], outputs: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.library, self.texts, self.inputs = library, [*texts], dict(inputs)
        self.outputs: dict[str, Array] = {name: aligned(shape) for name, shape in outputs.items()}
        loaded = ctypes.CDLL(str(library))
        loaded.contender_open.restype = ctypes.c_void_p
        loaded.contender_failure.restype = ctypes.c_char_p
        loaded.contender_run.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._failure, self._run = loaded.contender_failure, loaded.contender_run
        given = (ctypes.c_char_p * (len(texts) + 1))(*(str(text).encode() for text in texts), None)
        # The adapter may keep the tensors' descriptions, so they live as long as it.
        self._tensors = _tensors(self.inputs), _tensors(self.outputs)
        sizes = ctypes.c_size_t(len(self.inputs)), ctypes.c_size_t(len(self.outputs))
        self._opened = loaded.contender_open(given, self._tensors[0], sizes[0], self._tensors[1], sizes[1])
        if not self._opened:
            raise UnavailableError(self._failure().decode())

    def run(self, times: int) -> None:
        """So many inferences, one after the other, in native code."""
        if self._run(self._opened, times):
            raise RuntimeError(self._failure().decode())

    def answers(self) -> dict[str, Array]:
        """The outputs of one inference."""
        for output in self.outputs.values():
            output.fill(np.nan)
        self.run(1)
        return {name: output.copy() for name, output in self.outputs.items()}

    def fresh(self, cache: Path) -> Fresh:
        """The same in a process of its own."""
        tensors = cache / "native" / f"tensors-{os.getpid()}.txt"
        tensors.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(tensors, self.inputs, self.outputs)
        try:
            return fresh(cache, tensors, self.library, self.texts)
        finally:
            tensors.unlink()


def aligned(shape: tuple[int, ...]) -> Array:
    """An empty float32 array at a multiple of 64 bytes, as allocators of tensors give."""
    size = int(np.prod(shape))
    room = np.empty(size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + size].reshape(shape)


def _tensors(arrays: Mapping[str, Array]) -> Any:
    described = (_Tensor * len(arrays))()
    for tensor, (name, array) in zip(described, arrays.items(), strict=True):
        if array.dtype not in ELEMENTS or not array.flags.c_contiguous:
            raise ValueError(f"{name}: tensors are float32 or int64, one value after the other")
        tensor.name, tensor.element, tensor.rank = name.encode(), ELEMENTS[array.dtype], array.ndim
        tensor.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor.data = array.ctypes.data
    return described


def fresh(cache: Path, tensors: Path, adapter_library: Path, texts: Sequence[object]) -> Fresh:
    """Open an adapter in a process of its own and infer.

    Raises
    ------
    UnavailableError
        The process failed; the reason is its last line.
    """
    program = _program(cache)
    command = [str(part) for part in (program, tensors, adapter_library, *texts)]
    return _measured(command, {**os.environ, **ONE_THREAD})


def _measured(command: Sequence[str], environment: Mapping[str, str]) -> Fresh:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0 or len(done.stdout.split()) < 3:
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise UnavailableError(f"it fails in a process of its own: {last or f'status {done.returncode}'}")
    load, first, peak = done.stdout.splitlines()[-1].split()
    return Fresh(float(load), float(first), int(peak) * 1024)


def _program(cache: Path) -> Path:
    source = SOURCES / "fresh.cpp"
    texts = [path.read_text(encoding="utf-8") for path in (source, SOURCES / "contender.hpp", *native.HEADERS.glob("*.hpp"))]
    flags = ("-std=c++17", "-O2", f"-I{native.HEADERS}")
    program = cache / "native" / f"fresh-{native.digest(*texts, *flags, find_compiler().version)}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        native.run([find_compiler().path, *flags, source, "-o", program, "-ldl"])
    return program


def fresh_python(program: Path, *arguments: object, path: Sequence[Path] = ()) -> Fresh:
    """The same for what is used through Python: a program that prints the same three numbers.

    Parameters
    ----------
    path
        Folders of further packages.
    """
    import sys

    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[2], *path)))}
    return _measured([sys.executable, str(program), *map(str, arguments)], environment)


def adapter(cache: Path, name: str, **options: Any) -> Path:
    """An adapter of `native/`; the options are those of `benchmarks.native.adapter`."""
    return native.adapter(cache, SOURCES / f"{name}.cpp", **options)
