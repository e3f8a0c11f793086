"""What an index holds, read with the standard library alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.errors import IndexUnavailableError
from assistant.index import generations

DOCUMENTS = "documents.sqlite"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source as it was when the index was built."""

    name: str
    kind: str
    location: str
    version: str
    documents: int
    passages: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index can do now.

    Attributes
    ----------
    lexical
        Whether search by words works.
    dense
        How much of the corpus can be found by meaning, from 0 to 1.
    built_at
        When the lexical part was built, ISO 8601 with offset; empty before the first build.
    """

    documents: int = 0
    passages: int = 0
    lexical: bool = False
    dense: float = 0.0
    built_at: str = ""
    generation: str = ""
    embedder: str = ""
    sources: tuple[SourceStatus, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of the index, whole: what the portal shows where there is no public page."""

    id: str
    title: str
    source: str
    kind: str
    place: str
    url: str
    text: str
    corpus: str
    version: str


def index_status(index_dir: Path) -> IndexStatus:
    """The state of the index in `index_dir`; of an empty one where nothing usable is there."""
    folder = generations.current(index_dir)
    if folder is None:
        return IndexStatus()
    try:
        state = generations.read_state(folder)
        return IndexStatus(
            documents=int(state["documents"]),
            passages=int(state["passages"]),
            lexical=bool(state["lexical"]),
            dense=float(state["dense"]),
            built_at=str(state["built_at"]),
            generation=folder.name,
            embedder=str(state["embedder"]),
            sources=tuple(SourceStatus(**source) for source in state["sources"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return IndexStatus()


def connect(folder: Path) -> sqlite3.Connection:
    """A read-only connection to a generation's documents."""
    path = folder / DOCUMENTS
    if not path.is_file():
        raise IndexUnavailableError(f"{path.name} of the index is missing", hint="Build the index again.", code="index.broken")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def read_document(index_dir: Path, document_id: str) -> StoredDocument | None:
    """The document with that identifier, None where the index has none such."""
    folder = generations.current(index_dir)
    if folder is None:
        return None
    columns = ", ".join(StoredDocument.__slots__)
    with closing(connect(folder)) as connection:
        row = connection.execute(f"SELECT {columns} FROM documents WHERE id = ?", (document_id,)).fetchone()  # noqa: S608
    return StoredDocument(*row) if row else None
