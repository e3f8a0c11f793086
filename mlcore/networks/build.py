"""From generated code to a library: compiled in the sandbox, kept in a cache by content. `mlcore.networks.calling` calls it.

The cache's key covers the code, the runtime headers, the compiler's version, its flags and the processor, so a stale library is
never loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import kernels
from mlcore.errors import InputError
from mlcore.networks.blas import Blas, find_library
from mlcore.networks.calling import Function
from mlcore.networks.emit.cpp import Emitted
from mlcore.toolchain.compiler import Compiler, find_compiler

__all__ = [
    "FAST",
    "INCLUDE",
    "MATH_FLAGS",
    "QUICK",
    "TARGETS",
    "Blas",
    "BuildOptions",
    "Function",
    "Math",
    "build",
    "flags_for",
    "translation_unit",
]

INCLUDE = Path(kernels.__file__).parent / "include"

FAST = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
QUICK = ("-std=c++17", "-O1", "-ffp-contract=off")
"""Flags for code that is run once, as in tests of single operators: it compiles several times faster."""


Math = Literal["strict", "standard", "fast"]
"""How free the arithmetic is.

*standard*: the same results in every run and thread; sums and products in an order that the code fixes, algebra
(`passes.ALGEBRA`) allowed. *strict*: besides, everything is computed as the model says. *fast*: the compiler may fuse what it
finds, multiply by reciprocals and forget the sign of zero; it never reorders sums, since rounding by adding a large number, as
exp does, would break.
"""

MATH_FLAGS: dict[Math, tuple[str, ...]] = {
    "strict": (),
    "standard": (),
    "fast": ("-ffp-contract=fast", "-freciprocal-math", "-fno-signed-zeros"),
}


TARGETS = {"native": "-march=native", "avx512": "-march=x86-64-v4", "avx2": "-march=x86-64-v3", "portable": ""}
"""Machines that code can be compiled for, and the compiler's flag: this one, those with AVX-512, with AVX2, any."""


def flags_for(target: str) -> tuple[str, ...]:
    """The compiler's flags for a machine.

    Raises
    ------
    InputError
        There is no such target, or this machine could not run the code, so that it cannot be verified here.
    """
    if target not in TARGETS:
        raise InputError(f"there is no target {target!r}", hint=f"There are {', '.join(TARGETS)}.", code="network.target")
    needed = {"avx512": "avx512vl", "avx2": "avx2"}.get(target, "")
    if needed and needed not in _cpu().split():
        raise InputError(
            f"this machine has no {needed.upper()}, so that code for it cannot be verified here",
            hint="Take native or portable, or convert on a machine like those that the code is for.",
            code="network.target",
        )
    flag = TARGETS[target]
    return tuple(flag if item == "-march=native" else item for item in FAST if item != "-march=native" or flag)


@dataclass(frozen=True)
class BuildOptions:
    """How generated code is compiled.

    Attributes
    ----------
    flags
        Of the compiler.
    compiler
        By default the first that is found.
    cache
        Folder of compiled libraries; by default the user's, ``~/.cache/ml4ep/networks``, of which the newest `KEPT` stay.
    math
        How free the arithmetic is.
    timed
        Whether the library has a loop of its own for each function, for `mlcore.networks.calling.Native.seconds_per_call`.
    blas
        What large matrix products are left to: the code's own kernels, OpenBLAS or oneDNN. Sums are then taken in its order.
    """

    flags: tuple[str, ...] = FAST
    compiler: Compiler | None = None
    cache: Path | None = None
    timed: bool = False
    math: Math = "standard"
    blas: Blas = "none"


KEPT = 200
"""Libraries that stay in the user's folder."""

_own: list[tempfile.TemporaryDirectory[str]] = []
_own_lock = threading.Lock()


def user_cache() -> Path:
    """Where libraries wait for the user's next process: a folder that nobody else may write to.

    For a user without a home it is one for this process, whichever threads ask for it first.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ml4ep" / "networks"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return folder
    except (OSError, RuntimeError):
        pass
    with _own_lock:
        if not _own:
            _own.append(tempfile.TemporaryDirectory(prefix="networks-"))
        return Path(_own[0].name)


def _forget_oldest(folder: Path) -> None:
    """Leave the libraries that were used last; another process may do the same at the same time."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.glob("network-*.so"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            path.unlink(missing_ok=True)


@cache
def _runtime_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(INCLUDE.rglob("*.hpp")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def translation_unit(emitted: Sequence[Emitted], *, timed: bool = False) -> str:
    """One C++ file with the code and the C faces of some graphs, and where they are timed a loop over each."""
    headers = sorted({header for item in emitted for header in (*item.headers, "kernels/nn/entry.hpp")})
    includes = [f'#include "{header}"' for header in headers]
    loops = ["#include <chrono>", *(_loop(item.name) for item in emitted)] if timed else []
    return "\n".join([*includes, "", *(item.code for item in emitted), *(item.entry for item in emitted), *loops])


def _loop(name: str) -> str:
    """Calls in a row, timed as a program in C++ would have them: nothing of Python is between them."""
    return f"""extern "C" int {name}_repeat(void* handle, const {name}::nn::Value* in, {name}::nn::Value* out, char* message,
                                std::int64_t message_size, std::int64_t count, std::int64_t* nanoseconds) {{
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < count; ++i) {{
    if (const int status = {name}_call(handle, in, out, message, message_size)) return status;
  }}
  const auto spent = std::chrono::steady_clock::now() - start;
  *nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count();
  return 0;
}}
"""


def build(
    emitted: Sequence[Emitted], options: BuildOptions | None = None, *, cancelled: Callable[[], bool] | None = None
) -> tuple[Path, float]:
    """Compile some graphs into one library.

    Returns
    -------
    tuple
        The library, and the seconds that the compiler took (0 from the cache).

    Raises
    ------
    ToolchainError
        There is no compiler, or it failed; or the library of `BuildOptions.blas` is missing.
    """
    options = options or BuildOptions()
    compiler = options.compiler or find_compiler()
    library_of_products = find_library(options.blas)
    flags = (*options.flags, *MATH_FLAGS[options.math])
    linked: list[Path] = []
    if library_of_products is not None:
        flags = (*flags, *library_of_products.defines, *library_of_products.link_flags)
        linked = [library_of_products.path]
    text = translation_unit(emitted, timed=options.timed)
    parts = (text, _runtime_digest(), compiler.version, *compiler.arguments, *flags, *map(str, linked), _cpu())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    folder = options.cache or user_cache()
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"network-{key}.so"
    if library.exists():
        if options.cache is None:
            with contextlib.suppress(FileNotFoundError):
                os.utime(library)
        return library, 0.0
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    try:
        source = work / "network.cpp"
        source.write_text(text, encoding="utf-8")
        outcome = compiler.build(
            [source, *linked],
            work / "network.so",
            flags=(*flags, "-shared", "-fPIC", "-w"),
            include=[INCLUDE],
            cancelled=cancelled,
        )
        os.replace(work / "network.so", library)  # noqa: PTH105 - atomic over what another process may have made meanwhile
        if options.cache is None:
            _forget_oldest(folder)
        return library, outcome.seconds
    finally:
        shutil.rmtree(work, ignore_errors=True)


@cache
def _cpu() -> str:
    """What -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
