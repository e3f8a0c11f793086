"""Markdown and reStructuredText pages as sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_TITLE = re.compile(r"^title:\s*[\"']?(.*?)[\"']?\s*$", re.MULTILINE)
_MIN_WORDS = 8


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with the text under it, up to the next heading.

    Attributes
    ----------
    path
        The headings from the page's title down to this one.
    line
        The heading's line number, from 1.
    """

    path: tuple[str, ...]
    line: int
    text: str

    @property
    def anchor(self) -> str:
        """The fragment by which common renderers address the heading."""
        return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", self.path[-1].lower()).strip()) if self.path else ""


def sections(text: str, *, title: str = "") -> Iterator[Section]:
    """The sections of a Markdown page that say something; headings inside code fences are code.

    Parameters
    ----------
    text
        The page, with or without front matter.
    title
        The page's name where it has no heading of its own.
    """
    front = _FRONT_MATTER.match(text)
    offset = 0
    if front:
        named = _TITLE.search(front.group())
        title = named.group(1) if named else title
        offset = front.group().count("\n")
        text = text[front.end() :]
    headings: list[tuple[int, int, str]] = []
    lines = text.splitlines()
    fence = ""
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark:
            if not fence:
                fence = mark.group(1)[:3]
            elif mark.group(1).startswith(fence):
                fence = ""
            continue
        heading = None if fence else _HEADING.match(line)
        if heading:
            headings.append((number, len(heading.group(1)), heading.group(2)))
    yield from _cut(lines, headings, title, offset)


def rst_sections(text: str, *, title: str = "") -> Iterator[Section]:
    """The sections of a reStructuredText page; a title is a line with a rule below it."""
    lines = text.splitlines()
    headings: list[tuple[int, int, str]] = []
    levels: list[str] = []
    for number in range(len(lines) - 1):
        rule = _UNDERLINE.match(lines[number + 1])
        if (
            rule
            and lines[number].strip()
            and len(lines[number + 1].rstrip()) >= len(lines[number].rstrip())
            and not _UNDERLINE.match(lines[number])
        ):
            if rule.group(1) not in levels:
                levels.append(rule.group(1))
            headings.append((number, levels.index(rule.group(1)) + 1, lines[number].strip()))
    for number, _level, _title in headings:
        lines[number + 1] = ""
        if number and _UNDERLINE.match(lines[number - 1]):
            lines[number - 1] = ""
    yield from _cut(lines, headings, title, 0)


def _cut(lines: list[str], headings: list[tuple[int, int, str]], title: str, offset: int) -> Iterator[Section]:
    has_title = [level for _number, level, _heading in headings].count(1) == 1 and headings[0][1] == 1
    path: list[tuple[int, str]] = [(0, title)] if title and not has_title else []
    starts = [(0, 0, ""), *headings] if not headings or headings[0][0] > 0 else headings
    for index, (number, level, heading) in enumerate(starts):
        end = starts[index + 1][0] if index + 1 < len(starts) else len(lines)
        if heading:
            path = [step for step in path if step[0] < level]
            path.append((level, heading))
        body = "\n".join(lines[number + bool(heading) : end]).strip()
        if len(body.split()) >= _MIN_WORDS:
            yield Section(tuple(step[1] for step in path), offset + number + 1, body)
