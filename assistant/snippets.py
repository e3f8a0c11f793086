"""The lines of a document that fit a query: short passages for prompts and pages."""

from __future__ import annotations

import re
from collections.abc import Mapping

from assistant.index.tokens import tokenize

GAP = "…"

_EMPTY_BLOCK = re.compile(r"^```[\w+]*\n(?:…\n|\n)*```\n", re.MULTILINE)


def snippet(text: str, weights: Mapping[str, float], length: int = 650) -> str:
    """The lines of `text` that match the query best, in their order, with their neighbours where there is room.

    Parameters
    ----------
    weights
        How much each token of the query is worth.
    length
        In characters, about: a single line is cut, never the last word of a passage.
    """
    lines = text.splitlines()
    stems = re.compile("|".join(re.escape(token) for token in weights) or r"(?!)")
    scores = [_line_score(line, weights) if stems.search(line.lower()) else 0.0 for line in lines]
    order = sorted((n for n, score in enumerate(scores) if score > 0), key=lambda n: (-scores[n], n))
    if not order:
        order = [n for n, line in enumerate(lines) if line.strip()][:1]
    chosen: set[int] = set()
    room = length
    for centre in order:
        for number in (centre, centre + 1, centre - 1, centre + 2):
            if not 0 <= number < len(lines) or number in chosen:
                continue
            cost = min(len(lines[number].rstrip()), length) + 1
            if cost <= room:
                chosen.add(number)
                room -= cost
        if room < 40:
            break
    for number in range(len(lines)):  # what is left of the room goes to lines that follow the first match
        if room < 40 or not chosen:
            break
        if number > min(chosen) and number not in chosen and len(lines[number]) + 1 <= room and number - 1 in chosen:
            chosen.add(number)
            room -= len(lines[number].rstrip()) + 1
    return _joined(lines, sorted(chosen), length)


def _line_score(line: str, weights: Mapping[str, float]) -> float:
    tokens = set(tokenize(line))
    return sum(weights[token] for token in tokens & weights.keys())


def _joined(lines: list[str], chosen: list[int], length: int) -> str:
    parts: list[str] = []
    fenced = False
    fence_before = _fences(lines)
    for position, number in enumerate(chosen):
        line = lines[number].rstrip()
        if position and number > chosen[position - 1] + 1:
            if fenced and not fence_before[number]:
                parts.append("```")
                fenced = False
            parts.append(GAP)
        is_fence = line.lstrip().startswith("```")
        if fence_before[number] and not fenced and not is_fence:
            parts.append("```" + fence_before[number])
            fenced = True
        elif is_fence:
            if fenced:
                fenced = False
            elif fence_before[number]:  # closes a block of which nothing was chosen
                continue
            else:
                fenced = True
        parts.append(line if len(line) <= length else line[: length - 1].rsplit(" ", 1)[0] + GAP)
    if fenced:
        parts.append("```")
    text = _EMPTY_BLOCK.sub("", "\n".join(parts) + "\n")
    return text.strip("\n" + GAP)


def _fences(lines: list[str]) -> list[str]:
    """For each line the language of the code block that it is in, empty outside; a block without one is ``text``."""
    result: list[str] = []
    language = ""
    for line in lines:
        result.append(language)
        if line.lstrip().startswith("```"):
            language = "" if language else line.strip().strip("`").strip() or "text"
    return result
