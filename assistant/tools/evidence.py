"""What tools gave, put before what the search finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.passages import Passage, Retrieval, SupportsRetrieve


@dataclass(frozen=True, slots=True)
class _Given:
    retriever: SupportsRetrieve
    passages: tuple[Passage, ...]
    enough: bool

    def retrieve(self, query: str, k: int = 10) -> Retrieval:
        """The passages at hand, then what the search finds, ``k`` in all or a few more."""
        found = self.retriever.retrieve(query, k)
        known = {passage.id for passage in self.passages}
        rest = [passage for passage in found.passages if passage.id not in known]
        together = (*self.passages, *rest[: max(k - len(self.passages), 3)])
        # What a person has handed in is what the question is about, however far from the documentation it is.
        found = replace(found, confidence=1.0, unknown=0.0) if self.enough else found
        return replace(found, passages=together)


def given(retriever: SupportsRetrieve, passages: Sequence[Passage], *, enough: bool = False) -> SupportsRetrieve:
    """A retriever that has ``passages`` at hand.

    Parameters
    ----------
    enough
        Whether they alone are reason to answer: a file that a person attached is, a page that a model looked up is not.
    """
    unique = tuple({passage.id: passage for passage in passages}.values())
    return _Given(retriever, unique, enough) if unique else retriever
