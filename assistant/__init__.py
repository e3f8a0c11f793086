"""The assistant: finds passages of documentation and code for a question, and answers from them, free of the web.

`assistant.corpus` reads sources into documents, `assistant.index` makes them searchable, `assistant.retrieval` searches,
`assistant.answer` writes the answer. `Passage`, `Retrieval` and the errors are what these exchange.
"""

from __future__ import annotations

from assistant.errors import (
    AssistantError,
    CorpusError,
    IndexUnavailableError,
    ModelStoreError,
    ProviderError,
)
from assistant.passages import Passage, Retrieval, SupportsRetrieve

__all__ = [
    "AssistantError",
    "CorpusError",
    "IndexUnavailableError",
    "ModelStoreError",
    "Passage",
    "ProviderError",
    "Retrieval",
    "SupportsRetrieve",
]
