"""The index: documents cut into passages, searchable by words and by meaning, published in whole generations.

`build` reads the sources and writes a generation; `index_status` and `read_document` tell what is in the current one with the
standard library alone, so that a web process can afford them. Heavy libraries are imported where they are used.
"""

from __future__ import annotations

from assistant.index.build import BuildOptions, build
from assistant.index.status import IndexStatus, SourceStatus, StoredDocument, index_status, read_document

__all__ = [
    "BuildOptions",
    "IndexStatus",
    "SourceStatus",
    "StoredDocument",
    "build",
    "index_status",
    "read_document",
]
