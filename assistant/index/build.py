"""Building an index: read the sources, publish search by words, then embed and publish search by meaning.

```
sources -> documents -> chunks -> tokens -> lexical stores   => published, with the vectors of unchanged chunks
                           \\-> vectors, most useful first    => published in steps
```
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.corpus.config import list_sources
from assistant.corpus.document import RemoteSource, SourceEntry, ignore
from assistant.corpus.registry import source_kind
from assistant.errors import AssistantError, CorpusError
from assistant.index import dense, generations, lexical, relations, store
from assistant.index.chunks import Chunk, chunks
from assistant.index.status import IndexStatus, SourceStatus, index_status
from assistant.index.store import CorpusDocument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assistant.index.embedding_pool import BulkEmbedder

Progress = Callable[[float, str], None]
Log = Callable[[str], None]

CHECKOUTS = "checkouts"  # in the index's folder: what was cloned
LEXICAL_SHARE = 0.2  # of the progress bar
MAX_PASSAGES = 400_000


def _no_progress(_fraction: float, _text: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build an index.

    Attributes
    ----------
    index_dir
        Where the index and its `sources.json` are.
    sources
        What to read; None for what `sources.json` lists.
    dense
        Whether to embed the passages.
    processes
        Child processes that embed, one thread each.
    publish_every
        Seconds between two publications of what has been embedded so far.
    """

    index_dir: Path
    sources: tuple[SourceEntry, ...] | None = None
    dense: bool = True
    processes: int = 2
    publish_every: float = 45.0


def build(
    options: BuildOptions,
    progress: Progress = _no_progress,
    log: Log = ignore,
    *,
    embedder: BulkEmbedder | None = None,
) -> IndexStatus:
    """Bring the index up to date with its sources.

    Parameters
    ----------
    embedder
        Embeds the passages; by default MiniLM in `options.processes` child processes.

    Returns
    -------
    IndexStatus
        What is published at the end.

    Raises
    ------
    CorpusError
        No source has any document.
    AssistantError
        The index is being built by another process.
    """
    with generations.lock(options.index_dir):
        began = time.monotonic()
        entries = list_sources(options.index_dir) if options.sources is None else options.sources
        with _no_collector():
            documents, sources = _read(entries, options.index_dir / CHECKOUTS, progress, log)
        if not documents:
            problems = "; ".join(f"{s.name}: {s.problem}" for s in sources if s.problem)
            raise CorpusError(
                "The sources hold no document", hint=problems or "Add a source with documents.", code="corpus.empty"
            )
        log(f"{len(documents)} documents read in {time.monotonic() - began:.1f} s")
        progress(LEXICAL_SHARE * 0.5, "Indexing words")
        with _no_collector():
            embedded = _publish_lexical(options, documents, sources, log)
        log(f"Search by words is ready after {time.monotonic() - began:.1f} s")
        progress(LEXICAL_SHARE, "Search by words is ready")
        if options.dense:
            _publish_dense(options, embedded, embedder, progress, log)
            log(f"Search by meaning is ready after {time.monotonic() - began:.1f} s")
        progress(1.0, "The index is up to date")
        return index_status(options.index_dir)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Leave out Python's search for cycles, a third of the time, while millions of nodes and tokens are made, none in a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(
    entries: Sequence[SourceEntry], checkouts: Path, progress: Progress, log: Log
) -> tuple[list[CorpusDocument], list[SourceStatus]]:
    """All documents of all entries; an entry that cannot be read is reported and left out."""
    documents: dict[str, CorpusDocument] = {}
    pages: dict[tuple[str, str], CorpusDocument] = {}
    sources: list[SourceStatus] = []
    for number, entry in enumerate(entries):
        progress(LEXICAL_SHARE * 0.5 * number / max(len(entries), 1), f"Reading {entry.name}")
        version = problem = ""
        try:
            kind = source_kind(entry.kind)
            kind.check(entry)
            here = kind.fetch(entry, checkouts, log) if isinstance(kind, RemoteSource) else entry
            version = kind.version(here)
            for document in kind.documents(here, log):
                if document.text.strip():
                    _keep(CorpusDocument(entry.name, document), documents, pages)
        except CorpusError as error:
            problem = f"{error.message}. {error.hint}".strip()
            log(f"{entry.name} is left out: {problem}")
        sources.append(SourceStatus(entry.name, entry.kind, entry.location, version, 0, 0, problem))
    counts = Counter(item.corpus for item in documents.values())
    return list(documents.values()), [replace(source, documents=counts[source.name]) for source in sources]


