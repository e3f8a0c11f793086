"""From a forum's post to a question, and from an answer to a post.

Both texts are strangers' data. The question is cut to a length; the post mentions nobody, loads no picture, holds no HTML and
none of the forum's own commands, whatever the model or a passage says. Code stays as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markdown_it import MarkdownIt

from assistant.forum_text import plain

QUESTION_LIMIT = 4000  # characters of a question handed to the assistant
KEPT_LIMIT = 20_000  # characters of a first post that are stored
TITLE_LIMIT = 300
TEXT_LIMIT = 20_000  # characters of a draft
POST_LIMIT = TEXT_LIMIT + 4000  # with what is said of its code
_SCAN_LIMIT = 60_000  # of a first post, before quotations are cut out of it

REVIEWED = "*Suggested by the ML4EP assistant and reviewed by a person.*"
AUTOMATIC = "*Written by the ML4EP assistant. No person has reviewed it.*"

# Whatever follows: "@\_name" and "@&lowbar;name" are mentions too. After a letter or digit it is an address of mail.
_MENTION = re.compile(r"(?<![A-Za-z0-9])@")
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_COMMAND = re.compile(
    r"\[(?=/?(?:(?:poll|quote|details|date|wrap|spoiler|policy|event|chat|grid|hide)[\s=\]]"
    r"|(?:code|img|url|email|size|color|b|i|u|s)[=\]]))",
    re.IGNORECASE,
)
_CITATION = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\](?!\()")
_BARE_URL = re.compile(r"(?m)^(\s*)(https?://\S+)(\s*)$")
_SPAN = re.compile(r"\\`|(`+)")
_NO_BREAK = "\u200b"


def storable(text: object) -> str:
    """A text that every database takes: without NUL, and without halves of characters, which JSON can hold."""
    return str(text or "").replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


# --- the question -------------------------------------------------------------------------------------------------------------


def digest(title: str, raw: str) -> str:
    """What tells whether a question was changed."""
    return hashlib.sha256(f"{title}\0{raw}".encode()).hexdigest()


def question(title: str, raw: str, remark: str = "") -> str:
    """What the assistant is asked: title and post without quotations and pictures, and a reviewer's remark, up to the limit."""
    text = plain(raw[:_SCAN_LIMIT])
    head = " ".join(title[:TITLE_LIMIT].split())
    tail = f"\n\n{remark.strip()[:500]}" if remark.strip() else ""
    room = QUESTION_LIMIT - len(head) - len(tail) - 2
    return f"{head}\n\n{text[:room].rstrip()}{tail}".strip()


# --- the post -----------------------------------------------------------------------------------------------------------------


def post(text: str, passages: Sequence[Mapping[str, Any]], *, automatic: bool, pictures: Mapping[str, str] | None = None) -> str:
    """The Markdown that is posted: the text made harmless, its citations as links, the sources, and who stands behind it.

    Parameters
    ----------
    pictures
        Markdown of pictures by the marks that stand for them in ``text``: words that nobody else knows.
    """
    links = {int(each["n"]): each for each in passages}
    cited: dict[int, None] = {}

    def cite(found: re.Match[str]) -> str:
        numbers = [int(number) for number in re.split(r"\s*[,;]\s*", found[1])]
        if not all(number in links for number in numbers):
            return found[0]
        cited.update(dict.fromkeys(numbers))
        return "".join(_reference(number, links[number]) for number in numbers)

    body = "".join(
        part if is_code else _CITATION.sub(cite, _harmless(part)) for part, is_code in _parts(text[:POST_LIMIT].strip())
    )
    for mark, picture in (pictures or {}).items():
        body = body.replace(mark, picture)
    sources = [f"- \\[{number}\\] {_source(links[number])}" for number in sorted(cited)]
    listed = "\n\n**Sources**\n\n" + "\n".join(sources) if sources else ""
    return f"{body}{listed}\n\n{AUTOMATIC if automatic else REVIEWED}"


@dataclass(frozen=True)
class Fence:
    """A block of code between fences that end where they seem to: outside of lists and quotations, and closed."""

    start: int
    end: int
    """Its lines in the text: the first, and the one after the last."""
    info: str
    content: str
    markup: str

    def replaced(self, text: str, content: str) -> str:
        """``text`` with other code in this place."""
        lines = text.splitlines(keepends=True)
        longest = max((len(run) for run in re.findall(rf"{self.markup[0]}+", content)), default=0)
        mark = self.markup[0] * max(len(self.markup), longest + 1)
        block = f"{mark}{self.info}\n{content.rstrip()}\n{mark}\n"
        return "".join([*lines[: self.start], block, *lines[self.end :]])

    def followed(self, text: str, line: str) -> str:
        """``text`` with a paragraph of its own after this block."""
        lines = text.splitlines(keepends=True)
        block = "".join(lines[self.start : self.end]).rstrip("\n")
        return "".join([*lines[: self.start], f"{block}\n\n{line}\n\n", *lines[self.end :]])


