"""How requests travel: over httpx's blocking client or over its asynchronous one, behind one face."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import httpx

from portal.client.blocking import each

R = TypeVar("R")
Body = Callable[[], AsyncIterator[bytes]]


class Reply(ABC):
    """A response whose body is read while it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response

    @abstractmethod
    async def read(self) -> None:
        """Read the whole body; ``response`` has it then."""

    @abstractmethod
    def chunks(self, size: int) -> AsyncIterator[bytes]:
        """The body in pieces of at most ``size`` bytes."""

    @abstractmethod
    def lines(self) -> AsyncIterator[str]:
        """The body's lines."""


class Wire(ABC):
    """Sends requests, and waits."""

    @abstractmethod
    async def send(self, method: str, path: str, body: Body | None, **kwargs: Any) -> httpx.Response:
        """The response to a request, its body read. ``body`` gives the content from its beginning, each time it is called."""

    @abstractmethod
    def open(self, method: str, path: str, **kwargs: Any) -> AbstractAsyncContextManager[Reply]:
        """The response to a request, its body not read yet."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait."""

    @abstractmethod
    async def call(self, function: Callable[..., R], *args: Any) -> R:
        """The result of a function that takes its time, such as reading a file."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""


class BlockingReply(Reply):
    """Read in this thread."""

    async def read(self) -> None:
        self.response.read()

    async def chunks(self, size: int) -> AsyncIterator[bytes]:
        for chunk in self.response.iter_bytes(size):
            yield chunk

    async def lines(self) -> AsyncIterator[str]:
        for line in self.response.iter_lines():
            yield line


class BlockingWire(Wire):
    """Its coroutines never suspend; see `portal.client.blocking`."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    async def send(self, method: str, path: str, body: Body | None, **kwargs: Any) -> httpx.Response:
        return self.http.request(method, path, content=each(body()) if body else None, **kwargs)

    @asynccontextmanager
    async def open(self, method: str, path: str, **kwargs: Any) -> AsyncIterator[Reply]:
        with self.http.stream(method, path, **kwargs) as response:
            yield BlockingReply(response)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def call(self, function: Callable[..., R], *args: Any) -> R:
        return function(*args)

    async def close(self) -> None:
        self.http.close()


class AsyncReply(Reply):
    """Read in the event loop."""

    async def read(self) -> None:
        await self.response.aread()

    async def chunks(self, size: int) -> AsyncIterator[bytes]:
        async for chunk in self.response.aiter_bytes(size):
            yield chunk

    async def lines(self) -> AsyncIterator[str]:
        async for line in self.response.aiter_lines():
            yield line


class AsyncWire(Wire):
    """Files are read and written in threads, so that the event loop goes on."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def send(self, method: str, path: str, body: Body | None, **kwargs: Any) -> httpx.Response:
        return await self.http.request(method, path, content=body() if body else None, **kwargs)

    @asynccontextmanager
    async def open(self, method: str, path: str, **kwargs: Any) -> AsyncIterator[Reply]:
        async with self.http.stream(method, path, **kwargs) as response:
            yield AsyncReply(response)

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    async def call(self, function: Callable[..., R], *args: Any) -> R:
        import asyncio

        return await asyncio.to_thread(function, *args)

    async def close(self) -> None:
        await self.http.aclose()
