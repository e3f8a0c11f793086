"""The life of a job in the database: who may write it when, and what the reaper makes of what is left behind."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from portal.jobs import services
from portal.jobs.models import Artifact, Job, JobState
from portal.jobs.services import JobRefusedError, NewArtifact

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the jobs that messages were sent for."""
    ids: list[str] = []
    monkeypatch.setattr(services, "enqueue", lambda job: ids.append(str(job.pk)))
    return ids


def check(owner: Any, **params: Any) -> Job:
    return services.submit(owner, "worker-check", {"seconds": 0, **params})


def stale(job: Job, seconds: float = 3600) -> None:
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(seconds=seconds))


def artifact(path: Path) -> NewArtifact:
    return NewArtifact(
        path=path, name=path.name, kind="report", title="", size=path.stat().st_size, sha256="0" * 64, preview=None
    )


def test_a_job_waits_and_is_queued_once_committed(
    administrator: Any, sent: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        job = check(administrator)
        assert not sent, "the message must not overtake the transaction"
    for callback in callbacks:
        callback()
    assert (job.state, sent) == (JobState.PENDING, [str(job.pk)])


def test_only_one_worker_gets_a_job(administrator: Any) -> None:
    job = check(administrator)
    first, second = services.claim(str(job.pk), "a"), services.claim(str(job.pk), "b")
    assert first is not None
    assert second is None
    assert (first.state, first.attempt, first.worker) == (JobState.RUNNING, 1, "a")


def test_a_run_without_its_claim_changes_nothing(administrator: Any, tmp_path: Path) -> None:
    job = services.claim(str(check(administrator).pk), "a")
    assert job is not None
    stale(job)
    services.reap()
    again = services.claim(str(job.pk), "b")
    assert again is not None

    report = tmp_path / "report.json"
    report.write_text("{}")
    assert not services.beat(job, progress=0.5, text="late", steps=[])
    assert not services.fail(job, "late", "late")
    assert not services.succeed(job, {}, {}, [artifact(report)], [])
    assert not Artifact.objects.filter(job=job).exists()
    assert not default_storage.exists(f"artifacts/{job.pk}/{job.claim}/report.json")

    assert services.succeed(again, {}, {}, [artifact(report)], [])
    assert Artifact.objects.filter(job=job).count() == 1
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


def test_a_worker_lost_twice_fails_the_job_with_that_reason(administrator: Any, sent: list[str]) -> None:
    job = check(administrator)
    for _ in range(2):
        claimed = services.claim(str(job.pk), "a")
        assert claimed is not None
        stale(claimed)
        assert services.reap() == 1
    job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, "worker.lost")
    assert "2 times" in job.error_message
    assert job.error_hint


def test_a_lost_run_that_was_to_be_cancelled_is_cancelled(administrator: Any) -> None:
    job = services.claim(str(check(administrator).pk), "a")
    assert job is not None
    assert services.cancel(job)
    stale(job)
    services.reap()
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_a_living_run_is_left_alone(administrator: Any) -> None:
    job = services.claim(str(check(administrator).pk), "a")
    assert job is not None
    assert services.reap() == 0


def test_a_message_that_was_lost_is_sent_again(administrator: Any, sent: list[str]) -> None:
    job = check(administrator)
    sent.clear()
    assert services.reap() == 0
    assert services.reap(timezone.now() + timedelta(minutes=2)) == 1
    assert sent == [str(job.pk)]


def test_a_released_run_waits_again_and_does_not_count(administrator: Any, sent: list[str]) -> None:
    job = services.claim(str(check(administrator).pk), "a")
    assert job is not None
    services.release(job)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.claim) == (JobState.PENDING, 0, None)
    assert str(job.pk) in sent


def test_cancelling_a_waiting_job_ends_it_at_once(administrator: Any) -> None:
    job = check(administrator)
    assert services.cancel(job)
    assert services.claim(str(job.pk), "a") is None
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    assert not services.cancel(job), "it has ended"


def test_retry_makes_a_new_job_of_the_same_parameters(administrator: Any) -> None:
    job = check(administrator, memory_mb=3)
    with pytest.raises(JobRefusedError, match="has not ended"):
        services.retry(job, administrator)
    services.cancel(job)
    job.refresh_from_db()
    again = services.retry(job, administrator)
    assert (again.params, again.retry_of, again.state) == (job.params, job, JobState.PENDING)


@pytest.mark.parametrize(
    ("slug", "params", "field"),
    [
        ("no-such-type", {}, None),
        ("worker-check", {"seconds": -1}, "seconds"),
        ("worker-check", {"seconds": "many"}, "seconds"),
        ("worker-check", {"colour": "red"}, "colour"),
        ("inspect-file", {"file": "not an id"}, "file"),
        ("inspect-file", {"file": str(uuid.UUID(int=0))}, "file"),
    ],
)
def test_what_cannot_run_is_refused_by_name(administrator: Any, slug: str, params: dict[str, Any], field: str | None) -> None:
    with pytest.raises(JobRefusedError) as refused:
        services.submit(administrator, slug, params)
    assert refused.value.message
    assert field is None or field in refused.value.problems
    assert not Job.objects.exists()


def test_a_job_for_administrators_is_refused_to_others(person: Any) -> None:
    with pytest.raises(JobRefusedError, match="administrators"):
        check(person)


def test_quotas_say_what_is_used_up(administrator: Any, tmp_path: Path) -> None:
    administrator.quota_jobs = 1
    administrator.save()
    job = check(administrator)
    with pytest.raises(JobRefusedError, match="1 jobs waiting or running") as refused:
        check(administrator)
    assert refused.value.code == "quota.jobs"

    claimed = services.claim(str(job.pk), "a")
    assert claimed is not None
    report = tmp_path / "report.json"
    report.write_text("x" * 100)
    services.succeed(claimed, {}, {}, [artifact(report)], [])
    administrator.quota_disk = 100
    administrator.save()
    with pytest.raises(JobRefusedError) as refused:
        check(administrator)
    assert refused.value.code == "quota.disk"


def test_old_artefacts_are_removed_and_the_job_stays(administrator: Any, tmp_path: Path) -> None:
    job = services.claim(str(check(administrator).pk), "a")
    assert job is not None
    report = tmp_path / "report.json"
    report.write_text("{}")
    services.succeed(job, {"figures": []}, {}, [artifact(report)], [])
    path = job.artifacts.get().path
    assert services.expire() == 0
    assert services.expire(timezone.now() + timedelta(days=400)) == 1
    job.refresh_from_db()
    assert job.expired_at is not None
    assert job.result == {"figures": []}
    assert not job.artifacts.exists()
    assert not default_storage.exists(path)


def test_a_broker_that_is_away_loses_no_job(administrator: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    from portal.jobs.tasks import run_job

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(run_job, "apply_async", refuse)
    job = check(administrator)
    services.enqueue(job)
    job.refresh_from_db()
    assert job.state == JobState.PENDING
    assert "waits for the broker" in caplog.text
