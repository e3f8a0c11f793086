"""Contenders behind C functions: adapters in C++, compiled once for each content, target and machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environment import UnavailableError
from mlcore.benchmarks.native import SOURCES
from mlcore.toolchain.compiler import find_compiler

HEADERS = SOURCES
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-Wall", "-Wextra")
TARGETS = {"native": "-march=native", "avx2": "-march=x86-64-v3", "portable": "-march=x86-64"}
"""What compiled contenders are compiled for; by default all that this machine has."""


def adapter(
    cache: Path,
    source: Path,
    *,
    target: str = "native",
    include: Sequence[Path] = (),
    depends: Sequence[Path] = (),
    options: Sequence[str] = (),
) -> Path:
    """An adapter, compiled once for each content (`depends`: headers from elsewhere), target and machine."""
    flags = (*FLAGS, TARGETS[target], f"-I{HEADERS}", *(f"-isystem{folder}" for folder in include))
    headers = (*sorted(source.parent.glob("*.hpp")), *sorted(HEADERS.glob("*.hpp")))
    texts = [path.read_text(encoding="utf-8") for path in (source, *headers, *depends)]
    return compiled(cache, source.stem, [source], texts, flags=flags, link=("-ldl", *options))


def compiled(
    cache: Path, name: str, sources: Sequence[Path], texts: Sequence[str], *, flags: Sequence[str], link: Sequence[str] = ()
) -> Path:
    """A shared library; `texts` is all that its content depends on beside the flags."""
    compiler = find_compiler()
    library = cache / "native" / f"{name}-{digest(*texts, *flags, *link, compiler.version)}.so"
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


def digest(*texts: str) -> str:
    """Of what a compiled file depends on, and of the machine that it is compiled for."""
    return hashlib.sha256("\n".join([*texts, _machine()]).encode()).hexdigest()[:12]


def _machine() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags")))
