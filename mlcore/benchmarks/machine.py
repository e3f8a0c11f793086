"""What figures were measured on: processor, cores, memory, compiler, versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from mlcore.errors import ToolchainError

PACKAGES = ("ml4ep-portal", "numpy", "onnx", "torch", "weaver-core", "torch-geometric")
VECTORS = ("avx2", "avx512f", "avx512vbmi", "avx512_bf16", "gfni", "amx_tile", "asimd", "sve")


def describe() -> dict[str, str]:
    """Facts about this machine and its software, by name."""
    from mlcore.toolchain.compiler import find_compiler

    try:
        compiler = find_compiler().version
    except ToolchainError:
        compiler = "none"
    return {
        "processor": processor(),
        "vectors": vectors() or "none",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or "unknown",
        "load": f"{os.getloadavg()[0]:.2f}",
        "compiler": compiler,
        "Python": platform.python_version(),
        **versions(PACKAGES),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Those of the packages that are installed."""
    found = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def vectors() -> str:
    """The vector extensions that matter here, of those that the processor has."""
    return ", ".join(name for name in VECTORS if name in _cpu_field("flags", "Features").split())


def processor() -> str:
    """The processor's name, as the system gives it."""
    return _cpu_field("model name", "Processor") or platform.processor() or "unknown"


def _cpu_field(*names: str) -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
