"""Uploads: streamed, refused by content, stored once, and nothing left of what was refused."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import default_storage

from portal.jobs import services as jobs
from portal.library import services
from portal.library.models import Content, LibraryFile
from portal.library.services import UploadRefusedError

pytestmark = pytest.mark.django_db


def stored() -> list[Path]:
    """Every file below the storage and the folder of uploads in progress."""
    folders = (Path(default_storage.path("library")), settings.WORK_DIR / services.UPLOADS)
    return [path for folder in folders if folder.exists() for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(autouse=True)
def _empty_storage() -> Iterator[None]:
    remove_stored()  # what tests elsewhere left there
    yield
    remove_stored()


def remove_stored() -> None:
    for path in stored():
        path.unlink()


def test_a_file_is_stored_by_its_content(person: Any) -> None:
    file = services.store_upload(person, "notes.txt", [b"hello ", b"world"], 11)
    assert (file.name, file.kind, file.size) == ("notes.txt", "text", 11)
    with services.open_file(file) as opened:
        assert opened.read() == b"hello world"
    assert stored() == [Path(default_storage.path(file.path))]


def test_the_same_content_is_kept_once_and_removed_with_its_last_file(person: Any, administrator: Any) -> None:
    first = services.store_upload(person, "a.txt", [b"same"])
    again = services.store_upload(person, "a.txt", [b"same"])
    other = services.store_upload(administrator, "b.txt", [b"same"])
    assert first == again
    assert len(stored()) == Content.objects.count() == 1
    services.delete(first)
    with services.open_file(other) as opened:
        assert opened.read() == b"same"
    services.delete(other)
    assert stored() == []
    assert not Content.objects.exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\models\\bdt.json", "bdt.json"),
        ("a\x00b\nc\u202egnp.exe", "abcgnp.exe"),
        ("", "unnamed"),
        ("///", "unnamed"),
        ("x" * 500 + ".root", "x" * 195 + ".root"),
        ("<script>alert(1)</script>.json", "script>.json"),
        ("Zerfälle β.root", "Zerfälle β.root"),
    ],
)
def test_names_lose_what_could_harm(given: str, kept: str) -> None:
    assert services.clean_name(given) == kept


class _Evil:
    def __reduce__(self) -> Any:
        return (print, ("this must never run",))


def _joblib_like() -> bytes:
    buffer = io.BytesIO()
    pickle.dump({"model": _Evil()}, buffer, protocol=4)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_refused_with_the_way_out(person: Any, protocol: int, capsys: Any) -> None:
    with pytest.raises(UploadRefusedError) as refused:
        services.store_upload(person, "model.json", [pickle.dumps(_Evil(), protocol=protocol)])
    assert refused.value.status == 415
    assert "pickle" in refused.value.message.lower()
    assert refused.value.hint
    assert capsys.readouterr().out == ""
    assert stored() == []
    assert not LibraryFile.objects.exists()


def test_a_large_pickle_is_refused_after_its_first_bytes(person: Any) -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        beginning = pickle.dumps(list(range(400_000)), protocol=4)
        for start in range(0, 10_000_000, 1 << 18):
            taken += 1
            yield beginning[start : start + (1 << 18)] or bytes(1 << 18)

    with pytest.raises(UploadRefusedError, match="pickle"):
        services.store_upload(person, "model.pkl", chunks())
    assert taken <= 5
    assert stored() == []


def test_an_empty_file_is_refused(person: Any) -> None:
    with pytest.raises(UploadRefusedError, match="empty"):
        services.store_upload(person, "a.root", [])


def test_quota_and_size_limits_hold_for_announced_and_for_real_sizes(person: Any) -> None:
    person.quota_disk = 10
    person.save()
    with pytest.raises(UploadRefusedError) as announced:
        services.store_upload(person, "a.txt", [], 11)
    assert (announced.value.code, announced.value.status) == ("quota.disk", 413)
    with pytest.raises(UploadRefusedError) as real:
        services.store_upload(person, "a.txt", [b"x" * 6, b"x" * 6], 3)
    assert real.value.status == 413
    assert stored() == []
    services.store_upload(person, "a.txt", [b"x" * 10])
    with pytest.raises(UploadRefusedError, match=r"0\.00 GB are left"):
        services.store_upload(person, "b.txt", [b"y"])


def test_a_stream_that_breaks_leaves_nothing(person: Any) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        services.store_upload(person, "a.root", broken())
    assert stored() == []
    assert not LibraryFile.objects.exists()


def test_an_upload_of_a_known_kind_is_inspected(person: Any) -> None:
    model = json.dumps({"learner": {"gradient_booster": {}}, "version": [3, 2, 0]}).encode()
    file = services.store_upload(person, "bdt.json", [model])
    assert file.kind == "xgboost-json"
    assert file.inspection_job is not None
    assert file.inspection_job.type == "inspect-file"


def test_somebody_elses_file_cannot_be_used(person: Any, administrator: Any) -> None:
    file = services.store_upload(administrator, "bdt.json", [json.dumps({"learner": {}, "version": [3, 2, 0]}).encode()])
    with pytest.raises(jobs.JobRefusedError, match="not in your library"):
        jobs.submit(person, "inspect-file", {"file": str(file.pk)})


def test_a_file_of_the_wrong_kind_is_refused(person: Any) -> None:
    file = services.store_upload(person, "notes.txt", [b"just words"])
    with pytest.raises(jobs.JobRefusedError) as refused:
        jobs.submit(person, "inspect-file", {"file": str(file.pk)})
    assert "notes.txt is text" in refused.value.problems["file"]