def fences(text: str) -> list[Fence]:
    """The blocks of code of a text, in their order."""
    lines = text.splitlines(keepends=True)
    found = []
    for token in _parser().parse(text):
        if token.type != "fence" or token.level or token.map is None:
            continue
        start, end = token.map
        if _closed("".join(lines[start:end]), token.markup):
            found.append(Fence(start, end, token.info.strip(), token.content, token.markup))
    return found


def cited_numbers(text: str, passages: Sequence[Mapping[str, Any]]) -> list[int]:
    """The passages that a text cites, in the order of their appearance."""
    known = {int(each["n"]) for each in passages}
    prose = "\n".join(part for part, is_code in _parts(text[:TEXT_LIMIT]) if not is_code)
    found = (int(number) for match in _CITATION.finditer(prose) for number in re.findall(r"\d+", match[1]))
    return [number for number in dict.fromkeys(found) if number in known]


def _public(passage: Mapping[str, Any]) -> str:
    """A passage's address, where it has a public one that Markdown can hold."""
    url = str(passage.get("url", ""))
    return url if re.fullmatch(r"https?://[^\s<>()\[\]`@\\]+", url) else ""


def _reference(number: int, passage: Mapping[str, Any]) -> str:
    url = _public(passage)
    return f"[\\[{number}\\]]({url})" if url else f"\\[{number}\\]"


def _source(passage: Mapping[str, Any]) -> str:
    title = re.sub(r"([\\`*_\[\]<>@])", r"\\\1", " ".join(str(passage["title"]).split())[:150]).replace("@", "@" + _NO_BREAK)
    url = _public(passage)
    return f"[{title}]({url})" if url else title


def _harmless(prose: str) -> str:
    """Prose that is only prose: no mention, HTML, picture or command of the forum, and no page shown in place of its address."""
    prose = prose.replace("&#", "&amp;#").replace("&commat", "&amp;commat")  # "@" by another name
    prose = _TAG.sub("&lt;", prose)
    prose = _MENTION.sub("@" + _NO_BREAK, prose)
    prose = prose.replace("![", "!\\[")
    prose = _COMMAND.sub("\\[", prose)
    return _BARE_URL.sub(r"\1Link: \2\3", prose)


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """A text cut into prose and code, in order and without loss.

    Only what is code for CommonMark with all HTML taken for text is code here: as all HTML of the prose is escaped, the forum's
    parser, which knows HTML, then sees the same blocks.
    """
    lines = text.splitlines(keepends=True)
    done = 0
    for token in _parser().parse(text):
        if token.type not in {"fence", "code_block"} or token.map is None:
            continue
        start, end = token.map
        yield from _prose("".join(lines[done:start]))
        # A fence that is never closed, or inside a list or quotation, may end elsewhere for another parser.
        whole = "".join(lines[start:end])
        sure = token.level == 0 and (token.type == "code_block" or _closed(whole, token.markup))
        yield whole if sure else _defused(whole), True
        done = end
    yield from _prose("".join(lines[done:]))


def _closed(block: str, markup: str) -> bool:
    last = block.rstrip().rsplit("\n", 1)
    return len(last) == 2 and last[1].strip().startswith(markup) and not last[1].strip().strip(markup[0])


def _defused(code: str) -> str:
    """Code whose end is uncertain: readable still, but it mentions nobody."""
    return _COMMAND.sub("[" + _NO_BREAK, _TAG.sub("<" + _NO_BREAK, _MENTION.sub("@" + _NO_BREAK, code)))


def _prose(text: str) -> Iterator[tuple[str, bool]]:
    """Prose with its code spans apart; a span ends in its own paragraph, by the same number of backticks."""
    for paragraph in re.split(r"(\n[ \t]*\n)", text):
        # In a table a bar ends a span; there is no telling code from prose.
        if re.search(r"(?m)^\s*\|?[\s:|-]*-[\s:|-]*\|", paragraph):
            yield paragraph, False
            continue
        done = 0
        runs = [(match.start(), match.end()) for match in _SPAN.finditer(paragraph) if match[1]]
        for place, (start, end) in enumerate(runs):
            if start < done:
                continue
            partner = next((other for other in runs[place + 1 : place + 200] if other[1] - other[0] == end - start), None)
            if partner is None:
                continue
            span = paragraph[start : partner[1]]
            yield paragraph[done:start], False
            # Over a line's end a list, heading or quotation may begin, where the span would end for the forum.
            yield span if "\n" not in span else _defused(span), True
            done = partner[1]
        yield paragraph[done:], False


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table"])
