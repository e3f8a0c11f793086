"""Downloads that go on where they broke off and are checked at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from portal.client.connection import Connection
from portal.client.errors import DownloadError, PortalError, UnreachableError

CHUNK = 1 << 18
ROUNDS = 2

Progress = Callable[[float, str], None]


def silent(fraction: float, text: str) -> None:
    """Progress that nobody watches."""


async def fetch(connection: Connection, path: str, target: Path, *, size: int, sha256: str, progress: Progress = silent) -> Path:
    """Download to ``target``.

    The bytes go to ``<target>.part`` until their sha256 was found right; a part that is there already is continued. A target that
    is there with the right content is left as it is.

    Raises
    ------
    PortalError
        The portal refuses or cannot be reached any more, or the bytes are wrong.
    """
    call = connection.wire.call
    if target.is_file() and target.stat().st_size == size and await call(_sha256, target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    for _ in range(ROUNDS):
        await _whole(connection, path, part, target.name, size, sha256, progress)
        if await call(_sha256, part) == sha256:
            return part.replace(target)
        part.unlink()  # once more, from the beginning
    raise DownloadError(
        f"{target.name} did not arrive as the portal has it.",
        hint="Something in between changes the bytes.",
        code="download.damaged",
    )


async def _whole(connection: Connection, path: str, part: Path, name: str, size: int, sha256: str, progress: Progress) -> None:
    """Fetch what is missing of ``size`` bytes. The attempts are counted anew whenever bytes came."""
    started, attempt = time.monotonic(), 1
    while True:
        before = _length(part)
        try:
            await _continue(connection, path, part, name, size, sha256, progress)
        except PortalError as error:
            if _length(part) > before:
                started, attempt = time.monotonic(), 1
            pause = connection.retries.after(error, attempt, time.monotonic() - started, repeatable=True)
            if pause is None:
                raise
            await connection.wire.sleep(pause)
            attempt += 1
        else:
            return


async def _continue(connection: Connection, path: str, part: Path, name: str, size: int, sha256: str, progress: Progress) -> None:
    have = _length(part)
    if have > size:
        part.unlink()
        have = 0
    if have == size and part.exists():
        return
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{sha256}"'} if have else {}
    call = connection.wire.call
    async with connection.stream("GET", path, headers=headers) as reply:
        partial = reply.response.status_code == 206
        file = cast("BinaryIO", await call(part.open, "ab" if partial else "wb"))
        try:
            done = have if partial else 0
            async for chunk in reply.chunks(CHUNK):
                await call(file.write, chunk)
                done += len(chunk)
                progress(min(done / size, 1.0) if size else 1.0, f"Downloading {name}")
        finally:
            file.close()
    if done < size:
        raise UnreachableError(f"{connection.url} sent {done} of {size} bytes of {name}.", code="unreachable")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
