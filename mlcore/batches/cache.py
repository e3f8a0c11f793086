"""Records in files, by what they were made from, so that the next run need not read the source.

A file is a page of header, the records, and a table of extents: the number of the first row, its position, how many records
follow in the order of the source, and their CRC-32. It is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import sys
import tempfile
import threading
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.batches.amounts import memory_bytes
from mlcore.batches.feeding import Extents, Feed, Sink, first_row
from mlcore.batches.filling import BLOCK_ROWS, Progress, Records
from mlcore.batches.stores import StorageError
from mlcore.errors import InputError

FORMAT = 1
"""To be raised whenever the same selection of the same source would give other records."""
_MAGIC = b"ML4EPROW"
_HEAD = 4096
_SUFFIX = ".rows"
_UNFINISHED = ".part"
_DIGEST = 32
_COLUMNS = 4


class CacheWarning(UserWarning):
    """The cache could not be written, or what it held was damaged; the batches are right all the same."""


@dataclass(frozen=True)
class Cache:
    """A folder of records.

    Attributes
    ----------
    directory
        Made where it is not there.
    limit
        What all files together may take, such as ``"20 GB"``; those that were not used for longest go. None for no limit.
    verify
        Whether every byte is checked before it is used, rather than sizes and tables alone.

    Raises
    ------
    InputError
        The limit is no amount.
    """

    directory: str | Path
    limit: str | int | None = None
    verify: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None:
            memory_bytes(self.limit)

    @property
    def files(self) -> list[Path]:
        """Of records, the one that was used last at the end."""
        found = []
        for path in Path(self.directory).glob(f"*{_SUFFIX}"):
            try:
                found.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:  # removed by another process in between
                continue
        return [path for _, path in sorted(found)]

    @property
    def bytes_on_disk(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self.files)

    def clear(self) -> None:
        """Remove all records; loaders that use them go on with what they opened."""
        for path in self.files:
            path.unlink(missing_ok=True)

    def entry(self, slot: Mapping[str, Any], fingerprint: str, record_bytes: int) -> Entry:
        """The place of some records.

        Parameters
        ----------
        slot
            What they are of, as JSON; there is one file for it.
        fingerprint
            Of the source's content: with another one the file is written anew.
        record_bytes
            Of a record.
        """
        canonical = json.dumps({**slot, "byteorder": sys.byteorder}, sort_keys=True, separators=(",", ":"))
        name = hashlib.sha256(canonical.encode(errors="surrogateescape")).hexdigest()[:40]
        return Entry(self, Path(self.directory) / f"{name}{_SUFFIX}", fingerprint, record_bytes)


@dataclass(frozen=True)
class Entry:
    """One file of a cache, there or not: see `Cache.entry`."""

    cache: Cache
    path: Path
    fingerprint: str
    record_bytes: int

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time makes the file; another one waits and finds it.

        Raises
        ------
        InputError
            The folder cannot be used.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InputError(
                f"{self.path.parent} cannot hold a cache: {error.strerror}", hint="Name another folder.", code="batches.cache"
            ) from error
        try:
            with suppress(OSError):  # some file systems have no locks: then several processes may do the same work
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def open(self) -> CachedRecords | None:
        """What is there and right; else None."""
        try:
            found = CachedRecords(self, self.path)
            os.utime(self.path)
        except (FileNotFoundError, _OtherRecordsError):
            return None
        except OSError as error:
            warnings.warn(f"{self.path} is written anew: {error}", CacheWarning, stacklevel=2)
            return None
        return found


class _OtherRecordsError(Exception):
    """They are of another source, or of another version of this module."""


def _damaged(what: str) -> StorageError:
    return StorageError(f"records in the cache are damaged: {what}", hint="Clear the cache, and try again.", code="batches.cache")


class CachedRecords:
    """Records in a file that is whole.

    Attributes
    ----------
    rows
        Their number.
    extents
        As of `mlcore.batches.stores.MemoryStore`.
    """

    def __init__(self, entry: Entry, path: Path) -> None:
        self.width = entry.record_bytes
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        head = _header(self._bytes(_HEAD, 0))
        if (head["format"], head["fingerprint"], head["record_bytes"]) != (FORMAT, entry.fingerprint, self.width):
            raise _OtherRecordsError
        self.rows, count = int(head["rows"]), int(head["extents"])
        end = _HEAD + self.rows * self.width
        if os.fstat(self._file).st_size != end + count * _COLUMNS * 8:
            raise _damaged("the size of the file is another one than its header says")
        table = self._bytes(count * _COLUMNS * 8, end)
        if hashlib.sha256(table).hexdigest() != head["table"]:
            raise _damaged("the table of extents is another one than was written")
        found = np.frombuffer(table, np.int64).reshape(count, _COLUMNS)
        self.extents: Extents = found[:, :3]
        if entry.cache.verify:
            self._verify(found)

    def _verify(self, table: Extents) -> None:
        for _, position, count, checksum in table.tolist():
            if zlib.crc32(self.read(position, count).data) != checksum:
                raise _damaged(f"the records {position} to {position + count} are others than were written")

    def _bytes(self, count: int, offset: int) -> bytes:
        found = bytearray(count)
        self._read_into(memoryview(found), offset)
        return bytes(found)

    def _read_into(self, out: memoryview, offset: int) -> None:
        done = 0
        while done < len(out):
            some = os.preadv(self._file, [out[done:]], offset + done)
            if some <= 0:
                raise _damaged("the file ends too early")
            done += some

    def read(self, position: int, count: int, out: Records | None = None) -> Records:
        """Some records, in memory."""
        out = np.empty((count, self.width), np.uint8) if out is None else out[:count]
        if out.size:
            self._read_into(out.data.cast("B"), _HEAD + position * self.width)
        return out

    def mapped(self) -> Records:
        """All records, in memory that processes share."""
        size = self.rows * self.width
        if not size:
            return np.empty((0, self.width), np.uint8)
        populate = getattr(mmap, "MAP_POPULATE", 0)
        memory = mmap.mmap(self._file, _HEAD + size, flags=mmap.MAP_SHARED | populate, prot=mmap.PROT_READ)
        return np.frombuffer(memory, np.uint8)[_HEAD:].reshape(self.rows, self.width)

    def feed(self, threads: int, progress: Progress) -> Feed:
        """The same as a feed."""
        return _CachedFeed(self, threads, progress)


class _CachedFeed(Feed):
    def __init__(self, records: CachedRecords, threads: int, progress: Progress) -> None:
        self.total = records.rows
        self._records, self._threads, self._progress = records, threads, progress

    def run(self, make: Callable[[], Sink]) -> None:
        local = threading.local()

        def one(start: int) -> int:
            if not hasattr(local, "sink"):
                local.sink, local.out = make(), np.empty((BLOCK_ROWS, self._records.width), np.uint8)
            records = self._records.read(start, min(BLOCK_ROWS, self.total - start), local.out)
            local.sink(records)
            return len(records)

        done = 0
        with ThreadPoolExecutor(max(1, self._threads), thread_name_prefix="batches-cache") as pool:
            for rows in pool.map(one, range(0, self.total, BLOCK_ROWS)):
                done += rows
                self._progress(done, self.total)


class CacheWriter:
    """Writes a file of records, from any thread; gives up with a warning where the disk is full or fails.

    Parameters
    ----------
    entry
        The file.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._extents: list[tuple[int, int, int, int]] = []
        self._rows = 0
        self._lock = threading.Lock()
        self._why = ""
        self._file, self._temporary = -1, ""
        try:
            for left in entry.path.parent.glob(f"{entry.path.stem}.*{_UNFINISHED}"):  # by a process that was killed
                left.unlink(missing_ok=True)
            self._file, self._temporary = tempfile.mkstemp(_UNFINISHED, f"{entry.path.stem}.", entry.path.parent)
        except OSError as error:
            self._why = error.strerror or str(error)

    @property
    def usable(self) -> bool:
        """Whether nothing failed so far."""
        return not self._why

    def add(self, records: Records) -> None:
        """Some records, of rows that ascend."""
        if self._why or not len(records):
            return
        with self._lock:
            position = self._rows
            self._rows += len(records)
            self._extents.append((first_row(records), position, len(records), zlib.crc32(records.data)))
        try:
            self._write(records.data.cast("B"), _HEAD + position * self._entry.record_bytes)
        except OSError as error:
            self._why = error.strerror or str(error)

    def _write(self, data: memoryview | bytes, offset: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], offset + done)

    def finish(self, *, keep: bool) -> CachedRecords | None:
        """All records are there.

        Parameters
        ----------
        keep
            Whether the file stays; others go then where there is a limit.

        Returns
        -------
        The records, also where the file does not stay; None where they could not be written.
        """
        found = None
        try:
            if not self._why:
                found = self._commit(keep=keep)
        except OSError as error:
            self._why = error.strerror or str(error)
        if self._why:
            warnings.warn(f"{self._entry.path.parent} does not hold the records: {self._why}", CacheWarning, stacklevel=2)
        return found

    def _commit(self, *, keep: bool) -> CachedRecords:
        table = np.array(self._extents, np.int64).reshape(-1, _COLUMNS).tobytes()
        size = _HEAD + self._rows * self._entry.record_bytes
        self._write(table, size)
        head = {
            "format": FORMAT,
            "fingerprint": self._entry.fingerprint,
            "record_bytes": self._entry.record_bytes,
            "rows": self._rows,
            "extents": len(self._extents),
            "table": hashlib.sha256(table).hexdigest(),
        }
        self._write(_headed(head), 0)
        found = CachedRecords(self._entry, Path(self._temporary))
        limit = None if self._entry.cache.limit is None else memory_bytes(self._entry.cache.limit)
        if limit is not None and size + len(table) > limit:
            self._why = f"they take {size + len(table)} bytes, and the limit is {limit}"
        elif keep:
            os.fsync(self._file)
            Path(self._temporary).replace(self._entry.path)
            self._temporary = ""
            if limit is not None:
                _shrink(self._entry.cache, limit, self._entry.path)
        return found

    def abandon(self) -> None:
        """Leave nothing behind that is not whole."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._temporary:
            Path(self._temporary).unlink(missing_ok=True)
            self._temporary = ""


def _shrink(cache: Cache, limit: int, keep: Path) -> None:
    files = cache.files
    total = sum(path.stat().st_size for path in files)
    for path in files:
        if total <= limit:
            return
        if path != keep:
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def _headed(head: Mapping[str, Any]) -> bytes:
    text = json.dumps(head).encode()
    page = _MAGIC + hashlib.sha256(text).digest() + len(text).to_bytes(4, "little") + text
    return page.ljust(_HEAD, b"\0")


def _header(page: bytes) -> dict[str, Any]:
    start = len(_MAGIC) + _DIGEST + 4
    size = int.from_bytes(page[start - 4 : start], "little")
    text = page[start : start + size]
    if page[: len(_MAGIC)] != _MAGIC or hashlib.sha256(text).digest() != page[len(_MAGIC) : start - 4]:
        raise _damaged("the header is none")
    head: dict[str, Any] = json.loads(text)
    return head
