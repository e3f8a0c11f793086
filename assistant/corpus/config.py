"""The list of sources of an index: `sources.json` in its folder."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from assistant.corpus.document import SourceEntry
from assistant.corpus.registry import source_kind
from assistant.errors import CorpusError

FILE_NAME = "sources.json"
DEFAULT_SOURCES: tuple[SourceEntry, ...] = (
    SourceEntry("root", "root"),
    SourceEntry("packages", "packages", "uproot,awkward,numpy,matplotlib,xgboost,lightgbm,torch,onnx,scikit-learn,h5py"),
    SourceEntry("portal", "portal"),
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def list_sources(index_dir: Path) -> tuple[SourceEntry, ...]:
    """The sources of an index: what its `sources.json` lists, else the default ones.

    Raises
    ------
    CorpusError
        The file is there and not readable.
    """
    path = index_dir / FILE_NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["sources"]
        return tuple(
            SourceEntry(str(e["name"]), str(e["kind"]), str(e.get("location", "")), str(e.get("url", ""))) for e in entries
        )
    except FileNotFoundError:
        return DEFAULT_SOURCES
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{FILE_NAME} cannot be read: {error}",
            hint="Mend the file, or delete it to go back to the default sources.",
            code="corpus.config",
        ) from error


def add_source(index_dir: Path, kind: str, location: str = "", *, name: str = "", url: str = "") -> SourceEntry:
    """Add a source to an index; it is read at the next build.

    Parameters
    ----------
    kind
        One of `source_kinds()`.
    location
        What the kind needs: a path, package names separated by commas, or nothing.
    name
        A name of the user's choice; by default made of the location.
    url
        Where the files are public.

    Raises
    ------
    CorpusError
        Unknown kind, unreadable location, or a name that is taken or malformed.
    """
    source = source_kind(kind)
    if kind in {"folder", "root-sources"} and location and "://" not in location and Path(location).expanduser().is_dir():
        location = str(Path(location).expanduser().resolve())
    stem = Path(location.partition("#")[0]).name.removesuffix(".git")
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or kind
    entry = SourceEntry(name, kind, location, url)
    if not _NAME.fullmatch(name):
        raise CorpusError(
            f"{name!r} cannot name a source", hint="Use letters, digits, dots, dashes and underscores.", code="corpus.name"
        )
    if url and not url.startswith(("http://", "https://")):
        raise CorpusError(f"{url!r} is no web address", hint="Start it with https://.", code="corpus.url")
    entries = list_sources(index_dir)
    if any(known.name == name for known in entries):
        raise CorpusError(f"There is a source called {name!r} already", hint="Give another name.", code="corpus.taken")
    source.check(entry)
    _write(index_dir, (*entries, entry))
    return entry


def remove_source(index_dir: Path, name: str) -> SourceEntry:
    """Take a source off the list; its documents leave the index at the next build.

    Raises
    ------
    CorpusError
        There is no source of that name.
    """
    entries = list_sources(index_dir)
    for entry in entries:
        if entry.name == name:
            _write(index_dir, tuple(other for other in entries if other is not entry))
            return entry
    names = ", ".join(known.name for known in entries) or "none"
    raise CorpusError(f"There is no source called {name!r}", hint=f"The sources are: {names}.", code="corpus.missing")


def _write(index_dir: Path, entries: tuple[SourceEntry, ...]) -> None:
    index_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"sources": [entry.to_json() for entry in entries]}, indent=2)
    descriptor, temporary = tempfile.mkstemp(dir=index_dir, prefix=".sources-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(index_dir / FILE_NAME)
