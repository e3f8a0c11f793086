"""Search: the passages of an index that fit a question."""

from __future__ import annotations

from assistant.passages import Passage, Retrieval, SupportsRetrieve

__all__ = ["Passage", "Retrieval", "SupportsRetrieve"]
