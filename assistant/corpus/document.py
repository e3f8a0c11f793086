"""A document of the corpus, and the protocol of the sources that yield documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Log = Callable[[str], None]


def ignore(_text: str) -> None:
    """A log that keeps nothing."""


@dataclass(frozen=True, slots=True)
class Member:
    """A method or function of a documented class, for the member index."""

    name: str
    signature: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One readable unit of a source: a class, a tutorial, a section of a page, the docstring of a function.

    Attributes
    ----------
    id
        Unique in its corpus entry and the same in every build, for example ``"class:TH1"``.
    title
        What a reader would call it.
    source
        The class's, tutorial's or page's name.
    kind
        ``"class"``, ``"namespace"``, ``"tutorial"``, ``"release"``, ``"pythonization"``, ``"manual"``, ``"api"`` or ``"page"``.
    place
        ``"<file>:<line>"``, relative to the source's root.
    url
        The public documentation's page, empty where there is none.
    text
        Plain text or Markdown, with code in fences.
    version
        The version of what was read, for example of the installed package.
    names
        Identifiers that denote this very document: mentioned in a question, they lead here.
    members
        The methods of a documented class.
    messages
        Error messages that its code prints, with ``...`` for values.
    """

    id: str
    title: str
    source: str
    kind: str
    place: str
    url: str
    text: str
    version: str = ""
    names: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One line of `sources.json`: which kind of source to read, and from where.

    Attributes
    ----------
    name
        The user's name for it, unique in the file.
    kind
        The name of a module of `assistant.corpus`, for example ``"folder"``.
    location
        What the kind needs: a path, a list of package names, or nothing.
    url
        Where the files are public, if they are; a file's path is appended to it.
    """

    name: str
    kind: str
    location: str = ""
    url: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts."""
        return {"name": self.name, "kind": self.kind, "location": self.location, "url": self.url}


class Source(Protocol):
    """A kind of source: a module of `assistant.corpus` defines one as ``SOURCE``."""

    name: str
    title: str

    def check(self, entry: SourceEntry) -> None:
        """Raise `CorpusError` where `entry` cannot be read: no such path or package."""
        ...

    def version(self, entry: SourceEntry) -> str:
        """The version of what `entry` points to, empty where it has none."""
        ...

    def documents(self, entry: SourceEntry, log: Log = ignore) -> Iterator[Document]:
        """All documents of `entry`; a file that cannot be read is logged and left out."""
        ...


@runtime_checkable
class RemoteSource(Protocol):
    """A kind whose entries may be elsewhere: they are brought to this machine before they are read."""

    def elsewhere(self, entry: SourceEntry) -> bool:
        """Whether bringing `entry` here takes the network."""
        ...

    def fetch(self, entry: SourceEntry, cache: Path, log: Log) -> SourceEntry:
        """`entry`, with a location on this machine; what is downloaded is kept in `cache`, brought up to date each time."""
        ...
