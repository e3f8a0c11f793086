"""Real runs in real child processes: results, errors, crashes, limits and cancelling."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection

from portal.celery import stopping
from portal.jobs import engine, services
from portal.jobs.models import Job, JobState

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]


def check(owner: Any, **params: Any) -> Job:
    return services.submit(owner, "worker-check", {"seconds": 0, **params})


def log_of(job: Job) -> str:
    return "".join(job.log_chunks.values_list("text", flat=True))


def test_a_run_stores_its_result_artefacts_log_and_manifest(administrator: Any, run_now: RunNow) -> None:
    job = run_now(check(administrator, seconds=0.5))
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert job.result["figures"][0]["label"] == "Ran for"
    artifact = job.artifacts.get()
    with default_storage.open(artifact.path) as file:
        content = file.read()
    assert json.loads(content)["seconds"] >= 0.5
    assert artifact.size == len(content)
    assert artifact.preview["language"] == "json"
    assert job.manifest["options"] == job.params
    assert set(job.manifest["versions"]) >= {"python", "platform", "ml4ep-portal"}
    assert "runs for 0.5 s" in log_of(job)
    assert [step["text"] for step in job.steps] == ["Counting"]
    assert not list(settings.WORK_DIR.glob(f"{job.pk}*")), "nothing is left behind"


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("error", "check.asked", "asked to fail"),
        ("crash", "internal", "Something went wrong"),
        ("exit", "crashed", "exit code 3"),
    ],
)
def test_how_a_run_fails(administrator: Any, run_now: RunNow, ending: str, code: str, message: str) -> None:
    job = run_now(check(administrator, ending=ending))
    assert (job.state, job.error_code) == (JobState.FAILED, code)
    assert message in job.error_message
    assert job.error_hint
    assert "Traceback" not in job.error_message + job.error_hint + log_of(job)
    assert not job.artifacts.exists()
    assert not list(settings.WORK_DIR.glob(f"{job.pk}*"))


def test_too_much_memory_ends_the_run(administrator: Any, run_now: RunNow) -> None:
    administrator.quota_memory = 256 * 2**20
    administrator.save()
    job = run_now(check(administrator, seconds=30, memory_mb=600))
    assert (job.state, job.error_code) == (JobState.FAILED, "limit.memory")
    assert "0.3 GB" in job.error_message


def test_too_long_a_run_is_ended(administrator: Any, run_now: RunNow) -> None:
    administrator.quota_seconds = 1
    administrator.save()
    job = run_now(check(administrator, seconds=30))
    assert (job.state, job.error_code) == (JobState.FAILED, "limit.wall")


def in_thread(job: Job) -> threading.Thread:
    """Run the job as a worker's thread does."""

    def work() -> None:
        try:
            engine.execute(str(job.pk))
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def children_of(job: Job) -> list[psutil.Process]:
    marks = [process for process in psutil.process_iter(["cmdline"]) if str(job.pk) in " ".join(process.info["cmdline"] or [])]
    return [process for process in marks if process.is_running()]


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_cancelling_ends_the_whole_process_tree(administrator: Any) -> None:
    job = check(administrator, seconds=60)
    thread = in_thread(job)
    wait_until(lambda: services.Job.objects.get(pk=job.pk).progress > 0)
    assert children_of(job)
    assert services.cancel(services.Job.objects.get(pk=job.pk))
    wait_until(lambda: services.Job.objects.get(pk=job.pk).state == JobState.CANCELLED)
    thread.join(10)
    assert not children_of(job)


def test_a_worker_that_stops_gives_its_run_back(administrator: Any) -> None:
    job = check(administrator, seconds=60)
    thread = in_thread(job)
    wait_until(lambda: services.Job.objects.get(pk=job.pk).progress > 0)
    stopping.set()
    try:
        thread.join(10)
    finally:
        stopping.clear()
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.PENDING, 0)
    assert not children_of(job)


def test_a_job_that_does_not_wait_is_not_run(administrator: Any, run_now: RunNow) -> None:
    job = run_now(check(administrator))
    finished = job.finished_at
    assert run_now(job).finished_at == finished
    engine.execute("00000000-0000-0000-0000-000000000000")
