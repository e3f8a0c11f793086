"""What web processes keep of finished jobs' pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portal.jobs import fragments
from portal.jobs.models import Artifact, Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(person: Any) -> Job:
    """A job that ended well and made one file."""
    now = timezone.now()
    made = Job.objects.create(
        type="forest-to-cpp", title="a model", owner=person, queue="cpu", queued_at=now, started_at=now, finished_at=now,
        state="SUCCEEDED", result={"notes": [], "figures": [{"label": "Trees", "value": "42"}], "tables": [], "plots": []},
    )  # fmt: skip
    preview = {"language": "c++", "text": "int answer = 42;", "lines": 1}
    Artifact.objects.create(job=made, name="a.hpp", kind="header", size=16, sha256="0" * 64, path="a.hpp", preview=preview)
    return made


def page(client: Client, job: Job) -> str:
    return client.get(reverse("job", args=[job.pk])).content.decode()


def body(html: str) -> str:
    return html.partition('id="job-body"')[2].partition('id="log"')[0]


def test_the_second_look_reads_no_artefacts(client: Client, job: Job, django_assert_num_queries: Any) -> None:
    client.force_login(job.owner)
    first = page(client, job)
    assert "a.hpp" in first
    assert "answer" in first
    assert "Download all" in first
    with django_assert_num_queries(4):  # session, person, job, log
        second = page(client, job)
    assert body(second) == body(first)
    assert "Download all" in second


def test_what_expired_is_not_shown_from_memory(client: Client, job: Job) -> None:
    client.force_login(job.owner)
    assert "a.hpp" in page(client, job)
    job.artifacts.all().delete()
    Job.objects.filter(pk=job.pk).update(expired_at=timezone.now())
    html = page(client, job)
    assert "a.hpp" not in html
    assert "The artefacts were removed." in html
    assert "Download all" not in html


def test_what_is_kept_is_for_those_who_may_see_the_job(client: Client, job: Job, django_user_model: Any) -> None:
    client.force_login(job.owner)
    page(client, job)
    client.force_login(django_user_model.objects.create_user("eve"))
    assert client.get(reverse("job", args=[job.pk])).status_code == 404


def test_a_very_large_body_is_not_kept(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "KEPT_BYTES", 10)
    fragments.done_body(job)
    assert caches["fragments"].get(f"job-done:{job.pk}:kept") is None
