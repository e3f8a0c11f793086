"""What people write in a forum, as text to read: without what it quotes of others and without pictures."""

from __future__ import annotations

import re

_QUOTE = re.compile(r"\s*\[quote\b")
_IMAGE = re.compile(r"!\[[^\]\n]{0,300}\]\([^)\n]{0,1000}\)")


def plain(raw: str) -> str:
    """A post without quotations and pictures."""
    return re.sub(r"\n{3,}", "\n\n", _IMAGE.sub("", _unquoted(raw))).strip()


def _unquoted(raw: str) -> str:
    """A post without what it quotes of others; a quotation that is never closed stays."""
    kept: list[str] = []
    waiting: list[str] = []
    depth = 0
    for line in raw.splitlines(keepends=True):
        mark = _QUOTE.match(line)
        if mark:
            depth += 1
        (waiting if depth else kept).append(line)
        if depth and "[/quote]" in line:
            depth -= 1
            if not depth:
                waiting.clear()
    return "".join(kept + waiting)
