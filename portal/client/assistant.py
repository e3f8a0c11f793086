"""Questions to a portal's assistant, answered as a stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from portal.client.connection import Connection
from portal.client.errors import PortalError
from portal.client.models import Passage, Turn, known

RECONNECTS = 5


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


class Assistant:
    """What can be asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, question: str, *, conversation: str | None = None, k: int = 0, use_model: bool = True) -> Iterator[Event]:
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
        body: dict[str, Any] = {"question": question, "options": {"k": k, "use_model": use_model}}
        if conversation:
            body["conversation"] = conversation
        return self._follow(Turn.read(self._connection.json("POST", "ask", json=body)))

    def answer(self, question: str, **options: Any) -> Turn:
        """Ask and wait for the whole answer; ``options`` as for `ask`."""
        for event in self.ask(question, **options):
            if isinstance(event, Done):
                return event.turn
        raise PortalError("The answer broke off.", hint="Ask again.", code="stream")

    def get(self, turn: str) -> Turn:
        """The answer as it is now."""
        return Turn.read(self._connection.json("GET", f"ask/{turn}"))

    def stop(self, turn: str) -> Turn:
        """End an answer that is being written."""
        return Turn.read(self._connection.json("POST", f"ask/{turn}/stop"))

    def feedback(self, turn: str, useful: bool | None, reason: str = "") -> None:
        """Say whether an answer was useful; None takes it back."""
        self._connection.json("POST", f"ask/{turn}/feedback", json={"useful": useful, "reason": reason})

    def retrieve(self, query: str, k: int = 10) -> list[Passage]:
        """The passages for a query, best first."""
        found = self._connection.json("POST", "retrieve", json={"query": query, "k": k})
        return [known(Passage, each) for each in found["passages"]]

    def look_up(self, name: str, k: int = 4) -> list[Passage]:
        """What the documentation says of one class, method or function by its exact name; nothing where none names it."""
        found = self._connection.json("GET", "symbols", params={"name": name, "k": k})
        return [known(Passage, each) for each in found["passages"]]

    def _follow(self, turn: Turn) -> Iterator[Event]:
        """The events, once each even where the connection breaks: every stream begins with all there is."""
        text, state, found = "", "", False
        for attempt in range(RECONNECTS + 1):
            streamed = ""
            try:
                with self._connection.stream("GET", f"ask/{turn.id}/events") as response:
                    for name, data in _events(response.iter_lines()):
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
                                yield Text(added, text, corrected=not grown)
            except PortalError as error:
                if error.status or attempt == RECONNECTS:
                    raise
        raise PortalError("The answer broke off.", hint="Ask again.", code="stream")


def _events(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Name and data of each server-sent event."""
    name, data = "", []
    for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and name:
            yield name, json.loads("\n".join(data))
            name, data = "", []
