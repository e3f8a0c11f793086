"""Requests at a constant rate, whether or not the server keeps up: what waits in a queue is counted from when it was due."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_CONNECTIONS = 32  # used in turn, so that every process of the server gets its share
MOST_CONNECTIONS = 1000
GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Load:
    """What came of one run.

    Attributes
    ----------
    seconds
        From the moment each request was due to the last byte of its answer; those without a good answer are not among them.
    failed
        Requests with another status, a broken connection or no answer at all.
    rate
        Good answers per second, from the first request to the last answer.
    cpu
        Seconds of CPU time that this generator took for one request.
    connections
        How many connections were open at most.
    """

    seconds: tuple[float, ...]
    failed: int
    rate: float
    cpu: float
    connections: int

    def percentile(self, percent: float) -> float:
        """The duration in seconds that ``percent`` of the requests do not exceed; infinite where too many failed."""
        rank = int(percent / 100 * (len(self.seconds) + self.failed))
        return sorted(self.seconds)[rank] if rank < len(self.seconds) else float("inf")


class _Connection(asyncio.Protocol):
    """One kept-alive connection with one request at a time."""

    def __init__(self, driver: _Driver) -> None:
        self._driver = driver
        self._transport: asyncio.WriteTransport | None = None
        self._due: float | None = None
        self._head = b""
        self._missing = -1
        self._good = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def send(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due, self._head, self._missing = due, b"", -1
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._missing >= 0:
            self._missing -= len(data)
        else:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._good = head.startswith(b"HTTP/1.1 200")
            lines = head.lower().split(b"\r\n")
            length = next((line for line in lines if line.startswith(b"content-length:")), None)
            if length is None:
                self._good = False
                self._missing = 0
            else:
                self._missing = int(length.partition(b":")[2]) - len(rest)
        if self._missing <= 0 and self._due is not None:
            due, self._due = self._due, None
            self._driver.ended(self, due if self._good else None)

    def connection_lost(self, error: Exception | None) -> None:
        self._driver.lost(self)
        if self._due is not None:
            self._due = None
            self._driver.ended(None, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Driver:
    def __init__(self, port: int, requests: Sequence[bytes], rate: float, seconds: float) -> None:
        self._port = port
        self._requests = requests
        self._rate = rate
        self._count = round(rate * seconds)
        self._open: set[_Connection] = set()
        self._idle: deque[_Connection] = deque()
        self._done = asyncio.Event()
        self._left = self._count
        self._most = 0
        self._failed = 0
        self._durations: list[float] = []

    async def run(self) -> Load:
        for _ in range(FIRST_CONNECTIONS):
            self._idle.append(await self._dial())
        cpu, began = time.process_time(), time.perf_counter()
        pending = set()
        for number in range(self._count):
            due = began + number / self._rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            request = self._requests[number % len(self._requests)]
            if self._idle:
                self._idle.popleft().send(request, due)
            else:
                task = asyncio.create_task(self._dial_and_send(request, due))
                pending.add(task)
                task.add_done_callback(pending.discard)
        try:
            await asyncio.wait_for(self._done.wait(), GRACE_SECONDS)
        except TimeoutError:
            self._failed += self._left
        elapsed = time.perf_counter() - began
        for connection in tuple(self._open):
            connection.close()
        spent = (time.process_time() - cpu) / self._count
        return Load(tuple(self._durations), self._failed, len(self._durations) / elapsed, spent, self._most)

    async def _dial(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        self._open.add(connection)
        self._most = max(self._most, len(self._open))
        return connection

    async def _dial_and_send(self, request: bytes, due: float) -> None:
        if len(self._open) >= MOST_CONNECTIONS:
            self.ended(None, None)
            return
        try:
            connection = await self._dial()
        except OSError:
            self.ended(None, None)
            return
        connection.send(request, due)

    def ended(self, connection: _Connection | None, due: float | None) -> None:
        """A request has its answer; without ``due`` a bad one or none."""
        if due is None:
            self._failed += 1
        else:
            self._durations.append(time.perf_counter() - due)
        if connection is not None:
            self._idle.append(connection)
        self._left -= 1
        if not self._left:
            self._done.set()

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


def drive(port: int, requests: Sequence[bytes], *, rate: float, seconds: float) -> Load:
    """Send ``requests`` in turn, ``rate`` a second.

    A request for which no connection is free opens another one, so that a slow server is not spared: the arrivals do not depend
    on the answers (an open loop).

    Parameters
    ----------
    requests
        Whole HTTP/1.1 requests, whose answers have a ``Content-Length``.
    """

    async def main() -> Load:
        return await _Driver(port, requests, rate, seconds).run()

    return asyncio.run(main())
