"""The asynchronous client does what the blocking one does; both run the same code."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from portal.client import AsyncPortal, Done, JobFailedError, Portal, Retries, Text
from portal.client.assistant import Assistant, AsyncAssistant
from portal.client.blocking import each, now
from portal.client.conversations import AsyncConversations, Conversations
from portal.client.files import AsyncFiles, Files
from portal.client.handles import AsyncJobHandle, JobHandle
from portal.client.jobs import AsyncJobs, Jobs
from tests.portal.client.test_client import Breaking

EVENTS = (
    'event: state\ndata: {"state": "WRITING"}\n\nevent: text\ndata: {"offset": 0, "text": "Because"}\n\n'
    'event: done\ndata: {"id": "1", "question": "Why?", "state": "DONE", "text": "Because", "passages": null}\n\n'
)
TURN = {"id": "1", "question": "Why?", "state": "QUEUED", "text": "", "passages": None}


def job(state: str, **more: Any) -> dict[str, Any]:
    progress = {"fraction": 0.5, "text": "Counting", "eta_seconds": None}
    return {"id": "1", "type": "t", "title": "", "state": state, "progress": progress, "created_at": ""} | more


def answering(request: httpx.Request) -> httpx.Response:
    if request.method == "POST":
        return httpx.Response(202, json=TURN)
    return httpx.Response(200, text=EVENTS)


@pytest.mark.parametrize(
    ("blocking", "twin"),
    [
        (Jobs, AsyncJobs), (Files, AsyncFiles), (Assistant, AsyncAssistant), (Conversations, AsyncConversations),
        (JobHandle, AsyncJobHandle), (Portal, AsyncPortal),
    ],
)  # fmt: skip
def test_both_have_the_same_methods(blocking: type, twin: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_")}
        return {name: list(inspect.signature(value).parameters) for name, value in found.items()}

    assert methods(blocking) == methods(twin)
    assert "wait" in methods(JobHandle)


async def test_a_job() -> None:
    states = [job("PENDING"), job("RUNNING"), job("SUCCEEDED", result={"figures": [{"label": "Trees", "value": 12}]})]
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=states[0] if request.method == "POST" or len(states) == 1 else states.pop(0))

    seen: list[str] = []
    async with AsyncPortal("http://portal.example.org", "t", transport=httpx.MockTransport(handle)) as portal:
        there = await portal.submit("t", {"a": 1}, b=2)
        done = await there.wait(progress=lambda _, text: seen.append(text))
        assert (await portal.job("1")).state == "SUCCEEDED"
    assert sent[0].headers["Authorization"] == "Bearer t"
    assert b'"params":{"a":1,"b":2}' in sent[0].content
    assert done.figures == {"Trees": 12}
    assert seen == ["Waiting for a worker", "Counting", "Done"]


async def test_a_job_that_fails() -> None:
    failed = job("FAILED", error={"code": "c", "message": "No.", "hint": "Try."})
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=failed))
    async with AsyncPortal("http://portal.example.org", transport=transport) as portal:
        with pytest.raises(JobFailedError) as caught:
            await (await portal.job("1")).wait()
    assert (caught.value.job.id, str(caught.value)) == ("1", "No. Try.")


async def test_an_answer() -> None:
    async with AsyncPortal("http://portal.example.org", transport=httpx.MockTransport(answering)) as portal:
        events = [event async for event in portal.ask("Why?")]
        turn = await portal.ask("Why?")
    assert isinstance(events[1], Text)
    assert isinstance(events[-1], Done)
    assert turn.text == "Because"


async def test_an_answer_that_breaks_off_for_good() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(202, json=TURN) if request.method == "POST" else httpx.Response(200, text=EVENTS[:80])

    from portal.client import StreamError

    transport = httpx.MockTransport(handle)
    async with AsyncPortal("http://portal.example.org", transport=transport, retries=Retries(pause=0)) as portal:
        with pytest.raises(StreamError):
            await portal.ask("Why?")


@pytest.fixture
def breaking() -> Iterator[str]:
    Breaking.breaks, Breaking.asked = 2, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_a_download_goes_on(breaking: str, tmp_path: Path) -> None:
    import hashlib

    from portal.client.downloads import fetch

    async with AsyncPortal(breaking, retries=Retries(pause=0)) as portal:
        sha256 = hashlib.sha256(Breaking.data).hexdigest()
        path = await fetch(portal._connection, "/file", tmp_path / "a", size=len(Breaking.data), sha256=sha256)
    assert path.read_bytes() == Breaking.data
    assert len(Breaking.asked) == 3


async def test_files_go_up_and_down_while_the_loop_runs(live_server: Any, administrator: Any, tmp_path: Path) -> None:
    from portal.accounts.services import create_token

    token = await asyncio.to_thread(create_token, administrator, "tests")
    source = tmp_path / "notes.txt"
    source.write_bytes(b"a line\n" * 400_000)
    async with AsyncPortal(live_server.url, token) as portal:
        file = await portal.upload(source)
        copy, listed = await asyncio.gather(portal.files.download(file, tmp_path / "copy.txt"), _all(portal.files.list()))
    assert copy.read_bytes() == source.read_bytes()
    assert [each.id for each in listed] == [file.id]


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def test_the_blocking_client_works_inside_a_running_loop() -> None:
    """As in a notebook's cell."""
    with Portal("http://portal.example.org", transport=httpx.MockTransport(answering)) as portal:
        answer = portal.ask("Why?")
        first = next(answer)
        assert answer.text == "Because"
        portal.ask("Why?")  # which nobody reads to its end
    assert type(first).__name__ == "State"


def test_a_coroutine_that_suspends_is_a_defect() -> None:
    with pytest.raises(RuntimeError, match="suspended"):
        now(asyncio.sleep(0))


def test_an_iterator_is_closed_with_its_reader() -> None:
    closed = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    reader = each(source())
    assert next(reader) == 1
    reader.close()
    assert closed == [True]
