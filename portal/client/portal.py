"""The portal, as the client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import httpx

from portal.client.assistant import Assistant, Event
from portal.client.connection import Connection
from portal.client.conversations import Conversations
from portal.client.files import Files
from portal.client.jobs import Jobs
from portal.client.models import Passage


class Portal:
    """A portal elsewhere. Close it, or use it as a context manager.

    Parameters
    ----------
    url
        Its address, for example ``"https://portal.example.org"``.
    token
        An API token of yours there.
    timeout
        Seconds without a byte after which a request is given up.
    transport
        How requests travel; the network by default.

    Attributes
    ----------
    jobs, files, assistant, conversations
        What can be done there.
    """

    def __init__(self, url: str, token: str = "", *, timeout: float = 60.0, transport: httpx.BaseTransport | None = None) -> None:
        self._connection = Connection(url, token, timeout, transport)
        self.url = self._connection.url
        self.jobs = Jobs(self._connection)
        self.files = Files(self._connection)
        self.assistant = Assistant(self._connection)
        self.conversations = Conversations(self._connection)

    def __enter__(self) -> Portal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.http.close()

    def ask(self, question: str, **options: Any) -> Iterator[Event]:
        """Ask, and follow the answer; see `Assistant.ask`."""
        return self.assistant.ask(question, **options)

    def retrieve(self, query: str, k: int = 10) -> list[Passage]:
        """The passages for a query, best first."""
        return self.assistant.retrieve(query, k)

    def look_up(self, name: str, k: int = 4) -> list[Passage]:
        """What the documentation says of a name; see `Assistant.look_up`."""
        return self.assistant.look_up(name, k)

    def status(self) -> dict[str, Any]:
        """How the portal is: whether it ``serves``, and its ``parts``."""
        found: dict[str, Any] = self._connection.json("GET", "status")
        return found

    def me(self) -> dict[str, Any]:
        """Who you are there, and what you use of what you may."""
        found: dict[str, Any] = self._connection.json("GET", "me")
        return found