def _keep(item: CorpusDocument, documents: dict[str, CorpusDocument], pages: dict[tuple[str, str], CorpusDocument]) -> None:
    """Add a document, unless another source has the same page of the same release with more to say."""
    document = item.document
    page = (document.id, document.url)
    other = pages.get(page) if document.url else None
    if other is not None:
        if len(other.document.text) >= len(document.text):
            return
        del documents[other.id]
    if item.id not in documents:
        documents[item.id] = pages[page] = item


@dataclass(frozen=True, slots=True)
class _Embedding:
    """What is left to embed after the lexical stage.

    Attributes
    ----------
    order
        The chunks to embed, most useful first.
    vectors
        Of the chunks that were embedded before, unchanged since.
    """

    texts: list[str]
    order: list[int]
    vectors: dict[int, NDArray[np.float32]]
    state: dict[str, Any]
    folder: Path


def _publish_lexical(options: BuildOptions, documents: list[CorpusDocument], sources: list[SourceStatus], log: Log) -> _Embedding:
    import numpy as np

    from assistant.embedding import MODEL_NAME

    ranges: list[tuple[int, Chunk]] = []
    vocabulary = lexical.Vocabulary()
    chunk_tokens: list[list[int]] = []
    document_tokens: list[list[int]] = []
    texts: list[str] = []
    for number, item in enumerate(documents):
        document = item.document
        title = vocabulary.encode(f"{document.title} {document.source}")
        whole = title * 2
        for chunk in chunks(document.text):
            text = document.text[chunk.start : chunk.end]
            tokens = vocabulary.encode(text)
            ranges.append((number, chunk))
            chunk_tokens.append(title + tokens)
            texts.append(store.passage_text(document.title, text))
            whole += tokens
        document_tokens.append(whole)
    if len(ranges) > MAX_PASSAGES:
        raise CorpusError(
            f"The sources hold {len(ranges)} passages, more than {MAX_PASSAGES}", hint="Remove a source.", code="corpus.large"
        )
    member_tokens, member_documents = _members(documents, vocabulary)
    message_tokens, phrases = _messages(documents, vocabulary)
    frequencies = [0] * len(vocabulary)
    for tokens in chunk_tokens:
        for token in set(tokens):
            frequencies[token] += 1
    related = relations.relate(documents)
    chunk_documents = [document for document, _chunk in ranges]

    previous = generations.current(options.index_dir)
    folder = generations.start(options.index_dir)
    store.write(folder, documents, ranges, vocabulary.numbers, frequencies, related.names, phrases)
    lexical.write(folder / "chunks", chunk_tokens, len(vocabulary))
    lexical.write(folder / "documents", document_tokens, len(vocabulary))
    if member_tokens:
        lexical.write(folder / "members", member_tokens, len(vocabulary), b=0.3)
    if message_tokens:
        lexical.write(folder / "messages", message_tokens, len(vocabulary))
    store.save_array(folder, "member_document", np.asarray(member_documents, dtype=np.int32))
    store.save_array(folder, "chunk_document", np.asarray(chunk_documents, dtype=np.int32))
    store.save_array(folder, "prior", np.asarray(related.prior, dtype=np.float32))
    store.save_array(folder, "uses", np.asarray([t for used in related.uses for t in used], dtype=np.int32))
    store.save_array(folder, "uses_start", np.cumsum([0, *map(len, related.uses)], dtype=np.int64))
    hashes = np.frombuffer(b"".join(store.chunk_hash(text, MODEL_NAME) for text in texts), dtype=np.uint8)
    store.save_array(folder, "chunk_hash", hashes.reshape(-1, store.HASH_BYTES))

    order = relations.dense_order(documents, related, chunk_documents)
    known = _known_vectors(previous, hashes.reshape(-1, store.HASH_BYTES), log)
    vectors = {chunk: known[chunk] for chunk in order if chunk in known}
    _write_vectors(folder, order, vectors)
    per_source = Counter(documents[document].corpus for document in chunk_documents)
    state: dict[str, Any] = {
        "documents": len(documents),
        "passages": len(ranges),
        "lexical": True,
        "dense": len(vectors) / len(order),
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "embedder": MODEL_NAME,
        "sources": [
            {name: getattr(source, name) for name in source.__slots__} | {"passages": per_source[source.name]}
            for source in sources
        ],
    }
    generations.publish(options.index_dir, folder, state)
    return _Embedding(texts, order, vectors, state, folder)


