"""What an inspection says: facts, tables and drawings, all of them plain data that fits into JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Value = str | int | float | bool | None

MAX_TEXT = 200
MAX_ROWS = 1000
# JavaScript reads JSON's integers exactly up to here; larger ones are written as text.
MAX_SAFE_INTEGER = 2**53


@dataclass(frozen=True)
class Table:
    """A table with a title; `note` says what was left out, `of` names the tree that the rows are branches of, exactly."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""
    of: str = ""


@dataclass(frozen=True)
class Bars:
    """Numbers beside names: each series has one value for each label, all of one scale from zero."""

    title: str
    labels: tuple[str, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    x_title: str
    note: str = ""


@dataclass(frozen=True)
class Distribution:
    """A binned quantity: ``n + 1`` rising edges of ``n`` bins."""

    title: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    x_title: str
    y_title: str
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """One of several drawings of a kind: an SVG element without any style of its own, and how to read it."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True)
class Inspection:
    """What a file contains.

    Attributes
    ----------
    kind
        As in `mlcore.filetypes`.
    title
        One line for people.
    facts
        Pairs of a label and a value.
    tables
        Of what there are many.
    graph
        A drawing as an SVG element without any style of its own, or None.
    charts
        Plots, as numbers.
    drawings
        The first of what there are many to look at one by one; `n_drawings` in all.
    """

    kind: str
    title: str
    facts: tuple[tuple[str, Value], ...]
    tables: tuple[Table, ...] = ()
    graph: str | None = None
    charts: tuple[Bars | Distribution, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    n_drawings: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        return {
            "kind": self.kind,
            "title": self.title,
            "facts": [[label, _plain(value)] for label, value in self.facts],
            "tables": [
                {
                    "title": table.title,
                    "columns": list(table.columns),
                    "rows": [[_plain(value) for value in row] for row in table.rows],
                    "note": table.note,
                    "of": table.of,
                }
                for table in self.tables
            ],
            "graph": self.graph,
            "charts": [asdict(chart) for chart in self.charts],
            "drawings": [asdict(drawing) for drawing in self.drawings],
            "n_drawings": self.n_drawings,
        }


@dataclass(frozen=True)
class Histogram:
    """A histogram of one branch.

    Attributes
    ----------
    tree, branch
        What it is of.
    edges
        The ``n + 1`` edges of the ``n`` bins, rising.
    counts
        Values in each bin; the last bin includes its upper edge.
    entries_read, entries
        How many entries of the tree were read, of how many.
    values, not_finite
        How many values these had (an entry of a jagged branch has several), and how many were NaN or infinite.
    mean, deviation
        Of the finite values; None when they are too large to be summed.
    """

    tree: str
    branch: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    entries_read: int
    entries: int
    values: int
    not_finite: int
    mean: float | None
    deviation: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        return {**self.__dict__, "edges": list(self.edges), "counts": list(self.counts)}


@dataclass
class Rows:
    """Rows of a table, of which the first `most` are kept and all are counted."""

    most: int = MAX_ROWS
    kept: list[tuple[Value, ...]] = field(default_factory=list)
    count: int = 0

    def add(self, *values: Value) -> None:
        self.count += 1
        if len(self.kept) < self.most:
            self.kept.append(tuple(clean(value) if isinstance(value, str) else value for value in values))

    def table(self, title: str, columns: Sequence[str], of: str = "") -> Table:
        note = f"The first {len(self.kept):,} of {self.count:,}." if self.count > len(self.kept) else ""
        return Table(title, tuple(columns), tuple(self.kept), note, of)


def tables(*given: Table) -> tuple[Table, ...]:
    """Those that have rows."""
    return tuple(table for table in given if table.rows)


def clean(text: object, most: int = MAX_TEXT) -> str:
    """A text from a file, fit to be shown: printable, on one line, not longer than `most`."""
    shown = "".join(character if character.isprintable() else "�" for character in str(text)[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def shape_text(shape: Iterable[object]) -> str:
    """A shape as ``3 × 4``; of a scalar, ``scalar``."""
    return clean(" × ".join(str(size) for size in shape)) or "scalar"


def size_text(count: float) -> str:
    """Bytes for people: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def _plain(value: Value) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE_INTEGER:
        return str(value)
    return value
