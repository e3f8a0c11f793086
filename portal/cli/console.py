"""How commands speak: results on standard output, as words or as JSON; progress on standard error."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TextIO

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

REDRAW_SECONDS = 0.1


def say(text: str = "") -> None:
    """A line of the result."""
    print(text)


def note(text: str) -> None:
    """A line beside the result."""
    print(text, file=sys.stderr, flush=True)


def say_json(data: Any) -> None:
    """The result for programs."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def width() -> int:
    """Columns of the terminal, at most 120: longer lines are hard to read."""
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> None:
    """Rows in aligned columns under a line of heads; the last column is not padded."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    for number, row in enumerate(cells):
        padded = [
            cell.rjust(wide) if n in numeric else cell.ljust(wide) for n, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(padded).rstrip())
        if number == 0:
            say("  ".join("-" * wide for wide in widths))


def pairs(entries: Mapping[str, str]) -> None:
    """Labels and values, one a line."""
    wide = max((len(label) for label in entries), default=0)
    for label, value in entries.items():
        say(f"{label.ljust(wide)}  {value}")


def paragraph(text: str, indent: str = "") -> None:
    """Text broken at the terminal's width."""
    for line in text.splitlines():
        say(textwrap.fill(line, width(), initial_indent=indent, subsequent_indent=indent) if line.strip() else "")


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def seconds(count: float | None) -> str:
    """A time as people read it."""
    if count is None:
        return ""
    if count < 60:
        return f"{count:.1f} s"
    return f"{int(count // 60)} min {int(count % 60)} s"


class Bar:
    """Progress on standard error: one line that is redrawn on a terminal, a line for each new step elsewhere.

    Use as a context manager; the line is gone at the end.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._text = ""
        self._drawn = 0.0
        self._shown = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, fraction: float, text: str) -> None:
        """Show that ``fraction`` (0 to 1) is done and ``text`` is going on."""
        if not self._live:
            if text != self._text:
                print(f"{100 * fraction:3.0f} %  {text}", file=self._stream, flush=True)
        elif text != self._text or time.monotonic() - self._drawn > REDRAW_SECONDS:
            filled = round(24 * min(max(fraction, 0.0), 1.0))
            line = f"[{'#' * filled}{' ' * (24 - filled)}] {100 * fraction:3.0f} %  {text}"
            print(f"\r\x1b[K{line[: width() - 1]}", end="", file=self._stream, flush=True)
            self._drawn = time.monotonic()
            self._shown = True
        self._text = text

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        if self._shown:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            self._shown = False
