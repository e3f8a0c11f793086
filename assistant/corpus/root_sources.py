"""ROOT's sources, a git checkout: class prose of the .cxx files, the manual, doxygen groups and pages, error messages.

Where the installed ROOT is of the same release, its headers are read too, and each class is one document of both. A checkout
of another release stands on its own: its documents name the release and link to that release's reference.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from assistant.corpus import folder, root_wheel
from assistant.corpus.checkouts import Remote, bring
from assistant.corpus.document import Document, Log, SourceEntry, ignore
from assistant.corpus.parsing import cpp, groups, messages, root_pages
from assistant.corpus.parsing.text import read_text
from assistant.corpus.versions import release
from assistant.errors import CorpusError

_MARK = Path("core") / "base" / "inc" / "TObject.h"
_VERSION_HEADERS = (Path("core/foundation/inc/ROOT/RVersion.hxx"), Path("core/base/inc/RVersion.h"))
_VERSION_FILE = Path("build/version_number")
_LEFT_OUT = ("interpreter", "builtins", "roottest", "test")
_RELEASE_NOTES = Path("README/ReleaseNotes")
_DOXYGEN_FILES = frozenset({".dox"})
_FEWEST_WORDS = 8  # of a group that is worth a document
_LISTED = 80  # classes of a group


class RootSources:
    """The checkout that the entry's location names: a path, or an address that git can clone (``ADDRESS#BRANCH``)."""

    name = "root-sources"
    title = "ROOT's sources"

    def check(self, entry: SourceEntry) -> None:
        """The location is a checkout of ROOT, or an address."""
        if Remote.parse(entry.location) is None:
            self._root(entry)

    def elsewhere(self, entry: SourceEntry) -> bool:
        """Whether the location is an address of another machine; a malformed one is refused by `check` and `fetch`."""
        return "://" in entry.location.removeprefix("file://") or "@" in entry.location.partition("/")[0]

    def fetch(self, entry: SourceEntry, cache: Path, log: Log) -> SourceEntry:
        """`entry` with the path of a checkout on this machine, brought up to date where the location is an address."""
        remote = Remote.parse(entry.location)
        return entry if remote is None else replace(entry, location=str(bring(remote, cache, log, leave_out=_LEFT_OUT)))

    def version(self, entry: SourceEntry) -> str:
        """ROOT's version, such as ``"6.36.02"``, else the commit that is checked out."""
        root = self._root(entry)
        for header in _VERSION_HEADERS:
            if (root / header).is_file() and (version := root_wheel.version_of(root / header)):
                return version
        if (root / _VERSION_FILE).is_file():
            written = re.fullmatch(r"(\d+\.\d+)/(\d+)", read_text(root / _VERSION_FILE, ignore).strip())
            if written:
                return f"{written[1]}.{written[2]}"
        return folder.checked_out(root)[:12]

    def documents(self, entry: SourceEntry, log: Log = ignore) -> Iterator[Document]:
        """Tutorials and classes, then groups and pages of doxygen, the manual, and release notes."""
        root, version = self._root(entry), self.version(entry)
        wheel = _installed(version)
        apart = "" if wheel else release(version)
        site = root_pages.DOXYGEN if wheel else root_pages.reference(version)
        for document in self._documents(root, version, wheel, entry.url, log):
            yield _placed(document, apart, site, entry.url)

    def _documents(self, root: Path, version: str, wheel: Path | None, url: str, log: Log) -> Iterator[Document]:
        files = list(folder.readable_files(root, log, more=_DOXYGEN_FILES))
        tutorials = [path for path in files if path.relative_to(root).parts[0] == "tutorials"]
        code = [path for path in files if path.suffix in folder.CPP and path.relative_to(root).parts[0] != "tutorials"]
        for path in tutorials:
            if path.suffix in folder.TUTORIALS:
                document = root_pages.tutorial_document(path.relative_to(root).as_posix(), read_text(path, log), version=version)
                if document:
                    yield document

        topics: list[tuple[str, groups.Topic]] = []
        members: dict[str, dict[str, None]] = defaultdict(dict)
        reported: list[messages.Reported] = []

        def scopes() -> Iterator[tuple[str, cpp.CppScope]]:
            for path in code:
                place, text = path.relative_to(root).as_posix(), read_text(path, log)
                topics.extend((place, topic) for topic in groups.topics(text))
                for name, group in groups.memberships(text):
                    members[group].setdefault(name)
                reported.extend(messages.read(text))
                for scope in cpp.read(text):
                    yield place, scope
            if wheel is not None:
                for place, text in root_wheel.headers(wheel, log):
                    for scope in cpp.read(text):
                        yield place, scope

        yield from root_pages.class_documents(scopes(), version=version, reported=reported)

        pages = [path for path in files if path.suffix in folder.PAGES]
        for path in files:
            if path.suffix in _DOXYGEN_FILES or path in pages:
                text = read_text(path, log)
                found = groups.topics(text, markdown=path.suffix in folder.PAGES)
                topics.extend((path.relative_to(root).as_posix(), topic) for topic in found)
        yield from _topic_documents(topics, members, version)
        defined = {place for place, _topic in topics}
        notes = root / _RELEASE_NOTES
        for path in pages:
            if path.is_relative_to(notes):
                continue
            if path.relative_to(root).as_posix() not in defined:  # else its text is that of its pages and groups
                yield from folder.page_documents(root, path, url, version, log)
        yield from root_wheel.release_notes(root, log)

    def _root(self, entry: SourceEntry) -> Path:
        root = Path(entry.location) if entry.location else None
        if root is None or not root.is_absolute() or not os.access(root, os.R_OK | os.X_OK) or not (root / _MARK).is_file():
            raise CorpusError(
                f"{entry.location or 'An empty location'} is no checkout of ROOT: it has no {_MARK}",
                hint="Give the absolute path of a checkout, or the address of a git repository, such as "
                "https://github.com/root-project/root.git#v6-36-00-patches.",
                code="corpus.checkout",
            )
        return root


