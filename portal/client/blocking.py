"""One implementation for both faces of the client.

Everything is written once, as coroutines over a `Wire`. The blocking face drives them with a wire whose coroutines never suspend,
so that a coroutine runs from its beginning to its end in one step, without an event loop: inside a notebook, where a loop is
running already, this works as well as anywhere else.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
END: Any = object()


def now(coroutine: Coroutine[Any, Any, R]) -> R:
    """The result of a coroutine that never suspends.

    Raises
    ------
    RuntimeError
        It suspended: it waits for something that only an event loop can give.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the blocking client suspended")


def each(source: AsyncIterator[R]) -> Generator[R]:
    """The items of an asynchronous iterator whose steps never suspend."""
    try:
        while (item := now(_next(source))) is not END:
            yield item
    finally:
        if isinstance(source, AsyncGenerator):
            now(_close(source))


async def _next(source: AsyncIterator[R]) -> R:
    return await anext(source, END)


async def _close(source: AsyncGenerator[Any, Any]) -> None:
    await source.aclose()


def blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    """A method of a blocking class out of the one of its asynchronous twin, which it has as ``twin``."""

    @functools.wraps(method)
    def wrapped(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return now(method(self.twin, *args, **kwargs))

    return wrapped


def blocking_iterator(method: Callable[Concatenate[Any, P], AsyncIterator[R]]) -> Callable[Concatenate[Any, P], Iterator[R]]:
    """The same for a method that is an asynchronous generator."""

    @functools.wraps(method)
    def wrapped(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        return each(method(self.twin, *args, **kwargs))

    return wrapped
