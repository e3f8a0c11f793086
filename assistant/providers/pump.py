"""Read a provider's stream in a thread of its own, so that whoever waits for the next piece can be cancelled at any time."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from assistant.errors import AssistantError

T = TypeVar("T")

_POLL_SECONDS = 0.05
_AHEAD = 64  # pieces read ahead of the consumer


class StoppedError(AssistantError):
    """The stream was left before its end, because it was cancelled or its time was up."""

    code = "assistant.stopped"


def pumped(stream: Iterator[T], *, cancelled: Callable[[], bool], seconds: float) -> Generator[T]:
    """Yield what `stream` yields, raising what it raises.

    A model server may think for many seconds before the first piece. Waiting for it in a thread lets the consumer go at once;
    the thread then closes the stream as soon as the piece it waits for arrives or its own timeout ends.

    Parameters
    ----------
    cancelled
        Asked about 20 times a second.
    seconds
        The longest time that the whole stream may take.

    Raises
    ------
    StoppedError
        Where `cancelled` says so (code ``"assistant.cancelled"``) or the time is up (``"assistant.time"``).
    """
    pieces: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(_AHEAD)
    left = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> None:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                pieces.put(item, timeout=_POLL_SECONDS)
                break

    def read() -> None:
        try:
            for piece in stream:
                put((piece,))
                if left.is_set():
                    break
            put(None)
        except BaseException as error:  # handed over to the consumer, whatever it is
            put(error)
        finally:
            if isinstance(stream, Generator):
                stream.close()

    deadline = time.monotonic() + seconds
    threading.Thread(target=read, name="provider-stream", daemon=True).start()
    try:
        while True:
            if cancelled():
                raise StoppedError("The answer was cancelled.", code="assistant.cancelled")
            if time.monotonic() > deadline:
                raise StoppedError(f"The language model took longer than {seconds:g} s.", code="assistant.time")
            try:
                item = pieces.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        left.set()
