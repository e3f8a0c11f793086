"""On the way from a store to whoever asked for batches: which ones they are, and making them ready ahead of time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from mlcore.batches.filling import Records
from mlcore.batches.stores import Order

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Which batches of an epoch are meant.

    Attributes
    ----------
    start, stop
        The positions of their rows in the order; `stop` is None for all that follow.
    worker, workers
        Of the batches there, every one whose number leaves this remainder.
    """

    start: int = 0
    stop: int | None = None
    worker: int = 0
    workers: int = 1

    @classmethod
    def of_rank(cls, rows: int, rank: int, world: int, *, even: bool) -> Share:
        """One of `world` equal parts of so many rows; without the remainder where they are to be even.

        >>> [Share.of_rank(11, rank, 3, even=True) for rank in (0, 2)]
        [Share(start=0, stop=3, worker=0, workers=1), Share(start=6, stop=9, worker=0, workers=1)]
        """
        total = rows - rows % world if even else rows
        return cls(total * rank // world, total * (rank + 1) // world)


def strided(pieces: Iterator[tuple[Records, Order]], batch_size: int, share: Share) -> Iterator[tuple[Records, Order]]:
    """Of pieces that begin with a batch, the rows of a worker's batches."""
    at = 0
    for records, order in pieces:
        begin = 0
        while begin < len(order):
            number, inside = divmod(at + begin, batch_size)
            end = min(len(order), begin + batch_size - inside)
            if number % share.workers == share.worker:
                yield records, order[begin:end]
            begin = end
        at += len(order)


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, made by a thread that is up to `depth` of them ahead; closing this ends the thread."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def offer(kind: str, value: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer("item", item):
                    break
            offer("end", None)
        except BaseException as error:  # it is raised where the items are used
            offer("error", error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="batches-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()
