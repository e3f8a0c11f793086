"""This machine's portal without its server: the REST API answers in this process, from the same database and files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx


def set_up() -> None:
    """Make the portal's database usable in this process."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django
    from django.apps import apps

    if apps.ready:
        return
    django.setup()
    logging.disable(logging.CRITICAL)  # what a person is to know, commands say themselves


@contextmanager
def temporary_token() -> Iterator[str]:
    """A token of this machine's administrator that ends with the command. Whoever may read the database may act for anybody."""
    set_up()
    from portal.accounts.models import ApiToken
    from portal.accounts.services import create_token, digest, local_administrator

    token = create_token(local_administrator(), "command line, in use")
    try:
        yield token
    finally:
        ApiToken.objects.filter(digest=digest(token)).delete()


def transport() -> httpx.BaseTransport:
    """Carries requests to the portal in this process."""
    set_up()
    from django.core.wsgi import get_wsgi_application

    return InProcess(get_wsgi_application())


class _Body:
    """What a WSGI application reads a request's body from: the chunks of the request, one at a time."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while size < 0 or have < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        if size < 0:
            self._rest = b""
            return data
        self._rest = data[size:]
        return data[:size]

    def readline(self, size: int = -1) -> bytes:
        raise NotImplementedError("the API reads no lines")


class _Answer(httpx.SyncByteStream):
    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts

    def close(self) -> None:
        if close := getattr(self._parts, "close", None):
            close()


class InProcess(httpx.BaseTransport):
    """Hands requests to a WSGI application, bodies and answers of any size in little memory."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise TypeError("the request is asynchronous")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": request.url.path,
            "QUERY_STRING": request.url.query.decode("ascii"),
            "SERVER_NAME": request.url.host,
            "SERVER_PORT": str(request.url.port or 80),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": request.url.scheme,
            "wsgi.input": _Body(request.stream),
            "wsgi.errors": None,
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        started: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            started.update(status=int(status.split()[0]), headers=headers)

        parts = self._application(environ, start_response)
        return httpx.Response(started["status"], headers=started["headers"], stream=_Answer(parts))
