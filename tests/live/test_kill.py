"""Whatever dies comes back, and no job is lost or ends twice: with the real supervisor, broker, workers and child processes."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil
import pytest

from tests.live.portal import Portal, wait_for

pytestmark = pytest.mark.live


def kill(portal: Portal, name: str) -> int:
    """``kill -9`` one child of the supervisor; returns its process number."""
    pid = wait_for(lambda: portal.children().get(name), f"{name} does not run")
    os.kill(pid, signal.SIGKILL)
    return int(pid)


def wait_back(portal: Portal, name: str, old: int) -> None:
    wait_for(lambda: portal.children().get(name, old) != old, f"{name} did not come back\n{portal.report()}")


def wait_healthy(portal: Portal) -> None:
    wait_for(lambda: portal.health()[0] == 200, f"not healthy: {portal.health()}\n{portal.report()}")


def worker_of(portal: Portal, job: str) -> int:
    """The process number of the worker that runs a job."""
    return int(portal.job(job)["worker"].rpartition(":")[2])


def test_health(portal: Portal) -> None:
    status, body = portal.health()
    assert status == 200
    assert {name: body[name] for name in ("db", "broker", "workers")} == dict.fromkeys(("db", "broker", "workers"), "ok")
    assert body["index"].startswith("The documentation is not indexed yet")
    assert body["model"].startswith("No language model")
    assert body["version"]


def test_a_job_runs_in_the_sandbox(portal: Portal) -> None:
    ended = portal.wait_ended(portal.submit(seconds=0.5))
    assert ended["state"] == "SUCCEEDED", ended
    assert [item["name"] for item in ended["artifacts"]] == ["report.json"]


def test_worker_killed_once(portal: Portal) -> None:
    """The job runs again once, ends in one result and keeps one artefact, whose file is the only one stored."""
    job = portal.submit(seconds=4)
    portal.wait_running(job)
    worker = worker_of(portal, job)
    children = psutil.Process(worker).children(recursive=True)
    assert children, "the job has no process of its own"
    assert portal.children()["worker"] == worker
    os.kill(worker, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "the job's processes outlived their worker"
    ended = portal.wait_ended(job)
    assert (ended["state"], ended["attempt"]) == ("SUCCEEDED", 2), ended
    assert "the job runs again" in ended["log"]
    assert [item["name"] for item in ended["artifacts"]] == ["report.json"]
    stored = [path for path in (portal.folder / "var" / "files" / "artifacts" / job).rglob("*") if path.is_file()]
    assert len(stored) == 1
    wait_healthy(portal)


def test_worker_killed_twice(portal: Portal) -> None:
    """The job fails and says why."""
    job = portal.submit(seconds=60)
    for attempt in (1, 2):
        portal.wait_running(job, attempt)
        old = kill(portal, "worker")
        wait_back(portal, "worker", old)
    ended = portal.wait_ended(job)
    assert (ended["state"], ended["error_code"], ended["attempt"]) == ("FAILED", "worker.lost", 2), ended
    assert "died, 2 times" in ended["error_message"]
    wait_healthy(portal)


def test_broker_killed_in_the_middle(portal: Portal) -> None:
    """The job in progress goes on; one that waited and one submitted while the broker was away run too."""
    running = portal.submit(seconds=5)
    portal.wait_running(running)
    waiting = [portal.submit(seconds=0.2) for _ in range(3)]
    old = kill(portal, "broker")
    away = portal.submit(seconds=0.2)
    wait_back(portal, "broker", old)
    after = portal.submit(seconds=0.2)
    first = portal.wait_ended(running)
    assert (first["state"], first["attempt"]) == ("SUCCEEDED", 1), first
    for job in (*waiting, away, after):
        ended = portal.wait_ended(job)
        assert (ended["state"], ended["attempt"], len(ended["artifacts"])) == ("SUCCEEDED", 1, 1), ended
    wait_healthy(portal)


def test_cancel(portal: Portal) -> None:
    """The job's process tree ends, which would go on for ten minutes."""
    job = portal.submit(seconds=600)
    portal.wait_running(job)
    tree = psutil.Process(worker_of(portal, job)).children(recursive=True)
    assert tree
    assert portal.ask("cancel", job) is True
    _, alive = psutil.wait_procs(tree, timeout=60)
    assert not alive
    ended = portal.wait_ended(job)
    assert (ended["state"], ended["artifacts"]) == ("CANCELLED", [])
    assert not list((portal.folder / "var" / "work").glob(f"{job}*"))


def test_every_child_comes_back(portal: Portal) -> None:
    names = sorted(portal.children())
    assert names == ["assistant", "broker", "system", "web-0", "web-1", "worker", "workers"]
    # The host of the workers takes these along, so it comes last and on its own.
    for together in ([name for name in names if name != "workers"], ["workers"]):
        old = {name: kill(portal, name) for name in together}
        for name, pid in old.items():
            wait_back(portal, name, pid)
        wait_healthy(portal)
    assert portal.wait_ended(portal.submit(seconds=0.2))["state"] == "SUCCEEDED"
    said = "\n".join(portal.lines)
    for name in names:
        assert f"{name} had ended and was started again" in said, said


def test_supervisor_killed(portal: Portal) -> None:
    """Its children do not outlive it, and the whole comes back."""
    pid = int((portal.run_dir / "supervisord.pid").read_text())
    children = [psutil.Process(child) for child in portal.children().values()]
    os.kill(pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    wait_for(lambda: len(portal.children()) == len(children), "the children did not come back")
    wait_healthy(portal)


def test_broker_hangs(portal: Portal) -> None:
    """A broker that does not answer makes the portal unable to serve, and the health check says so."""
    broker = psutil.Process(portal.children()["broker"])
    broker.suspend()
    try:
        status, body = wait_for(lambda: (h := portal.health())[0] == 503 and h, "the health check did not notice")
        assert body["broker"].startswith("The broker does not answer")
        assert body["db"] == "ok"
        assert status == 503
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            broker.resume()
    wait_healthy(portal)
