"""Jobs through the API: what is submitted runs, what is not one's own does not exist."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest

from portal.jobs import services
from portal.jobs.models import Job

CHECK = {"type": "worker-check", "params": {"seconds": 0.1}}


def body(response: Any) -> Any:
    return json.loads(b"".join(response.streaming_content))


@pytest.fixture
def done(staff_door: Any, run_now: Any) -> Job:
    """A job that has succeeded."""
    made = staff_door.post("jobs", CHECK)
    assert made.status_code == 201, made.content
    job: Job = run_now(Job.objects.get(pk=made.json()["id"]))
    assert job.state == "SUCCEEDED", job.error_message
    return job


def test_submit_run_get_download(staff_door: Any, done: Job) -> None:
    got = staff_door.get(f"jobs/{done.pk}").json()
    assert got["state"] == "SUCCEEDED"
    assert got["progress"]["fraction"] == 1.0
    assert got["params"] == {"seconds": 0.1, "memory_mb": 0, "ending": "well"}
    assert got["error"] is None
    assert got["owner"] == "admin"
    (artifact,) = got["artifacts"]
    assert staff_door.get(f"jobs/{done.pk}/artifacts").json() == [artifact]
    downloaded = staff_door.client.get(artifact["url"], headers={"Authorization": f"Bearer {staff_door.token}"})
    assert downloaded["X-Content-SHA256"] == artifact["sha256"]
    assert downloaded["Content-Disposition"] == 'attachment; filename="report.json"'
    assert body(downloaded)["memory"] == 0
    assert staff_door.get(f"jobs/{done.pk}/manifest").json()["options"] == got["params"]


def test_an_artefact_is_kept_in_the_library(staff_door: Any, stranger: Any, done: Job) -> None:
    (artifact,) = done.artifacts.all()
    path = f"jobs/{done.pk}/artifacts/{artifact.pk}/keep"
    assert stranger.post(path).status_code == 404
    kept = staff_door.post(path)
    assert kept.status_code == 201, kept.content
    file = kept.json()
    assert (file["name"], file["sha256"]) == ("report.json", artifact.sha256)
    assert staff_door.get(f"files/{file['id']}").status_code == 200
    assert staff_door.post(path).json()["id"] == file["id"], "once"
    assert staff_door.post(f"jobs/{done.pk}/artifacts/{done.pk}/keep").status_code == 404


def test_what_a_run_kept_is_listed_and_read(staff_door: Any, stranger: Any, tmp_path: Path) -> None:
    made = staff_door.post("jobs", CHECK).json()
    running = services.claim(made["id"], "a worker")
    assert running is not None
    (tmp_path / "state").write_text("half")
    assert services.keep(running, tmp_path / "state", "state", "half of it")
    services.cancelled(running)
    (kept,) = staff_door.get(f"jobs/{made['id']}").json()["kept"]
    assert (kept["name"], kept["note"], kept["size"]) == ("state", "half of it", 4)
    path = kept["url"].removeprefix("/api/v1/")
    assert b"".join(staff_door.get(path).streaming_content) == b"half"
    assert stranger.get(path).status_code == 404
    again = staff_door.post(f"jobs/{made['id']}/retry").json()
    assert [one["note"] for one in again["kept"]] == ["half of it"]


def test_zip_holds_artifacts_and_manifest(staff_door: Any, done: Job) -> None:
    response = staff_door.get(f"jobs/{done.pk}/zip")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == ["manifest.json", "report.json"]
    assert json.loads(archive.read("manifest.json"))["type"] == "worker-check"


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=2-4", 206, slice(2, 5)),
        ("bytes=-3", 206, slice(-3, None)),
        ("lines=1", 200, slice(None)),
    ],
)
def test_a_broken_download_goes_on(staff_door: Any, done: Job, wanted: str, status: int, part: slice) -> None:
    artifact = done.artifacts.get()
    path = f"jobs/{done.pk}/artifacts/{artifact.pk}"
    whole = b"".join(staff_door.get(path).streaming_content)
    partial = staff_door.get(path, headers={"Range": wanted})
    assert partial.status_code == status
    assert b"".join(partial.streaming_content) == whole[part]
    assert int(partial["Content-Length"]) == len(whole[part])


def test_ranges_that_cannot_be_had(staff_door: Any, done: Job) -> None:
    artifact = done.artifacts.get()
    path = f"jobs/{done.pk}/artifacts/{artifact.pk}"
    assert staff_door.get(path, headers={"Range": "bytes=100000-"}).status_code == 416
    changed = staff_door.get(path, headers={"Range": "bytes=5-", "If-Range": '"another content"'})
    assert changed.status_code == 200
    assert staff_door.get(path, headers={"If-None-Match": f'"{artifact.sha256}"'}).status_code == 304


async def test_downloads_stream_under_asgi(transactional_db: None) -> None:
    """Two chunks arrive as two, from an asynchronous iterator: Django would collect an ordinary one whole."""
    from django.test import AsyncRequestFactory

    from portal.downloads import CHUNK, send_file

    data = bytes(CHUNK) + b"end"
    response = send_file(AsyncRequestFactory().get("/"), lambda: io.BytesIO(data), name="a", size=len(data), sha256="0")
    assert response.is_async  # type: ignore[union-attr]
    chunks = [chunk async for chunk in response]  # type: ignore[attr-defined,union-attr]
    assert [len(chunk) for chunk in chunks] == [CHUNK, 3]


def test_the_log_is_read_from_a_place_on(staff_door: Any, done: Job) -> None:
    first = staff_door.get(f"jobs/{done.pk}/log").json()
    assert "runs for 0.1 s" in first["text"]
    assert first["finished"]
    again = staff_door.get(f"jobs/{done.pk}/log?after={first['after']}").json()
    assert again == {"text": "", "after": first["after"], "finished": True}
    assert staff_door.get(f"jobs/{done.pk}/log?after=-1").status_code == 422


def test_a_failed_job_says_why(staff_door: Any, run_now: Any) -> None:
    made = staff_door.post("jobs", {"type": "worker-check", "params": {"seconds": 0, "ending": "error"}}).json()
    run_now(Job.objects.get(pk=made["id"]))
    got = staff_door.get(f"jobs/{made['id']}").json()
    assert got["state"] == "FAILED"
    assert got["error"]["code"] == "check.asked"
    assert got["error"]["hint"] == "Choose another ending."
    assert staff_door.get(f"jobs/{made['id']}/zip").status_code == 404


def test_cancel_retry_delete(staff_door: Any) -> None:
    made = staff_door.post("jobs", CHECK | {"title": "mine"}).json()
    assert made["state"] == "PENDING"
    assert staff_door.post(f"jobs/{made['id']}/retry").status_code == 409
    assert staff_door.delete(f"jobs/{made['id']}").status_code == 409
    cancelled = staff_door.post(f"jobs/{made['id']}/cancel")
    assert cancelled.status_code == 202
    assert cancelled.json()["state"] == "CANCELLED"
    twice = staff_door.post(f"jobs/{made['id']}/cancel")
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "job.ended")
    retried = staff_door.post(f"jobs/{made['id']}/retry")
    assert retried.status_code == 201
    assert (retried.json()["title"], retried.json()["retry_of"]) == ("mine", made["id"])
    assert staff_door.delete(f"jobs/{made['id']}").status_code == 204
    assert staff_door.get(f"jobs/{made['id']}").status_code == 404


def test_lists_are_filtered_and_paged(staff_door: Any) -> None:
    made = [staff_door.post("jobs", CHECK | {"title": f"run {n}"}).json()["id"] for n in range(3)]
    staff_door.post(f"jobs/{made[0]}/cancel")
    assert [each["id"] for each in staff_door.get("jobs").json()["items"]] == made[::-1]
    page = staff_door.get("jobs?limit=1&offset=1").json()
    assert ([each["id"] for each in page["items"]], page["total"]) == ([made[1]], 3)
    assert [each["id"] for each in staff_door.get("jobs?state=CANCELLED&state=FAILED").json()["items"]] == [made[0]]
    assert [each["id"] for each in staff_door.get("jobs?q=RUN%202").json()["items"]] == [made[2]]
    assert staff_door.get("jobs?type=no-such").json()["total"] == 0
    assert staff_door.get("jobs?state=LOST").status_code == 422
    assert staff_door.get("jobs?limit=100000").status_code == 422


def test_a_list_asks_the_database_a_fixed_number_of_times(staff_door: Any, django_assert_max_num_queries: Any) -> None:
    for _ in range(5):
        staff_door.post("jobs", CHECK)
    with django_assert_max_num_queries(4):
        staff_door.get("jobs")


@pytest.mark.parametrize(
    ("submission", "status", "code"),
    [
        ({"type": "no-such"}, 422, "job.type"),
        ({"type": "worker-check", "params": {"seconds": -1, "colour": "red"}}, 422, "job.params"),
        ({"type": "worker-check", "params": []}, 422, "request"),
        ({"type": "worker-check", "colour": "red"}, 422, "request"),
        ({}, 422, "request"),
    ],
)
def test_what_cannot_be_submitted(staff_door: Any, submission: Any, status: int, code: str) -> None:
    response = staff_door.post("jobs", submission)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"]
    assert Job.objects.count() == 0


def test_each_wrong_parameter_is_named(staff_door: Any) -> None:
    response = staff_door.post("jobs", {"type": "worker-check", "params": {"seconds": -1, "colour": "red"}})
    assert set(response.json()["error"]["problems"]) == {"seconds", "colour"}


def test_what_is_for_administrators_is_refused_to_others(door: Any) -> None:
    response = door.post("jobs", CHECK)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "job.forbidden")
    assert "worker-check" not in [each["slug"] for each in door.get("job-types").json()]
    assert door.get("job-types/worker-check").status_code == 404


def test_quota_of_jobs(staff_door: Any, administrator: Any) -> None:
    administrator.quota_jobs = 1
    administrator.save()
    assert staff_door.post("jobs", CHECK).status_code == 201
    refused = staff_door.post("jobs", CHECK)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota.jobs")
    assert int(refused.headers["Retry-After"]) > 0


def test_a_submission_that_comes_again_is_the_same_job(staff_door: Any, administrator: Any) -> None:
    administrator.quota_jobs = 1
    administrator.save()
    key = {"Idempotency-Key": "mine"}
    first, again = (staff_door.post("jobs", CHECK, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201), "its own job does not fill the quota for it"
    assert first.json()["id"] == again.json()["id"]
    assert Job.objects.count() == 1


def test_a_key_is_for_one_job(staff_door: Any, done: Job) -> None:
    key = {"Idempotency-Key": "mine"}
    assert staff_door.post("jobs", CHECK, headers=key).status_code == 201
    other = {"type": "worker-check", "params": {"seconds": 7}}
    for refused in (staff_door.post("jobs", other, headers=key), staff_door.post(f"jobs/{done.pk}/retry", headers=key)):
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "job.key")
    assert Job.objects.count() == 2
    assert staff_door.post("jobs", CHECK, headers={"Idempotency-Key": "k" * 201}).status_code == 422


def test_a_retry_that_comes_again_is_the_same_job(staff_door: Any, done: Job) -> None:
    first, again, other = (staff_door.post(f"jobs/{done.pk}/retry", headers={"Idempotency-Key": key}) for key in "aab")
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert Job.objects.count() == 3


def test_keys_of_two_people_are_apart(staff_door: Any, administrator: Any, person: Any) -> None:
    from portal.jobs import services

    person.is_staff = True
    person.save()
    jobs = [services.submit(each, "worker-check", {"seconds": 0}, key="mine") for each in (administrator, person)]
    assert jobs[0].pk != jobs[1].pk


def test_two_submissions_at_once_are_one_job(administrator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is saved between the look and the saving of this one."""
    from portal.jobs import services

    real, made = services._check_files, []

    def meanwhile(*args: Any) -> Any:
        if not made:
            made.append(None)
            made.append(services.submit(administrator, "worker-check", {"seconds": 0}, key="mine"))
        return real(*args)

    monkeypatch.setattr(services, "_check_files", meanwhile)
    assert services.submit(administrator, "worker-check", {"seconds": 0}, key="mine") == made[1]
    assert Job.objects.count() == 1


