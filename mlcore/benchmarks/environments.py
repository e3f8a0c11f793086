"""Environments of engines whose packages would not live beside the portal's: made of the engine's list, used by it alone."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from mlcore.benchmarks.engines import Engine
from mlcore.errors import InputError, ToolchainError


def install(engine: Engine, environments: Path) -> Path:
    """Make an engine's environment, once for each list of packages and version of Python; returns its folder.

    Raises
    ------
    InputError
        The engine has none.
    ToolchainError
        Its packages cannot be installed.
    """
    if not engine.requirements:
        hint = f"To have it: {engine.install}." if engine.install else ""
        raise InputError(f"{engine.title} has no environment of its own", hint=hint, code="benchmark.environment")
    folder = environments / engine.name
    mark = folder / "ready"
    digest = hashlib.sha256("\n".join([*engine.requirements, sys.version]).encode()).hexdigest()
    if mark.exists() and mark.read_text(encoding="ascii") == digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--without-pip", folder], engine)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    _run([*pip, "--no-deps", "--only-binary=:all:", *engine.requirements], engine)
    mark.write_text(digest, encoding="ascii")
    return folder


def _run(command: list[object], engine: Engine) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-1:])
        raise ToolchainError(f"the packages of {engine.title} cannot be installed: {last}", code="benchmark.environment")
