"""What retrieval hands to those who answer: passages, and the record of how they were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """One document's best piece for a query.

    Attributes
    ----------
    id
        The document's identifier: the same in every build of the same corpus.
    title
        What a reader would call it, for example ``"TH1: the base class of all histograms"``.
    source
        The class's, tutorial's or page's name, for example ``"TH1"`` or ``"df001_introduction.py"``.
    kind
        ``"class"``, ``"tutorial"``, ``"release"``, ``"pythonization"``, ``"manual"``, ``"api"`` or ``"page"``.
    place
        Where it stands in its source: ``"<file>:<line>"``, relative to the source's root.
    url
        The public documentation's page, or empty where there is none.
    score
        The fused score; comparable within one retrieval only.
    text
        The lines that match the query best, at most about 650 characters.
    version
        The version of what it is about, for example ``"6.40.00"``; empty where that is not known.
    """

    id: str
    title: str
    source: str
    kind: str
    place: str
    url: str
    score: float
    text: str
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The passages found for one query, best first.

    Attributes
    ----------
    confidence
        The best cosine similarity between the query and any passage of the corpus; None without dense search.
    timings
        Seconds by stage: ``lexical``, ``messages``, ``dense``, ``fusion``, ``passages`` and ``total``.
    unknown
        What the corpus knows nothing of: the share, by rarity, of the question's words that no document has; 0 to 1.
    """

    query: str
    passages: tuple[Passage, ...] = ()
    confidence: float | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    unknown: float = 0.0


class SupportsRetrieve(Protocol):
    """Anything that finds passages; `assistant.retrieval.Retriever` is the one that does it for real."""

    def retrieve(self, query: str, k: int = 10) -> Retrieval:
        """The `k` best passages for `query`; none where nothing matches."""
        ...
