"""HTTP with a portal: the token on every request, every failure a `PortalError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from portal.client.errors import PortalError

PREFIX = "/api/v1/"
PAGE = 100


class Connection:
    """Requests to one portal.

    Parameters
    ----------
    url
        The portal's address, with or without ``/api/v1/``.
    token
        An API token; empty for none.
    timeout
        Seconds without a byte after which a request is given up.
    transport
        How requests travel; the network by default.
    """

    def __init__(self, url: str, token: str, timeout: float, transport: httpx.BaseTransport | None) -> None:
        base = url.rstrip("/").removesuffix(PREFIX.rstrip("/"))
        if not base.startswith(("http://", "https://")):
            raise PortalError(f"{url!r} is not the address of a portal.", hint="It starts with https:// or http://.", code="url")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = base
        self.http = httpx.Client(base_url=base, headers=headers, timeout=timeout, transport=transport, follow_redirects=False)

    def json(self, method: str, path: str, **kwargs: Any) -> Any:
        """The JSON that a request is answered with; None where there is none."""
        with self._reported():
            response = self.http.request(method, PREFIX + path, **kwargs)
        self.check(response)
        if response.status_code == 204:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise self._no_portal(response) from error

    def pages(self, path: str, params: dict[str, Any]) -> Iterator[Any]:
        """The entries of a list, read page by page."""
        offset = 0
        while True:
            page = self.json("GET", path, params=params | {"limit": PAGE, "offset": offset})
            yield from page["items"]
            offset += PAGE
            if offset >= page["total"]:
                return

    @contextmanager
    def stream(self, method: str, path: str, **kwargs: Any) -> Iterator[httpx.Response]:
        """A response whose body is read while it comes."""
        with self._reported(), self.http.stream(method, path if path.startswith("/") else PREFIX + path, **kwargs) as response:
            if response.status_code >= 400:
                response.read()
            self.check(response)
            yield response

    def check(self, response: httpx.Response) -> None:
        """Raise what a response says went wrong."""
        if response.is_success:
            return
        try:
            told = response.json()["error"]
            error = PortalError(
                told["message"],
                hint=told.get("hint", ""),
                code=told["code"],
                status=response.status_code,
                problems=told.get("problems"),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            error = self._no_portal(response)
        raise error

    def _no_portal(self, response: httpx.Response) -> PortalError:
        return PortalError(
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
            raise PortalError(f"{self.url} did not answer in time.", hint=hint, code="timeout") from error
        except httpx.HTTPError as error:
            hint = "Check the address, and that the portal runs."
            raise PortalError(f"{self.url} cannot be reached: {error}", hint=hint, code="unreachable") from error
