"""How requests pass through a web process, spoken to as a web server speaks to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from portal.handler import PIECE, Handler

MIB = 1 << 20
PATIENCE = 20.0

happened: list[str] = []


def where(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{threading.current_thread().name} {request.body.decode()} {request.build_absolute_uri()}")


def take(request: HttpRequest) -> HttpResponse:
    """Reads as the upload views do, and says when the first piece is there."""
    size = 0
    try:
        while chunk := request.read(MIB):
            size += len(chunk)
            happened.append("piece")
            request.scope["state"]["first"].set()  # type: ignore[attr-defined]
    finally:
        happened.append("ended")
    return HttpResponse(f"{threading.current_thread().name} {size}")


def refuse(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no room", status=413)


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


def pieces(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield from (b"one", b"two")

    return StreamingHttpResponse(parts())


def endless(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"still here"
                await asyncio.sleep(0.01)
        finally:
            happened.append("stream ended")

    return StreamingHttpResponse(parts())


def broken(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield b"one"
        raise RuntimeError("in the middle")

    return StreamingHttpResponse(parts())


urlpatterns = [path(view.__name__, view) for view in (where, take, refuse, form, pieces, endless, broken)]


@pytest.fixture
def handler(settings: Any) -> Handler:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name and "csrf" not in name]
    happened.clear()
    return Handler()


class Client:
    """One request: what the client has sent so far, and what it got."""

    def __init__(self, handler: Handler, view: str, method: str = "GET", **headers: str) -> None:
        self.first = threading.Event()
        self.got: list[Any] = []
        self.asked = 0
        self._handler = handler
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._scope = {
            "type": "http", "http_version": "1.1", "method": method, "path": f"/{view}", "raw_path": f"/{view}".encode(),
            "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"127.0.0.1"), *((n.replace("_", "-").encode(), v.encode()) for n, v in headers.items())],
            "state": {"first": self.first},
        }  # fmt: skip

    def send(self, body: bytes = b"", *, more: bool = False) -> None:
        self._sent.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._sent.put_nowait({"type": "http.disconnect"})

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._handler(self._scope, self._receive, self._take))

    async def answer(self) -> tuple[int, str]:
        await asyncio.wait_for(self.start(), PATIENCE)
        return self.status, self.body

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        return await self._sent.get()

    async def _take(self, message: Any) -> None:
        self.got.append(message)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])

    @property
    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.got[1:]).decode()

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.got[0]["headers"])


async def test_a_page_runs_whole_in_one_thread(handler: Handler) -> None:
    client = Client(handler, "where", "POST", content_length="4")
    client.send(b"bo", more=True)
    client.send(b"dy")
    status, body = await client.answer()
    assert status == 200
    assert body.startswith("page_")
    assert body.endswith(" body http://127.0.0.1/where")
    assert b"Content-Security-Policy" in client.headers


@pytest.mark.parametrize("announced", [{"content_length": str(3 * MIB)}, {"transfer_encoding": "chunked"}])
async def test_a_large_body_is_read_while_it_comes(handler: Handler, announced: dict[str, str]) -> None:
    client = Client(handler, "take", "PUT", **announced)
    client.send(b"x" * PIECE, more=True)
    task = client.start()
    # The rest is sent only once the view has the first piece.
    assert await asyncio.to_thread(client.first.wait, PATIENCE)
    client.send(b"x" * PIECE, more=True)
    client.send(b"x" * (PIECE - 5))
    await asyncio.wait_for(task, PATIENCE)
    name, size = client.body.split()
    assert name.startswith("upload_")
    assert int(size) == 3 * PIECE - 5
    assert b"Connection" not in client.headers


async def test_nobody_asks_for_a_body_that_is_refused(handler: Handler) -> None:
    client = Client(handler, "refuse", "PUT", content_length=str(3 * MIB), expect="100-continue")
    assert await client.answer() == (413, "no room")
    assert client.asked == 0
    assert client.headers[b"Connection"] == b"close"


async def test_a_refused_body_that_comes_anyway_is_dropped(handler: Handler) -> None:
    client = Client(handler, "refuse", "PUT", content_length=str(3 * MIB))
    client.send(b"x" * 2 * MIB, more=True)
    client.send(b"x" * MIB)
    assert await client.answer() == (413, "no room")
    assert client.asked == 2
    assert b"Connection" not in client.headers


async def test_a_refused_body_without_end_is_cut_off(handler: Handler, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"upload_limit": 5 * MIB})
    client = Client(handler, "refuse", "PUT", transfer_encoding="chunked")
    for _ in range(20):
        client.send(b"x" * MIB, more=True)
    assert await client.answer() == (413, "no room")
    assert client.asked <= 6
    assert client.headers[b"Connection"] == b"close"


async def test_a_client_that_leaves_in_the_middle(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(handler, "take", "PUT", content_length=str(3 * MIB))
    client.send(b"x" * PIECE, more=True)
    client.leave()
    with caplog.at_level(logging.WARNING):
        await asyncio.wait_for(client.start(), PATIENCE)
    assert client.got == []
    assert happened == ["piece", "ended"]
    assert not caplog.records


async def test_the_server_stops_in_the_middle_of_an_upload(handler: Handler) -> None:
    client = Client(handler, "take", "PUT", content_length=str(3 * MIB))
    client.send(b"x" * PIECE, more=True)
    task = client.start()
    assert await asyncio.to_thread(client.first.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    await asyncio.to_thread(handler._uploads.shutdown)  # waits for the view
    assert happened == ["piece", "ended"]


async def test_an_unannounced_body_is_no_way_to_fill_the_memory(handler: Handler, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 3 * MIB
    small = Client(handler, "form", "POST", transfer_encoding="chunked")
    small.send(b"x" * (3 * MIB))
    assert await small.answer() == (200, str(3 * MIB))
    large = Client(handler, "form", "POST", transfer_encoding="chunked")
    for _ in range(6):
        large.send(b"x" * MIB, more=True)
    large.send()
    assert (await large.answer())[0] == 400


async def test_an_ordinary_stream_is_sent_piece_by_piece(handler: Handler) -> None:
    client = Client(handler, "pieces")
    client.send()
    assert await client.answer() == (200, "onetwo")
    assert [message.get("body", b"") for message in client.got[1:]] == [b"one", b"two", b""]


async def test_a_stream_ends_when_its_reader_has_gone(handler: Handler) -> None:
    client = Client(handler, "endless")
    client.send()
    task = client.start()
    while len(client.got) < 3:
        await asyncio.sleep(0.01)
    client.leave()
    await asyncio.wait_for(task, PATIENCE)
    assert happened == ["stream ended"]


async def test_a_stream_that_breaks_is_not_ended_as_if_it_were_whole(handler: Handler) -> None:
    """The web server closes the connection then, so that the client sees that something is missing."""
    client = Client(handler, "broken")
    client.send()
    with pytest.raises(RuntimeError, match="in the middle"):
        await client.answer()
    assert client.got[-1]["more_body"]


async def test_a_client_that_leaves_before_its_request_is_whole(handler: Handler) -> None:
    client = Client(handler, "where", "POST", content_length="4")
    client.send(b"bo", more=True)
    client.leave()
    await asyncio.wait_for(client.start(), PATIENCE)
    assert client.got == []
