"""The corpus: what the assistant reads.

A module here that defines ``SOURCE`` is a kind of source; `source_kinds` finds them. `add_source`, `list_sources` and
`remove_source` keep an index's list of entries, each a kind and a location; `assistant.index.build` reads them all.
"""

from __future__ import annotations

from assistant.corpus.config import DEFAULT_SOURCES, add_source, list_sources, remove_source
from assistant.corpus.document import Document, Member, Source, SourceEntry
from assistant.corpus.registry import source_kind, source_kinds

__all__ = [
    "DEFAULT_SOURCES",
    "Document",
    "Member",
    "Source",
    "SourceEntry",
    "add_source",
    "list_sources",
    "remove_source",
    "source_kind",
    "source_kinds",
]
