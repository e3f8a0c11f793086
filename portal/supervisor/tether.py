"""Become a program that ends when its parent does: ``python -I -S tether.py SIGNAL PROGRAM ARGUMENT...``.

Stands in front of everything the supervisor starts, so that nothing outlives it, not even after ``kill -9``. Standard library
alone, little of it: it delays every start. (The sandbox's launcher does the same for jobs, and more.)
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Arm the signal, then become the program."""
    signal, program = int(arguments[0]), arguments[1:]
    if sys.platform.startswith("linux"):
        # A parent that died just before leaves an orphan, which the next start finds and ends (`portal.supervisor.folder`).
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
    os.execv(program[0], program)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
