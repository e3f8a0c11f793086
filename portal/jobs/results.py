"""What a job hands back to be shown: figures, tables, notes and plots. Files go separately, through `JobContext.artifact`.

Everything is a frozen dataclass of plain values, so that one JSON column holds it and one template shows it for every job type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One of the three to five numbers that decide: a label, a value with its unit, a condition."""

    label: str
    value: str
    condition: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a title. ``numeric`` lists the columns (from 0) that are right-aligned; ``note`` says what was left out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Note:
    """A message: a bold sentence that says what, the rest that says what to do."""

    kind: Literal["ok", "warn", "bad", "act"]
    headline: str
    text: str = ""


@dataclass(frozen=True)
class Plot:
    """An inline SVG made by the server: coloured by class only, no style, no script."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Series:
    """Plots of one kind, looked at one by one: those from the number ``first`` on, of ``total`` that could be drawn."""

    title: str
    plots: tuple[Plot, ...]
    first: int = 0
    total: int = 0


@dataclass(frozen=True)
class Text:
    """Text as a program wrote it, shown letter by letter."""

    title: str
    text: str


@dataclass(frozen=True)
class Events:
    """Showers in space, turned and cut by whoever looks: ``file`` is the name of the artefact that holds their voxels."""

    title: str
    file: str
    caption: str = ""


@dataclass(frozen=True)
class Result:
    """The whole of it, shown in this order. ``facts`` is for programs: what they would otherwise read from the texts."""

    notes: tuple[Note, ...] = ()
    figures: tuple[Figure, ...] = ()
    texts: tuple[Text, ...] = ()
    events: tuple[Events, ...] = ()
    plots: tuple[Plot, ...] = ()
    series: tuple[Series, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return asdict(self)
