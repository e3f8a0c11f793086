"""Files through the API: streamed in, known by content, hidden from others."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest

from portal.library.models import LibraryFile

TEXT = b"a text\n" * 10


def test_upload_list_get_download_delete(door: Any) -> None:
    made = door.upload("notes.txt", TEXT)
    assert made.status_code == 201, made.content
    file = made.json()
    assert (file["name"], file["size"], file["kind"]) == ("notes.txt", len(TEXT), "text")
    assert door.get(f"files/{file['id']}").json() == file
    assert [each["id"] for each in door.get("files?q=NOTES&kind=text").json()["items"]] == [file["id"]]
    assert door.get("files?kind=root").json()["total"] == 0
    downloaded = door.get(f"files/{file['id']}/content")
    assert b"".join(downloaded.streaming_content) == TEXT
    assert downloaded["ETag"] == f'"{file["sha256"]}"'
    assert downloaded["X-Content-Type-Options"] == "nosniff"
    assert door.delete(f"files/{file['id']}").status_code == 204
    assert door.get(f"files/{file['id']}").status_code == 404


def test_the_same_content_twice_is_one_file(door: Any) -> None:
    assert door.upload("a.txt", TEXT).json()["id"] == door.upload("a.txt", TEXT).json()["id"]
    assert LibraryFile.objects.count() == 1


def test_files_of_others_do_not_exist(door: Any, stranger: Any) -> None:
    file = door.upload("a.txt", TEXT).json()["id"]
    assert stranger.get(f"files/{file}").status_code == 404
    assert stranger.get(f"files/{file}/content").status_code == 404
    assert stranger.delete(f"files/{file}").status_code == 404
    assert stranger.get("files").json()["total"] == 0


def test_a_file_of_another_person_cannot_be_used_in_a_job(door: Any, stranger: Any) -> None:
    file = door.upload("a.txt", TEXT).json()["id"]
    refused = stranger.post("jobs", {"type": "forest-to-cpp", "params": {"model": file}})
    assert refused.status_code == 422
    assert set(refused.json()["error"]["problems"]) == {"model"}


def test_a_known_kind_is_inspected(door: Any, run_now: Any) -> None:
    import io

    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as content:
        content["x"] = [1.0, 2.0]
    file = door.upload("data.h5", buffer.getvalue()).json()
    assert file["inspection"]["state"] == "PENDING"
    run_now(LibraryFile.objects.get().inspection_job)
    inspection = door.get(f"files/{file['id']}").json()["inspection"]
    assert inspection["state"] == "SUCCEEDED", inspection["error"]
    assert inspection["result"]["figures"]


@pytest.mark.parametrize(("data", "status", "code"), [(b"", 400, "upload.empty"), (pickle.dumps({"a": 1}), 415, "file.pickle")])
def test_what_is_refused_leaves_nothing(door: Any, data: bytes, status: int, code: str) -> None:
    response = door.upload("a.bin", data)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["hint"]
    assert LibraryFile.objects.count() == 0


def test_the_quota_is_checked_before_a_byte_is_read(door: Any, person: Any) -> None:
    person.quota_disk = 10
    person.save()
    response = door.upload("a.txt", TEXT)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "quota.disk")


def test_a_form_is_refused_with_the_way_out(door: Any) -> None:
    response = door.call("PUT", "files?name=a", data=b"--x--", content_type="multipart/form-data; boundary=x")
    assert response.status_code == 415
    assert "-T" in response.json()["error"]["hint"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b/c.txt", "x\u202e.txt", "%00", " "])
def test_hostile_names(door: Any, name: str) -> None:
    from urllib.parse import quote

    file = door.upload(quote(name), TEXT)
    assert file.status_code == 201
    kept = file.json()["name"]
    assert "/" not in kept
    assert kept.isprintable()
    download = door.get(f"files/{file.json()['id']}/content")
    assert download["Content-Disposition"].startswith("attachment")
    download.close()


class Endless:
    """A body of a given length that is never there as a whole."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        self.largest = max(self.largest, size)
        chunk = b"x" * min(size, self.left)
        self.left -= len(chunk)
        return chunk

    def readline(self, size: int = -1) -> bytes:
        raise AssertionError("an upload has no lines")


def test_an_upload_is_never_held_in_memory(person: Any) -> None:
    """64 MB in, and Python's memory grows by a few chunks only."""
    from portal.api.files import CHUNK_BYTES, UploadName, upload

    size = 64 << 20
    body = Endless(size)
    request = WSGIRequest(
        {
            "REQUEST_METHOD": "PUT",
            "PATH_INFO": "/api/v1/files",
            "CONTENT_LENGTH": str(size),
            "CONTENT_TYPE": "application/octet-stream",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.input": body,
        }
    )
    request.user = person
    tracemalloc.start()
    try:
        answer = upload(request, UploadName(name="large.txt"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code == 201
    assert answer.value["size"] == size
    assert body.left == 0
    assert peak < 8 * CHUNK_BYTES
