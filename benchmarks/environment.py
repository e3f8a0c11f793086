"""Environments for the peers, one for each: made from its list in `requirements/`, kept in the cache, apart from ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"


class UnavailableError(Exception):
    """A peer cannot take part; the text is the reason, which is printed beside the figures."""


def environment(cache: Path, name: str) -> Path:
    """The folder of the virtual environment that a peer lives in; made at the first call.

    Raises
    ------
    UnavailableError
        Its packages cannot be installed here.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:10]
    folder = cache / "peers" / f"{name}-{digest}"
    if (folder / "ready").exists():
        return folder
    print(f"  installing {name} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", folder], [*install, "--no-deps", "--only-binary=:all:", "-r", requirements]):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise UnavailableError(f"its packages cannot be installed here: {' '.join(last)}")
    (folder / "ready").touch()
    return folder


def packages(folder: Path) -> Path:
    """Where an environment keeps its Python packages."""
    return next((folder / "lib").glob("python*/site-packages"))


def run(folder: Path, program: Path, *arguments: object) -> None:
    """Run a program, such as those in `compilers/`, in a peer's environment.

    Raises
    ------
    UnavailableError
        It failed; the reason is its last line.
    """
    command = [folder / "bin" / "python", program, *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(" ".join(done.stderr.strip().splitlines()[-1:]) or f"it ended with status {done.returncode}")


def pinned(name: str, package: str) -> str:
    """The version of a package that a peer's list asks for."""
    for line in (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").split():
        if line.startswith(f"{package}=="):
            return line.partition("==")[2]
    raise ValueError(f"{package} is not in the list of {name}")
