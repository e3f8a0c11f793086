"""Code blocks of an answer: which language they are in, and whether they are whole."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from assistant.markdown_stream import Scanner, Segment

__all__ = ["Language", "code_blocks", "language_of", "whole"]

Language = Literal["cpp", "python", ""]

_CPP = frozenset({"c", "c++", "cc", "cling", "cpp", "cxx", "h", "hpp", "hxx", "root"})
_PYTHON = frozenset({"py", "python", "python3", "pyroot"})
_OPENING = re.compile(r"^[ \t>*+\-\d.)]*(?:`{3,}|~{3,})[ \t]*([\w+#-]*)")
_LEFT_OUT = re.compile(r"^\s*(?://|#)?\s*(?:\.\.\.|…)\s*$", re.MULTILINE)
_CPP_LINE = re.compile(
    r"^\s*(?:#include\b|using namespace\b|(?:auto|void|int|double|T[A-Z]\w+|R\w+|std::\w+)\b.*[;{(]\s*$)", re.MULTILINE
)


def language_of(info: str, text: str) -> Language:
    """The language of a block as far as it can be run: by its label, by its looks where it has none, empty for any other.

    >>> language_of("C++", ""), language_of("bash", "ls"), language_of("", "import ROOT")
    ('cpp', '', 'python')
    """
    label = info.split()[0].lower() if info.split() else ""
    if label in _CPP:
        return "cpp"
    if label in _PYTHON:
        return "python"
    if label:
        return ""
    if re.search(r"^\s*(?:import|from) \w", text, re.MULTILINE) and _parses(text):
        return "python"
    return "cpp" if _CPP_LINE.search(text) and ";" in text else ""


def whole(language: Language, text: str) -> bool:
    """Whether a block looks like something that can run: no line stands for what was left out, and it does something.

    >>> whole("python", "h.Draw()"), whole("cpp", "TH1F h;\\n// ...\\nh.Draw();")
    (True, False)
    """
    if not language or not text.strip() or _LEFT_OUT.search(text):
        return False
    return language == "python" or "{" in text or re.search(r"\)\s*;", text) is not None


def code_blocks(markdown: str) -> list[tuple[str, str]]:
    """Label and text of each fenced block of an answer."""
    scanner = Scanner()
    return list(_blocks([*scanner.feed(markdown), *scanner.finish()]))


def _blocks(segments: Sequence[Segment]) -> Iterator[tuple[str, str]]:
    lines: list[str] = []
    for segment in segments:
        if segment.kind == "code":
            lines.append(segment.text)
        elif segment.kind == "code-end" and lines:
            opening = _OPENING.match(lines[0])
            yield (opening.group(1) if opening else "", "".join(lines[1:]))
            lines = []


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True