def _installed(version: str) -> Path | None:
    """The installed ROOT, where it is of the same release as `version`."""
    try:
        wheel = SourceEntry("root", "root")
        same = release(version) and release(root_wheel.SOURCE.version(wheel)) == release(version)
        return root_wheel.SOURCE.root(wheel) if same else None
    except CorpusError:
        return None


def _topic_documents(
    found: list[tuple[str, groups.Topic]], members: dict[str, dict[str, None]], version: str
) -> Iterator[Document]:
    """Groups with the classes in them, and pages; of several of a name the one that says most."""
    best: dict[tuple[str, str], tuple[str, groups.Topic]] = {}
    for place, topic in found:
        known = best.get((topic.kind, topic.name))
        if known is None or len(topic.text) > len(known[1].text):
            best[topic.kind, topic.name] = (place, topic)
    for place, topic in best.values():
        lines = [topic.title, "", topic.text] if topic.text else [topic.title]
        if topic.kind == "group" and members.get(topic.name):
            lines += ["", f"Classes: {', '.join(sorted(members[topic.name])[:_LISTED])}."]
        text = "\n".join(lines)
        if len(text.split()) >= _FEWEST_WORDS:
            name = root_pages.doxygen_name(topic.name)
            page = f"group__{name}.html" if topic.kind == "group" else f"{name}.html"
            yield Document(
                id=f"{topic.kind}:{topic.name}",
                title=topic.title,
                source=topic.name,
                kind="page",
                place=f"{place}:{topic.line}",
                url=f"{root_pages.DOXYGEN}/{page}",
                text=text,
                version=version,
                names=(topic.name,),
            )


def _placed(document: Document, apart: str, site: str, url: str) -> Document:
    """`document` with the release in its title, where it stands apart, and the address of its own release's page."""
    if document.kind == "release":
        return document
    link = document.url.replace(root_pages.DOXYGEN, site) if document.url.startswith(root_pages.DOXYGEN) else document.url
    if not link and url:
        link = f"{url.rstrip('/')}/{document.place.rpartition(':')[0]}"
    title = f"{document.title} (ROOT {apart})" if apart else document.title
    return replace(document, title=title, url=link)


SOURCE = RootSources()
