"""Where files are: local paths and URLs, globs and folders of them, with the name of a table behind a colon."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from mlcore import filetypes
from mlcore.errors import InputError

EXTRA = "pip install 'ml4ep-portal[remote]'"
"""What brings the packages that remote files need."""
GAP = 64 * 1024
"""Bytes between two ranges that are rather read than asked around."""
_PACKAGES = {"root": "fsspec-xrootd", "s3": "s3fs", "http": "aiohttp", "https": "aiohttp"}


@dataclass(frozen=True)
class Place:
    """A file, and the table in it.

    Attributes
    ----------
    path
        Of a local file, or a URL.
    table
        Of the tree, RNTuple or group in it; empty where none is named.
    """

    path: str
    table: str = ""

    @property
    def remote(self) -> bool:
        """Whether it is a URL."""
        return is_url(self.path)

    def __str__(self) -> str:
        return f"{self.path}:{self.table}" if self.table else self.path

    @cached_property
    def file_system(self) -> Any:
        """fsspec's of a URL."""
        return file_system(self.path)

    def open(self) -> BinaryIO:
        """The file, for random access.

        Raises
        ------
        InputError
            It cannot be opened.
        """
        try:
            if self.remote:
                return cast("BinaryIO", self.file_system.open(self.path, "rb"))
            return Path(self.path).open("rb")
        except Exception as error:
            # What file systems raise is theirs: OSError, errors of the HTTP client, of botocore and so on.
            raise _unreadable(self.path, error) from error

    def kind(self) -> filetypes.FileType:
        """Of the file, by its content.

        Raises
        ------
        InputError
            It cannot be read, or loading it would run code that is in it.
        """
        try:
            if not self.remote:
                return filetypes.refuse(Path(self.path))
            with self.open() as stream:
                return filetypes.refuse_stream(stream)
        except InputError as error:
            raise InputError(f"{self.path}: {error.message}", hint=error.hint, code=error.code) from error

    def version(self) -> tuple[str, ...]:
        """What changes when the file does: its size and the time of the last change, or what a server says instead.

        Raises
        ------
        InputError
            The file is gone.
        """
        try:
            if not self.remote:
                status = os.stat(self.path)  # noqa: PTH116 - as text, it is what was given
                return str(status.st_size), str(status.st_mtime_ns)
            self.file_system.invalidate_cache()
            info = self.file_system.info(self.path)
        except Exception as error:
            raise _unreadable(self.path, error) from error
        marks = ("size", "ETag", "etag", "LastModified", "last_modified", "mtime", "created")
        return tuple(f"{mark}={info[mark]}" for mark in marks if info.get(mark) is not None)

    @cached_property
    def size(self) -> int:
        """Of the file in bytes."""
        if not self.remote:
            return Path(self.path).stat().st_size
        return int(self.file_system.info(self.path)["size"] or 0)

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, bytes]]:
        """Pieces of a remote file that hold these ranges, each from a first byte to a last one that is not in it.

        Ranges that lie close together come as one piece. What lies behind the end of the file does not come.

        Raises
        ------
        InputError
            The file cannot be read any more.
        """
        joined = merged(ranges)
        try:
            paths = [self.path] * len(joined)
            pieces = self.file_system.cat_ranges(paths, [a for a, _ in joined], [b for _, b in joined], on_error="raise")
        except Exception as error:
            raise _unreadable(self.path, error) from error
        return [(start, bytes(piece)) for (start, _), piece in zip(joined, pieces, strict=True)]

    def read(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes at places of the file, each from a first one on and so many; fewer where the file ends.

        Raises
        ------
        InputError
            The file cannot be read.
        """
        if self.remote:
            pieces = self.fetch([(at, at + size) for at, size in spans])
            starts = [start for start, _ in pieces]
            found = []
            for at, size in spans:
                start, data = pieces[bisect_right(starts, at) - 1]
                found.append(data[at - start : at - start + size])
            return found
        with self.open() as stream:
            return [stream.read(size) for at, size in spans if stream.seek(at) >= 0]


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in ascending order, those in one that overlap or lie no more than `GAP` apart.

    >>> merged([(200, 300), (0, 100), (10**6, 10**6 + 5)])
    [(0, 300), (1000000, 1000005)]
    """
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1] + GAP:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        else:
            found.append((start, stop))
    return found


