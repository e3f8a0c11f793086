"""A folder or git checkout: Markdown and reStructuredText pages, and the documentation comments of C++ sources.

A checkout of ROOT is read like the installed ROOT, with the prose of its classes, which only the ``.cxx`` files have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from assistant.corpus.document import Document, Log, SourceEntry, ignore
from assistant.corpus.parsing import cpp, doxygen, markdown, messages, root_pages
from assistant.corpus.parsing.text import read_text
from assistant.errors import CorpusError

PAGES = {".md": markdown.sections, ".markdown": markdown.sections, ".rst": markdown.rst_sections}
CPP = frozenset({".h", ".hh", ".hpp", ".hxx", ".cxx", ".cpp", ".cc"})
TUTORIALS = frozenset({".C", ".py", ".cxx", ".cpp"})
_SKIPPED = frozenset(
    {"node_modules", "build", "dist", "__pycache__", "third_party", "vendor", "site-packages", "venv", "test", "tests"}
    # of a checkout of ROOT
    | {"interpreter", "builtins", "roottest"}
)
_ROOT_MARK = Path("core") / "base" / "inc" / "TObject.h"
MAX_FILES = 50_000


class Folder:
    """The folder that the entry's location names; with the entry's url, pages link to where the files are public."""

    name = "folder"
    title = "Folder or git checkout"

    def check(self, entry: SourceEntry) -> None:
        """The location is a readable folder."""
        self._root(entry)

    def version(self, entry: SourceEntry) -> str:
        """The commit that is checked out, abbreviated; empty outside git."""
        return checked_out(self._root(entry))[:12]

    def documents(self, entry: SourceEntry, log: Log = ignore) -> Iterator[Document]:
        """Pages first, then tutorials and classes."""
        root, version = self._root(entry), self.version(entry)
        files = list(readable_files(root, log))
        is_root = (root / _ROOT_MARK).is_file()
        for path in files:
            if path.suffix in PAGES:
                yield from page_documents(root, path, entry.url, version, log)
        for path in files:
            if path.suffix in TUTORIALS and "tutorials" in path.relative_to(root).parts:
                place = path.relative_to(root).as_posix()
                document = root_pages.tutorial_document(place, read_text(path, log), version=version, public=is_root)
                if document:
                    yield _linked(document, entry.url, place)

        reported: list[messages.Reported] = []

        def scopes() -> Iterator[tuple[str, cpp.CppScope]]:
            for path in files:
                place = path.relative_to(root)
                if path.suffix in CPP and "tutorials" not in place.parts:
                    text = read_text(path, log)
                    reported.extend(messages.read(text))
                    for scope in cpp.read(text):
                        yield place.as_posix(), scope

        for document in root_pages.class_documents(scopes(), version=version, public=is_root, reported=reported):
            yield _linked(document, entry.url, document.place.rpartition(":")[0])

    def _root(self, entry: SourceEntry) -> Path:
        root = Path(entry.location) if entry.location else None
        if root is None or not root.is_absolute() or not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
            raise CorpusError(
                f"{entry.location or 'An empty path'} is no readable folder",
                hint="Give the absolute path of a folder on the portal's machine.",
                code="corpus.folder",
            )
        return root


def readable_files(root: Path, log: Log, more: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files worth reading and those with the suffixes `more`, in a stable order; what links out of the folder is left out."""
    wanted = CPP | PAGES.keys() | TUTORIALS | more
    resolved = root.resolve()
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if path.suffix not in wanted or name.startswith("."):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(resolved):
                log(f"{name} is left out: it links out of the folder")
                continue
            count += 1
            if count > MAX_FILES:
                log(f"Only the first {MAX_FILES} files are read")
                return
            yield path


def page_documents(root: Path, path: Path, url: str, version: str, log: Log) -> Iterator[Document]:
    """The sections of a Markdown or reStructuredText page."""
    place = path.relative_to(root).as_posix()
    name = path.stem if path.stem.lower() not in {"index", "readme"} or path.parent == root else path.parent.name
    link = f"{url.rstrip('/')}/{place}" if url else ""
    for section in PAGES[path.suffix](read_text(path, log), title=name):
        yield Document(
            id=f"page:{place}:{section.line}",
            title=" › ".join(section.path),
            source=name,
            kind="page",
            place=f"{place}:{section.line}",
            url=f"{link}#{section.anchor}" if link and path.suffix != ".rst" else link,
            text=doxygen.markup_to_text(section.text.splitlines()) if "\\" in section.text else section.text,
            version=version,
            names=(name,),
        )


def _linked(document: Document, url: str, place: str) -> Document:
    """`document` with a link to its file where it has no public page of its own."""
    if document.url or not url:
        return document
    return replace(document, url=f"{url.rstrip('/')}/{place}")


def checked_out(root: Path) -> str:
    """The hash of the commit that is checked out, read from git's files."""
    git = root / ".git"
    try:
        if git.is_file():  # a worktree or submodule
            git = (root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref:"):
            return head if re.fullmatch(r"[0-9a-f]{40,64}", head) else ""
        name = head.removeprefix("ref:").strip()
        loose = git / name
        if loose.is_file():
            return loose.read_text(encoding="ascii").strip()
        packed = re.search(
            rf"^([0-9a-f]{{40,64}}) {re.escape(name)}$", (git / "packed-refs").read_text(encoding="utf-8"), re.MULTILINE
        )
        return packed.group(1) if packed else ""
    except (OSError, UnicodeDecodeError):
        return ""


SOURCE = Folder()
