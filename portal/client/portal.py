"""The portal, as the client sees it: `Portal`, and `AsyncPortal` for asynchronous code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from portal.client.answers import Answer, AsyncAnswer
from portal.client.assistant import Assistant, AsyncAssistant
from portal.client.blocking import now
from portal.client.connection import Connection, connect, connect_async
from portal.client.conversations import AsyncConversations, Conversations
from portal.client.files import AsyncFiles, Files
from portal.client.handles import AsyncJobHandle, JobHandle, with_files
from portal.client.jobs import AsyncJobs, Jobs
from portal.client.models import File, JobType, Passage
from portal.client.progress import Shown, shown
from portal.client.retries import Retries

TIMEOUT_SECONDS = 60.0


class AsyncPortal:
    """A portal elsewhere, for asynchronous code. Close it, or use it as an asynchronous context manager.

    Parameters and attributes are those of `Portal`.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._begin(connect_async(url, token, timeout, transport, retries or Retries()))

    def _begin(self, connection: Connection) -> None:
        self._connection = connection
        self.url = connection.url
        self.jobs = AsyncJobs(connection)
        self.files = AsyncFiles(connection)
        self.assistant = AsyncAssistant(connection)
        self.conversations = AsyncConversations(connection)

    @classmethod
    def over(cls, connection: Connection) -> AsyncPortal:
        """The portal at the end of a connection."""
        there = cls.__new__(cls)
        there._begin(connection)
        return there

    async def __aenter__(self) -> AsyncPortal:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.wire.close()

    def ask(self, question: str, **options: Any) -> AsyncAnswer:
        """Ask; ``async for`` follows the answer, ``await`` waits for it. Options as of `AsyncAssistant.ask`."""
        return AsyncAnswer(self.assistant, question, **options)

    async def upload(self, path: str | Path, *, name: str = "", progress: Shown = "auto") -> File:
        """Upload a file of any size. The same content under the same name is stored once."""
        with shown(progress) as show:
            return await self.files.upload(path, name=name, progress=show)

    async def submit(
        self,
        type: str,  # noqa: A002 - the API's name
        params: Mapping[str, Any] | None = None,
        *,
        title: str = "",
        progress: Shown = "auto",
        **more: Any,
    ) -> AsyncJobHandle:
        """Submit a job; parameters as of `Portal.submit`."""
        plain = await with_files(self.files, dict(params or {}) | more, progress)
        return AsyncJobHandle(self.jobs, await self.jobs.submit(type, plain, title=title))

    async def job(self, id: str) -> AsyncJobHandle:  # noqa: A002 - what it is
        """A job that was submitted before."""
        return AsyncJobHandle(self.jobs, await self.jobs.get(id))

    async def job_types(self) -> list[JobType]:
        """The kinds of job that you may start."""
        return await self.jobs.types()

    async def retrieve(self, query: str, k: int = 10) -> list[Passage]:
        """The passages for a query, best first."""
        return await self.assistant.retrieve(query, k)

    async def look_up(self, name: str, k: int = 4) -> list[Passage]:
        """What the documentation says of a name; see `AsyncAssistant.look_up`."""
        return await self.assistant.look_up(name, k)

    async def status(self) -> dict[str, Any]:
        """How the portal is: whether it ``serves``, and its ``parts``."""
        found: dict[str, Any] = await self._connection.json("GET", "status")
        return found

    async def me(self) -> dict[str, Any]:
        """Who you are there, and what you use of what you may."""
        found: dict[str, Any] = await self._connection.json("GET", "me")
        return found


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
    retries
        When requests are sent again; see `Retries`.

    Attributes
    ----------
    jobs, files, assistant, conversations
        What can be done there.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._connection = connect(url, token, timeout, transport, retries or Retries())
        self.twin = AsyncPortal.over(self._connection)
        self.url = self.twin.url
        self.jobs = Jobs(self.twin.jobs)
        self.files = Files(self.twin.files)
        self.assistant = Assistant(self.twin.assistant)
        self.conversations = Conversations(self.twin.conversations)

    def __enter__(self) -> Portal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        now(self.twin.close())

    def ask(self, question: str, **options: Any) -> Answer:
        """Ask, and follow the answer event by event, or take its ``text``; options as of `AsyncAssistant.ask`."""
        return Answer(self.assistant, question, **options)

    def upload(self, path: str | Path, *, name: str = "", progress: Shown = "auto") -> File:
        """Upload a file of any size. The same content under the same name is stored once."""
        return now(self.twin.upload(path, name=name, progress=progress))

    def submit(
        self,
        type: str,  # noqa: A002 - the API's name
        params: Mapping[str, Any] | None = None,
        *,
        title: str = "",
        progress: Shown = "auto",
        **more: Any,
    ) -> JobHandle:
        """Submit a job.

        Parameters
        ----------
        type
            The kind of job, for example ``"forest-to-cpp"``; see `job_types`.
        params, more
            Its parameters, by a mapping or by name. Where one is a file: a `File`, the id of one, or a `pathlib.Path`, which is
            uploaded first.
        title
            A name for the job.
        progress
            Where the progress of uploads goes.

        Raises
        ------
        InvalidError
            A parameter is wrong; ``problems`` names it.
        BusyError
            Too many jobs of yours wait or run.
        """
        plain = now(with_files(self.twin.files, dict(params or {}) | more, progress))
        return JobHandle(self.jobs, self.jobs.submit(type, plain, title=title))

    def job(self, id: str) -> JobHandle:  # noqa: A002 - what it is
        """A job that was submitted before."""
        return JobHandle(self.jobs, self.jobs.get(id))

    def job_types(self) -> list[JobType]:
        """The kinds of job that you may start."""
        return self.jobs.types()

    def retrieve(self, query: str, k: int = 10) -> list[Passage]:
        """The passages for a query, best first."""
        return self.assistant.retrieve(query, k)

    def look_up(self, name: str, k: int = 4) -> list[Passage]:
        """What the documentation says of a name; see `AsyncAssistant.look_up`."""
        return self.assistant.look_up(name, k)

    def status(self) -> dict[str, Any]:
        """How the portal is: whether it ``serves``, and its ``parts``."""
        return now(self.twin.status())

    def me(self) -> dict[str, Any]:
        """Who you are there, and what you use of what you may."""
        return now(self.twin.me())