@pytest.mark.parametrize("path", ["", "/log", "/artifacts", "/zip", "/manifest"])
def test_jobs_of_others_do_not_exist(door: Any, stranger: Any, staff_door: Any, done: Job, path: str) -> None:
    for one in (door, stranger):
        assert one.get(f"jobs/{done.pk}{path}").status_code == 404
    assert staff_door.get(f"jobs/{uuid.uuid4()}{path}").status_code == 404


def test_others_cannot_change_a_job(stranger: Any, staff_door: Any, done: Job) -> None:
    artifact = done.artifacts.get()
    assert stranger.get(f"jobs/{done.pk}/artifacts/{artifact.pk}").status_code == 404
    assert stranger.post(f"jobs/{done.pk}/cancel").status_code == 404
    assert stranger.post(f"jobs/{done.pk}/retry").status_code == 404
    assert stranger.delete(f"jobs/{done.pk}").status_code == 404
    assert staff_door.get(f"jobs/{done.pk}").status_code == 200


def test_job_types_carry_the_registry_s_schema(staff_door: Any) -> None:
    from portal.jobs import registry

    listed = {each["slug"]: each for each in staff_door.get("job-types").json()}
    assert set(listed) == {slug for slug, each in registry.all_types().items() if each.listed}
    for slug, each in listed.items():
        assert each["params"] == registry.get(slug).schema()
        assert staff_door.get(f"job-types/{slug}/schema").json() == each["params"]
