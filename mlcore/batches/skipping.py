"""Rows and files that are left out because they are damaged, counted."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping

from mlcore.batches.blocks import Block
from mlcore.batches.sources import BlockReader, DamagedDataError, Failures

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
    def messages(self) -> tuple[str, ...]:
        """What is damaged: the file, the column and the basket or page, each once."""
        with self._lock:
            lost = sorted((*place, message) for place, (_, message) in self._lost.items())
        return (*self.files.values(), *dict.fromkeys(message for *_, message in lost))

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
        messages = self.messages
        more = f"; and {len(messages) - _SHOWN} more" if len(messages) > _SHOWN else ""
        what = [f"{self.rows} rows"] * bool(self._lost) + [f"{len(self.failures)} files"] * bool(self.failures)
        warnings.warn(
            f"{' and '.join(what)} were skipped: {'; '.join(messages[:_SHOWN])}{more}", SkippedRowsWarning, stacklevel=2
        )


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