def is_url(text: str) -> bool:
    """Whether a text begins with a scheme, as in ``https://``."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def file_system(url: str) -> Any:
    """fsspec's file system of a URL.

    Raises
    ------
    InputError
        There is none, or a package that it needs is missing.
    """
    scheme = url.partition("://")[0].lower()
    try:
        import fsspec

        return fsspec.filesystem(scheme, **_options(scheme, url))
    except ImportError as error:
        package = _PACKAGES.get(scheme, error.name or "a package")
        raise InputError(
            f"{url}: files at {scheme}:// need the package {package}, which is not installed",
            hint=f"{EXTRA}, or pip install {package}.",
            code="batches.remote",
        ) from error
    except ValueError as error:
        raise InputError(
            f"{url}: there is no file system {scheme}://",
            hint="Take https://, root://, s3:// or a path.",
            code="batches.remote",
        ) from error


def _options(scheme: str, url: str) -> dict[str, Any]:
    if scheme == "root":
        return {"hostid": url.partition("://")[2].partition("/")[0]}
    return {}


def split_table(text: str) -> Place:
    """The path or URL in ``file.root:table``, and the table.

    A local file of the whole name comes first. Otherwise the table is what follows the last colon behind which a file's name with
    an extension ends, so ``root://host:1094//data/file.root:folder/Events`` has the table ``folder/Events``.
    """
    if not is_url(text) and Path(text).exists():
        return Place(text)
    head = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*", text) if is_url(text) else None
    begin = head.end() if head else 0
    for place in [found.start() for found in re.finditer(":", text) if found.start() >= begin][::-1]:
        path, table = text[:place], text[place + 1 :]
        name = path.rpartition("/")[2]
        if table and ((not is_url(text) and Path(path).exists()) or "." in name.strip(".") or re.search(r"[*?\]]", name)):
            return Place(path, table)
    return Place(text)


def expand(text: str, kinds: Sequence[str]) -> Iterator[Place]:
    """The files that a text means: itself, what a glob finds, or all files of these kinds in a folder; sorted.

    Raises
    ------
    InputError
        There are none.
    """
    place = split_table(text)
    if place.remote:
        if re.search(r"[*?\[]", place.path):
            yield from _found(place, sorted(_remote_glob(place)), "no file matches")
        else:
            yield place
        return
    path = Path(place.path)
    if path.is_dir():
        inside = [str(file) for file in sorted(path.iterdir()) if not file.name.startswith(".") and file.is_file()]
        known = [file for file in inside if filetypes.detect(Path(file)).kind in kinds]
        yield from _found(place, known, f"no file of a known kind ({', '.join(kinds)}) is in the folder")
    elif not path.exists() and re.search(r"[*?\[]", place.path):
        yield from _found(place, sorted(glob.glob(place.path, recursive=True)), "no file matches")  # noqa: PTH207
    else:
        yield place


def _found(place: Place, paths: Sequence[str], message: str) -> Iterator[Place]:
    if not paths:
        raise InputError(f"{place.path}: {message}", hint="Give the path of existing files.", code="batches.source")
    for path in paths:
        yield replace(place, path=path)


def _remote_glob(place: Place) -> list[str]:
    system = place.file_system
    try:
        return [found if is_url(found) else system.unstrip_protocol(found) for found in system.glob(place.path)]
    except Exception as error:
        raise _unreadable(place.path, error) from error


def _unreadable(path: str, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: there is no such file", hint="Give the path of an existing file.", code="batches.source")
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return InputError(f"{path} cannot be read: {reason}", hint="Check the address and your permissions.", code="batches.source")


def fingerprint(*marks: str) -> str:
    """One text of several."""
    return hashlib.sha256("\0".join(marks).encode()).hexdigest()


def check_version(place: Place, version: tuple[str, ...]) -> None:
    """Make sure that a file is still the one that was opened.

    Raises
    ------
    InputError
        It is not.
    """
    if place.version() != version:
        raise InputError(f"{place.path} changed while it was read", hint="Open it anew.", code="batches.changed")
