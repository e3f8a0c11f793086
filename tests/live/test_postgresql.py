"""The portal's own tests once more, on PostgreSQL: a cluster of their own, thrown away afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Where rows are claimed, counted, ordered and written from several sides; pages and commands above them add no SQL of their own.
TESTS = ("tests/portal/jobs", "tests/portal/library", "tests/portal/chat", "tests/portal/accounts")

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def find_programs() -> Path | None:
    """The folder with initdb and pg_ctl of the newest PostgreSQL, also where it is not on the PATH (Debian)."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


def as_server_user(*command: str | Path) -> None:
    """Run a program as a user that PostgreSQL accepts: it refuses root."""
    prefix = ("runuser", "-u", "postgres", "--") if os.getuid() == 0 else ()
    done = subprocess.run([*prefix, *map(str, command)], cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a fresh PostgreSQL that listens on a socket in a temporary folder alone."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="ml4ep-pg-"))  # short, because of the socket; pytest's own folders are closed to others
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    data, log = folder / "data", folder / "log"
    options = f"-c listen_addresses='' -k {folder} -c fsync=off -c max_connections=50"
    try:
        as_server_user(programs / "initdb", "--pgdata", data, "--auth=trust", "--username=ml4ep", "--encoding=UTF8", "--no-sync")
        as_server_user(programs / "pg_ctl", "start", "--pgdata", data, "--log", log, "--wait", "--options", options)
        yield f"postgresql://ml4ep@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            as_server_user(programs / "pg_ctl", "stop", "--pgdata", data, "--mode=immediate", "--wait")
        shutil.rmtree(folder, ignore_errors=True)


def test_services_on_postgresql(postgresql: str) -> None:
    # Not what these tests here were started with: the others make their own, as from the command line.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ML4EP_", "DJANGO_"))}
    environment = clean | {"ML4EP_TEST_POSTGRESQL": postgresql}
    command = [sys.executable, "-m", "pytest", *TESTS, "-q", "-p", "no:cacheprovider", "-m", "not (slow or live or e2e or gpu)"]
    command += ["--ignore=tests/portal/jobs/types"]  # conversions and inspections, which know no database
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=850, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
