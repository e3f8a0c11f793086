"""What is wrong with an expression, shown where it is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from mlcore.errors import InputError

CODE = "batches.expression"
_AROUND = 50
_MOST_COMPARED = 2000

Span = tuple[int, int]
"""Where something stands in the text: its first character, and the one behind its last."""


def fault(source: str, span: Span, message: str, hint: str = "") -> InputError:
    """An error that shows the text around ``span`` with carets below it.

    Parameters
    ----------
    source
        The whole text.
    span
        What is wrong in it; may be empty or at its end.
    message
        What is wrong, without a full stop.
    hint
        What to write instead.
    """
    start, stop = span
    first = 0 if start <= 2 * _AROUND else start - _AROUND
    last = min(len(source), max(stop, start) + _AROUND, start + 3 * _AROUND)
    ahead = "… " if first else ""
    shown = "".join(character if character.isprintable() else " " for character in source[first:last])
    behind = " …" if last < len(source) else ""
    carets = "^" * max(1, min(stop, last) - start)
    text = f"{message}\n    {ahead}{shown}{behind}\n    {' ' * (len(ahead) + start - first)}{carets}"
    return InputError(text, hint=hint, code=CODE)


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence with the names that look most like ``name``."""
    known = list(names)
    near = get_close_matches(name[:100], known[:_MOST_COMPARED], n=3, cutoff=0.5)
    if near:
        return f"Nearest: {', '.join(near)}."
    return f"There are {', '.join(known[:10])}{' and others' if len(known) > 10 else ''}." if known else ""
