"""The portal's own documentation: how to use it, its job types, commands and interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from assistant.corpus.document import Document, Log, SourceEntry, ignore
from assistant.corpus.parsing import markdown
from assistant.corpus.parsing.text import read_text
from assistant.errors import CorpusError

_PLACES = ("how-to", "reference")
"""What is written for people who use the portal; decisions and figures are for those who build it."""


class PortalDocs:
    """The pages beside this installation, or in the folder that the entry's location names."""

    name = "portal"
    title = "This portal's documentation"

    def check(self, entry: SourceEntry) -> None:
        """The pages are there."""
        self._root(entry)

    def version(self, entry: SourceEntry) -> str:
        """None of its own: it is that of the portal that it stands beside."""
        self._root(entry)
        return ""

    def documents(self, entry: SourceEntry, log: Log = ignore) -> Iterator[Document]:
        """Each section of each page."""
        root = self._root(entry)
        for place in _PLACES:
            for path in sorted((root / place).glob("*.md")):
                where = f"docs/{place}/{path.name}"
                for section in markdown.sections(read_text(path, log), title=path.stem):
                    yield Document(
                        id=f"portal:{place}/{path.stem}:{section.line}",
                        title=" › ".join(section.path),
                        source=f"Portal: {path.stem.replace('-', ' ')}",
                        kind="page",
                        place=f"{where}:{section.line}",
                        url=f"{entry.url.rstrip('/')}/{where}#{section.anchor}" if entry.url else "",
                        text=section.text,
                        names=(),
                    )

    def _root(self, entry: SourceEntry) -> Path:
        root = Path(entry.location) if entry.location else Path(__file__).resolve().parents[2] / "docs"
        if not any((root / place).is_dir() for place in _PLACES):
            raise CorpusError(
                f"The portal's pages are not at {root}",
                hint="An installation from a wheel has none: give the docs folder of its source as the location.",
                code="corpus.portal",
            )
        return root


SOURCE = PortalDocs()
