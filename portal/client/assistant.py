"""Questions to a portal's assistant, answered as a stream of events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from portal.client.blocking import blocking, blocking_iterator
from portal.client.connection import Connection
from portal.client.errors import PortalError, StreamError, UnreachableError
from portal.client.models import Passage, Turn, known


@dataclass(frozen=True)
class State:
    """The answer's state changed."""

    state: str


@dataclass(frozen=True)
class Passages:
    """The passages were found."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Text:
    """The text changed.

    Attributes
    ----------
    added
        What is new at its end; the whole, where ``corrected``.
    text
        The whole so far.
    corrected
        Whether text that was there before was replaced.
    """

    added: str
    text: str
    corrected: bool = False


@dataclass(frozen=True)
class Done:
    """The answer has ended; the last event."""

    turn: Turn


Event = State | Passages | Text | Done


class AsyncAssistant:
    """What can be asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ask(
        self, question: str, *, conversation: str | None = None, k: int = 0, use_model: bool = True
    ) -> AsyncIterator[Event]:
        """Ask, and follow the answer: `Passages`, then `Text` by `Text`, then `Done`.

        Parameters
        ----------
        conversation
            The conversation to go on with, from an earlier `Turn`.
        k
            How many passages to find; 0: as many as suit.
        use_model
            Whether the language model writes; otherwise the best passages are the answer.
        """
        turn = await self.start(question, conversation=conversation, k=k, use_model=use_model)
        async for event in self.follow(turn.id):
            yield event

    async def start(self, question: str, *, conversation: str | None = None, k: int = 0, use_model: bool = True) -> Turn:
        """Ask without waiting; options as for `ask`. `follow` or `get` tells how it goes on."""
        body: dict[str, Any] = {"question": question, "options": {"k": k, "use_model": use_model}}
        if conversation:
            body["conversation"] = conversation
        return Turn.read(await self._connection.json("POST", "ask", json=body))

    async def answer(self, question: str, *, conversation: str | None = None, k: int = 0, use_model: bool = True) -> Turn:
        """Ask and wait for the whole answer; options as for `ask`."""
        async for event in self.ask(question, conversation=conversation, k=k, use_model=use_model):
            if isinstance(event, Done):
                return event.turn
        raise StreamError("The answer broke off.", hint="Ask again.", code="stream")

    async def get(self, turn: str) -> Turn:
        """The answer as it is now."""
        return Turn.read(await self._connection.json("GET", f"ask/{turn}"))

    async def stop(self, turn: str) -> Turn:
        """End an answer that is being written."""
        return Turn.read(await self._connection.json("POST", f"ask/{turn}/stop"))

    async def feedback(self, turn: str, useful: bool | None, reason: str = "") -> None:
        """Say whether an answer was useful; None takes it back."""
        body = {"useful": useful, "reason": reason}
        await self._connection.json("POST", f"ask/{turn}/feedback", json=body, repeatable=True)

    async def retrieve(self, query: str, k: int = 10) -> list[Passage]:
        """The passages for a query, best first."""
        found = await self._connection.json("POST", "retrieve", json={"query": query, "k": k}, repeatable=True)
        return [known(Passage, each) for each in found["passages"]]

    async def look_up(self, name: str, k: int = 4) -> list[Passage]:
        """What the documentation says of one class, method or function by its exact name; nothing where none names it."""
        found = await self._connection.json("GET", "symbols", params={"name": name, "k": k})
        return [known(Passage, each) for each in found["passages"]]

    async def follow(self, turn: str) -> AsyncIterator[Event]:
        """The events of an answer, once each even where the connection breaks: every stream begins with all there is."""
        text, state, found = "", "", False
        retries, started, attempt = self._connection.retries, time.monotonic(), 1
        while True:
            streamed = ""
            try:
                async with self._connection.stream("GET", f"ask/{turn}/events") as reply:
                    async for name, data in _events(reply.lines()):
                        if name == "done":
                            yield Done(Turn.read(data))
                            return
                        if name == "state" and data["state"] != state:
                            state = data["state"]
                            yield State(state)
                        if name == "passages" and not found:
                            found = True
                            yield Passages(tuple(known(Passage, each) for each in data["passages"]))
                        if name == "text":
                            streamed = streamed[: data["offset"]] + data["text"]
                            if streamed != text and not text.startswith(streamed):
                                grown = streamed.startswith(text)
                                added = streamed[len(text) :] if grown else streamed
                                text = streamed
                                started, attempt = time.monotonic(), 1
                                yield Text(added, text, corrected=not grown)
                raise StreamError("The answer broke off.", hint="Ask again.", code="stream")
            except PortalError as error:
                lost = UnreachableError(error.message) if isinstance(error, StreamError) else error
                pause = retries.after(lost, attempt, time.monotonic() - started, repeatable=True)
                if pause is None:
                    raise
            await self._connection.wire.sleep(pause)
            attempt += 1


class Assistant:
    """What can be asked; `AsyncAssistant` without ``await``."""

    def __init__(self, twin: AsyncAssistant) -> None:
        self.twin = twin

    start = blocking(AsyncAssistant.start)
    answer = blocking(AsyncAssistant.answer)
    get = blocking(AsyncAssistant.get)
    stop = blocking(AsyncAssistant.stop)
    feedback = blocking(AsyncAssistant.feedback)
    retrieve = blocking(AsyncAssistant.retrieve)
    look_up = blocking(AsyncAssistant.look_up)
    ask = blocking_iterator(AsyncAssistant.ask)
    follow = blocking_iterator(AsyncAssistant.follow)


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    """Name and data of each server-sent event."""
    name, data = "", []
    async for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and name:
            yield name, json.loads("\n".join(data))
            name, data = "", []
