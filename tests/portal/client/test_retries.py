"""Requests are sent again where that helps, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from portal.client import (
    AuthenticationError,
    BusyError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotAPortalError,
    NotFoundError,
    Portal,
    PortalError,
    Retries,
    ServerError,
    TimedOutError,
    TooLargeError,
    UnreachableError,
)
from portal.client.retries import retry_after

JOB = {"id": "1", "type": "t", "title": "", "state": "PENDING", "progress": {"fraction": 0.0, "text": ""}, "created_at": ""}
FILE = {"id": "f", "name": "a", "kind": "text", "kind_title": "", "size": 3, "sha256": "", "created_at": ""}
REFUSED = {"error": {"code": "quota.jobs", "message": "Too many.", "hint": "Wait."}}

Step = httpx.Response | Exception


class Server:
    """Answers by a list of steps, and keeps what came."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def portal(self, monkeypatch: pytest.MonkeyPatch, retries: Retries | None = None) -> Portal:
        there = Portal("http://portal.example.org", "t", transport=httpx.MockTransport(self), retries=retries)

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        monkeypatch.setattr(there._connection.wire, "sleep", sleep)
        return there


def refused(status: int, after: str = "") -> httpx.Response:
    return httpx.Response(status, json=REFUSED, headers={"Retry-After": after} if after else {})


LOST = [
    httpx.ConnectError("refused"),
    httpx.ReadError("reset"),
    httpx.RemoteProtocolError("closed"),
    httpx.ReadTimeout("late"),
]


