"""Progress where it can be seen: a bar in a notebook, a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import html
import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from portal.client.downloads import Progress, silent

Shown = Progress | Literal["auto"] | None
"""A function of the fraction done and the step in progress; ``"auto"``: as suits the place; None: not shown."""

REDRAW_SECONDS = 0.2


@contextmanager
def shown(progress: Shown) -> Iterator[Progress]:
    """Where progress goes."""
    if callable(progress):
        yield progress
    elif progress is None:
        yield silent
    elif in_notebook():
        yield NotebookBar()
    elif sys.stderr.isatty() and importlib.util.find_spec("rich"):
        with rich_bar() as bar:
            yield bar
    else:
        yield silent


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookBar:
    """A bar that is redrawn in the cell's output."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = 0.0

    def __call__(self, fraction: float, text: str) -> None:
        from IPython.display import HTML, display

        now = time.monotonic()
        if self._handle is not None and fraction < 1 and now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        bar = HTML(bar_html(fraction, text))
        if self._handle is None:
            self._handle = display(bar, display_id=True)
        else:
            self._handle.update(bar)


def bar_html(fraction: float, text: str) -> str:
    """A bar as HTML."""
    done = min(max(fraction, 0.0), 1.0)
    return (
        f'<div style="display:flex;gap:.75em;align-items:center"><progress value="{done:.4f}" max="1" style="width:16em">'
        f"</progress><span>{100 * done:.0f} %</span><span>{html.escape(text)}</span></div>"
    )


@contextmanager
def rich_bar() -> Iterator[Progress]:
    """A bar on the terminal; gone at the end."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda fraction, text: bars.update(task, completed=fraction, description=escape(text))
