"""Make the project's own environment: ``python3 portal/bootstrap.py`` is what ``make setup`` runs.

Standard library only, because it runs before anything is installed. The steps are: create ``.venv``, put uv into it, install
the pinned dependencies, build ``kernels`` and install the project editable. A stamp of everything that decides the outcome
makes a second run return at once.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".installed"
CONSTRAINTS = ROOT / "constraints.txt"
UV_VERSION = "0.13.9"
OLDEST, NEWEST = (3, 11), (3, 13)
COMPILERS = ("g++", "c++", "clang++")
KERNEL_SOURCES = ("CMakeLists.txt", "include", "src", "bindings")

# Packages that only a CUDA build of torch asks for: the lock keeps them out, so that an index that serves such a build
# fails loudly instead of downloading gigabytes.
CUDA_ONLY = re.compile(r"^(nvidia-|cuda-|triton)")

# What pip is configured with and uv has another name for.
PIP_TO_UV = {"find-links": "UV_FIND_LINKS", "index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}


class SetupError(Exception):
    """A problem the user can mend; the message says how."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also install what the tests and checks need")
    parser.add_argument("--lock", action="store_true", help="recompute constraints.txt from pyproject.toml, then stop")
    arguments = parser.parse_args()
    try:
        check_python()
        if arguments.lock:
            lock(ensure_uv())
        elif not up_to_date(arguments.dev):
            check_compiler()
            ensure_bubblewrap()
            install(ensure_uv(), arguments.dev)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"setup: `{shlex.join(map(str, error.cmd))}` failed with exit code {error.returncode}", file=sys.stderr)
        return 1
    return 0


def check_python() -> None:
    """Refuse an interpreter that the pinned dependencies have no builds for."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise SetupError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is not supported; use Python 3.11, 3.12 or 3.13, "
            "for example `make run PYTHON=python3.12`"
        )


def check_compiler() -> None:
    """Refuse a machine that cannot build the kernels, before anything is downloaded."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen and not shutil.which(chosen[0]):
        raise SetupError(f"CXX names {chosen[0]!r}, which is not there; unset it or name a C++ compiler")
    if not chosen and not any(shutil.which(name) for name in COMPILERS):
        raise SetupError("there is no C++ compiler; install one, for example with `apt install g++` or `dnf install gcc-c++`")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise SetupError(
            f"the headers of Python {sys.version_info[0]}.{sys.version_info[1]} are missing ({header}); "
            "install them, for example with `apt install python3-dev` or `dnf install python3-devel`"
        )


def ensure_bubblewrap() -> None:
    """Install bubblewrap where that needs nobody's leave; say what is missing without it everywhere else."""
    if not sys.platform.startswith("linux") or shutil.which("bwrap"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing bubblewrap", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install_it = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "bubblewrap")
        for command in (install_it, ("apt-get", "update", "--quiet"), install_it):  # the lists may be missing or old
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if shutil.which("bwrap"):
                return
    print(
        "setup: bubblewrap is missing, so code of answers will not be run and jobs are less well fenced in; install it, for "
        "example with `apt install bubblewrap` or `dnf install bubblewrap`",
        file=sys.stderr,
    )


def up_to_date(dev: bool) -> bool:
    """Whether everything is installed as the files say; what development needs includes what running needs."""
    try:
        installed, mode = STAMP.read_text().split()
    except (FileNotFoundError, ValueError):
        return False
    return installed == fingerprint() and mode in ({"dev"} if dev else {"run", "dev"})


def ensure_uv() -> Path:
    """Create the environment with uv inside, unless it is there already."""
    uv = VENV / "bin" / "uv"
    if uv.exists() and environment_python() == sys.version_info[:2]:
        return uv
    print("Creating .venv", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    if importlib.util.find_spec("ensurepip"):
        venv.EnvBuilder(with_pip=True, symlinks=True).create(VENV)
        run(VENV / "bin" / "python", "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}")
    elif found := shutil.which("uv"):
        run(found, "venv", "--quiet", "--python", sys.executable, VENV)
        run(found, "pip", "install", "--quiet", "--python", VENV / "bin" / "python", f"uv=={UV_VERSION}")
    else:
        raise SetupError("this Python comes without ensurepip; install it, for example with `apt install python3-venv`, or uv")
    return uv


def environment_python() -> tuple[int, int] | None:
    """The Python version that ``.venv`` was made with, None where that cannot be read."""
    try:
        match = re.search(r"^version(?:_info)?\s*=\s*(\d+)\.(\d+)", (VENV / "pyvenv.cfg").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return (int(match[1]), int(match[2])) if match else None


def install(uv: Path, dev: bool) -> None:
    """Install the dependencies, build the kernels and install the project."""
    environment = uv_environment()
    STAMP.unlink(missing_ok=True)
    print("Installing the pinned dependencies (about 1.6 GB the first time)", flush=True)
    shared: list[str | Path] = ["--python", VENV / "bin" / "python", "--constraints", CONSTRAINTS]
    if not sys.stderr.isatty():
        shared.append("--quiet")
    project = ("-r", ROOT / "pyproject.toml", "--extra", "keras", "--extra", "geant4")
    group = ("--group", f"{ROOT / 'pyproject.toml'}:dev") if dev else ()
    run(uv, "pip", "install", *shared, *torch_options(environment), *project, *group, env=environment)
    print("Building the native kernels", flush=True)
    run(uv, "pip", "install", *shared, "--no-deps", "--reinstall-package", "ml4ep-portal", "--editable", ROOT, env=environment)
    STAMP.write_text(f"{fingerprint()} {'dev' if dev else 'run'}\n")


def torch_options(environment: dict[str, str]) -> tuple[str, ...]:
    """Where the CPU build of torch comes from: a local wheel folder that pip is configured with, else uv's CPU backend."""
    if any(any(Path(folder).glob("torch-*+cpu-*")) for folder in environment.get("UV_FIND_LINKS", "").split(",") if folder):
        return ()
    return ("--torch-backend", "cpu")


def uv_environment() -> dict[str, str]:
    """The environment for uv, with what pip is configured with on this machine: uv does not read pip's settings."""
    environment = dict(os.environ)
    for name, value in pip_settings().items():
        environment.setdefault(name, value)
    environment.setdefault("UV_LINK_MODE", "hardlink" if same_device() else "copy")
    return environment


def pip_settings() -> dict[str, str]:
    """Wheel folders, index and certificates of pip's configuration, under the names that uv knows."""
    listed = subprocess.run(
        [VENV / "bin" / "python", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = PIP_TO_UV.get(key.rpartition(".")[2])
        words = value.strip().strip("'\"").split()
        if name == "UV_FIND_LINKS":
            words = sorted({*found.get(name, "").split(","), *(word for word in words if Path(word).is_dir())} - {""})
        if name and words:
            found[name] = ",".join(words)
    return found


def same_device() -> bool:
    """Whether uv's cache can be hard-linked into ``.venv``."""
    cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache"))
    while not cache.exists():
        cache = cache.parent
    return cache.stat().st_dev == ROOT.stat().st_dev


def fingerprint() -> str:
    """Hash of everything that decides what gets installed and built."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
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
            *(uv, "pip", "compile", ROOT / "pyproject.toml", "--all-extras", "--group", "dev", "--universal"),
            *("--python-version", "3.11", "--no-header", "--no-annotate", "--quiet"),
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
