"""The library's pages: uploads by script and by plain form, inspections, histograms, and who may see what."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from portal.jobs.models import Job
from portal.library import services
from portal.library.models import LibraryFile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def visitor(person: Any) -> Client:
    client = Client()
    client.force_login(person)
    return client


def send(client: Client, name: str, content: bytes) -> Any:
    return client.post(f"{reverse('library-upload')}?name={name}", content, content_type="application/octet-stream")


@pytest.fixture
def events(tmp_path: Path) -> bytes:
    """A ROOT file with one tree, Events, of 100 entries."""
    import uproot

    with uproot.recreate(tmp_path / "events.root") as file:
        tree = file.mktree("Events", {"pt": "float64"})
        tree.extend({"pt": np.linspace(0, 1, 100)})
    return (tmp_path / "events.root").read_bytes()


def test_an_upload_answers_with_the_files_page(visitor: Client) -> None:
    response = send(visitor, "notes.txt", b"hello")
    assert response.status_code == 201
    answer = response.json()
    assert (answer["name"], answer["kind"], answer["size"]) == ("notes.txt", "text", 5)
    assert b"notes.txt" in visitor.get(answer["url"]).content
    assert b"notes.txt" in visitor.get(reverse("library")).content


def test_a_plain_form_uploads_too(visitor: Client, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with path.open("rb") as file:
        response = visitor.post(reverse("library-upload"), {"file": file})
    assert response.status_code == 302
    assert LibraryFile.objects.get().name == "notes.txt"
    empty = visitor.post(reverse("library-upload"), {}, follow=True, format="multipart")
    assert b"No file was chosen" in empty.content


def test_a_refused_upload_says_why_and_what_to_do(visitor: Client) -> None:
    response = send(visitor, "model.pkl", pickle.dumps({"a": 1}))
    assert response.status_code == 415
    answer = response.json()
    assert "pickle" in answer["error"].lower()
    assert answer["hint"]
    assert not LibraryFile.objects.exists()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "a' onclick='b"])
def test_hostile_names_are_shown_as_text(visitor: Client, name: str) -> None:
    response = visitor.post(
        reverse("library-upload"), b"words", content_type="application/octet-stream", query_params={"name": name}
    )
    for address in (response.json()["url"], reverse("library")):
        page = visitor.get(address).content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert " onclick='b" not in page
        assert escape(services.clean_name(name)) in page


def test_a_root_file_is_inspected_and_drawn(visitor: Client, events: bytes, run_now: Callable[[Job], Job]) -> None:
    url = send(visitor, "events.root", events).json()["url"]
    assert b"hx-trigger" in visitor.get(url).content, "the page asks again while the inspection runs"
    file = LibraryFile.objects.get()
    assert file.inspection_job is not None
    run_now(file.inspection_job)
    page = visitor.get(url).content.decode()
    assert "Tree Events;1" in page
    assert "<option>pt</option>" in page

    address = f"{reverse('library-histogram', args=[file.pk])}?tree=Events&branch=pt"
    assert visitor.get(address).status_code == 200
    run_now(services.histogram(file, "Events", "pt"))
    fragment = visitor.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "<svg" in fragment
    assert "<main" not in fragment
    assert "<main" in visitor.get(address).content.decode()


def test_a_download_is_never_a_page_of_the_portal(visitor: Client) -> None:
    send(visitor, "page.html", b"<!doctype html><script>alert(1)</script>")
    response = visitor.get(reverse("library-download", args=[LibraryFile.objects.get().pk]))
    assert response["Content-Disposition"].startswith("attachment")
    assert response["Content-Type"] == "application/octet-stream"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert b"".join(response.streaming_content) == b"<!doctype html><script>alert(1)</script>"


def test_a_file_is_its_owners_alone(visitor: Client, administrator: Any) -> None:
    other = services.store_upload(administrator, "secret.txt", [b"secret"])
    for name in ("library-file", "library-download", "library-histogram"):
        assert visitor.get(reverse(name, args=[other.pk])).status_code == 404
    for name in ("library-delete", "library-inspect"):
        assert visitor.post(reverse(name, args=[other.pk])).status_code == 404
    assert b"secret.txt" not in visitor.get(reverse("library")).content
    assert Client().get(reverse("library")).status_code == 302


def test_deleting_needs_a_post_and_removes_the_file(visitor: Client) -> None:
    send(visitor, "notes.txt", b"hello")
    file = LibraryFile.objects.get()
    assert visitor.get(reverse("library-delete", args=[file.pk])).status_code == 405
    page = visitor.post(reverse("library-delete", args=[file.pk]), follow=True)
    assert b"notes.txt was deleted" in page.content
    assert not LibraryFile.objects.exists()
