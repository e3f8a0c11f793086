"""Make the project's own environment: ``python3 portal/bootstrap.py`` is what ``make setup`` runs.

Standard library only, because it runs before anything is installed. The steps are: create ``.venv``, put uv into it, install
the pinned dependencies, build ``kernels`` and install the project editable. A stamp of everything that decides the outcome
makes a second run return at once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".installed"
CONSTRAINTS = ROOT / "constraints.txt"
UV_VERSION = "0.13.9"
OLDEST, NEWEST = (3, 11), (3, 13)
KERNEL_SOURCES = ("CMakeLists.txt", "include", "src", "bindings")

# Packages that only a CUDA build of torch asks for: the lock keeps them out, so that an index that serves such a build
# fails loudly instead of downloading gigabytes.
CUDA_ONLY = re.compile(r"^(nvidia-|cuda-|triton)")


class SetupError(Exception):
    """A problem the user can mend; the message says how."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lock", action="store_true", help="recompute constraints.txt from pyproject.toml, then stop")
    arguments = parser.parse_args()
    try:
        check_python()
        uv = ensure_uv()
        if arguments.lock:
            lock(uv)
        else:
            install(uv)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"setup: `{' '.join(map(str, error.cmd))}` failed with exit code {error.returncode}", file=sys.stderr)
        return 1
    return 0


def check_python() -> None:
    """Refuse an interpreter that the pinned dependencies have no builds for."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise SetupError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is not supported; use Python 3.11, 3.12 or 3.13, "
            "for example `make run PYTHON=python3.12`"
        )


def ensure_uv() -> Path:
    """Create the environment with uv inside, unless it is there already."""
    uv = VENV / "bin" / "uv"
    if uv.exists() and environment_python() == sys.version_info[:2]:
        return uv
    print("Creating .venv", flush=True)
    venv.EnvBuilder(with_pip=True, clear=True).create(VENV)
    run(VENV / "bin" / "python", "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}")
    return uv


def environment_python() -> tuple[int, int] | None:
    """The Python version that ``.venv`` was made with, None where that cannot be read."""
    try:
        match = re.search(r"^version\s*=\s*(\d+)\.(\d+)", (VENV / "pyvenv.cfg").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return (int(match[1]), int(match[2])) if match else None


def install(uv: Path) -> None:
    """Install dependencies and the project; do nothing where neither changed."""
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    environment = uv_environment()
    print("Installing the pinned dependencies (about 1.6 GB once; cached afterwards)", flush=True)
    shared = ("--python", VENV / "bin" / "python", "--constraints", CONSTRAINTS, "--quiet")
    requirements = ("-r", ROOT / "pyproject.toml", "--group", f"{ROOT / 'pyproject.toml'}:dev")
    run(uv, "pip", "install", *shared, *torch_options(environment), *requirements, env=environment)
    print("Building the native kernels", flush=True)
    run(uv, "pip", "install", *shared, "--no-deps", "--reinstall-package", "ml4ep-portal", "--editable", ROOT, env=environment)
    STAMP.write_text(wanted)


def torch_options(environment: dict[str, str]) -> tuple[str, ...]:
    """Where the CPU build of torch comes from: a local wheel folder that pip is configured with, else uv's CPU backend."""
    if any(any(Path(folder).glob("torch-*+cpu-*")) for folder in environment.get("UV_FIND_LINKS", "").split(",") if folder):
        return ()
    return ("--torch-backend", "cpu")


def uv_environment() -> dict[str, str]:
    """The environment for uv, with the wheel folders that pip is configured to look in (uv does not read pip's settings)."""
    environment = dict(os.environ)
    if "UV_FIND_LINKS" not in environment:
        listed = subprocess.run(
            [VENV / "bin" / "python", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        ).stdout
        folders = {word for line in listed.splitlines() if ".find-links=" in line for word in line.split("'")[1].split()}
        if local := sorted(folder for folder in folders if Path(folder).is_dir()):
            environment["UV_FIND_LINKS"] = ",".join(local)
    environment.setdefault("UV_LINK_MODE", "hardlink" if same_device() else "copy")
    return environment


def same_device() -> bool:
    """Whether uv's cache can be hard-linked into ``.venv``."""
    cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache"))
    return cache.exists() and cache.stat().st_dev == ROOT.stat().st_dev


def fingerprint() -> str:
    """Hash of everything that decides what gets installed and built."""
    digest = hashlib.sha256(sys.version.encode())
    files = [ROOT / "pyproject.toml", CONSTRAINTS]
    for name in KERNEL_SOURCES:
        path = ROOT / "kernels" / name
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.exists():
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def lock(uv: Path) -> None:
    """Resolve pyproject.toml for every supported Python and write constraints.txt, free of index addresses."""
    resolved = subprocess.run(
        [
            *(uv, "pip", "compile", ROOT / "pyproject.toml", "--group", "dev", "--universal", "--python-version", "3.11"),
            *("--no-header", "--no-annotate", "--quiet"),
        ],
        env=uv_environment(), check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    lines = [line for line in resolved.splitlines() if not CUDA_ONLY.match(line) and not line.startswith("torch==")]
    CONSTRAINTS.write_text("\n".join(sorted([*lines, "torch==2.13.0"])) + "\n")
    print(f"Wrote {CONSTRAINTS.relative_to(ROOT)}: {len(lines) + 1} packages")


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=env)


if __name__ == "__main__":
    sys.exit(main())
