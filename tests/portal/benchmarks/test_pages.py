"""The pages about benchmarks: the matrix relative to an engine, what it can show, two runs compared."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mlcore.benchmarks.report import Report
from portal.accounts.models import User
from portal.benchmarks import table
from portal.benchmarks.models import Link
from portal.jobs.models import Artifact, Job, JobState, Kept
from tests.mlcore.benchmarks.reports import measured, report, small
from tests.portal.pages import check_page, text_of

pytestmark = pytest.mark.django_db


def stored(owner: Any, found: Report, *, title: str = "Benchmark", state: str = JobState.SUCCEEDED) -> Job:
    """A job with a report: as its artefact, or as what a cancelled run kept."""
    import hashlib
    import json

    job = Job.objects.create(
        type="benchmark", title=title, owner=owner, queue="cpu", queued_at=timezone.now(), state=state, started_at=timezone.now(),
        finished_at=timezone.now(), result={"notes": [], "figures": [], "tables": [], "plots": []},
    )  # fmt: skip
    data = json.dumps(found.to_json()).encode()
    path = default_storage.save(f"tests/{uuid.uuid4().hex}", ContentFile(data))
    facts = {"job": job, "name": "benchmark.json", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "path": path}
    if state == JobState.SUCCEEDED:
        Artifact.objects.create(**facts, kind="numbers")
    else:
        Kept.objects.create(**facts, at=timezone.now())
    return job


@pytest.fixture
def page(client: Client, person: Any) -> Any:
    client.force_login(person)

    def get(job: Job, **query: Any) -> tuple[str, str]:
        response = client.get(reverse("benchmark-matrix", args=[job.pk]), query)
        assert response.status_code == 200
        html = response.content.decode()
        check_page(html)
        return html, text_of(html)

    return get


def test_the_matrix_shows_times_ratios_and_reasons(person: Any, page: Any) -> None:
    html, told = page(stored(person, small()))
    assert "300 ns" in told
    assert "3.90 µs" in told
    assert re.search(r'<td class="f3" data-value="3e-07">300 ns<small>0.08</small></td>', html)
    assert 'title="not installed: pip install jax"' in html
    assert "wrong answer" in told
    assert "off by 0.1" in html
    assert "Own is the quickest for one event" in told
    assert "Time and memory" in told
    assert "data-sortable" in html


def test_what_is_shown_stands_in_the_address(person: Any, page: Any) -> None:
    job = stored(person, small())
    html, told = page(job, batch="64", against="own", show="memory")
    assert "28.0 MB" in told
    assert "70.00" in told  # relative to 0.4 MB
    assert re.search(r'<option value="own" selected>', html)
    _, told = page(job, batch="64")
    assert "100 µs ~" in told
    _, told = page(job, batch="7", against="nobody", show="nothing", since="x")  # what is not there is not chosen
    assert "300 ns" in told


def test_two_runs_are_compared(person: Any, page: Any) -> None:
    before = stored(person, report([measured("m", "a", 10), measured("m", "b", 10)]), title="The earlier one")
    after = stored(person, report([measured("m", "a", 8), measured("m", "b", 10)]))
    _, told = page(after, since=str(before.pk))
    assert "Changed since The earlier one" in told
    assert "−20.0 %" in told
    assert "1 faster, 0 slower" in told


def test_a_cancelled_run_shows_what_it_kept(person: Any, page: Any) -> None:
    _, told = page(stored(person, small(), state=JobState.CANCELLED))
    assert "This run is not complete." in told
    assert "300 ns" in told


def test_nobody_sees_another_ones_figures(person: Any, client: Client) -> None:
    job = stored(User.objects.create_user("eve"), small())
    client.force_login(person)
    assert client.get(reverse("benchmark-matrix", args=[job.pk])).status_code == 404
    mine = stored(person, small())
    response = client.get(reverse("benchmark-matrix", args=[mine.pk]), {"since": str(job.pk)})
    assert "Changed since" not in response.content.decode()
    assert str(job.pk) not in response.content.decode()


def test_a_run_without_figures_says_so(person: Any, client: Client) -> None:
    job = Job.objects.create(type="benchmark", title="Empty", owner=person, queue="cpu", queued_at=timezone.now())
    client.force_login(person)
    response = client.get(reverse("benchmark-matrix", args=[job.pk]))
    assert response.status_code == 404
    assert "no figures of this run" in response.content.decode()


def test_all_runs_are_listed(person: Any, client: Client) -> None:
    job = stored(person, small(), title="Last night")
    client.force_login(person)
    html = client.get(reverse("benchmarks")).content.decode()
    check_page(html)
    assert "Last night" in text_of(html)
    assert reverse("benchmark-matrix", args=[job.pk]) in html
    assert reverse("job-form", args=["benchmark"]) in html


@pytest.mark.parametrize(
    ("ratio", "less", "colour"),
    [
        (0.2, True, "f3"), (0.5, True, "f2"), (0.8, True, "f1"), (1.0, True, ""), (1.05, True, ""), (1.3, True, "l1"),
        (2.0, True, "l2"), (9.0, True, "l3"), (9.0, False, "f3"), (0.2, False, "l3"), (0.0, True, "f3"),
    ],
)  # fmt: skip
def test_colours_follow_the_ratio(ratio: float, less: bool, colour: str) -> None:
    assert table.shade(ratio, less_is_better=less) == colour


def test_whoever_has_the_link_sees_the_figures_and_nothing_else(client: Client, person: Any, page: Any) -> None:
    job = stored(person, small(), title="Taggers")
    stored(person, small(), title="Another run")
    address = reverse("benchmark-link", args=[job.pk])
    assert "Make a link" in page(job)[1]
    client.post(address)
    found = re.search(r'href="[^"]*(/benchmarks/shared/[\w-]{43})"', page(job)[0])
    assert found
    client.logout()
    response = client.get(found[1], {"show": "memory"})
    html = response.content.decode()
    check_page(html)
    assert "Taggers" in html
    assert response.headers["Referrer-Policy"] == "no-referrer"
    for hidden in (str(job.pk), f">{person.username}<", "Another run", "Make a link", "End the link"):
        assert hidden not in html
    client.force_login(person)
    client.post(address, {"end": "yes"})
    client.logout()
    assert client.get(found[1]).status_code == 404


def test_only_the_owner_makes_a_link(client: Client, person: Any) -> None:
    job = stored(person, small())
    client.force_login(User.objects.create_user("another@example.org", password="x"))
    assert client.post(reverse("benchmark-link", args=[job.pk])).status_code == 404
    client.force_login(person)
    assert client.get(reverse("benchmark-link", args=[job.pk])).status_code == 405
    client.post(reverse("benchmark-link", args=[stored(person, small(), state=JobState.CANCELLED).pk]))
    assert Link.objects.count() == 1
