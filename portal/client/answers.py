"""An answer that is being written: its events, or the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

from portal.client.assistant import Assistant, AsyncAssistant, Done, Event
from portal.client.display import turn_html
from portal.client.errors import StreamError
from portal.client.models import Turn

BROKEN = "The answer broke off."


class Answer(Iterator[Event]):
    """The events of an answer, one after the other; `turn` and `text` wait for its end."""

    def __init__(self, assistant: Assistant, question: str, **options: Any) -> None:
        started = assistant.start(question, **options)
        self.id = started.id
        self._turn: Turn | None = None
        self._events = assistant.follow(started.id)

    def __next__(self) -> Event:
        event = next(self._events)
        if isinstance(event, Done):
            self._turn = event.turn
        return event

    @property
    def turn(self) -> Turn:
        """The whole answer, once it has ended."""
        for _ in self:
            pass
        if self._turn is None:
            raise StreamError(BROKEN, hint="Ask again.", code="stream")
        return self._turn

    @property
    def text(self) -> str:
        """The answer's text in Markdown, once it has ended."""
        return self.turn.text

    def _repr_html_(self) -> str:
        return turn_html(self.turn)

    def __repr__(self) -> str:
        return f"<answer {self.id}: {'being written' if self._turn is None else self._turn.state}>"


class AsyncAnswer(AsyncIterator[Event]):
    """The events of an answer, by ``async for``; ``await`` waits for its end and gives the `Turn`."""

    def __init__(self, assistant: AsyncAssistant, question: str, **options: Any) -> None:
        self._turn: Turn | None = None
        self._events = assistant.ask(question, **options)

    async def __anext__(self) -> Event:
        event = await anext(self._events)
        if isinstance(event, Done):
            self._turn = event.turn
        return event

    def __await__(self) -> Generator[Any, Any, Turn]:
        return self._whole().__await__()

    async def _whole(self) -> Turn:
        async for _ in self:
            pass
        if self._turn is None:
            raise StreamError(BROKEN, hint="Ask again.", code="stream")
        return self._turn
