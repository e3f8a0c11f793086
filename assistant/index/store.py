"""The documents of a generation in one SQLite file, and the small arrays beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.corpus.document import Document
from assistant.corpus.versions import release
from assistant.index.chunks import Chunk
from assistant.index.status import DOCUMENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

HASH_BYTES = 16

_SCHEMA = """
CREATE TABLE documents (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL,
  place TEXT NOT NULL, url TEXT NOT NULL, text TEXT NOT NULL, corpus TEXT NOT NULL, version TEXT NOT NULL, page TEXT
);
CREATE TABLE chunks (number INTEGER PRIMARY KEY, document INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL);
CREATE TABLE vocabulary (token TEXT PRIMARY KEY, number INTEGER NOT NULL, documents INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE messages (number INTEGER PRIMARY KEY, text TEXT NOT NULL, document INTEGER NOT NULL);
CREATE TABLE names (lower TEXT NOT NULL, name TEXT NOT NULL, document INTEGER NOT NULL, weight REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    """A document with the name of the source entry that it came from."""

    corpus: str
    document: Document

    @property
    def id(self) -> str:
        """Unique in the whole index."""
        return f"{self.corpus}/{self.document.id}"


@dataclass(frozen=True, slots=True)
class Name:
    """A name that leads to a document when a question mentions it."""

    name: str
    document: int
    weight: float


@dataclass(frozen=True, slots=True)
class Message:
    """An error message and the document of the class that prints it."""

    text: str
    document: int


def write(
    folder: Path,
    documents: Sequence[CorpusDocument],
    chunks: Sequence[tuple[int, Chunk]],
    vocabulary: dict[str, int],
    frequencies: Sequence[int],
    names: Sequence[Name],
    messages: Sequence[Message] = (),
) -> None:
    """Write `documents.sqlite` into an empty generation folder.

    Parameters
    ----------
    chunks
        Pairs of a document's number and a range of its text.
    vocabulary, frequencies
        A token's number, and by number in how many chunks it occurs.
    """
    with closing(sqlite3.connect(folder / DOCUMENTS)) as connection:
        connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
        rows = (
            # A page is the same in several releases; what has no release has no other.
            (
                number,
                item.id,
                d.title,
                d.source,
                d.kind,
                d.place,
                d.url,
                d.text,
                item.corpus,
                d.version,
                d.id if release(d.version) else None,
            )
            for number, item in enumerate(documents)
            for d in [item.document]
        )
        connection.executemany("INSERT INTO documents VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)
        connection.executemany(
            "INSERT INTO chunks VALUES (?,?,?,?)", ((n, document, c.start, c.end) for n, (document, c) in enumerate(chunks))
        )
        connection.executemany(
            "INSERT INTO vocabulary VALUES (?,?,?)", ((token, n, frequencies[n]) for token, n in sorted(vocabulary.items()))
        )
        connection.executemany(
            "INSERT INTO names VALUES (?,?,?,?)", ((n.name.lower(), n.name, n.document, n.weight) for n in names)
        )
        connection.executemany(
            "INSERT INTO messages VALUES (?,?,?)", ((n, message.text, message.document) for n, message in enumerate(messages))
        )
        connection.executescript(
            "CREATE INDEX names_lower ON names (lower); CREATE INDEX documents_page ON documents (page); ANALYZE;"
        )
        connection.commit()


def passage_text(title: str, text: str) -> str:
    """What is embedded for a chunk: the document's title gives the chunk its context."""
    return f"{title[:160]}\n{text.strip()}"


def chunk_hash(text: str, model: str) -> bytes:
    """Names the embedding of `text` by `model`: equal hashes, equal vectors."""
    return blake2b(f"{model}\x00{text}".encode(), digest_size=HASH_BYTES).digest()


def save_array(folder: Path, name: str, array: NDArray[Any]) -> None:
    """Save an array of a generation under `name`."""
    import numpy as np

    np.save(folder / f"{name}.npy", array, allow_pickle=False)


def load_array(folder: Path, name: str) -> NDArray[Any]:
    """An array of a generation, memory-mapped."""
    import numpy as np

    array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return array
