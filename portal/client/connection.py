"""HTTP with a portal: the token on every request, every failure a `PortalError`, retried where that helps and harms nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx

from portal.client.errors import (
    AddressError,
    NotAPortalError,
    NotFoundError,
    PortalError,
    TimedOutError,
    UnreachableError,
    kind_of,
)
from portal.client.retries import Retries, retry_after
from portal.client.wires import AsyncWire, BlockingWire, Body, Reply, Wire

PREFIX = "/api/v1/"
PAGE = 100
REPEATABLE = {"GET", "PUT", "PATCH", "DELETE"}
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Connection:
    """Requests to one portal.

    Parameters
    ----------
    url
        The portal's address, with or without ``/api/v1/``.
    wire
        How requests travel.
    retries
        When they are sent again.
    """

    def __init__(self, url: str, wire: Wire, retries: Retries) -> None:
        self.url = url
        self.wire = wire
        self.retries = retries

    async def json(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool | None = None,
        body: Body | None = None,
        **kwargs: Any,
    ) -> Any:
        """The JSON that a request is answered with; None where there is none.

        Parameters
        ----------
        repeatable
            Whether doing it twice is the same as doing it once; by default what HTTP says of the method.
        body
            Gives the content from its beginning, each time it is called.
        """
        response = await self._send(method, path, method in REPEATABLE if repeatable is None else repeatable, body, **kwargs)
        if response is None or response.status_code == 204:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise self._no_portal(response) from error

    async def text(self, path: str, **kwargs: Any) -> str:
        """The text that a GET is answered with."""
        response = await self._send("GET", path, True, None, **kwargs)
        return "" if response is None else response.text

    async def pages(self, path: str, params: dict[str, Any]) -> AsyncIterator[Any]:
        """The entries of a list, read page by page."""
        offset = 0
        while True:
            page = await self.json("GET", path, params=params | {"limit": PAGE, "offset": offset})
            for item in page["items"]:
                yield item
            offset += PAGE
            if offset >= page["total"]:
                return

    @asynccontextmanager
    async def stream(self, method: str, path: str, **kwargs: Any) -> AsyncIterator[Reply]:
        """A response whose body is read while it comes; sent once."""
        with self._reported():
            async with self.wire.open(method, path if path.startswith("/") else PREFIX + path, **kwargs) as reply:
                if reply.response.status_code >= 400:
                    await reply.read()
                self.check(reply.response)
                yield reply

    def check(self, response: httpx.Response) -> None:
        """Raise what a response says went wrong."""
        if response.is_success:
            return
        try:
            told = response.json()["error"]
            error = kind_of(response.status_code)(
                told["message"],
                hint=told.get("hint", ""),
                code=told["code"],
                status=response.status_code,
                problems=told.get("problems"),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            error = self._no_portal(response)
        error.retry_after = retry_after(response.headers.get("Retry-After"))
        raise error

    async def _send(self, method: str, path: str, repeatable: bool, body: Body | None, **kwargs: Any) -> httpx.Response | None:
        started = time.monotonic()
        attempt, may_be_done = 1, False
        while True:
            try:
                with self._reported():
                    response = await self.wire.send(method, PREFIX + path, body, **kwargs)
                self.check(response)
                return response
            except NotFoundError:
                if method == "DELETE" and may_be_done:
                    return None  # an earlier attempt removed it, and only its answer was lost
                raise
            except PortalError as error:
                pause = self.retries.after(error, attempt, time.monotonic() - started, repeatable=repeatable)
                if pause is None:
                    raise
                may_be_done = may_be_done or (error.sent and error.status != 429)
            await self.wire.sleep(pause)
            attempt += 1

    def _no_portal(self, response: httpx.Response) -> PortalError:
        return NotAPortalError(
            f"{self.url} answered with status {response.status_code}, not as a portal does.",
            hint="Check the address; a proxy in between may want a sign-in.",
            code="not-a-portal",
            status=response.status_code,
        )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            hint = "It may be busy: try again, or give a longer timeout."
            late = TimedOutError(f"{self.url} did not answer in time.", hint=hint, code="timeout")
            late.sent = not isinstance(error, NEVER_SENT)
            raise late from error
        except httpx.HTTPError as error:
            hint = "Check the address, and that the portal runs."
            lost = UnreachableError(f"{self.url} cannot be reached: {error}", hint=hint, code="unreachable")
            lost.sent = not isinstance(error, NEVER_SENT)
            raise lost from error


def connect(url: str, token: str, timeout: float, transport: httpx.BaseTransport | None, retries: Retries) -> Connection:
    """A connection for the blocking client."""
    base, headers = _address(url), _headers(token)
    http = httpx.Client(base_url=base, headers=headers, timeout=timeout, transport=transport, follow_redirects=False)
    return Connection(base, BlockingWire(http), retries)


def connect_async(
    url: str, token: str, timeout: float, transport: httpx.AsyncBaseTransport | None, retries: Retries
) -> Connection:
    """A connection for the asynchronous client."""
    base, headers = _address(url), _headers(token)
    http = httpx.AsyncClient(base_url=base, headers=headers, timeout=timeout, transport=transport, follow_redirects=False)
    return Connection(base, AsyncWire(http), retries)


def _address(url: str) -> str:
    base = url.rstrip("/").removesuffix(PREFIX.rstrip("/"))
    if not base.startswith(("http://", "https://")):
        raise AddressError(f"{url!r} is not the address of a portal.", hint="It starts with https:// or http://.", code="url")
    return base


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
