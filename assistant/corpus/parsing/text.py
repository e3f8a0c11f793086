"""Small helpers that several sources share."""

from __future__ import annotations

from pathlib import Path

from assistant.corpus.document import Log

MAX_BYTES = 4 * 1024 * 1024


def read_text(path: Path, log: Log) -> str:
    """The text of a file, undecodable bytes replaced; empty, with a line in the log, where it cannot be read or is too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            log(f"{path.name} is left out: larger than {MAX_BYTES // 1024 // 1024} MB")
            return ""
        return path.read_text(encoding="utf-8", errors="replace").replace("\x00", "")
    except OSError as error:
        log(f"{path.name} is left out: {error.strerror or error}")
        return ""
