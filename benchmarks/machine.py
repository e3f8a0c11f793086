"""What a figure was measured with: machine, compiler, versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "xgboost-cpu", "lightgbm", "scikit-learn", "torch", "faiss-cpu", "bm25s", "django")


def describe() -> dict[str, str]:
    """Facts about this machine and its software, by name."""
    from mlcore.toolchain.compiler import find_compiler

    facts = {
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "compiler": find_compiler().version,
        "Python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _cpu() -> str:
    """The processor's name and its vector extensions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    vectors = [name for name in ("avx2", "avx512f", "avx512_vbmi", "gfni", "amx_tile") if name in flags]
    return f"{fields.get('model name', 'unknown')} ({', '.join(vectors) or 'no vector extensions'})"


def peak_memory() -> int:
    """The most memory that this process ever had, in kilobytes; `resource` would count what its parent had when it forked."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError("the system does not tell how much memory a process had")
