"""Doxygen's groups and pages: what stands in comments of their own, beside the classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from assistant.corpus.parsing import doxygen

_COMMENT = re.compile(r"/\*[*!].*?\*/|(?:^[ \t]*//[/!][^\n]*\n?)+", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^[ \t]*[\\@](?P<kind>defgroup|page|mainpage)[ \t]+(?P<rest>[^\n]*)$", re.MULTILINE)
_END = re.compile(r"^[ \t]*[\\@][{}][ \t]*$", re.MULTILINE)
_IN_GROUP = re.compile(r"^[ \t]*[\\@](?:in|addto|weak)group[ \t]+(\w+)", re.MULTILINE)
_CLASS = re.compile(r"^[ \t]*[\\@](?:class|struct)[ \t]+([\w:]+)", re.MULTILINE)
_LABEL = re.compile(r"\{#([\w-]+)\}")


@dataclass(frozen=True, slots=True)
class Topic:
    """A group or a page.

    Attributes
    ----------
    kind
        ``"group"`` or ``"page"``.
    name
        Its identifier, which is also that of its page on the web.
    parent
        The group that it is part of, empty where there is none.
    """

    kind: str
    name: str
    title: str
    text: str
    line: int
    parent: str = ""


def topics(text: str, *, markdown: bool = False) -> Iterator[Topic]:
    r"""The groups and pages that a file defines.

    Parameters
    ----------
    markdown
        Whether the file is Markdown, where commands need no comment around them.

    >>> [(t.name, t.title, t.text) for t in topics("/** \\defgroup Hist Histograms\nCount things. */")]
    [('Hist', 'Histograms', 'Count things.')]
    """
    if markdown:
        yield from _cut(text, 1)
        return
    if not re.search(r"[\\@](?:defgroup|page|mainpage)\b", text):
        return
    for comment in _COMMENT.finditer(text):
        lines = doxygen.strip_marks(comment.group())
        yield from _cut("\n".join(lines), text.count("\n", 0, comment.start()) + 1)


def memberships(text: str) -> Iterator[tuple[str, str]]:
    r"""Pairs of a class and its group, of a file's comments.

    >>> list(memberships("/** \\class TH1\n \\ingroup Hist\n*/"))
    [('TH1', 'Hist')]
    """
    for comment in _COMMENT.finditer(text):
        body = "\n".join(doxygen.strip_marks(comment.group()))
        if (named := _CLASS.search(body)) is not None:
            for group in _IN_GROUP.finditer(body):
                yield named.group(1), group.group(1)


def _cut(body: str, first_line: int) -> Iterator[Topic]:
    commands = list(_COMMAND.finditer(body))
    ends = [*(later.start() for later in commands), len(body)][1:]
    for command, end in zip(commands, ends, strict=True):
        rest = command["rest"].strip()
        if command["kind"] == "mainpage":
            name, title = "index", rest
        else:
            name, _, title = rest.partition(" ")
        title = _LABEL.sub("", title).strip()
        text = body[command.end() : end]
        parent = _IN_GROUP.search(text)
        said = doxygen.markup_to_text(_END.sub("", text).splitlines())
        if name:
            kind = "group" if command["kind"] == "defgroup" else "page"
            line = first_line + body.count("\n", 0, command.start())
            yield Topic(kind, name, title or name, said, line, parent.group(1) if parent else "")
