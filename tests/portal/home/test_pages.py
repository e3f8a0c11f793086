"""Home, status and error pages, and what all pages have in common."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from portal.home import overview
from portal.jobs import services
from portal.jobs.models import Job, Pulse
from tests.portal.pages import Page, check_page, text_of

pytestmark = pytest.mark.django_db

PAGES = ["home", "status", "job-list", "job-new", "account", "library", "ask"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_the_rules_of_every_page(client: Client, administrator: Any, name: str) -> None:
    client.force_login(administrator)
    response = client.get(reverse(name))
    assert response.status_code == 200
    page = check_page(response.content.decode())
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert ("a", {"class": "skip", "href": "#main"}) in page.elements
    assert next(attrs for tag, attrs in page.elements if tag == "main")["id"] == "main"
    assert sum(tag == "h1" for tag, _ in page.elements) == 1


@pytest.mark.parametrize("name", PAGES)
def test_a_visitor_is_asked_to_sign_in(client: Client, name: str) -> None:
    response = client.get(reverse(name))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("home", "account")])
def test_the_bar_marks_where_one_is(client: Client, person: Any, name: str) -> None:
    client.force_login(person)
    page = check_page(client.get(reverse(name)).content.decode())
    current = [attrs["href"] for tag, attrs in page.elements if tag == "a" and attrs.get("aria-current") == "page"]
    assert reverse(name) in current


def test_no_link_of_the_pages_leads_nowhere(client: Client, administrator: Any, run_now: Any) -> None:
    client.force_login(administrator)
    job = run_now(services.submit(administrator, "worker-check", {"seconds": 0}))
    seen: dict[str, str] = {}
    todo = [reverse(name) for name in PAGES] + [reverse("job", args=[job.pk])]
    for url in list(todo):
        page = Page(client.get(url).content.decode())
        for tag, attrs in page.elements:
            href = attrs.get("href") or ""
            if tag == "a" and href.startswith("/") and not href.startswith("/admin"):
                seen.setdefault(href.split("#")[0], url)
            if tag == "a" and href.startswith("#"):
                assert any(other.get("id") == href[1:] for _, other in page.elements), (url, href)
    assert len(seen) > 10
    for href, where in seen.items():
        assert client.get(href).status_code in (200, 302), (href, where)


def test_home_has_the_ask_box_and_says_what_to_do_first(client: Client, person: Any) -> None:
    client.force_login(person)
    html = client.get("/").content.decode()
    page = check_page(html)
    assert ("textarea", "question") in [(tag, attrs.get("name")) for tag, attrs in page.elements]
    assert "No jobs yet" in html
    assert reverse("job-new") in html
    assert "Worker check" not in html, "an administrator's job type is offered to everybody"


def test_home_shows_recent_jobs_of_this_person_alone(client: Client, person: Any, administrator: Any) -> None:
    services.submit(administrator, "worker-check", {"seconds": 1})
    Job.objects.create(type="forest-to-cpp", title="<b>my</b> & model", owner=person, queue="cpu", queued_at=timezone.now())
    client.force_login(person)
    html = client.get("/").content.decode()
    assert "&lt;b&gt;my&lt;/b&gt; &amp; model" in html
    assert "Worker check, 1 s" not in html
    assert "2nd in line" in html
    client.force_login(administrator)
    html = client.get("/").content.decode()
    assert "Worker check, 1 s" in html
    assert "Next in line" in html


def test_home_needs_few_queries(client: Client, person: Any, django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        Job.objects.create(
            type="forest-to-cpp",
            title=f"model {number}",
            owner=person,
            queue="cpu",
            queued_at=timezone.now(),
            result={"plots": []},
        )
    client.force_login(person)
    client.get("/")
    with django_assert_max_num_queries(4):
        client.get("/")


def test_status_tells_each_part_and_why(client: Client, administrator: Any) -> None:
    Pulse.objects.create(
        name="cpu", at=timezone.now(), details={"host": "worker-1", "isolation": "bubblewrap", "isolation_detail": "No network."}
    )
    Pulse.objects.create(name="chat", at=timezone.now() - timedelta(minutes=5), details={"host": "worker-2"})
    client.force_login(administrator)
    text = text_of(client.get(reverse("status")).content.decode())
    assert "Database accounts, jobs and answers Works" in text
    assert "No sign of life from the workers of: chat, system." in text
    assert "bubblewrap No network." in text
    assert "worker-1" in text
    assert "Lives" in text
    assert "Silent" in text
    assert "ML4EP Portal" in text
    assert re.search(r"django \d", text)


def test_status_shows_how_far_the_portals_own_jobs_are(client: Client, person: Any, administrator: Any) -> None:
    job = Job.objects.create(
        type="model-pull",
        title="Language model",
        queue="system",
        queued_at=timezone.now(),
        state="RUNNING",
        started_at=timezone.now() - timedelta(seconds=30),
        progress=0.25,
        progress_text="Downloading part 6 of 22",
    )
    link = reverse("job", args=[job.pk])
    client.force_login(administrator)
    html = client.get(reverse("status")).content.decode()
    assert link in html
    assert "Downloading part 6 of 22" in html
    assert "about 1 min 30 s left" in text_of(html)
    assert "25 %" in client.get("/").content.decode()
    client.force_login(person)
    html = client.get(reverse("status")).content.decode()
    assert link not in html, "a link to a job that this person may not see"
    assert "Downloading part 6 of 22" in html


def test_fragments_come_without_the_page_around(client: Client, person: Any) -> None:
    client.force_login(person)
    for url in (reverse("status-strip"), reverse("status") + "?fragment=services"):
        html = client.get(url).content.decode()
        assert "<html" not in html
        assert "hx-get" in html


def test_an_address_that_leads_nowhere(client: Client, person: Any) -> None:
    response = client.get("/nowhere")
    assert response.status_code == 404
    check_page(response.content.decode())
    client.force_login(person)
    response = client.get("/jobs/00000000-0000-0000-0000-000000000000")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_a_mistake_of_ours_shows_no_details(client: Client, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(overview, "strip", fail)
    client.force_login(person)
    client.raise_request_exception = False
    response = client.get("/")
    assert response.status_code == 500
    assert "Something went wrong in the portal" in response.content.decode()
    assert "secret detail" not in response.content.decode()
    check_page(response.content.decode())


def test_a_form_from_elsewhere_is_refused_with_a_page(person: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(person)
    response = client.post(reverse("account-theme"), {"theme": "dark"})
    assert response.status_code == 403
    assert "The form was open too long" in response.content.decode()
    check_page(response.content.decode())


def test_a_host_that_is_not_ours(client: Client) -> None:
    with override_settings(ALLOWED_HOSTS=["portal.example.org"]):
        response = client.get("/accounts/login/", headers={"host": "evil.example.org"})
    assert response.status_code == 400
    assert "could not be understood" in response.content.decode()
