"""A job at hand: what it is now, and what can be done with it."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from portal.client.blocking import now
from portal.client.display import job_html
from portal.client.errors import NotFoundError
from portal.client.files import AsyncFiles
from portal.client.jobs import AsyncJobs, Jobs, succeeded
from portal.client.models import Artifact, File, Job
from portal.client.progress import Shown, shown


class Snapshot(ABC):
    """A job as it was when the portal was last asked."""

    base = ""
    """The portal's address, for links."""

    @property
    @abstractmethod
    def now(self) -> Job:
        """All of it."""

    @property
    def id(self) -> str:
        """By which the portal knows it."""
        return self.now.id

    @property
    def type(self) -> str:
        """What kind of job it is."""
        return self.now.type

    @property
    def title(self) -> str:
        """Its name."""
        return self.now.title

    @property
    def state(self) -> str:
        """``"PENDING"``, ``"RUNNING"``, ``"SUCCEEDED"``, ``"FAILED"`` or ``"CANCELLED"``."""
        return self.now.state

    @property
    def finished(self) -> bool:
        """Whether it has ended, however it did."""
        return self.now.finished

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters."""
        return self.now.params

    @property
    def error(self) -> Mapping[str, Any] | None:
        """``code``, ``message`` and ``hint`` where it failed."""
        return self.now.error

    @property
    def result(self) -> Mapping[str, Any] | None:
        """Notes, figures, plots and tables, once it succeeded."""
        return self.now.result

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The files that it made, once it succeeded."""
        return self.now.artifacts

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of its result, value by label."""
        return {each["label"]: each["value"] for each in (self.result or {}).get("figures", ())}

    def artifact(self, name: str) -> Artifact:
        """The artefact with this name.

        Raises
        ------
        NotFoundError
            There is none; the error names those there are.
        """
        for each in self.artifacts:
            if each.name == name:
                return each
        there = ", ".join(each.name for each in self.artifacts) or "none"
        raise NotFoundError(f"The job has no artefact {name!r}.", hint=f"Its artefacts: {there}.", code="not-found")

    def _repr_html_(self) -> str:
        return job_html(self.now, self.base)

    def __repr__(self) -> str:
        return f"<job {self.id} {self.type} {self.state}: {self.title}>"


class AsyncJobHandle(Snapshot):
    """A job at hand, for asynchronous code."""

    def __init__(self, jobs: AsyncJobs, job: Job) -> None:
        self._jobs = jobs
        self._now = job
        self.base = jobs.url

    @property
    def now(self) -> Job:
        """All of it, as it was when the portal was last asked."""
        return self._now

    async def refresh(self) -> AsyncJobHandle:
        """Ask the portal how it is now."""
        self._now = await self._jobs.get(self.id)
        return self

    async def wait(
        self,
        *,
        progress: Shown = "auto",
        log: Callable[[str], None] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> AsyncJobHandle:
        """Wait until it has ended; parameters and errors as of `AsyncJobs.wait`, progress shown as suits the place."""
        with shown(progress) as show:
            try:
                self._now = await self._jobs.wait(self.now, progress=show, log=log, timeout=timeout, check=False)
            finally:
                show(*_last(self.now))
        if check:
            succeeded(self.now)
        return self

    async def cancel(self) -> AsyncJobHandle:
        """Cancel it: at once where it waits, within seconds where it runs."""
        self._now = await self._jobs.cancel(self.id)
        return self

    async def retry(self) -> AsyncJobHandle:
        """A new job with the same type and parameters."""
        return AsyncJobHandle(self._jobs, await self._jobs.retry(self.id))

    async def delete(self) -> None:
        """Remove it with its artefacts, once it has ended."""
        await self._jobs.delete(self.id)

    def log(self, *, follow: bool = False) -> AsyncIterator[str]:
        """Its log in pieces; with ``follow`` until it has ended."""
        return self._jobs.log(self.id, follow=follow)

    async def manifest(self) -> dict[str, Any]:
        """Versions, options and inputs behind the result."""
        return await self._jobs.manifest(self.id)

    async def download(self, folder: str | Path = ".", name: str = "", *, progress: Shown = "auto") -> tuple[Path, ...]:
        """Download its artefacts, or the one with this name, into a folder, each checked by its sha256."""
        wanted = (self.artifact(name),) if name else self.artifacts
        with shown(progress) as show:
            return tuple([await self._jobs.download_artifact(each, folder, progress=show) for each in wanted])

    async def read(self, name: str) -> bytes:
        """The bytes of the artefact with this name, checked by its sha256."""
        with tempfile.TemporaryDirectory() as folder:
            return (await self._jobs.download_artifact(self.artifact(name), folder)).read_bytes()


class JobHandle(Snapshot):
    """A job at hand; `AsyncJobHandle` without ``await``."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self._jobs = jobs
        self._twin = AsyncJobHandle(jobs.twin, job)
        self.base = jobs.twin.url

    @property
    def now(self) -> Job:
        """All of it, as it was when the portal was last asked."""
        return self._twin.now

    def refresh(self) -> JobHandle:
        """Ask the portal how it is now."""
        now(self._twin.refresh())
        return self

    def wait(
        self,
        *,
        progress: Shown = "auto",
        log: Callable[[str], None] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> JobHandle:
        """Wait until it has ended; parameters and errors as of `AsyncJobs.wait`, progress shown as suits the place."""
        now(self._twin.wait(progress=progress, log=log, timeout=timeout, check=check))
        return self

    def cancel(self) -> JobHandle:
        """Cancel it: at once where it waits, within seconds where it runs."""
        now(self._twin.cancel())
        return self

    def retry(self) -> JobHandle:
        """A new job with the same type and parameters."""
        return JobHandle(self._jobs, self._jobs.retry(self.id))

    def delete(self) -> None:
        """Remove it with its artefacts, once it has ended."""
        self._jobs.delete(self.id)

    def log(self, *, follow: bool = False) -> Iterator[str]:
        """Its log in pieces; with ``follow`` until it has ended."""
        return self._jobs.log(self.id, follow=follow)

    def manifest(self) -> dict[str, Any]:
        """Versions, options and inputs behind the result."""
        return self._jobs.manifest(self.id)

    def download(self, folder: str | Path = ".", name: str = "", *, progress: Shown = "auto") -> tuple[Path, ...]:
        """Download its artefacts, or the one with this name, into a folder, each checked by its sha256."""
        return now(self._twin.download(folder, name, progress=progress))

    def read(self, name: str) -> bytes:
        """The bytes of the artefact with this name, checked by its sha256."""
        return now(self._twin.read(name))


def _last(job: Job) -> tuple[float, str]:
    """What the progress says at the end."""
    if job.state == "SUCCEEDED":
        return 1.0, "Done"
    words = {"FAILED": "Failed", "CANCELLED": "Cancelled"}
    return float(job.progress.get("fraction", 0.0)), words.get(job.state, "It goes on")


async def with_files(files: AsyncFiles, params: Mapping[str, Any], progress: Shown) -> dict[str, Any]:
    """Parameters as the portal takes them: a `File` becomes its id, a `pathlib.Path` is uploaded first."""
    with shown(progress) if any(map(_has_path, params.values())) else shown(None) as show:

        async def plain(value: Any) -> Any:
            if isinstance(value, Path):
                return (await files.upload(value, progress=show)).id
            if isinstance(value, File):
                return value.id
            if isinstance(value, Mapping):
                return {name: await plain(each) for name, each in value.items()}
            if isinstance(value, list | tuple):
                return [await plain(each) for each in value]
            return value

        return {name: await plain(value) for name, value in params.items()}


def _has_path(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_path, value.values()))
    return isinstance(value, Path) or (isinstance(value, list | tuple) and any(map(_has_path, value)))
