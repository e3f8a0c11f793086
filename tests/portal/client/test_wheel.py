"""The client as a wheel of its own: it holds the client alone, and works where nothing of the portal is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "portal" / "client"
ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "torch", "numpy", "pydantic", "celery", "ninja", "mlcore", "assistant", "kernels"}:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
sys.path[:0] = sys.argv[1:]
import httpx
import portal.client as client

assert client.__file__.startswith(sys.argv[1]), client.__file__
for name in client.__all__:
    getattr(client, name)
answer = httpx.MockTransport(lambda request: httpx.Response(200, json={"username": "ada"}))
with client.Portal("http://portal.example.org", transport=answer) as portal:
    assert portal.me()["username"] == "ada"
import asyncio

async def main():
    async with client.AsyncPortal("http://portal.example.org", transport=answer) as portal:
        assert (await portal.me())["username"] == "ada"

asyncio.run(main())
try:
    import django
except ImportError:
    print("alone")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    done = subprocess.run([*command, "--wheel-dir", out, CLIENT], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_what_it_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("METADATA"))
    code = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert code == {f"portal/client/{path.name}" for path in CLIENT.glob("*.py")}
    assert wheel.name.endswith("-py3-none-any.whl")
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert needed == ["Requires-Dist: httpx>=0.28"]


def test_it_works_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    # -S: no .pth file leads to this repository; httpx comes from the environment's packages.
    places = [tmp_path / "site", Path(httpx.__file__).parents[1]]
    command = [sys.executable, "-S", "-P", "-c", ALONE, *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path, env={})
    assert done.stdout.split() == ["alone"], done.stderr


def test_it_has_the_portals_version() -> None:
    files = (ROOT / "pyproject.toml", CLIENT / "pyproject.toml")
    ours, its = (tomllib.loads(path.read_text())["project"] for path in files)
    assert (ours["version"], ours["license"]) == (its["version"], its["license"])
