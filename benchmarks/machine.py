"""What a figure was measured with: machine, compiler, versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from mlcore.benchmarks import machine

PACKAGES = ("numpy", "xgboost-cpu", "lightgbm", "scikit-learn", "torch", "faiss-cpu", "bm25s", "django")


def describe() -> dict[str, str]:
    """Facts about this machine and its software, by name."""
    from mlcore.toolchain.compiler import find_compiler

    return {
        "CPU": f"{machine.processor()} ({machine.vectors() or 'no vector extensions'})",
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.machine()}",
        "compiler": find_compiler().version,
        "Python": platform.python_version(),
        **machine.versions(PACKAGES),
    }


def peak_memory() -> int:
    """The most memory that this process ever had, in kilobytes; `resource` would count what its parent had when it forked."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError("the system does not tell how much memory a process had")
