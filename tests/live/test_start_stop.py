"""Starting, stopping and killing the whole portal."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.live.portal import Portal

pytestmark = pytest.mark.live


def run_second(portal: Portal, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the start command beside ``portal``, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "portal.supervisor"],
        env=portal.environment | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not alive


@pytest.mark.timeout(1200)  # five starts, on a machine that may be busy
def test_a_life(own_portal: Portal) -> None:
    """First start, a second one refused, Ctrl-C in the middle of a job, start again, a power cut in the middle, start again."""
    portal = own_portal
    portal.start()
    printed = "\n".join(portal.lines)
    assert f"Ready at http://127.0.0.1:{portal.port}" in printed
    assert f"First visit: http://127.0.0.1:{portal.port}/welcome/" in printed

    second = run_second(portal)
    assert second.returncode == 1
    assert f"runs on this folder already, at http://127.0.0.1:{portal.port}" in second.stderr
    assert portal.health()[0] == 200

    # Ctrl-C: the run is given back unharmed, and nothing is left.
    job = portal.submit(seconds=6)
    portal.wait_running(job)
    members = portal.members()
    assert len(members) > 8
    assert portal.stop(signal.SIGINT) == 0
    assert gone(members)
    assert portal.members() == []
    assert not (portal.run_dir / "broker.sock").exists()
    assert portal.lines[-1] == "Stopped"
    given_back = portal.job(job)
    assert (given_back["state"], given_back["attempt"]) == ("PENDING", 0), given_back

    portal.start()
    ended = portal.wait_ended(job)
    assert (ended["state"], ended["attempt"], len(ended["artifacts"])) == ("SUCCEEDED", 1, 1), ended

    # A power cut: the run is lost, the job is not.
    job = portal.submit(seconds=6)
    portal.wait_running(job)
    portal.kill_all()
    assert portal.job(job)["state"] == "RUNNING"
    portal.start()
    ended = portal.wait_ended(job)
    assert (ended["state"], ended["attempt"], len(ended["artifacts"])) == ("SUCCEEDED", 2, 1), ended

    # Only the command itself is killed: what it started goes too, and a start right afterwards does not trip over it.
    members = portal.members()
    portal.kill_top()
    portal.start()
    assert not [member for member in members if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert portal.health()[0] == 200


def test_taken_port(own_portal: Portal) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", own_portal.port))
        other.listen()
        refused = run_second(own_portal)
    assert refused.returncode == 1
    assert f"port {own_portal.port} on 127.0.0.1 is taken" in refused.stderr
    assert f"PORT={own_portal.port + 1}" in refused.stderr
    assert own_portal.members() == []
    assert not (own_portal.folder / "var" / "db.sqlite3").exists()


def test_wrong_setting(own_portal: Portal) -> None:
    refused = run_second(own_portal, ML4EP_WEB_PROCESES="3", ML4EP_WORKER_SLOTS="many")
    assert refused.returncode == 2
    assert "ML4EP_WEB_PROCESES is not a setting; did you mean ML4EP_WEB_PROCESSES?" in refused.stderr
    assert "ML4EP_WORKER_SLOTS" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("ML4EP_MODEL", "nonsense", "There is no model called 'nonsense'"),
        ("ML4EP_DATABASE_URL", "postgresql://nobody@/none?host=/no/such/folder", "the database cannot be used"),
    ],
)
def test_a_part_that_cannot_be_used(own_portal: Portal, name: str, value: str, complaint: str) -> None:
    refused = run_second(own_portal, **{name: value})
    assert refused.returncode == 1
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr
    assert own_portal.members() == []


def test_stale_lock_file(own_portal: Portal) -> None:
    """A lock that a dead process has left behind holds nobody up; its socket and pid files neither."""
    run_dir = own_portal.run_dir
    run_dir.mkdir(parents=True)
    (run_dir / "lock").write_text(json.dumps({"pid": 1, "address": "http://127.0.0.1:1"}))
    (run_dir / "supervisord.pid").write_text("1\n")
    for name in ("broker.sock", "broker.ctl"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(run_dir / name))
    own_portal.start()
    began = time.monotonic()
    assert own_portal.stop() == 0
    assert time.monotonic() - began < 120
