"""How a request passes through a web process: in one step, in one of a few threads that keep their database connection.

::

    event loop                                   threads
      small body: read            ------------>  pages   middleware, view, template
      large body: handed through  -- pieces -->  uploads the same; the view reads while the body comes
      answer, stream of events    <------------

Django's own ASGI handler goes through ordinary middleware and views with a dozen changes of thread and a new database connection
for every request, and stores a request's whole body in a temporary file before anybody looks at who sends it. See
`docs/decisions/0007-threads-for-pages.md`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted, RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.db import close_old_connections, connections
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from portal.downloads import in_threads

PAGE_THREADS = 8
UPLOAD_THREADS = 32  # they wait for the network most of the time
PIECE = 1 << 20  # bytes of a large body that are handed from the event loop to the view at a time

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGoneError(BaseException):
    """The client went away while a view was reading its request.

    Not an `Exception`: nobody is left to answer, and Django would log it as a mistake of the portal's.
    """


class Handler(ASGIHandler):
    """The portal's ASGI application."""

    def __init__(self) -> None:
        self.load_middleware()  # for threads, all of it; Django's own handler loads it for the event loop
        self._pages = ThreadPoolExecutor(PAGE_THREADS, "page")
        self._uploads = ThreadPoolExecutor(UPLOAD_THREADS, "upload")

    async def handle(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        large = _is_large(scope)
        body = _Body(receive, asyncio.get_running_loop(), asked_for=_is_asked_for(scope)) if large else None
        try:
            file = io.BufferedReader(body, PIECE) if body is not None else await self._read_small(receive)
        except RequestAborted:
            return
        request, refusal = self.create_request(scope, file)
        response: Any = refusal
        if request is not None:
            pool = self._uploads if large else self._pages
            run = copy_context().run
            try:
                response = await asyncio.get_running_loop().run_in_executor(pool, run, self._respond, request, scope)
            except ClientGoneError:
                return
            finally:
                if body is not None:
                    body.give_up()
        if body is not None and not await body.skip(settings.ENV.upload_limit):
            response.headers["Connection"] = "close"  # what the client may still send is no new request
        if isinstance(response, StreamingHttpResponse):
            await self._stream(response, receive, send)
        else:
            await self.send_response(response, send)

    async def _read_small(self, receive: Receive) -> io.BytesIO:
        """A body that is small enough for memory."""
        file = io.BytesIO()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestAborted
            file.write(message.get("body", b""))
            more = message.get("more_body", False)
        file.seek(0)
        return file

    def _respond(self, request: ASGIRequest, scope: dict[str, Any]) -> HttpResponseBase:
        """Everything between the request and the finished answer, in the thread whose database connection it uses."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        try:
            response = self.get_response(request)
        except BaseException:
            close_old_connections()
            raise
        response._handler_class = type(self)  # type: ignore[attr-defined]  # a part of Django's own handlers
        if response.streaming:
            close_old_connections()  # the stream itself runs elsewhere
        else:
            response.close()  # the answer is in memory; this ends the request for Django and gives the connection back
        return response

    async def _stream(self, response: StreamingHttpResponse, receive: Receive, send: Send) -> None:
        """Send a response piece by piece until its end or until the client has gone."""
        content: Any = response.streaming_content
        if not response.is_async:
            response.block_size = self.chunk_size  # type: ignore[attr-defined]  # of files; other responses do not ask
            response.streaming_content = in_threads(iter(content))
        sending = asyncio.create_task(self.send_response(response, send))
        listening = asyncio.create_task(self._until_gone(receive))
        try:
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, listening):
                task.cancel()
            results = await asyncio.gather(sending, listening, return_exceptions=True)
            await sync_to_async(_end_stream)(response)
        if isinstance(results[0], Exception):
            raise results[0]

    @staticmethod
    async def _until_gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


def _end_stream(response: StreamingHttpResponse) -> None:
    """Close what the stream used; called in the thread where its database reads ran, which ends with it."""
    response.close()
    connections.close_all()


def _is_large(scope: Mapping[str, Any]) -> bool:
    """Whether the body is not to be held in memory, going by what the client announces."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if length:
        return not length.isdigit() or int(length) > int(settings.FILE_UPLOAD_MAX_MEMORY_SIZE)
    return b"transfer-encoding" in headers


def _is_asked_for(scope: Mapping[str, Any]) -> bool:
    """Whether the client waits to be asked for the body before it sends it, as curl does."""
    return bool(dict(scope["headers"]).get(b"expect", b"").lower() == b"100-continue")


class _Body(io.RawIOBase):
    """A large body as a file that a view reads in its thread while the client is still sending.

    Parameters
    ----------
    asked_for
        Whether nothing comes until it is asked for.
    """

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop, *, asked_for: bool) -> None:
        self._receive = receive
        self._loop = loop
        self._asked_for = asked_for
        self._piece = memoryview(b"")
        self._started = False
        self._ended = False
        self._gone = False
        self._given_up = False
        self._waiting: Future[bytes] | None = None
        self._lock = Lock()

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        """The whole body, for forms and JSON, which are small or refused; a body may come without announcing its length."""
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        parts = []
        while piece := self.read(PIECE):
            parts.append(piece)
            most -= len(piece)
            if most < 0:
                raise RequestDataTooBig("The body is larger than a form or JSON may be.")
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        if not self._piece and not self._ended:
            self._piece = memoryview(self._next())
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def _next(self) -> bytes:
        close_old_connections()  # a pooled one is not held while waiting for a slow network
        with self._lock:
            if self._given_up:
                raise ClientGoneError
            self._waiting = asyncio.run_coroutine_threadsafe(self._collect(), self._loop)
        try:
            piece = self._waiting.result()
        except CancelledError:
            raise ClientGoneError from None
        if self._gone:
            raise ClientGoneError
        return piece

    async def _collect(self) -> bytes:
        """What comes next, about a `PIECE`."""
        self._started = True
        parts: list[bytes] = []
        size = 0
        while size < PIECE and not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = self._ended = True
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self._ended = not message.get("more_body", False)
        return b"".join(parts)

    def give_up(self) -> None:
        """Wake a view that still waits for the client: the server stops."""
        with self._lock:
            self._given_up = True
            if self._waiting is not None:
                self._waiting.cancel()

    async def skip(self, most: int) -> bool:
        """Read and drop the rest, so that a client that sends first and listens afterwards gets the answer.

        Returns whether all of it has been read. At most ``most`` bytes are, and none where the client waits to be asked.
        """
        while not self._ended and most > 0 and (self._started or not self._asked_for):
            most -= len(await self._collect())
        return self._ended
