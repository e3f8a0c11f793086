"""The library of a portal."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

from portal.client.blocking import blocking, blocking_iterator
from portal.client.connection import PREFIX, Connection
from portal.client.downloads import Progress, fetch, silent
from portal.client.errors import TimedOutError
from portal.client.models import File, known

CHUNK = 1 << 20
INSPECTION_PAUSE_SECONDS = 0.5


class AsyncFiles:
    """What can be done with files. Where a file is asked for, its id does as well."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self, *, kind: str | None = None, q: str | None = None) -> AsyncIterator[File]:
        """Your files, newest first, read page by page."""
        given = {"kind": kind, "q": q}
        async for each in self._connection.pages("files", {name: value for name, value in given.items() if value}):
            yield known(File, each)

    async def upload(self, path: str | Path, *, name: str = "", progress: Progress = silent) -> File:
        """Upload a file of any size, read while it is sent. The same content under the same name is stored once.

        Raises
        ------
        PortalError
            The file is too large, or of a kind that is never loaded, such as pickle.
        OSError
            The file cannot be read.
        """
        path = Path(path)
        name = name or path.name
        size = path.stat().st_size
        call = self._connection.wire.call

        async def chunks() -> AsyncIterator[bytes]:
            sent = 0
            with path.open("rb") as file:
                while chunk := await call(file.read, CHUNK):
                    yield chunk
                    sent += len(chunk)
                    progress(min(sent / size, 1.0) if size else 1.0, f"Uploading {name}")

        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        data = await self._connection.json("PUT", "files", params={"name": name}, body=chunks, headers=headers)
        return known(File, data)

    async def get(self, file: File | str) -> File:
        """The file with what was found in it."""
        return known(File, await self._connection.json("GET", f"files/{_id(file)}"))

    async def inspect(self, file: File | str, *, timeout: float = 120.0) -> File:
        """The file once its inspection has ended.

        Raises
        ------
        PortalError
            The inspection did not end in time.
        """
        started = time.monotonic()
        while True:
            now = await self.get(file)
            if now.inspection is None or now.inspection["state"] not in ("PENDING", "RUNNING"):
                return now
            if time.monotonic() - started > timeout:
                raise TimedOutError(f"The inspection of {now.name} did not end within {timeout:g} s.", code="timeout")
            await self._connection.wire.sleep(INSPECTION_PAUSE_SECONDS)

    async def delete(self, file: File | str) -> None:
        """Remove a file. Jobs that used it keep their results."""
        await self._connection.json("DELETE", f"files/{_id(file)}")

    async def download(self, file: File | str, target: str | Path | None = None, *, progress: Progress = silent) -> Path:
        """Download a file, checked by its sha256; to its own name in this folder by default."""
        found = file if isinstance(file, File) else await self.get(file)
        path = Path(target) if target is not None else Path(Path(found.name).name)
        url = f"{PREFIX}files/{found.id}/content"
        return await fetch(self._connection, url, path, size=found.size, sha256=found.sha256, progress=progress)


class Files:
    """What can be done with files; `AsyncFiles` without ``await``. Where a file is asked for, its id does as well."""

    def __init__(self, twin: AsyncFiles) -> None:
        self.twin = twin

    upload = blocking(AsyncFiles.upload)
    get = blocking(AsyncFiles.get)
    inspect = blocking(AsyncFiles.inspect)
    delete = blocking(AsyncFiles.delete)
    download = blocking(AsyncFiles.download)
    list = blocking_iterator(AsyncFiles.list)


def _id(file: File | str) -> str:
    return file.id if isinstance(file, File) else file