def _members(documents: Sequence[CorpusDocument], vocabulary: lexical.Vocabulary) -> tuple[list[list[int]], list[int]]:
    """Tokens and document of each distinct method of each class."""
    tokens: list[list[int]] = []
    owners: list[int] = []
    for number, item in enumerate(documents):
        texts: dict[str, str] = {}
        for member in item.document.members:
            texts[member.name] = f"{texts.get(member.name, '')} {member.comment}"
        for name, comment in texts.items():
            tokens.append(vocabulary.encode(f"{item.document.source}::{name} {name} {comment}"))
            owners.append(number)
    return tokens, owners


def _messages(documents: Sequence[CorpusDocument], vocabulary: lexical.Vocabulary) -> tuple[list[list[int]], list[store.Message]]:
    """Tokens of each error message, and its document; the place it comes from is a name, and found as one."""
    found = [(message, number) for number, item in enumerate(documents) for message in item.document.messages]
    phrases = [store.Message(message.rpartition(">: ")[2], number) for message, number in found]
    return [vocabulary.encode(phrase.text) for phrase in phrases], phrases


def _known_vectors(previous: Path | None, hashes: NDArray[np.uint8], log: Log) -> dict[int, NDArray[np.float32]]:
    """The vectors of chunks that the previous generation embedded already."""
    if previous is None or not (previous / dense.INDEX).is_file():
        return {}
    try:
        old_hashes = store.load_array(previous, "chunk_hash")
        rows, vectors = dense.DenseStore(previous).vectors()
    except (OSError, ValueError, RuntimeError) as error:
        log(f"The previous generation's vectors cannot be read, all are made anew: {error}")
        return {}
    known = {old_hashes[chunk].tobytes(): vector for chunk, vector in zip(rows, vectors, strict=True)}
    return {n: vector for n, row in enumerate(hashes) if (vector := known.get(row.tobytes())) is not None}


def _write_vectors(folder: Path, order: Sequence[int], vectors: dict[int, NDArray[np.float32]]) -> None:
    import numpy as np

    done = [chunk for chunk in order if chunk in vectors]
    if done:
        dense.write(folder, done, np.stack([vectors[chunk] for chunk in done]))


def _publish_dense(options: BuildOptions, work: _Embedding, embedder: BulkEmbedder | None, progress: Progress, log: Log) -> None:
    """Embed what has no vector yet, publishing now and then."""
    missing = [chunk for chunk in work.order if chunk not in work.vectors]
    log(f"{len(missing)} of {len(work.order)} passages to embed")
    if not missing:
        return
    vectors = dict(work.vectors)
    state, folder = dict(work.state), work.folder
    began = published = time.monotonic()
    for numbers, rows in _embed(options, missing, work.texts, embedder):
        vectors.update(zip(numbers, rows, strict=True))
        fraction = len(vectors) / len(work.order)
        done = len(vectors) - len(work.vectors)
        rate = done / max(time.monotonic() - began, 1e-3)
        progress(
            LEXICAL_SHARE + (1 - LEXICAL_SHARE) * done / len(missing),
            f"Embedding: {done} of {len(missing)} ({rate:.0f} a second)",
        )
        if fraction == 1 or time.monotonic() - published > options.publish_every:
            folder, state = _republish(options.index_dir, folder, state, work.order, vectors)
            published = time.monotonic()


def _embed(
    options: BuildOptions, numbers: list[int], texts: list[str], embedder: BulkEmbedder | None
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    from assistant.index.embedding_pool import EmbeddingPool

    if embedder is not None:
        yield from embedder.embed(numbers, texts)
        return
    with EmbeddingPool(options.processes) as pool:
        yield from pool.embed(numbers, texts)


def _republish(
    index_dir: Path, folder: Path, state: dict[str, Any], order: Sequence[int], vectors: dict[int, NDArray[np.float32]]
) -> tuple[Path, dict[str, Any]]:
    """A generation that shares everything with the current one but has more vectors."""
    if generations.current(index_dir) != folder:
        raise AssistantError("The index was replaced while it was being built", hint="Start the build again.", code="index.busy")
    new = generations.start(index_dir)
    generations.clone(folder, new, without=dense.FILES)
    _write_vectors(new, order, vectors)
    state = state | {"dense": len(vectors) / len(order)}
    generations.publish(index_dir, new, state)
    return new, state
