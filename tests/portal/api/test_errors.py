"""Every error in one shape, and who may ask at all."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import Client

from portal.api import errors

NOWHERE = uuid.UUID(int=0)

TABLE = [
    ("GET", "jobs/not-a-uuid", None, 404, "not-found"),
    ("GET", f"jobs/{NOWHERE}", None, 404, "not-found"),
    ("GET", f"jobs/{NOWHERE}/artifacts/{NOWHERE}", None, 404, "not-found"),
    ("POST", f"jobs/{NOWHERE}/cancel", None, 404, "not-found"),
    ("DELETE", f"files/{NOWHERE}", None, 404, "not-found"),
    ("GET", f"files/{NOWHERE}/content", None, 404, "not-found"),
    ("GET", f"ask/{NOWHERE}", None, 404, "not-found"),
    ("GET", f"ask/{NOWHERE}/events", None, 404, "not-found"),
    ("GET", "job-types/no-such", None, 404, "not-found"),
    ("GET", "no/such/address", None, 404, "not-found"),
    ("POST", "no/such/address", {"a": 1}, 404, "not-found"),
    ("PATCH", "jobs", None, 405, "method"),
    ("DELETE", "me", None, 405, "method"),
    ("POST", "ask", {}, 422, "request"),
    ("POST", "ask", {"question": "x" * 5000}, 422, "request"),
    ("POST", "ask", {"question": "   "}, 422, "chat.empty"),
    ("POST", "ask", {"question": "why?", "options": {"k": 1000}}, 422, "request"),
    ("POST", "ask", {"question": "why?", "options": {"colour": "red"}}, 422, "request"),
    ("POST", "ask", {"question": "why?", "conversation": str(NOWHERE)}, 404, "not-found"),
    ("POST", "ask", {"question": "why?", "conversation": "x"}, 422, "request"),
    ("POST", "retrieve", {"query": "TH1", "k": 0}, 422, "request"),
    ("PUT", "files", None, 422, "request"),
    ("PUT", "files?name=a.json", None, 400, "upload.empty"),
    ("GET", "jobs?offset=-1", None, 422, "request"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), TABLE)
def test_the_table(door: Any, method: str, path: str, body: Any, status: int, code: str) -> None:
    response = door.call(method, path, body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint", "problems"}
    assert error["message"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[]", b'"text"', b"null", b"1e999"])
def test_bodies_that_are_no_question(door: Any, text: bytes) -> None:
    response = door.call("POST", "ask", data=text, content_type="application/json")
    assert response.status_code in (400, 422)
    assert response.json()["error"]["code"] == "request"


def test_a_body_that_is_too_large(door: Any, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = door.post("jobs", {"type": "worker-check", "title": "x" * 2000})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too-large")


def test_a_method_that_is_not_there_says_which_are(door: Any) -> None:
    response = door.call("PATCH", "jobs")
    assert set(response["Allow"].split(", ")) == {"GET", "POST"}


def test_a_defect_is_logged_and_not_shown(door: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from portal.api import me

    def broken(user: Any) -> int:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(me, "disk_used", broken)
    response = door.get("me")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert any(record.exc_info and "the secret inside" in str(record.exc_info[1]) for record in caplog.records)


PATHS = ["me", "jobs", "files", "job-types", "status", f"jobs/{NOWHERE}", f"files/{NOWHERE}"]


@pytest.mark.parametrize("token", ["", "ml4ep_wrong", "x" * 5000])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_without_a_token(client: Client, db: None, path: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = client.get(f"/api/v1/{path}", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")
    assert response["WWW-Authenticate"] == "Bearer"


def test_a_token_of_somebody_who_left(door: Any, person: Any) -> None:
    assert door.get("me").status_code == 200
    person.is_active = False
    person.save()
    assert door.get("me").status_code == 401


def test_a_revoked_token(door: Any, person: Any) -> None:
    person.api_tokens.all().delete()
    assert door.get("me").status_code == 401


def test_a_session_may_read_and_writes_with_its_csrf_token(person: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(person)
    assert client.get("/api/v1/me").json()["username"] == "ada"
    submission = json.dumps({"type": "no-such"})
    refused = client.post("/api/v1/jobs", submission, content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf")
    client.get("/account/")
    token = client.cookies[next(name for name in client.cookies if "csrf" in name)].value
    allowed = client.post("/api/v1/jobs", submission, content_type="application/json", headers={"X-CSRFToken": token})
    assert allowed.json()["error"]["code"] == "job.type"


def test_a_wrong_token_is_not_saved_by_a_session(person: Any) -> None:
    client = Client()
    client.force_login(person)
    assert client.get("/api/v1/me", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_token_needs_no_csrf_token(door: Any) -> None:
    door.client = Client(enforce_csrf_checks=True)
    assert door.post("jobs", {"type": "no-such"}).json()["error"]["code"] == "job.type"


def test_me_counts_what_is_used(door: Any, person: Any) -> None:
    person.quota_disk = 1000
    person.save()
    door.upload("a.txt", b"12345")
    me = door.get("me").json()
    assert me["quota"]["disk"] == {"used": 5, "allowed": 1000}
    assert not me["administrator"]


def test_status_names_each_part(door: Any) -> None:
    status = door.get("status").json()
    parts = {part["name"]: part for part in status["parts"]}
    assert {"db", "broker", "workers", "index", "model"} <= set(parts)
    assert parts["db"]["ok"]
    assert status["serves"] is False  # no worker runs in the tests
    assert "workers" in parts["workers"]["detail"]


def test_every_refusal_of_the_services_is_translated() -> None:
    from portal.chat.services import ChatRefusedError
    from portal.jobs.services import JobRefusedError

    assert errors.translate(JobRefusedError("no", code="quota.jobs")).status == 429
    assert errors.translate(JobRefusedError("no", code="quota.disk")).status == 413
    assert errors.translate(JobRefusedError("no", code="something.new")).status == 422
    assert errors.translate(ChatRefusedError("no", code="chat.busy")).status == 409
