"""Generations of an index: each a folder written once, the current one named by a file that is replaced atomically.

```
index_dir/
  sources.json         what to read
  current              the name of the generation to serve
  generations/000007/  documents, lexical and dense stores, state.json
```

A reader opens what `current` names and keeps it open; a build writes beside it and publishes at the end, so that a crash at any
moment leaves the old generation serving.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.errors import AssistantError

POINTER = "current"
FOLDER = "generations"
STATE = "state.json"
LOCK = ".build.lock"
KEPT = 2  # the current generation, and the one before for readers that are just opening it


def current(index_dir: Path) -> Path | None:
    """The folder of the published generation, None where nothing has been published."""
    try:
        name = (index_dir / POINTER).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = index_dir / FOLDER / name
    return folder if name and (folder / STATE).is_file() else None


def stamp(index_dir: Path) -> tuple[int, int] | None:
    """Changes whenever another generation is published; one `stat` call."""
    try:
        status = (index_dir / POINTER).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def read_state(folder: Path) -> dict[str, Any]:
    """What the build wrote about a generation."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return state


@contextlib.contextmanager
def lock(index_dir: Path) -> Iterator[None]:
    """Hold the right to build in `index_dir`; it ends with the process, however that ends.

    Raises
    ------
    AssistantError
        Another process builds there.
    """
    index_dir.mkdir(parents=True, exist_ok=True)
    with (index_dir / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AssistantError(
                "The index is being built already", hint="Wait for that build to end.", code="index.busy"
            ) from None
        yield


def start(index_dir: Path) -> Path:
    """A new, empty folder for the next generation; leftovers of builds that died are removed."""
    folder = index_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    published = current(index_dir)
    newest = max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)
    for path in folder.iterdir():
        if published is None or (path.name > published.name or not path.name.isdigit()):
            shutil.rmtree(path, ignore_errors=True)
    new = folder / f"{newest + 1:06d}"
    new.mkdir()
    return new


def publish(index_dir: Path, folder: Path, state: dict[str, Any]) -> None:
    """Write the state, make everything durable, point `current` to `folder`, and remove generations no longer needed."""
    (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in [*folder.rglob("*"), folder]:
        _sync(path)
    temporary = index_dir / f".{POINTER}-{os.getpid()}"
    temporary.write_text(folder.name, encoding="ascii")
    _sync(temporary)
    temporary.replace(index_dir / POINTER)
    _sync(index_dir)
    old = sorted((path for path in folder.parent.iterdir() if path.name.isdigit() and path.name <= folder.name), reverse=True)
    for path in old[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clone(folder: Path, new: Path, *, without: frozenset[str] = frozenset()) -> None:
    """Make the files of one generation part of another, as hard links where the file system has them."""
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if relative.parts[0] in without or relative.parts[0] == STATE:
            continue
        if path.is_dir():
            (new / relative).mkdir(parents=True, exist_ok=True)
        else:
            (new / relative).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, new / relative)
            except OSError:
                shutil.copy2(path, new / relative)
