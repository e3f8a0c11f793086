"""What a portal returns, as frozen dataclasses. Fields that a newer portal adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from portal.client import display

T = TypeVar("T")


def known(kind: type[T], data: Mapping[str, Any], **changed: Any) -> T:
    """An instance of ``kind`` from what the portal sent, ``changed`` fields replaced."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # every kind here is a dataclass
    return kind(**({name: value for name, value in data.items() if name in names} | changed))


@dataclass(frozen=True)
class Artifact:
    """A file that a job made. ``url`` is relative to the portal."""

    id: str
    name: str
    kind: str
    title: str
    size: int
    sha256: str
    url: str


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes
    ----------
    state
        ``"PENDING"``, ``"RUNNING"``, ``"SUCCEEDED"``, ``"FAILED"`` or ``"CANCELLED"``.
    progress
        ``fraction`` (0 to 1), ``text`` and ``eta_seconds``.
    error
        ``code``, ``message`` and ``hint`` of a failed job.
    result, params, steps, artifacts
        Only of a job that was asked for by itself; empty in lists.
    """

    id: str
    type: str
    title: str
    state: str
    progress: Mapping[str, Any]
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    queue_seconds: float | None = None
    run_seconds: float | None = None
    attempt: int = 0
    cancel_requested: bool = False
    owner: str | None = None
    error: Mapping[str, Any] | None = None
    url: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()
    result: Mapping[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()
    retry_of: str | None = None
    expired_at: str | None = None

    def _repr_html_(self) -> str:
        return display.job_html(self)

    @property
    def finished(self) -> bool:
        """Whether it has ended, however it did."""
        return self.state not in ("PENDING", "RUNNING")

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Job:
        """From the API's JSON."""
        artifacts = tuple(known(Artifact, each) for each in data.get("artifacts", ()))
        return known(cls, data, artifacts=artifacts, steps=tuple(data.get("steps", ())))


@dataclass(frozen=True)
class JobType:
    """A kind of job; ``params`` is the JSON schema of its parameters, ``files`` those that are ids of uploaded files."""

    slug: str
    title: str
    summary: str
    duration: str
    params: Mapping[str, Any]
    files: Mapping[str, list[str]]
    gives: tuple[Mapping[str, str], ...] = ()

    def _repr_html_(self) -> str:
        return display.job_type_html(self)


@dataclass(frozen=True)
class File:
    """A file of the library; ``inspection`` (state, result, error) only of a file that was asked for by itself."""

    id: str
    name: str
    kind: str
    kind_title: str
    size: int
    sha256: str
    created_at: str
    url: str = ""
    inspection: Mapping[str, Any] | None = None

    def _repr_html_(self) -> str:
        return display.file_html(self)


@dataclass(frozen=True)
class Passage:
    """A piece of documentation or code that fits a query."""

    n: int
    title: str
    source: str
    score: float
    text: str
    url: str = ""
    place: str = ""
    kind: str = ""

    def _repr_html_(self) -> str:
        return display.passage_line(self)


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes
    ----------
    state
        ``"QUEUED"``, ``"SEARCHING"``, ``"WRITING"``, ``"DONE"``, ``"STOPPED"`` or ``"FAILED"``.
    text
        Markdown; ``[n]`` cites the passage with that number.
    answer
        ``citations``, ``abstained``, ``extractive``, ``provider``, ``timings``, ``tokens``.
    code
        What came of its blocks of code, as far as they have been run: ``n``, ``language``, ``state``, ``label``, ``mended``.
    """

    id: str
    question: str
    state: str
    text: str
    conversation: str | None = None
    passages: tuple[Passage, ...] = ()
    answer: Mapping[str, Any] = field(default_factory=dict)
    code: tuple[Mapping[str, Any], ...] = ()
    offer: Mapping[str, Any] | None = None
    error: str = ""
    hint: str = ""

    def _repr_html_(self) -> str:
        return display.turn_html(self)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Turn:
        """From the API's JSON."""
        return known(
            cls,
            data,
            passages=tuple(known(Passage, each) for each in data.get("passages") or ()),
            code=tuple(data.get("code") or ()),
        )


@dataclass(frozen=True)
class Conversation:
    """A conversation with the assistant.

    Attributes
    ----------
    share
        ``url`` and ``until`` of its share link, None where it has none.
    turns
        Questions and answers, oldest first; empty in a list of conversations.
    """

    id: str
    title: str
    created_at: str
    updated_at: str
    share: Mapping[str, Any] | None = None
    turns: tuple[Turn, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Conversation:
        """From the API's JSON."""
        return known(cls, data, turns=tuple(Turn.read(each) for each in data.get("turns") or ()))
