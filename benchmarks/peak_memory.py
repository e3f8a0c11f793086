"""The most memory that a piece of Python takes beyond its imports, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_BEFORE = """
import json as _json

def _resident(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

result = None
_imports = _resident("VmRSS")
with open("/proc/self/clear_refs", "w") as _file:
    _file.write("5")  # the peak is counted from here
"""
_AFTER = """
print(_json.dumps([_imports, _resident("VmHWM"), result]))
"""


@dataclass(frozen=True)
class Peak:
    """Resident memory of a process, in bytes.

    Attributes
    ----------
    imports
        After the imports.
    peak
        The most from then on; pages of mapped files count as well.
    result
        What the statements left in `result`.
    """

    imports: int
    peak: int
    result: object

    @property
    def over_imports(self) -> int:
        """What the statements took beyond the imports."""
        return self.peak - self.imports


def peak_memory(imports: str, statements: str, *, timeout: float = 600) -> Peak:
    """Run statements of this project's own in a new process.

    Parameters
    ----------
    imports, statements
        Python.
    timeout
        Seconds.

    Raises
    ------
    RuntimeError
        They fail.
    """
    run = subprocess.run(
        [sys.executable, "-c", "\n".join([imports, _BEFORE, statements, _AFTER])],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.fspath(_ROOT)},
        check=False,
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    before, peak, result = json.loads(run.stdout.splitlines()[-1])
    return Peak(before, peak, result)
