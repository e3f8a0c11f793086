"""Downloads of any size in little memory: stored files with ranges, and archives that are made while they are sent.

Under ASGI Django collects a response's ordinary iterator whole before it sends the first byte; `stream` hands it an asynchronous
one there, and an ordinary one to a WSGI server.
"""

from __future__ import annotations

import asyncio
import re
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import IO, Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header

CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def stream(request: HttpRequest, chunks: Iterator[bytes], *, pause: float = 0.0, **kwargs: Any) -> StreamingHttpResponse:
    """A response that sends each chunk as it comes, whichever kind of server runs the portal.

    Parameters
    ----------
    chunks
        What is sent; an empty chunk is left out.
    pause
        Seconds to wait before the next chunk is asked for, without holding a thread where the server is asynchronous.
    kwargs
        As for Django's streaming response.
    """
    asynchronous = isinstance(request, ASGIRequest)
    return StreamingHttpResponse(in_threads(chunks, pause) if asynchronous else _paced(chunks, pause), **kwargs)


async def in_threads(chunks: Iterator[bytes], pause: float = 0.0) -> AsyncIterator[bytes]:
    """The chunks, each fetched in a thread so that the event loop goes on."""
    try:
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            if chunk:
                yield chunk
            if pause:
                await asyncio.sleep(pause)
    finally:
        if close := getattr(chunks, "close", None):
            await asyncio.to_thread(close)


def _paced(chunks: Iterator[bytes], pause: float) -> Iterator[bytes]:
    for chunk in chunks:
        if chunk:
            yield chunk
        if pause:
            time.sleep(pause)


def send_file(
    request: HttpRequest,
    opened: Callable[[], IO[bytes]],
    *,
    name: str,
    size: int,
    sha256: str,
    content_type: str = "application/octet-stream",
) -> HttpResponse | StreamingHttpResponse:
    """A stored file as an attachment.

    A single ``Range`` is honoured, so that a broken download goes on where it broke off; the sha256 is the entity tag.

    Parameters
    ----------
    opened
        Opens the stored bytes; they must be seekable.
    name
        What the browser calls the file.
    size, sha256
        Of the bytes.
    """
    tag = f'"{sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=name) or "attachment",
        "Content-Type": content_type,
        "ETag": tag,
        "X-Content-SHA256": sha256,
    }
    if request.headers.get("If-None-Match") == tag:
        return HttpResponse(status=304, headers={"ETag": tag})
    wanted = _range(request, size, tag)
    if wanted is None:
        return stream(request, _read(opened, 0, size), headers=headers | {"Content-Length": str(size)})
    start, stop = wanted
    if start >= stop:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}", "ETag": tag})
    partial = {"Content-Length": str(stop - start), "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    return stream(request, _read(opened, start, stop), status=206, headers=headers | partial)


def _range(request: HttpRequest, size: int, tag: str) -> tuple[int, int] | None:
    """Start and end (exclusive) of the bytes asked for; None for the whole, an empty range for what is not there."""
    match = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if match is None or match[1] == match[2] == "" or request.headers.get("If-Range", tag) != tag:
        return None
    if match[1] == "":
        return max(size - int(match[2]), 0), size
    start, last = int(match[1]), int(match[2] or size - 1)
    return (start, min(last + 1, size)) if start <= last else (size, size)


def _read(opened: Callable[[], IO[bytes]], start: int, stop: int) -> Iterator[bytes]:
    with opened() as file:
        file.seek(start)
        while start < stop and (chunk := file.read(min(CHUNK, stop - start))):
            start += len(chunk)
            yield chunk


class _Sink:
    """Where `zipfile` writes to, and what it wrote is taken from."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do: what is written is there."""

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def zip_chunks(members: Iterable[tuple[str, Callable[[], IO[bytes]]]]) -> Iterator[bytes]:
    """A zip archive of ``(name, opener)`` pairs, made while it is read."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        for name, opened in members:
            info = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))  # the same content gives the same archive
            info.compress_type = zipfile.ZIP_DEFLATED
            with opened() as source, archive.open(info, "w", force_zip64=True) as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    if data := sink.take():
                        yield data
    yield sink.take()


def send_zip(request: HttpRequest, name: str, members: Iterable[tuple[str, Callable[[], IO[bytes]]]]) -> StreamingHttpResponse:
    """Several stored files as one archive."""
    headers = {"Content-Disposition": content_disposition_header(as_attachment=True, filename=name) or "attachment"}
    return stream(request, zip_chunks(members), headers=headers | {"Content-Type": "application/zip"})
