"""Building: staged, incremental, and never in the way of readers."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.corpus import SourceEntry
from assistant.errors import AssistantError, CorpusError
from assistant.index import BuildOptions, IndexStatus, build, generations, index_status, read_document
from assistant.retrieval import Retriever

Build = Callable[..., IndexStatus]


def test_a_build_publishes_documents_passages_and_vectors(tmp_path: Path, build_index: Build) -> None:
    status = build_index()
    assert status == index_status(tmp_path / "index")
    assert status.documents == 7
    assert status.passages >= 7
    assert status.lexical
    assert status.dense == 1
    (source,) = status.sources
    assert (source.name, source.kind, source.documents, source.passages) == ("corpus", "folder", 7, status.passages)


def test_progress_only_grows_and_ends_at_one(tmp_path: Path, corpus: Path, embedder: object) -> None:
    seen: list[tuple[float, str]] = []
    entry = SourceEntry("corpus", "folder", str(corpus))
    build(BuildOptions(tmp_path / "i", (entry,)), lambda fraction, text: seen.append((fraction, text)), embedder=embedder)  # type: ignore[arg-type]
    fractions = [fraction for fraction, _text in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any("words is ready" in text for _fraction, text in seen)


def test_what_has_not_changed_is_not_embedded_again(corpus: Path, build_index: Build, embedder: object) -> None:
    build_index()
    embedded: list[str] = embedder.embedded  # type: ignore[attr-defined]
    embedded.clear()
    assert build_index().dense == 1
    assert embedded == []
    guide = corpus / "guide.md"
    guide.write_text(guide.read_text().replace("yellow", "green"))
    assert build_index().dense == 1
    assert len(embedded) == 1
    assert "green" in embedded[0]


def test_removed_files_leave_the_index(tmp_path: Path, corpus: Path, build_index: Build) -> None:
    build_index()
    (corpus / "guide.md").unlink()
    assert build_index().documents == 5
    passages = Retriever.open(tmp_path / "index", embedder=_Nothing()).retrieve("bananas").passages
    assert not [passage for passage in passages if "anana" in passage.text]


class _Nothing:
    """Embeds every text as the same vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), 64), 0.125, dtype=np.float32)


class _Failing:
    """Embeds a few passages, then fails."""

    def embed(self, numbers: Sequence[int], texts: Sequence[str]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        yield list(numbers[:2]), np.full((2, 64), 0.125, dtype=np.float32)
        raise AssistantError("An embedding process ended unexpectedly")


def test_words_are_published_before_meaning_and_stay_when_embedding_fails(tmp_path: Path, corpus: Path) -> None:
    options = BuildOptions(tmp_path / "index", (SourceEntry("corpus", "folder", str(corpus)),), publish_every=0)
    with pytest.raises(AssistantError, match="unexpectedly"):
        build(options, embedder=_Failing())
    status = index_status(tmp_path / "index")
    assert status.lexical
    assert 0 < status.dense < 1  # what was embedded before is published and not lost
    assert Retriever.open(tmp_path / "index", embedder=_Nothing()).retrieve("yellow bananas").passages


def test_a_build_killed_in_the_middle_leaves_the_old_index_serving(tmp_path: Path, corpus: Path, build_index: Build) -> None:
    before = build_index(dense=False)
    code = (
        "import os, sys; from pathlib import Path; from assistant.corpus import SourceEntry; from assistant.index import *\n"
        "from assistant.index import lexical\n"
        "lexical.write = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "build(BuildOptions(Path(sys.argv[1]), (SourceEntry('corpus', 'folder', sys.argv[2]),), dense=False))"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path / "index"), str(corpus)], check=False)
    assert child.returncode == -9
    assert index_status(tmp_path / "index") == before
    assert Retriever.open(tmp_path / "index").retrieve("bananas").passages
    assert build_index(dense=False).generation > before.generation
    assert len(list((tmp_path / "index" / "generations").iterdir())) == 2


def test_a_source_that_cannot_be_read_is_reported_and_the_rest_is_built(tmp_path: Path, corpus: Path) -> None:
    entries = (SourceEntry("gone", "folder", str(tmp_path / "gone")), SourceEntry("corpus", "folder", str(corpus)))
    log: list[str] = []
    status = build(BuildOptions(tmp_path / "index", entries, dense=False), log=log.append)
    assert status.documents == 7
    assert "no readable folder" in status.sources[0].problem
    assert any(line.startswith("gone is left out") for line in log)


def test_cycles_are_collected_again_after_a_build_even_if_it_failed(tmp_path: Path, corpus: Path, embedder: object) -> None:
    build(BuildOptions(tmp_path / "i", (SourceEntry("corpus", "folder", str(corpus)),)), embedder=embedder)  # type: ignore[arg-type]
    assert gc.isenabled()
    with pytest.raises(RuntimeError, match="stop"):
        build(BuildOptions(tmp_path / "i", (SourceEntry("corpus", "folder", str(corpus)),)), _stop)
    assert gc.isenabled()


def _stop(_fraction: float, _text: str) -> None:
    raise RuntimeError("stop")


def test_no_document_at_all_is_an_error_and_publishes_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorpusError, match="no document"):
        build(BuildOptions(tmp_path / "index", (SourceEntry("e", "folder", str(empty)),)))
    assert index_status(tmp_path / "index") == IndexStatus()


def test_the_same_class_from_two_sources_is_kept_once_with_the_longer_text(tmp_path: Path) -> None:
    entries = []
    for name, text in (("short", "Brief."), ("long", "Much longer prose about this class.")):
        folder = tmp_path / name
        (folder / "core/base/inc").mkdir(parents=True)
        (folder / "core/base/inc/TObject.h").write_text(
            f"/** \\class TObject\n{text} */\nclass TObject {{\npublic:\n  void Draw();\n}};\n"
        )
        entries.append(SourceEntry(name, "folder", str(folder)))
    for order in (entries, entries[::-1]):
        status = build(BuildOptions(tmp_path / "index", tuple(order), dense=False))
        assert status.documents == 1
        stored = read_document(tmp_path / "index", "long/class:TObject")
        assert stored is not None
        assert "Much longer" in stored.text


def test_status_and_documents_need_the_standard_library_alone(tmp_path: Path, build_index: Build) -> None:
    build_index()
    code = (
        "import sys; from pathlib import Path; from assistant.index import index_status, read_document\n"
        "assert index_status(Path(sys.argv[1])).documents == 7\n"
        "assert read_document(Path(sys.argv[1]), 'corpus/class:TH1').title == 'TH1: The histogram class'\n"
        "assert read_document(Path(sys.argv[1]), 'no such') is None\n"
        "heavy = {'numpy', 'torch', 'faiss', 'bm25s', 'tokenizers'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "index")], check=True)


@pytest.mark.parametrize(
    "damage", ["state.json", "documents.sqlite", "chunk_document.npy", "chunks/data.csc.index.npy", "dense.faiss"]
)
def test_a_damaged_generation_is_an_error_with_a_way_out(tmp_path: Path, build_index: Build, damage: str) -> None:
    build_index()
    folder = generations.current(tmp_path / "index")
    assert folder is not None
    path = folder / damage
    os.truncate(path, 10)
    with pytest.raises(AssistantError) as raised:
        Retriever.open(tmp_path / "index", embedder=_Nothing()).retrieve("bananas")
    assert raised.value.code.startswith("index.")
    assert "uild" in raised.value.hint
    assert build_index().documents == 7  # and building again mends it
