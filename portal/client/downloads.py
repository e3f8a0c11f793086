"""Downloads that go on where they broke off and are checked at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from portal.client.connection import Connection
from portal.client.errors import PortalError

CHUNK = 1 << 18
TRIES = 5
PAUSE_SECONDS = 0.5

Progress = Callable[[float, str], None]


def silent(fraction: float, text: str) -> None:
    """Progress that nobody watches."""


def fetch(connection: Connection, path: str, target: Path, *, size: int, sha256: str, progress: Progress = silent) -> Path:
    """Download to ``target``.

    The bytes go to ``<target>.part`` until their sha256 was found right; a part that is there already is continued. A target that
    is there with the right content is left as it is.

    Raises
    ------
    PortalError
        The portal refuses or cannot be reached any more, or the bytes are wrong.
    """
    if target.is_file() and target.stat().st_size == size and _sha256(target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    for attempt in range(1, TRIES + 1):
        try:
            _continue(connection, path, part, target.name, size, sha256, progress)
        except PortalError as error:
            if error.status or attempt == TRIES:
                raise
            time.sleep(PAUSE_SECONDS * attempt)
            continue
        if part.stat().st_size == size and _sha256(part) == sha256:
            return part.replace(target)
        if part.stat().st_size >= size:
            part.unlink()  # once more, from the beginning
    raise PortalError(
        f"{target.name} did not arrive as the portal has it.",
        hint="Something in between changes the bytes.",
        code="download.damaged",
    )


def _continue(connection: Connection, path: str, part: Path, name: str, size: int, sha256: str, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size and part.exists():
        return
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{sha256}"'} if have else {}
    with connection.stream("GET", path, headers=headers) as response:
        partial = response.status_code == 206
        with part.open("ab" if partial else "wb") as file:
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                progress(min(file.tell() / size, 1.0) if size else 1.0, f"Downloading {name}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
