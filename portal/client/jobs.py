"""Jobs of a portal."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from portal.client.blocking import blocking, blocking_iterator
from portal.client.connection import Connection
from portal.client.downloads import Progress, fetch, silent
from portal.client.errors import DownloadError, JobCancelledError, JobFailedError, TimedOutError
from portal.client.models import Artifact, File, Job, JobType, known

POLL_SECONDS = (0.2, 2.0)  # first and longest pause between two looks at a job


class AsyncJobs:
    """What can be done with jobs. Where a job is asked for, its id does as well."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.url = connection.url

    async def types(self) -> list[JobType]:
        """The job types that you may start."""
        return [known(JobType, each, gives=tuple(each["gives"])) for each in await self._connection.json("GET", "job-types")]

    async def submit(self, type: str, params: Mapping[str, Any] | None = None, *, title: str = "") -> Job:  # noqa: A002 - the API's name
        """Make a job and queue it, once however often the request has to be sent.

        Parameters that are files take the id of an uploaded file.
        """
        body = {"type": type, "params": dict(params or {}), "title": title}
        return Job.read(await self._connection.json("POST", "jobs", json=body, headers=_once(), repeatable=True))

    async def get(self, job: Job | str) -> Job:
        """The job as it is now, with result and artefacts."""
        return Job.read(await self._connection.json("GET", f"jobs/{_id(job)}"))

    async def list(self, *, state: str | None = None, type: str | None = None, q: str | None = None) -> AsyncIterator[Job]:  # noqa: A002
        """Your jobs, newest first, read page by page."""
        given = {"state": state, "type": type, "q": q}
        async for each in self._connection.pages("jobs", {name: value for name, value in given.items() if value}):
            yield Job.read(each)

    async def cancel(self, job: Job | str) -> Job:
        """Cancel a job that waits or runs."""
        return Job.read(await self._connection.json("POST", f"jobs/{_id(job)}/cancel"))

    async def retry(self, job: Job | str) -> Job:
        """A new job with the same type and parameters, which goes on with what the earlier one kept."""
        return Job.read(await self._connection.json("POST", f"jobs/{_id(job)}/retry", headers=_once(), repeatable=True))

    async def keep(self, job: Job | str, artifact: Artifact) -> File:
        """Put a file that a job made into your library, where other jobs take it."""
        return known(File, await self._connection.json("POST", f"jobs/{_id(job)}/artifacts/{artifact.id}/keep"))

    async def delete(self, job: Job | str) -> None:
        """Remove an ended job with its artefacts."""
        await self._connection.json("DELETE", f"jobs/{_id(job)}")

    async def log(self, job: Job | str, *, follow: bool = False) -> AsyncIterator[str]:
        """The job's log in pieces; with ``follow`` until the job has ended."""
        after = 0
        while True:
            part = await self._connection.json("GET", f"jobs/{_id(job)}/log", params={"after": after})
            if part["text"]:
                yield part["text"]
            after = part["after"]
            if part["finished"] or not follow:
                return
            await self._connection.wire.sleep(0.5)

    async def manifest(self, job: Job | str) -> dict[str, Any]:
        """Versions, options and inputs behind the result."""
        found: dict[str, Any] = await self._connection.json("GET", f"jobs/{_id(job)}/manifest")
        return found

    async def wait(
        self,
        job: Job | str,
        *,
        progress: Progress = silent,
        log: Callable[[str], None] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Job:
        """Wait until a job has ended.

        Parameters
        ----------
        progress
            Called with the fraction done and the step in progress.
        log
            Called with each new piece of the log.
        timeout
            Seconds after which to give up; the job goes on.
        check
            Whether a job that does not succeed is an error.

        Raises
        ------
        JobFailedError, JobCancelledError
            It did not succeed (with ``check``).
        TimedOutError
            It did not end in time.
        """
        pause, longest = POLL_SECONDS
        started = time.monotonic()
        after = 0
        while True:
            now = await self.get(job)
            if log is not None:
                part = await self._connection.json("GET", f"jobs/{now.id}/log", params={"after": after})
                after = part["after"]
                if part["text"]:
                    log(part["text"])
            if now.finished:
                break
            waiting = now.state == "PENDING"
            progress(now.progress["fraction"], "Waiting for a worker" if waiting else now.progress["text"])
            if timeout is not None and time.monotonic() - started > timeout:
                raise TimedOutError(f"The job {now.id} did not end within {timeout:g} s; it goes on.", code="timeout")
            await self._connection.wire.sleep(pause)
            pause = min(pause * 1.3, longest)
        if check:
            succeeded(now)
        return now

    async def artifacts(self, job: Job | str) -> tuple[Artifact, ...]:
        """The files that a job made."""
        return tuple(known(Artifact, each) for each in await self._connection.json("GET", f"jobs/{_id(job)}/artifacts"))

    async def download(self, job: Job | str, folder: str | Path = ".", *, progress: Progress = silent) -> tuple[Path, ...]:
        """Download all artefacts into a folder, each checked by its sha256; what is there already is not fetched again."""
        return tuple([await self.download_artifact(each, folder, progress=progress) for each in await self.artifacts(job)])

    async def download_artifact(self, artifact: Artifact, folder: str | Path = ".", *, progress: Progress = silent) -> Path:
        """Download one artefact into a folder."""
        name = Path(artifact.name).name
        if not name or name in (".", ".."):
            raise DownloadError(f"An artefact is called {artifact.name!r}, which is no file name.", code="download.name")
        target = Path(folder) / name
        return await fetch(self._connection, artifact.url, target, size=artifact.size, sha256=artifact.sha256, progress=progress)


def succeeded(job: Job) -> None:
    """Raise what keeps an ended job from having succeeded.

    Raises
    ------
    JobFailedError, JobCancelledError
        It failed, or was cancelled.
    """
    if job.state == "FAILED":
        error = job.error or {}
        message, hint = str(error.get("message", "The job failed.")), str(error.get("hint", ""))
        raise JobFailedError(message, job, hint=hint, code=str(error.get("code")))
    if job.state == "CANCELLED":
        raise JobCancelledError("The job was cancelled.", job, code="job.cancelled")


class Jobs:
    """What can be done with jobs; `AsyncJobs` without ``await``. Where a job is asked for, its id does as well."""

    def __init__(self, twin: AsyncJobs) -> None:
        self.twin = twin

    types = blocking(AsyncJobs.types)
    submit = blocking(AsyncJobs.submit)
    get = blocking(AsyncJobs.get)
    cancel = blocking(AsyncJobs.cancel)
    retry = blocking(AsyncJobs.retry)
    keep = blocking(AsyncJobs.keep)
    delete = blocking(AsyncJobs.delete)
    manifest = blocking(AsyncJobs.manifest)
    wait = blocking(AsyncJobs.wait)
    artifacts = blocking(AsyncJobs.artifacts)
    download = blocking(AsyncJobs.download)
    download_artifact = blocking(AsyncJobs.download_artifact)
    log = blocking_iterator(AsyncJobs.log)
    list = blocking_iterator(AsyncJobs.list)


def _once() -> dict[str, str]:
    """A header by which the portal knows this submission again."""
    return {"Idempotency-Key": str(uuid.uuid4())}


def _id(job: Job | str) -> str:
    return job.id if isinstance(job, Job) else job
