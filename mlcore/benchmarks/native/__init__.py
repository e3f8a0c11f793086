"""Engines behind C functions: adapters in C++ beside this module, compiled once for each content, set of flags and machine.

`contender.hpp` says what an adapter offers; `cell.cpp` is the process that measures one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.toolchain.compiler import find_compiler

__all__ = ["ELEMENTS", "SOURCES", "TARGETS", "adapter", "cell_program", "compiled", "machine_flags", "write_tensors"]

Array = npt.NDArray[Any]

SOURCES = Path(__file__).parent
TARGETS = {"native": "-march=native", "avx2": "-march=x86-64-v3", "portable": "-march=x86-64"}
ADAPTER_FLAGS = ("-std=c++17", "-O3", "-w")
ELEMENTS = {
    np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3, np.dtype(np.int32): 6, np.dtype(np.int64): 7,
    np.dtype(np.bool_): 9, np.dtype(np.float64): 11,
}  # fmt: skip
"""ONNX's numbers of the element types that a measured model may have at its edges."""


def adapter(cache: Path, name: str, *, flags: Sequence[str] = (), depends: Sequence[Path] = (), link: Sequence[str] = ()) -> Path:
    """An adapter of this folder as a shared library.

    Parameters
    ----------
    cache
        Folder of compiled files.
    name
        Of its source.
    flags, link
        For the compiler, besides the usual ones; libraries and folders for the linker.
    depends
        Files that it is compiled from besides those of this folder.

    Raises
    ------
    ToolchainError
        There is no compiler, or it fails.
    """
    # A linker that is told of -ffast-math would make denormals zero in the whole process, so it gets no flags for the code.
    options = (*ADAPTER_FLAGS, TARGETS["native"], *flags, f"-I{SOURCES}")
    return compiled(cache, name, SOURCES / f"{name}.cpp", flags=options, depends=depends, link=link)


def compiled(
    cache: Path, name: str, source: Path, *, flags: Sequence[str], depends: Sequence[Path] = (), link: Sequence[str] = ()
) -> Path:
    """A source as a shared library, made once for each content, set of flags, compiler and machine."""
    compiler = find_compiler()
    texts = [path.read_bytes() for path in (source, *sorted(SOURCES.glob("*.hpp")), *depends)]
    library = cache / f"{name}-{_digest(texts, [*flags, *link, compiler.version])}.so"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
        try:
            folders = sorted({path.parent for path in (SOURCES / "contender.hpp", *depends)})
            part = work / "part.o"
            compiler.build([source], part, flags=(*flags, "-fPIC", "-c"), include=folders)
            compiler.build([part], work / library.name, flags=("-shared", "-Wl,--no-as-needed", *link, "-ldl"))
            os.replace(work / library.name, library)  # noqa: PTH105 - atomic over what another process may have made meanwhile
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return library


def cell_program(cache: Path) -> Path:
    """The process that measures an adapter."""
    compiler = find_compiler()
    texts = [path.read_bytes() for path in (SOURCES / "cell.cpp", *sorted(SOURCES.glob("*.hpp")))]
    program = cache / f"cell-{_digest(texts, [compiler.version])}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
        try:
            flags = ("-std=c++17", "-O2", "-rdynamic", "-pthread", "-ldl")
            compiler.build([SOURCES / "cell.cpp"], work / "cell", flags=flags, include=[SOURCES])
            os.replace(work / "cell", program)  # noqa: PTH105 - as above
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return program


def write_tensors(path: Path, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """The file that `cell.cpp` reads: the number of tensors, a line for each, then the bytes of the inputs."""
    lines = [str(len(inputs) + len(outputs))]
    for is_input, arrays in ((1, inputs), (0, outputs)):
        lines += [f"{is_input} {ELEMENTS[a.dtype]} {a.ndim} {' '.join(map(str, a.shape))} {n}" for n, a in arrays.items()]
    path.write_bytes("\n".join([*lines, ""]).encode() + b"".join(array.tobytes() for array in inputs.values()))


def machine_flags() -> str:
    """What ``-march=native`` depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")


def _digest(contents: Sequence[bytes], texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for content in (*contents, *(text.encode() for text in texts), machine_flags().encode()):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
