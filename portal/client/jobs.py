"""Jobs of a portal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from portal.client.connection import Connection
from portal.client.downloads import Progress, fetch, silent
from portal.client.errors import PortalError
from portal.client.models import Artifact, File, Job, JobType, known

POLL_SECONDS = (0.2, 2.0)  # first and longest pause between two looks at a job


class Jobs:
    """What can be done with jobs. Where a job is asked for, its id does as well."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def types(self) -> list[JobType]:
        """The job types that you may start."""
        return [known(JobType, each, gives=tuple(each["gives"])) for each in self._connection.json("GET", "job-types")]

    def submit(self, type: str, params: Mapping[str, Any] | None = None, *, title: str = "") -> Job:  # noqa: A002 - the API's name
        """Make a job and queue it. Parameters that are files take the id of an uploaded file."""
        body = {"type": type, "params": dict(params or {}), "title": title}
        return Job.read(self._connection.json("POST", "jobs", json=body))

    def get(self, job: Job | str) -> Job:
        """The job as it is now, with result and artefacts."""
        return Job.read(self._connection.json("GET", f"jobs/{_id(job)}"))

    def list(self, *, state: str | None = None, type: str | None = None, q: str | None = None) -> Iterator[Job]:  # noqa: A002
        """Your jobs, newest first, read page by page."""
        given = {"state": state, "type": type, "q": q}
        return map(Job.read, self._connection.pages("jobs", {name: value for name, value in given.items() if value}))

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job that waits or runs."""
        return Job.read(self._connection.json("POST", f"jobs/{_id(job)}/cancel"))

    def retry(self, job: Job | str) -> Job:
        """A new job with the same type and parameters, which goes on with what the earlier one kept."""
        return Job.read(self._connection.json("POST", f"jobs/{_id(job)}/retry"))

    def keep(self, job: Job | str, artifact: Artifact) -> File:
        """Put a file that a job made into your library, where other jobs take it."""
        return known(File, self._connection.json("POST", f"jobs/{_id(job)}/artifacts/{artifact.id}/keep"))

    def delete(self, job: Job | str) -> None:
        """Remove an ended job with its artefacts."""
        self._connection.json("DELETE", f"jobs/{_id(job)}")

    def log(self, job: Job | str, *, follow: bool = False) -> Iterator[str]:
        """The job's log in pieces; with ``follow`` until the job has ended."""
        after = 0
        while True:
            part = self._connection.json("GET", f"jobs/{_id(job)}/log", params={"after": after})
            if part["text"]:
                yield part["text"]
            after = part["after"]
            if part["finished"] or not follow:
                return
            time.sleep(0.5)

    def manifest(self, job: Job | str) -> dict[str, Any]:
        """Versions, options and inputs behind the result."""
        found: dict[str, Any] = self._connection.json("GET", f"jobs/{_id(job)}/manifest")
        return found

    def wait(
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
        PortalError
            The job failed or was cancelled (with ``check``), or did not end in time.
        """
        pause, longest = POLL_SECONDS
        started = time.monotonic()
        after = 0
        while True:
            now = self.get(job)
            if log is not None:
                part = self._connection.json("GET", f"jobs/{now.id}/log", params={"after": after})
                after = part["after"]
                if part["text"]:
                    log(part["text"])
            if now.finished:
                break
            waiting = now.state == "PENDING"
            progress(now.progress["fraction"], "Waiting for a worker" if waiting else now.progress["text"])
            if timeout is not None and time.monotonic() - started > timeout:
                raise PortalError(f"The job {now.id} did not end within {timeout:g} s; it goes on.", code="timeout")
            time.sleep(pause)
            pause = min(pause * 1.3, longest)
        if check and now.state == "FAILED":
            error = now.error or {}
            raise PortalError(
                str(error.get("message", "The job failed.")), hint=str(error.get("hint", "")), code=str(error.get("code"))
            )
        if check and now.state == "CANCELLED":
            raise PortalError("The job was cancelled.", code="job.cancelled")
        return now

    def artifacts(self, job: Job | str) -> tuple[Artifact, ...]:
        """The files that a job made."""
        return tuple(known(Artifact, each) for each in self._connection.json("GET", f"jobs/{_id(job)}/artifacts"))

    def download(self, job: Job | str, folder: str | Path = ".", *, progress: Progress = silent) -> tuple[Path, ...]:
        """Download all artefacts into a folder, each checked by its sha256; what is there already is not fetched again."""
        return tuple(self.download_artifact(each, folder, progress=progress) for each in self.artifacts(job))

    def download_artifact(self, artifact: Artifact, folder: str | Path = ".", *, progress: Progress = silent) -> Path:
        """Download one artefact into a folder."""
        name = Path(artifact.name).name
        if not name or name in (".", ".."):
            raise PortalError(f"An artefact is called {artifact.name!r}, which is no file name.", code="download.name")
        target = Path(folder) / name
        return fetch(self._connection, artifact.url, target, size=artifact.size, sha256=artifact.sha256, progress=progress)


def _id(job: Job | str) -> str:
    return job.id if isinstance(job, Job) else job
