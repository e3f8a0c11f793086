"""The portal's own pages as a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.corpus import DEFAULT_SOURCES, SourceEntry, source_kind
from assistant.errors import CorpusError
from assistant.index import BuildOptions, build
from assistant.retrieval import Retriever

PORTAL = SourceEntry("portal", "portal")


def test_the_pages_for_people_are_read_section_by_section() -> None:
    documents = list(source_kind("portal").documents(PORTAL))
    assert len({document.id for document in documents}) == len(documents)
    places = {document.place.split("/")[1] for document in documents}
    assert places == {"how-to", "reference"}
    assert any(document.place.startswith("docs/how-to/make-a-training-set.md:") for document in documents)
    assert all(document.source.startswith("Portal: ") for document in documents)


def test_it_is_read_by_default() -> None:
    assert PORTAL in DEFAULT_SOURCES


def test_a_folder_without_pages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not at"):
        source_kind("portal").check(SourceEntry("portal", "portal", str(tmp_path)))


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("How do I make a training set?", "make-a-training-set"),
        ("How does a network from PyTorch get into a C++ analysis?", "network-to-cpp"),
        ("How do I set up the forum bot?", "forum-bot"),
        ("How do I configure ML4EP_MODEL_URL?", "configure"),
    ],
)
def test_questions_about_the_portal_find_its_pages(question: str, page: str, built: Retriever) -> None:
    found = built.retrieve(question, k=5).passages
    assert any(f"/{page}.md:" in passage.place for passage in found), [passage.place for passage in found]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("index")
    build(BuildOptions(folder, (PORTAL,), dense=False))
    return Retriever.open(folder)
