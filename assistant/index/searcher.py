"""One generation of an index, open for search: scores of all documents for a query, stage by stage."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.errors import IndexUnavailableError
from assistant.index import dense, generations
from assistant.index.lexical import LexicalStore
from assistant.index.status import StoredDocument, connect
from assistant.index.store import load_array
from assistant.index.tokens import looks_like_identifier, tokenize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]

CHUNK_CANDIDATES = 400
DENSE_CANDIDATES = 200
MESSAGE_CANDIDATES = 8
MESSAGE_WORDS = 3  # a shorter quote could be of any message
MESSAGE_SHARE = 0.6  # of a message that must be in the quote: values in it are left out, but formats change with the release
MESSAGE_TELLING = 3  # words that nothing else has make a message unmistakable
CHUNK_DECAY = (1.0, 0.5, 0.25)  # weights of a document's best, second and third chunk
_WORD_NAME_PREFIXES = ("t", "roo", "r")


@dataclass(frozen=True, slots=True)
class Term:
    """A token of the query that the index knows."""

    token: str
    number: int
    documents: int
    weight: float = 1.0


class Searcher:
    """The stores of one generation, memory-mapped. Safe to share between threads.

    Every scoring method returns float32 of shape (n_documents,), from 0 to 1; but for `by_names`, with the best document at 1, or
    all zeros.

    Raises
    ------
    IndexUnavailableError
        The generation is incomplete or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            state = generations.read_state(folder)
            self.n_documents = int(state["documents"])
            self.n_chunks = int(state["passages"])
            self.dense_fraction = float(state["dense"])
            self._chunks = LexicalStore(folder / "chunks")
            self._documents = LexicalStore(folder / "documents")
            self._members = LexicalStore(folder / "members") if (folder / "members").is_dir() else None
            self._messages = LexicalStore(folder / "messages") if (folder / "messages").is_dir() else None
            self._chunk_document = load_array(folder, "chunk_document")
            self._member_document = load_array(folder, "member_document")
            self.prior: Scores = load_array(folder, "prior")
            self._uses = load_array(folder, "uses")
            self._uses_start = load_array(folder, "uses_start")
            self._dense = dense.DenseStore(folder) if (folder / dense.INDEX).is_file() else None
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise IndexUnavailableError(
                f"The index cannot be read: {error}", hint="Build the index again.", code="index.broken"
            ) from error
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        weakref.finalize(self, _close_all, self._connections)

    @property
    def has_dense(self) -> bool:
        """Whether any passage can be found by meaning."""
        return self._dense is not None

    # -- documents --------------------------------------------------------------------------------------------------------

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self.folder)
            self._connections.append(connection)
        return connection

    def document(self, number: int) -> StoredDocument:
        """The document of that number."""
        columns = ", ".join(StoredDocument.__slots__)
        row = self._connection().execute(f"SELECT {columns} FROM documents WHERE number = ?", (number,)).fetchone()  # noqa: S608
        return StoredDocument(*row)

    def releases(self, number: int) -> list[tuple[int, str]]:
        """The same page in every release that the index has: numbers and versions of documents; none where there is one alone."""
        rows = self._connection().execute(
            "SELECT other.number, other.version FROM documents this JOIN documents other ON other.page = this.page "
            "WHERE this.number = ? ORDER BY other.number",
            (number,),
        )
        found = [(int(row[0]), str(row[1])) for row in rows]
        return found if len(found) > 1 else []

    def terms(self, tokens: Mapping[str, float], limit: int = 48) -> list[Term]:
        """The known ones of `tokens` with their weights: the `limit` of them that say most, in their order."""
        unique = list(tokens)[:900]
        marks = ",".join("?" * len(unique))
        rows = self._connection().execute(f"SELECT token, number, documents FROM vocabulary WHERE token IN ({marks})", unique)  # noqa: S608
        known = {row[0]: Term(row[0], row[1], row[2], tokens[row[0]]) for row in rows}
        found = [known[token] for token in unique if token in known]
        telling = sorted(found, key=lambda term: -term.weight * log(1 + self.n_chunks / max(1, term.documents)))
        kept = {term.token for term in telling[:limit]}
        return [term for term in found if term.token in kept]

    def unknown(self, tokens: Sequence[str]) -> float:
        """The share of `tokens` that no passage has, each by how much it says; one that is nowhere says most."""
        unique = list(dict.fromkeys(tokens))[:900]
        if not unique:
            return 0.0
        marks = ",".join("?" * len(unique))
        rows = self._connection().execute(f"SELECT token, documents FROM vocabulary WHERE token IN ({marks})", unique)  # noqa: S608
        documents = {str(token): int(count) for token, count in rows}
        weights = {token: log(1 + self.n_chunks / max(0.5, documents.get(token, 0))) for token in unique}
        return sum(weight for token, weight in weights.items() if not documents.get(token)) / sum(weights.values())

    # -- stages -----------------------------------------------------------------------------------------------------------

    def by_chunks(self, terms: Sequence[Term], *, aggregate: bool = True) -> Scores:
        """BM25 of chunks: a document's three best, decayed; or its best alone."""
        import numpy as np

        scores = self._chunks.scores(_numbers(terms))
        best = _largest(scores, CHUNK_CANDIDATES)
        result = np.zeros(self.n_documents, dtype=np.float32)
        decay = CHUNK_DECAY if aggregate else CHUNK_DECAY[:1]
        seen: dict[int, int] = {}
        for chunk in best:
            document = int(self._chunk_document[chunk])
            rank = seen.get(document, 0)
            if rank < len(decay):
                result[document] += decay[rank] * scores[chunk]
                seen[document] = rank + 1
        return _normalised(result)

    def by_documents(self, terms: Sequence[Term]) -> Scores:
        """BM25 of whole documents."""
        return _normalised(self._documents.scores(_numbers(terms)))

    def by_members(self, terms: Sequence[Term]) -> Scores:
        """BM25 of the methods of classes: a class's best method."""
        import numpy as np

        result = np.zeros(self.n_documents, dtype=np.float32)
        if self._members is not None and terms:
            scores = self._members.scores(_numbers(terms))
            best = _largest(scores, DENSE_CANDIDATES)
            np.maximum.at(result, self._member_document[best], scores[best])
        return _normalised(result)

    def by_messages(self, quoted: Sequence[str]) -> Scores:
        """Classes that print what the question quotes: how much of a message, by the rarity of its words, stands in one quote.

        Not scaled to 1: a quote that shares some words with a message is not that message. One of a few common words says less.
        """
        import numpy as np

        result = np.zeros(self.n_documents, dtype=np.float32)
        if self._messages is None:
            return result
        telling = MESSAGE_TELLING * log(1 + self.n_chunks)
        for quote in quoted:
            said = set(tokenize(quote))
            terms = self.terms(dict.fromkeys(said, 1.0))
            if len(terms) < MESSAGE_WORDS:
                continue
            for number in _largest(self._messages.scores(_numbers(terms)), MESSAGE_CANDIDATES):
                text, document = (
                    self._connection().execute("SELECT text, document FROM messages WHERE number = ?", (int(number),)).fetchone()
                )
                rarity = {
                    term.token: log(1 + self.n_chunks / max(1, term.documents))
                    for term in self.terms(dict.fromkeys(tokenize(text), 1.0))
                }
                whole = sum(rarity.values())
                share = sum(rarity[token] for token in rarity.keys() & said) / whole if whole else 0.0
                if share >= MESSAGE_SHARE:
                    result[document] = max(result[document], share * min(1.0, whole / telling))
        return result

    def by_names(self, mentioned: Mapping[str, float]) -> Scores:
        """Documents that the question mentions by name, by how rare the name is.

        Not scaled to 1: where a post only names what everybody's macro has, such as ``TFile``, none of the names says much.
        """
        import numpy as np

        result = np.zeros(self.n_documents, dtype=np.float32)
        for name, worth in list(mentioned.items())[:64]:
            rows = (
                self._connection().execute("SELECT name, document, weight FROM names WHERE lower = ?", (name.lower(),)).fetchall()
            )
            exact = [row for row in rows if row[0] == name and looks_like_identifier(name)]
            if not exact:  # someone writes ttree, or Tgraph
                exact = [row for row in rows if looks_like_identifier(row[0]) and name.lower().startswith(_WORD_NAME_PREFIXES)]
            if not exact:
                continue
            rarity = worth * self.rarity(name)
            for _name, document, weight in exact:
                result[document] = max(result[document], rarity * weight / len(exact) ** 0.5)
        return result

    def rarity(self, name: str) -> float:
        """The inverse document frequency of an identifier, from 0 (everywhere) to 1 (nowhere)."""
        row = self._connection().execute("SELECT documents FROM vocabulary WHERE token = ?", (name.lower(),)).fetchone()
        return log(self.n_chunks / max(1, row[0] if row else 1)) / log(max(self.n_chunks, 2))

    def by_meaning(self, vector: Scores) -> tuple[Scores, float]:
        """Cosine of a document's nearest chunk, above that of the last candidate; and the best cosine itself."""
        import numpy as np

        result = np.zeros(self.n_documents, dtype=np.float32)
        if self._dense is None:
            return result, 0.0
        chunks, cosines = self._dense.search(vector, DENSE_CANDIDATES)
        if not len(chunks):
            return result, 0.0
        np.maximum.at(result, self._chunk_document[chunks], cosines - cosines[-1])
        return _normalised(result), float(cosines[0])

    def hop(self, scores: Scores, top: int = 12) -> Scores:
        """Classes that the best documents use, the rare and the shared ones more than the rest."""
        import numpy as np

        result = np.zeros(self.n_documents, dtype=np.float32)
        for document in _largest(scores, top):
            used = self._uses[self._uses_start[document] : self._uses_start[document + 1]]
            if len(used):
                np.add.at(result, used, scores[document] / np.float32(len(used)) ** 0.5)
        return _normalised(result)


def _numbers(terms: Sequence[Term]) -> dict[int, float]:
    return {term.number: term.weight for term in terms}


def _close_all(connections: list[sqlite3.Connection]) -> None:
    """Close what the threads of a searcher opened, once nobody holds the searcher any more."""
    for connection in connections:
        connection.close()


def _largest(scores: Scores, count: int) -> NDArray[np.intp]:
    """Positions of the largest positive scores, largest first, ties by position."""
    import numpy as np

    positive = np.flatnonzero(scores > 0)
    if len(positive) > count:
        positive = positive[np.argpartition(scores[positive], -count)[-count:]]
    return positive[np.lexsort((positive, -scores[positive]))]


def _normalised(scores: Scores) -> Scores:
    best = float(scores.max(initial=0.0))
    return scores / best if best > 0 else scores
