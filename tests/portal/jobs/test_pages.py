"""Pages about jobs in every state, the forms, downloads, and who may see what."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portal.accounts.models import User
from portal.jobs import presentation, services
from portal.jobs.models import Artifact, Job, JobState, LogChunk
from portal.library.models import LibraryFile
from tests.portal.pages import Page, check_page, text_of

pytestmark = pytest.mark.django_db

HOSTILE = '<script>alert("x")</script>\u202e&'


def make_job(owner: Any, **fields: Any) -> Job:
    """A job as workers would have left it."""
    defaults: dict[str, Any] = {
        "type": "forest-to-cpp",
        "title": "a model",
        "owner": owner,
        "queue": "cpu",
        "queued_at": timezone.now(),
    }
    return Job.objects.create(**(defaults | fields))


def page_of(client: Client, job: Job) -> str:
    response = client.get(reverse("job", args=[job.pk]))
    assert response.status_code == 200
    html = response.content.decode()
    check_page(html)
    return html


@pytest.fixture
def done(administrator: Any, run_now: Any) -> Job:
    """A job that really ran."""
    job: Job = run_now(services.submit(administrator, "worker-check", {"seconds": 0.3}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    return job


# --- lists ----------------------------------------------------------------------------------------------------------------------


def test_the_list_filters_by_what_the_address_says(client: Client, person: Any, administrator: Any) -> None:
    make_job(person, title="first model", state="FAILED")
    make_job(person, title="second model", type="inspect-file")
    make_job(administrator, title="not hers")
    client.force_login(person)

    def titles(query: str) -> list[str]:
        return [job.title for job in client.get(reverse("job-list") + query).context["jobs"]]

    assert titles("") == ["second model", "first model"]
    assert titles("?state=FAILED") == ["first model"]
    assert titles("?type=inspect-file") == ["second model"]
    assert titles("?q=FIRST") == ["first model"]
    assert titles("?state=nonsense&page=99&whose=mine") == ["second model", "first model"]
    assert titles("?q=nothing+like+this") == []
    client.force_login(administrator)
    assert len(titles("")) == 3
    assert titles("?whose=mine") == ["not hers"]


def test_a_list_without_jobs_says_what_to_do(client: Client, person: Any) -> None:
    client.force_login(person)
    html = client.get(reverse("job-list")).content.decode()
    assert "No jobs yet" in html
    assert "No job is like this" in client.get(reverse("job-list") + "?q=x").content.decode()


def test_the_list_has_pages_and_keeps_the_filter(client: Client, person: Any, django_assert_max_num_queries: Any) -> None:
    for number in range(60):
        make_job(person, title=f"model {number}", result={"notes": [], "plots": [{"svg": "x" * 1000}]})
    client.force_login(person)
    client.get(reverse("job-list"))
    with django_assert_max_num_queries(6):
        html = client.get(reverse("job-list") + "?q=model&page=2").content.decode()
    assert "26 to 50 of 60" in html
    assert "?q=model&amp;page=3" in html
    assert "26th in line" in html


def test_the_list_follows_what_changes_by_itself(client: Client, person: Any) -> None:
    job = make_job(person, title="first & model")
    client.force_login(person)
    html = client.get(reverse("job-list") + "?q=model&state=").content.decode()
    assert 'hx-get="?q=model&amp;state=&amp;page=1&amp;fragment=table"' in html
    part = client.get(reverse("job-list") + "?q=model&fragment=table").content.decode()
    assert part.startswith('<div class="scroll" id="job-table" hx-get=')
    assert "<html" not in part
    Job.objects.filter(pk=job.pk).update(state="SUCCEEDED")
    for url in (reverse("job-list"), "/"):
        part = client.get(url + "?fragment=table").content.decode()
        assert "first &amp; model" in part
        assert "hx-get" not in part


def test_pages_answer_a_look_at_their_head(client: Client, administrator: Any, done: Job) -> None:
    client.force_login(administrator)
    for url in ("/", reverse("status"), reverse("job-list"), reverse("job", args=[done.pk]), reverse("account")):
        response = client.head(url)
        assert response.status_code == 200
        assert response.content == b""


def test_a_result_with_a_warning_is_marked_in_lists(client: Client, person: Any) -> None:
    make_job(person, state="SUCCEEDED", result={"notes": [{"kind": "warn", "headline": "Check it."}]})
    make_job(person, state="SUCCEEDED", result={"notes": [{"kind": "ok", "headline": "Fine."}]})
    client.force_login(person)
    html = client.get(reverse("job-list")).content.decode()
    assert html.count("Done, check") == 1


# --- states ---------------------------------------------------------------------------------------------------------------------


def test_a_waiting_job_tells_its_place(client: Client, person: Any) -> None:
    make_job(person)
    make_job(person)
    make_job(person, queue="other")
    job = make_job(person)
    client.force_login(person)
    html = page_of(client, job)
    assert "3rd in line" in html
    assert "2 before this one." in html
    assert "Cancel job" in html
    assert f'hx-get="{reverse("job-status", args=[job.pk])}?after=0&amp;shown=PENDING"' in html


def test_a_running_job_shows_step_share_and_time_left(client: Client, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    job = make_job(
        person,
        state="RUNNING",
        started_at=now - timedelta(seconds=24),
        progress=0.62,
        progress_text="Compiling",
        steps=[{"text": "Reading", "at": 0.5}, {"text": "Compiling", "at": 4.0}],
        worker="cpu-3",
    )
    LogChunk.objects.create(job=job, text="compiles <now>\n")
    client.force_login(person)
    html = page_of(client, job)
    text = text_of(html)
    assert "Compiling 62 % 24 s so far, about 15 s left" in text
    assert "Reading 3.5 s" in text
    assert "Compiling 20 s" in text
    assert 'value="62"' in html
    assert "compiles &lt;now&gt;" in html
    assert "<title>62 % · a model" in html


def test_a_finished_job_shows_everything_in_order(client: Client, administrator: Any, done: Job) -> None:
    client.force_login(administrator)
    html = page_of(client, done)
    order = ["Done in", "Ran for", "Seen from inside", "report.json", "Artefacts", "Manifest", "Made with", ">Log<"]
    places = [html.index(part) for part in order]
    assert places == sorted(places)
    assert done.artifacts.get().sha256 in html
    assert "hx-get" not in html[html.index("<main") :], "a finished job is still asked for"
    assert "process" in html[html.index('id="log-text"') :]


def test_a_failed_job_says_what_to_change(client: Client, administrator: Any, run_now: Any) -> None:
    job = run_now(services.submit(administrator, "worker-check", {"seconds": 0, "ending": "error"}))
    client.force_login(administrator)
    html = page_of(client, job)
    assert "The worker check was asked to fail." in html
    assert "Choose another ending." in html
    assert "check.asked" in html
    assert str(job.pk) in html
    assert "Run again" in html
    assert f"?from={job.pk}" in html


def test_a_crash_shows_no_traceback(client: Client, administrator: Any, run_now: Any) -> None:
    job = run_now(services.submit(administrator, "worker-check", {"seconds": 0, "ending": "crash"}))
    client.force_login(administrator)
    html = page_of(client, job)
    assert "Traceback" not in html
    assert "RuntimeError" not in html
    assert "Something went wrong in the portal" in html


def test_a_cancelled_job_says_how_far_it_came(client: Client, person: Any) -> None:
    now = timezone.now()
    job = make_job(
        person,
        state="CANCELLED",
        started_at=now,
        finished_at=now,
        cancel_requested_at=now,
        progress=0.11,
        progress_text="Counting",
    )
    client.force_login(person)
    text = text_of(page_of(client, job))
    assert "It stopped at 11 %, in the step “Counting”." in text
    never = make_job(person, state="CANCELLED", finished_at=now, cancel_requested_at=now)
    assert "It had not started." in text_of(page_of(client, never))


def test_a_job_whose_artefacts_are_gone_says_so(client: Client, person: Any) -> None:
    now = timezone.now()
    job = make_job(person, state="SUCCEEDED", started_at=now, finished_at=now, expired_at=now, result={})
    client.force_login(person)
    assert "The artefacts were removed." in page_of(client, job)


def test_a_job_of_a_type_that_is_gone_is_still_shown(client: Client, person: Any) -> None:
    job = make_job(person, type="once-there", state="FAILED", started_at=timezone.now(), finished_at=timezone.now())
    client.force_login(person)
    html = page_of(client, job)
    assert "once-there" in html
    assert "Run again" not in html


def test_an_administrator_runs_the_portals_own_jobs_again(client: Client, administrator: Any, person: Any) -> None:
    job = make_job(None, type="model-pull", params={}, state="FAILED", started_at=timezone.now(), finished_at=timezone.now())
    client.force_login(administrator)
    html = page_of(client, job)
    assert "Run again" in html
    assert "Change and run" not in html
    client.force_login(person)
    assert client.get(reverse("job", args=[job.pk])).status_code == 404


def test_hostile_names_and_texts_are_escaped_everywhere(client: Client, person: Any) -> None:
    now = timezone.now()
    result = {
        "notes": [{"kind": "ok", "headline": HOSTILE, "text": HOSTILE}],
        "figures": [{"label": HOSTILE, "value": HOSTILE, "condition": HOSTILE}],
        "tables": [{"title": HOSTILE, "columns": [HOSTILE], "rows": [[HOSTILE]], "numeric": []}],
        "plots": [{"title": HOSTILE, "svg": f"<svg><text>{HOSTILE}</text><script>alert(1)</script></svg>", "caption": HOSTILE}],
    }
    job = make_job(
        person,
        title=HOSTILE,
        state="SUCCEEDED",
        started_at=now,
        finished_at=now,
        steps=[{"text": HOSTILE, "at": 0}],
        result=result,
        manifest={"versions": {HOSTILE: HOSTILE}, "options": {HOSTILE: HOSTILE}, "inputs": {HOSTILE: HOSTILE}},
    )
    Artifact.objects.create(
        job=job,
        name=HOSTILE,
        kind=HOSTILE,
        title=HOSTILE,
        size=1,
        sha256="0" * 64,
        path="x",
        preview={"language": "cpp", "text": HOSTILE},
    )
    LogChunk.objects.create(job=job, text=HOSTILE)
    client.force_login(person)
    html = page_of(client, job)
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") > 12
    failed = make_job(person, state="FAILED", error_message=HOSTILE, error_hint=HOSTILE, error_code=HOSTILE)
    assert "<script>" not in page_of(client, failed)


# --- the fragment ---------------------------------------------------------------------------------------------------------------


def test_the_fragment_brings_the_new_log_and_stops_when_the_job_ends(client: Client, person: Any) -> None:
    job = make_job(person, state="RUNNING", started_at=timezone.now(), progress=0.5, progress_text="Working")
    first = LogChunk.objects.create(job=job, text="old line\n")
    LogChunk.objects.create(job=job, text="new <line>\n")
    client.force_login(person)
    url = reverse("job-status", args=[job.pk])
    html = client.get(f"{url}?after={first.pk}&shown=RUNNING").content.decode()
    assert "new &lt;line&gt;" in html
    assert "old line" not in html
    assert 'id="job-body"' not in html
    assert 'hx-trigger="every 1s"' in html
    Job.objects.filter(pk=job.pk).update(
        state="SUCCEEDED", finished_at=timezone.now(), result={"figures": [{"label": "A", "value": "1"}]}
    )
    html = client.get(f"{url}?after={first.pk + 1}&shown=RUNNING").content.decode()
    assert 'id="job-body" hx-swap-oob="true"' in html
    assert 'id="job-actions" hx-swap-oob="true"' in html
    assert "hx-trigger" not in html
    assert 'data-announce="a model: Done"' in html


def test_the_fragment_sends_away_who_may_not_see_it(client: Client, person: Any, administrator: Any) -> None:
    job = make_job(administrator)
    url = reverse("job-status", args=[job.pk])
    assert client.get(url).headers["HX-Redirect"].startswith(reverse("account_login"))
    client.force_login(person)
    assert client.get(url).headers["HX-Redirect"] == reverse("job-list")


@pytest.mark.parametrize("after", ["", "x", "-1", "9" * 40, "²"])
def test_the_fragment_takes_any_number(client: Client, person: Any, after: str) -> None:
    job = make_job(person)
    client.force_login(person)
    assert client.get(reverse("job-status", args=[job.pk]), {"after": after}).status_code == 200


def test_the_job_page_needs_few_queries(
    client: Client, administrator: Any, done: Job, django_assert_max_num_queries: Any
) -> None:
    client.force_login(administrator)
    url = reverse("job", args=[done.pk])
    client.get(url)
    with django_assert_max_num_queries(5):
        client.get(url)


# --- what one can do ------------------------------------------------------------------------------------------------------------


def test_cancel_retry_and_delete(client: Client, administrator: Any) -> None:
    client.force_login(administrator)
    job = services.submit(administrator, "worker-check", {"seconds": 7})
    assert client.get(reverse("job-cancel", args=[job.pk])).status_code == 405
    response = client.post(reverse("job-delete", args=[job.pk]), follow=True)
    assert "This job has not ended yet." in response.content.decode()
    client.post(reverse("job-cancel", args=[job.pk]))
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    response = client.post(reverse("job-retry", args=[job.pk]))
    again = Job.objects.get(retry_of=job)
    assert response["Location"] == reverse("job", args=[again.pk])
    assert again.params == job.params
    response = client.post(reverse("job-delete", args=[job.pk]), follow=True)
    assert "are deleted" in response.content.decode()
    assert not Job.objects.filter(pk=job.pk).exists()


def test_a_refused_retry_says_why(client: Client, administrator: Any) -> None:
    administrator.quota_jobs = 1
    administrator.save()
    job = make_job(administrator, type="worker-check", params={"seconds": 1}, state="FAILED")
    make_job(administrator)
    client.force_login(administrator)
    response = client.post(reverse("job-retry", args=[job.pk]), follow=True)
    assert "1 are allowed at a time" in response.content.decode()


ADDRESSES = ["job", "job-status", "job-log", "job-zip", "job-manifest"]
ACTIONS = ["job-cancel", "job-retry", "job-delete"]


def test_other_peoples_jobs_are_not_there(client: Client, person: Any, administrator: Any, done: Job) -> None:
    client.force_login(person)
    for name in ADDRESSES:
        response = client.get(reverse(name, args=[done.pk]))
        assert response.status_code == 404 or "HX-Redirect" in response.headers
        assert done.title not in response.content.decode()
    for name in ACTIONS:
        assert client.post(reverse(name, args=[done.pk])).status_code == 404
    assert client.get(reverse("artifact", args=[done.pk, done.artifacts.get().pk])).status_code == 404
    assert Job.objects.filter(pk=done.pk).exists()


def test_a_visitor_sees_nothing(client: Client, done: Job) -> None:
    for name in [name for name in ADDRESSES if name != "job-status"]:
        assert client.get(reverse(name, args=[done.pk])).status_code == 302
    assert presentation.visible(client.get("/accounts/login/").wsgi_request.user).count() == 0


def test_an_artefact_belongs_to_its_job(client: Client, administrator: Any, done: Job) -> None:
    other = make_job(administrator, state="SUCCEEDED")
    client.force_login(administrator)
    assert client.get(reverse("artifact", args=[other.pk, done.artifacts.get().pk])).status_code == 404


# --- downloads ------------------------------------------------------------------------------------------------------------------


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_downloads(client: Client, administrator: Any, done: Job) -> None:
    client.force_login(administrator)
    artifact = done.artifacts.get()
    response = client.get(reverse("artifact", args=[done.pk, artifact.pk]))
    content = body(response)
    assert len(content) == artifact.size == int(response["Content-Length"])
    assert response["Content-Disposition"].startswith("attachment")
    archive = zipfile.ZipFile(io.BytesIO(body(client.get(reverse("job-zip", args=[done.pk])))))
    assert archive.read("report.json") == content
    log = client.get(reverse("job-log", args=[done.pk]))
    assert log["Content-Type"].startswith("text/plain")
    assert b"process" in log.content
    manifest = json.loads(client.get(reverse("job-manifest", args=[done.pk])).content)
    assert manifest["artifacts"] == [{"name": "report.json", "size": artifact.size, "sha256": artifact.sha256}]
    assert manifest["options"]["seconds"] == 0.3
    assert "python" in manifest["versions"]


def test_nothing_to_download_is_a_page(client: Client, person: Any) -> None:
    job = make_job(person, state="FAILED")
    client.force_login(person)
    assert client.get(reverse("job-zip", args=[job.pk])).status_code == 404


# --- forms ----------------------------------------------------------------------------------------------------------------------


def test_everybody_sees_what_they_may_start(client: Client, person: Any, administrator: Any) -> None:
    client.force_login(person)
    html = client.get(reverse("job-new")).content.decode()
    assert "Forest to C++" in html
    assert "Worker check" not in html
    response = client.get(reverse("job-form", args=["worker-check"]))
    assert response.status_code == 404
    assert "No kind of job is called" in response.content.decode()
    client.force_login(administrator)
    assert "Worker check" in client.get(reverse("job-new")).content.decode()


def test_the_form_says_limits_and_cost_before_the_start(client: Client, person: Any) -> None:
    client.force_login(person)
    html = client.get(reverse("job-form", args=["forest-to-cpp"])).content.decode()
    page = check_page(html)
    text = text_of(html)
    assert "Takes about" in text
    assert "0 of 10 jobs" in text
    assert "Kept for 30 days" in text
    assert "ml4ep run forest-to-cpp" in text
    assert next(attrs for tag, attrs in page.elements if "data-upload" in attrs)["data-upload"] == reverse("library-upload")
    described = {name for _, attrs in page.elements for name in (attrs.get("aria-describedby") or "").split()}
    assert described <= {attrs.get("id") for _, attrs in page.elements}


def test_a_form_starts_a_job(client: Client, administrator: Any) -> None:
    client.force_login(administrator)
    response = client.post(reverse("job-form", args=["worker-check"]), {"seconds": "3", "memory_mb": "5", "ending": "well"})
    job = Job.objects.get()
    assert response["Location"] == reverse("job", args=[job.pk])
    assert job.params == {"seconds": 3.0, "memory_mb": 5, "ending": "well"}
    assert job.owner == administrator


def test_a_form_keeps_what_was_typed_and_names_each_problem(client: Client, administrator: Any) -> None:
    client.force_login(administrator)
    sent = {"seconds": "-1", "memory_mb": "<b>", "ending": "well"}
    response = client.post(reverse("job-form", args=["worker-check"]), sent)
    html = response.content.decode()
    check_page(html)
    assert response.status_code == 422
    assert not Job.objects.exists()
    assert "2 things to fix." in html
    assert '<a href="#f-seconds">Run for</a>' in html
    assert 'value="-1"' in html
    assert 'value="&lt;b&gt;"' in html
    assert html.count('aria-invalid="true"') == 2
    assert 'data-fill="#f-seconds" data-value="0"' in html


def test_checking_alone_starts_nothing(client: Client, administrator: Any) -> None:
    client.force_login(administrator)
    response = client.post(reverse("job-form", args=["worker-check"]), {"seconds": "3", "ending": "well", "check": "1"})
    assert response.status_code == 200
    assert "Nothing to fix." in response.content.decode()
    assert not Job.objects.exists()


def test_a_quota_that_is_used_up_is_told_with_the_way_out(client: Client, administrator: Any) -> None:
    administrator.quota_jobs = 1
    administrator.save()
    make_job(administrator)
    client.force_login(administrator)
    response = client.post(reverse("job-form", args=["worker-check"]), {"seconds": "3", "ending": "well"})
    assert response.status_code == 422
    assert "1 are allowed at a time" in response.content.decode()
    assert "Wait for one to end, or cancel one." in response.content.decode()


FOREST = json.dumps({"learner": {"gradient_booster": {"name": "gbtree", "model": {}}}, "version": [3, 2, 0]}).encode()


def test_a_file_can_come_with_the_form(client: Client, person: Any) -> None:
    client.force_login(person)
    sent = {"name": "forest", "rows": "1000", "trees": "auto", "model-upload": SimpleUploadedFile("my <model>.json", FOREST)}
    client.post(reverse("job-form", args=["forest-to-cpp"]), sent)
    file = LibraryFile.objects.get(owner=person)
    assert file.name == "my <model>.json"
    assert file.kind == "xgboost-json"
    assert Job.objects.filter(type="forest-to-cpp", params__model=str(file.pk)).exists()


def test_a_refused_file_is_told_at_its_field(client: Client, person: Any) -> None:
    client.force_login(person)
    pickle = b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x04test\x94."
    sent = {"name": "forest", "rows": "1000", "trees": "auto", "model-upload": SimpleUploadedFile("m.pkl", pickle)}
    response = client.post(reverse("job-form", args=["forest-to-cpp"]), sent)
    html = response.content.decode()
    assert response.status_code == 422
    assert "pickle" in html[html.index('id="f-model-e"') :]
    assert not LibraryFile.objects.exists()
    assert not Job.objects.filter(type="forest-to-cpp").exists()


def test_other_peoples_files_are_neither_offered_nor_taken(client: Client, person: Any) -> None:
    from portal.library.services import store_upload

    other = User.objects.create_user("eve")
    file = store_upload(other, "secret.json", [FOREST])
    client.force_login(person)
    assert "secret.json" not in client.get(reverse("job-form", args=["forest-to-cpp"]), {"model": file.pk}).content.decode()
    response = client.post(
        reverse("job-form", args=["forest-to-cpp"]), {"model": str(file.pk), "name": "f", "rows": "1000", "trees": "auto"}
    )
    assert "This file is not in your library." in response.content.decode()


def test_a_form_starts_from_the_address_or_an_earlier_job(client: Client, administrator: Any, person: Any) -> None:
    job = make_job(administrator, type="worker-check", params={"seconds": 42.0, "memory_mb": 7, "ending": "well"}, state="FAILED")
    client.force_login(administrator)
    page = Page(client.get(reverse("job-form", args=["worker-check"]), {"from": job.pk, "memory_mb": "9"}).content.decode())
    values = {attrs["name"]: attrs["value"] for tag, attrs in page.elements if tag == "input" and "name" in attrs}
    assert values["seconds"] == "42"
    assert values["memory_mb"] == "9"
    for wrong in ("nonsense", str(uuid.uuid4())):
        assert client.get(reverse("job-form", args=["worker-check"]), {"from": wrong}).status_code == 200