@pytest.mark.parametrize("step", [*LOST, refused(429), refused(503), httpx.Response(502), httpx.Response(504)], ids=str)
def test_reading_is_tried_again(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(step, httpx.Response(200, json={"username": "ada"}))
    assert server.portal(monkeypatch).me()["username"] == "ada"
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_what_would_end_the_same_is_not_tried_again(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(refused(status), httpx.Response(200, json={}))
    with pytest.raises(PortalError):
        server.portal(monkeypatch).me()
    assert len(server.requests) == 1


@pytest.mark.parametrize("step", [*LOST, refused(503), httpx.Response(502)], ids=str)
def test_a_job_is_submitted_again_under_the_same_key(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(step, httpx.Response(201, json=JOB), httpx.Response(201, json=JOB))
    portal = server.portal(monkeypatch)
    assert portal.submit("t", seconds=1).id == "1"
    first, again = (request.headers["Idempotency-Key"] for request in server.requests)
    assert first == again
    assert server.requests[0].content == server.requests[1].content
    portal.submit("t", seconds=1)
    assert server.requests[2].headers["Idempotency-Key"] != first, "another submission is another job"


@pytest.mark.parametrize("step", [*LOST[1:], refused(503), httpx.Response(502), httpx.Response(504)], ids=str)
def test_a_question_that_may_have_arrived_is_not_asked_twice(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(step, httpx.Response(202, json={}))
    with pytest.raises(PortalError):
        server.portal(monkeypatch).ask("Why?")
    assert len(server.requests) == 1


@pytest.mark.parametrize("step", [LOST[0], httpx.ConnectTimeout("late"), refused(429), refused(503, "1")], ids=str)
def test_a_question_that_surely_was_not_taken_is(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = {"id": "1", "question": "Why?", "state": "QUEUED", "text": "", "passages": None}
    server = Server(step, httpx.Response(202, json=turn))
    assert server.portal(monkeypatch).ask("Why?").id == "1"
    assert len(server.requests) == 2


def test_pauses_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(*[httpx.ReadError("reset") for _ in range(9)])
    with pytest.raises(UnreachableError):
        server.portal(monkeypatch, Retries(attempts=5, pause=1.0)).me()
    assert len(server.requests) == 5
    assert [round(0.75 * 2**n, 2) <= pause <= 1.25 * 2**n for n, pause in enumerate(server.slept)] == [True] * 4


def test_the_portal_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(refused(429, "7"), refused(503, "11"), httpx.Response(200, json={}))
    server.portal(monkeypatch).me()
    assert server.slept == [7.0, 11.0]


def test_who_shall_wait_too_long_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(refused(429, "3600"))
    with pytest.raises(BusyError) as caught:
        server.portal(monkeypatch).me()
    assert (caught.value.retry_after, server.slept) == (3600.0, [])


def test_retry_after_as_a_date() -> None:
    later = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert later is not None
    assert 60 < later <= 90
    assert retry_after(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == 0.0
    assert [retry_after(each) for each in (None, "", "soon", "-1", "5")] == [None, None, None, None, 5.0]


def test_an_upload_is_sent_again_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        if len(bodies) == 1:
            raise httpx.WriteError("broken pipe")
        return httpx.Response(201, json=FILE)

    path = tmp_path / "a"
    path.write_bytes(b"abc")
    with Portal("http://portal.example.org", transport=httpx.MockTransport(answer), retries=Retries(pause=0)) as portal:
        assert portal.upload(path).id == "f"
    assert bodies == [b"abc", b"abc"]


def test_removed_although_the_answer_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(httpx.ReadError("reset"), refused(404))
    server.portal(monkeypatch).jobs.delete("1")
    assert len(server.requests) == 2
    for before in (None, refused(429)):  # nothing was removed: 404 says that it is not there
        server = Server(*filter(None, [before]), refused(404))
        with pytest.raises(NotFoundError):
            server.portal(monkeypatch).jobs.delete("1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidError), (401, AuthenticationError), (403, ForbiddenError), (404, NotFoundError), (409, ConflictError),
        (413, TooLargeError), (415, InvalidError), (422, InvalidError), (429, BusyError), (500, ServerError), (503, BusyError),
        (418, PortalError),
    ],
)  # fmt: skip
def test_the_kind_of_an_error(status: int, kind: type[PortalError], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PortalError) as caught:
        Server(refused(status)).portal(monkeypatch, Retries(attempts=1)).me()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, str(caught.value)) == (status, "quota.jobs", "Too many. Wait.")


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (httpx.ConnectError("refused"), UnreachableError),
        (httpx.ReadTimeout("late"), TimedOutError),
        (httpx.Response(200, text="<h1>Sign in</h1>"), NotAPortalError),
    ],
)
def test_the_kind_of_an_error_without_the_portal(step: Step, kind: type[PortalError], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PortalError) as caught:
        Server(step).portal(monkeypatch, Retries(attempts=1)).me()
    assert type(caught.value) is kind


# --- against the portal ---------------------------------------------------------------------------------------------------------


class Losing(httpx.BaseTransport):
    """Hands requests on, and loses the answers to the first ones."""

    def __init__(self, loses: Callable[[httpx.Request], bool]) -> None:
        self._inner = httpx.HTTPTransport()
        self._loses = loses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if self._loses(request):
            response.close()
            raise httpx.ReadError("the answer was lost", request=request)
        return response

    def close(self) -> None:
        self._inner.close()


def test_a_lost_answer_makes_no_second_job(live_server: Any, administrator: Any) -> None:
    from portal.accounts.services import create_token
    from portal.jobs.models import Job

    seen: list[str] = []

    def loses(request: httpx.Request) -> bool:
        seen.append(request.method)
        return seen.count("POST") in (1, 3) and request.method == "POST"

    token = create_token(administrator, "tests")
    with Portal(live_server.url, token, transport=Losing(loses), retries=Retries(pause=0)) as portal:
        job = portal.submit("worker-check", seconds=0)
        assert seen == ["POST", "POST"]
        assert [str(each.pk) for each in Job.objects.all()] == [job.id]
        Job.objects.update(state="CANCELLED")
        again = job.retry()
        assert seen == ["POST"] * 4
    assert {str(each.pk) for each in Job.objects.all()} == {job.id, again.id}
