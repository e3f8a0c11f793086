"""The kinds of sources, and the list of sources of an index."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.corpus import DEFAULT_SOURCES, SourceEntry, add_source, list_sources, remove_source, source_kind, source_kinds
from assistant.corpus.registry import collect
from assistant.errors import CorpusError


def test_kinds_are_discovered() -> None:
    assert {"root", "packages", "folder"} <= set(source_kinds())
    assert all(name == kind.name and kind.title for name, kind in source_kinds().items())


def test_two_kinds_of_one_name_are_an_error() -> None:
    kind = source_kind("folder")
    with pytest.raises(CorpusError, match="Two corpus sources are called 'folder'"):
        collect([kind, kind])


def test_an_unknown_kind_lists_those_there_are() -> None:
    with pytest.raises(CorpusError) as raised:
        source_kind("web")
    assert "folder" in raised.value.hint


def test_sources_are_added_listed_and_removed(tmp_path: Path) -> None:
    notes = tmp_path / "my notes"
    notes.mkdir()
    index = tmp_path / "index"
    assert list_sources(index) == DEFAULT_SOURCES
    entry = add_source(index, "folder", str(notes), url="https://example.org/notes")
    assert entry == SourceEntry("my-notes", "folder", str(notes), "https://example.org/notes")
    assert list_sources(index) == (*DEFAULT_SOURCES, entry)
    assert remove_source(index, "root").name == "root"
    assert [source.name for source in list_sources(index)] == ["packages", "portal", "my-notes"]
    assert not list(index.glob(".sources-*"))


@pytest.mark.parametrize(
    ("kind", "location", "name", "url", "code"),
    [
        ("web", "", "", "", "corpus.kind"),
        ("folder", "nowhere/at/all", "", "", "corpus.folder"),
        ("folder", ".", "root", "", "corpus.taken"),
        ("folder", ".", "../up", "", "corpus.name"),
        ("folder", ".", "ok", "javascript:alert(1)", "corpus.url"),
    ],
)
def test_what_cannot_be_added(tmp_path: Path, kind: str, location: str, name: str, url: str, code: str) -> None:
    with pytest.raises(CorpusError) as raised:
        add_source(tmp_path, kind, location, name=name, url=url)
    assert raised.value.code == code
    assert raised.value.hint
    assert not (tmp_path / "sources.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"sources": [{"name": "x"}]}', '{"sources": 3}', "\x00"])
def test_a_damaged_list_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.json").write_text(text)
    with pytest.raises(CorpusError, match=r"sources\.json cannot be read"):
        list_sources(tmp_path)


def test_removing_what_is_not_there_lists_what_is(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as raised:
        remove_source(tmp_path, "nothing")
    assert "root" in raised.value.hint
