"""Rows and files that are left out because they are damaged, counted."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from mlcore.batches.blocks import Block
from mlcore.batches.sources import BlockReader, DamagedDataError, Failures
from mlcore.errors import InputError

OnError: TypeAlias = Literal["raise", "skip"]

_SHOWN = 3
"""Messages that a warning repeats."""


class SkippedRowsWarning(UserWarning):
    """Rows were left out because they are damaged."""


class Skipped:
    """What was left out; may be told from several threads, and of the same rows again.

    Parameters
    ----------
    failures
        Files that could not be opened.
    """

    def __init__(self, failures: Failures) -> None:
        self.failures = failures
        self._lost: dict[tuple[str, int], tuple[int, str]] = {}
        self._lock = threading.Lock()
        self._warned = 0

    @property
    def files(self) -> Mapping[str, str]:
        """The files that could not be opened, each with the reason."""
        return {path: error.message for path, error in self.failures.items()}

    @property
    def rows(self) -> int:
        """The number of rows that were left out of files that could be opened."""
        with self._lock:
            return sum(stop - start for (_, start), (stop, _) in self._lost.items())

    @property
    def ranges(self) -> tuple[tuple[str, int, int, str], ...]:
        """The rows that were left out, in order: the part, the first of them, the one behind the last, and why."""
        with self._lock:
            return tuple(sorted((part, start, stop, message) for (part, start), (stop, message) in self._lost.items()))

    @property
    def messages(self) -> tuple[str, ...]:
        """What is damaged: the file, the column and the basket or page, each once."""
        return (*self.files.values(), *dict.fromkeys(message for *_, message in self.ranges))

    def __bool__(self) -> bool:
        return bool(self.failures or self._lost)

    def __repr__(self) -> str:
        return f"<{self.rows} rows and {len(self.failures)} files skipped>"

    def add(self, part: str, start: int, stop: int, message: str) -> None:
        """Rows ``start`` to ``stop`` of a part are left out."""
        with self._lock:
            self._lost[part, start] = stop, message

    def warn(self) -> None:
        """Warn of what no warning was given of."""
        count = len(self._lost) + len(self.failures)
        if count == self._warned:
            return
        self._warned = count
        warnings.warn(skipping(self.rows, self.failures, self.messages), SkippedRowsWarning, stacklevel=2)


def skipping(rows: int, files: Collection[str], messages: Sequence[str]) -> str:
    """What was skipped, in a sentence."""
    more = f"; and {len(messages) - _SHOWN} more" if len(messages) > _SHOWN else ""
    what = [f"{rows} rows"] * bool(rows) + [f"{len(files)} files"] * bool(files)
    return f"{' and '.join(what)} were skipped: {'; '.join(messages[:_SHOWN])}{more}"


def check_on_error(on_error: str) -> None:
    """Make sure that it is known what is meant.

    Raises
    ------
    InputError
        It is neither ``"raise"`` nor ``"skip"``.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error={on_error!r} is unknown", hint='Choose "raise" or "skip".', code="batches.on_error")


def readable(reader: BlockReader, part: str, start: int, stop: int, skipped: Skipped) -> Iterator[tuple[int, int, Block]]:
    """What can be read of some rows, no more than a block: first row, row behind the last, and the block."""
    row, limit = start, stop
    while row < stop:
        try:
            block = reader.read(row, limit)
        except DamagedDataError as error:
            if row < error.start < limit:
                limit = error.start
                continue
            # Asked for rows up to here it fails, so the damage lies at the first of them.
            behind = min(stop, max(error.stop, row + 1)) if error.start <= row else limit
            skipped.add(part, row, behind, error.message)
            row, limit = behind, stop
            continue
        yield row, limit, block
        row, limit = limit, stop
