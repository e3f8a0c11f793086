"""Messages between a process and a child that runs a network: a length, a JSON header, raw bytes. Never a pickle.

A header describes values (arrays, lists of them, None); their bytes follow in the same order. What arrives is checked against
what may arrive before memory is got for it, for the other side runs code of a stranger.
"""

from __future__ import annotations

import json
import math
import os
import select
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mlcore.networks.ir import DType

MOST_HEADER = 16 * 2**20
MOST_AXES = 32
MOST_DEPTH = 4
"""Of sequences within each other."""
PATIENCE_MS = 100
"""Between two looks at whether the other side still does well."""


class FrameError(Exception):
    """What arrived is no message, or there is no other side any more."""


class Channel:
    """Both directions of a pair of pipes.

    Parameters
    ----------
    reading, writing
        File descriptors; they stay the caller's.
    check
        Called while nothing moves; raises to give up.
    most_bytes
        Of the values of one message that arrives.
    """

    def __init__(self, reading: int, writing: int, *, check: Callable[[], None] = lambda: None, most_bytes: int = 2**40) -> None:
        self.reading = reading
        self.writing = writing
        self.check = check
        self.most_bytes = most_bytes
        os.set_blocking(writing, False)  # else a large write would not come back to be checked

    def send(self, header: dict[str, Any], values: Sequence[Any] = ()) -> None:
        """One message.

        Raises
        ------
        FrameError
            The other side is gone.
        """
        buffers: list[memoryview] = []
        described = [_described(value, buffers) for value in values]
        text = json.dumps({**header, "values": described}).encode()
        if len(text) > MOST_HEADER:
            raise FrameError("a message has too many values")
        for data in (memoryview(len(text).to_bytes(8, "little") + text), *buffers):
            self._write(data)

    def receive(self) -> tuple[dict[str, Any], list[Any]]:
        """One message: its header and its values.

        Raises
        ------
        FrameError
            There is none, or it is not well formed.
        """
        size = int.from_bytes(self._read(8), "little")
        if size > MOST_HEADER:
            raise FrameError(f"a header claims {size} bytes")
        try:
            header = json.loads(bytes(self._read(size)))
            described = header.pop("values")
            left = self.most_bytes - sum(_bytes_of(item) for value in described for item in _leaves(value))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FrameError("a header is not well formed") from error
        if left < 0:
            raise FrameError("a message claims more than may arrive")
        return header, [self._value(value) for value in described]

    def _value(self, described: Any) -> Any:
        if described is None:
            return None
        if isinstance(described, list):
            return [self._value(item) for item in described]
        shape = tuple(described["shape"])
        if "text" not in described:
            dtype = _dtype(described)
            return np.frombuffer(self._read(_bytes_of(described)), dtype.numpy).reshape(shape)
        lengths = np.frombuffer(self._read(8 * math.prod(shape)), np.int64).tolist()
        joined = bytes(self._read(described["text"]))
        if any(length < 0 for length in lengths) or sum(lengths) != len(joined):
            raise FrameError("texts have other lengths than they say")
        texts, start = np.empty(len(lengths), np.object_), 0
        for number, length in enumerate(lengths):
            texts[number] = joined[start : start + length].decode("utf-8", "surrogateescape")
            start += length
        return texts.reshape(shape)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            self._wait(self.reading, select.POLLIN)
            count = os.readv(self.reading, [view[done : done + 2**20]])
            if not count:
                raise FrameError("the other side is gone")
            done += count
        return data

    def _write(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            self._wait(self.writing, select.POLLOUT)
            try:
                done += os.write(self.writing, data[done : done + 2**20])
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise FrameError("the other side is gone") from None

    def _wait(self, descriptor: int, event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while not poll.poll(PATIENCE_MS):
            self.check()


def _described(value: Any, buffers: list[memoryview]) -> Any:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [_described(item, buffers) for item in value]
    array = np.asarray(value)
    if array.dtype.kind in "OUS":
        encoded = [str(text).encode("utf-8", "surrogateescape") for text in array.reshape(-1)]
        buffers.append(memoryview(np.array([len(text) for text in encoded], np.int64).tobytes()))
        buffers.append(memoryview(b"".join(encoded)))
        return {"shape": list(array.shape), "text": len(buffers[-1])}
    raw: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    buffers.append(memoryview(raw))
    return {"shape": list(array.shape), "dtype": DType.of(array).number}


def _leaves(described: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if isinstance(described, list):
        if depth == MOST_DEPTH:
            raise ValueError("sequences are nested too deep")
        for item in described:
            yield from _leaves(item, depth + 1)
    elif described is not None:
        yield described


def _bytes_of(described: dict[str, Any]) -> int:
    """The bytes of an array; what may be wrong with its description raises one of the errors that `receive` expects."""
    shape = described["shape"]
    if len(shape) > MOST_AXES or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("a shape is none")
    if "text" in described:
        if type(described["text"]) is not int or described["text"] < 0:
            raise ValueError("texts have no length")
        return 8 * int(math.prod(shape)) + int(described["text"])
    return int(math.prod(shape)) * _dtype(described).bytes


def _dtype(described: dict[str, Any]) -> DType:
    dtype = DType.of_number(described["dtype"])
    if dtype is None or dtype is DType.STRING:
        raise ValueError("there is no such element type")
    return dtype
