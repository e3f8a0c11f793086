"""Search: the passages of an index that fit a question.

The order of documents is a weighted sum of what several cheap searches find, each from 0 to 1:

======== ======= ===================================================================
stage    weight  what it scores
======== ======= ===================================================================
chunks   1.0     words of the question in a document's three best passages (BM25)
document 0.5     words of the question in the whole document (BM25)
names    0.5     the question mentions the document's class or tutorial, a rare one more
prior    0.6     how many tutorials use the class, for documents that match at all
hop      0.6     the best documents use the class
members  0.3     a method of the class, by name and comment (BM25)
messages 2.0     a class prints the error message that the question quotes
dense    0.3     nearness in meaning (cosine of sentence embeddings)
======== ======= ===================================================================
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.condense import Query, condense, plain
from assistant.corpus.versions import named, preferred
from assistant.embedding import Embedder, QueryEmbedder
from assistant.errors import IndexUnavailableError
from assistant.index import generations
from assistant.index.searcher import Searcher, Term
from assistant.index.status import StoredDocument
from assistant.index.tokens import tokenize
from assistant.passages import Passage, Retrieval, SupportsRetrieve
from assistant.snippets import snippet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Passage", "Retrieval", "RetrievalOptions", "Retriever", "SupportsRetrieve"]

MAX_QUERY = 8_000  # characters; a whole forum post fits
CONFIDENCE_FROM = 0.9  # with less of the corpus embedded the best cosine says little


@dataclass(frozen=True, slots=True)
class RetrievalOptions:
    """Weights of the stages, zero for off; how the query is made and scores are put together; and the length of passages.

    Attributes
    ----------
    condense
        Whether a post's title, prose, messages and code are told apart; else all words weigh the same.
    aggregate
        Whether a document's three best passages count, not its best alone.
    ranks
        Whether stages are fused by the ranks that they give (reciprocal rank fusion), not by their scores.
    passage_length
        In characters, about.
    floor
        Documents below this share of the best score are not passages.
    """

    chunks: float = 1.0
    document: float = 0.5
    names: float = 0.5
    prior: float = 0.6
    hop: float = 0.6
    members: float = 0.3
    messages: float = 2.0
    dense: float = 0.3
    condense: bool = True
    aggregate: bool = True
    ranks: bool = False
    passage_length: int = 650
    floor: float = 0.05


class Retriever:
    """Finds passages; picks up a newly published index on its own. Safe to share between threads.

    Parameters
    ----------
    index_dir
        Where the index is, or will be.
    embedder
        Embeds questions; by default MiniLM from the installed package.
    """

    def __init__(self, index_dir: Path, embedder: QueryEmbedder | None = None, options: RetrievalOptions | None = None) -> None:
        self.index_dir = index_dir
        self.options = options or RetrievalOptions()
        self._embedder = embedder or Embedder()
        self._opening = threading.Lock()
        self._searcher: Searcher | None = None
        self._stamp: tuple[int, int] | None = None

    @classmethod
    def open(cls, index_dir: Path, embedder: QueryEmbedder | None = None, options: RetrievalOptions | None = None) -> Retriever:
        """A retriever whose index is open already.

        Raises
        ------
        IndexUnavailableError
            Nothing has been published in `index_dir`, or it is damaged.
        """
        retriever = cls(index_dir, embedder, options)
        retriever._current()
        return retriever

    def retrieve(self, query: str, k: int = 10, *, options: RetrievalOptions | None = None) -> Retrieval:
        """The `k` documents that fit `query` best, each with its best lines.

        Parameters
        ----------
        query
            A question or a few words; what is beyond 8,000 characters is not read.
        options
            Instead of the retriever's own.

        Raises
        ------
        IndexUnavailableError
            Nothing has been published yet, or it is damaged.
        """
        try:
            return self._retrieve(query, k, options or self.options)
        except (OSError, sqlite3.Error, IndexUnavailableError):
            # The generation may have been replaced twice and removed while this thread was about to open its files.
            self._searcher = None
        try:
            return self._retrieve(query, k, options or self.options)
        except (OSError, sqlite3.Error) as error:
            raise IndexUnavailableError(
                f"The index cannot be read: {error}", hint="Build the index again.", code="index.broken"
            ) from error

    def _current(self) -> Searcher:
        stamp = generations.stamp(self.index_dir)
        searcher = self._searcher
        if searcher is not None and stamp == self._stamp:
            return searcher
        with self._opening:
            if self._searcher is not None and stamp == self._stamp:
                return self._searcher
            folder = generations.current(self.index_dir)
            if folder is None:
                raise IndexUnavailableError(
                    "There is no index yet", hint="Build it with `ml4ep corpus ingest`.", code="index.missing"
                )
            self._searcher, self._stamp = Searcher(folder), stamp
            return self._searcher

    def _retrieve(self, query: str, k: int, options: RetrievalOptions) -> Retrieval:
        began = time.perf_counter()
        timings: dict[str, float] = {}
        searcher = self._current()
        query = query[:MAX_QUERY]
        clock = _Clock(timings)

        wanted = condense(query) if options.condense else plain(query)
        terms = searcher.terms(wanted.words)
        fused = _by_rank if options.ranks else _as_it_is
        scores = options.chunks * fused(searcher.by_chunks(terms, aggregate=options.aggregate))
        scores = scores + options.document * fused(searcher.by_documents(terms))
        if options.members:
            scores = scores + options.members * fused(searcher.by_members(terms))
        clock.stop("lexical")

        if options.messages:
            scores = scores + options.messages * searcher.by_messages(wanted.quoted)
        clock.stop("messages")

        confidence: float | None = None
        if options.dense and searcher.has_dense and query.strip():
            meaning, best = searcher.by_meaning(self._embedder.embed([wanted.meaning])[0])
            scores = scores + options.dense * fused(meaning)
            confidence = best if searcher.dense_fraction >= CONFIDENCE_FROM else None
        clock.stop("dense")

        scores = self._fused(searcher, wanted, scores, options)
        order = _best(scores, options.floor) if terms or confidence is not None else []
        order = _one_release_each(searcher, order, k, named(query))
        clock.stop("fusion")

        weights = _weights(terms, searcher.n_chunks)
        passages = tuple(
            _passage(searcher.document(number), float(scores[number]), weights, options.passage_length) for number in order
        )
        clock.stop("passages")
        unknown = searcher.unknown(tokenize(wanted.meaning))
        timings["total"] = time.perf_counter() - began
        return Retrieval(query, passages, confidence, timings, unknown)

    @staticmethod
    def _fused(searcher: Searcher, query: Query, found: NDArray[np.float32], options: RetrievalOptions) -> NDArray[np.float32]:
        """`found`, with what is known of names, uses and popularity."""
        import numpy as np

        scores: NDArray[np.floating] = found
        if options.names:
            scores = scores + options.names * searcher.by_names(query.names)
        if options.hop:
            scores = scores + options.hop * searcher.hop(scores)
        if options.prior:
            scores = scores + options.prior * np.where(scores > 0, searcher.prior, 0) * np.minimum(1, scores)
        return scores.astype(np.float32, copy=False)


class _Clock:
    """Writes the seconds since the last stop."""

    def __init__(self, timings: dict[str, float]) -> None:
        self.timings = timings
        self.last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings[stage] = now - self.last
        self.last = now


def _as_it_is(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return scores


def _by_rank(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reciprocal ranks with the usual constant of 60, scaled so that the best has 1; nothing found stays 0.

    References
    ----------
    Cormack, Clarke, Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods" (2009), eq. 1.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    result = np.zeros_like(scores)
    result[order] = 61 / (61 + np.arange(len(scores), dtype=np.float32))
    result[scores <= 0] = 0
    return result


def _one_release_each(searcher: Searcher, order: Sequence[int], k: int, wanted: str) -> list[int]:
    """The first `k` of `order`, of a page in several releases only the one of the release `wanted`, else the newest.

    The place is that of the best of them.
    """
    chosen: dict[int, None] = {}
    for number in order:
        if len(chosen) >= k:
            break
        releases = searcher.releases(number)
        if releases:
            number = releases[preferred([version for _number, version in releases], wanted)][0]
        chosen.setdefault(number)
    return list(chosen)


def _best(scores: NDArray[np.float32], floor: float) -> list[int]:
    import numpy as np

    limit = float(scores.max(initial=0.0)) * floor
    candidates = np.flatnonzero(scores > limit)
    ranked = candidates[np.lexsort((candidates, -scores[candidates]))]
    return [int(number) for number in ranked]


def _weights(terms: list[Term], n_chunks: int) -> dict[str, float]:
    return {term.token: term.weight * log(1 + n_chunks / term.documents) for term in terms if term.documents}


def _passage(document: StoredDocument, score: float, weights: dict[str, float], length: int) -> Passage:
    return Passage(
        id=document.id,
        title=document.title,
        source=document.source,
        kind=document.kind,
        place=document.place,
        url=document.url,
        score=round(score, 4),
        text=snippet(document.text, weights, length),
        version=document.version,
    )
