"""An answer's Markdown as safe HTML, its citations as links to the passages.

Three nets: raw HTML in the source is text (the parser knows none), addresses other than http, https and mailto make no link, and
the result goes through a sanitizer that knows only what the renderer itself makes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import nh3
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from portal.home import rendering

CITATION = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)

# Stands in the HTML for a block that the page shows by itself; nobody outside this process can write it into an answer.
_MARK = secrets.token_hex(16)
_MARKED = re.compile(rf"<p>{_MARK}:(\d+)</p>")

# Deeper nesting than any answer needs costs the parser time that grows with its square.
NESTING = 20

_TAGS = {
    "a", "blockquote", "br", "button", "code", "details", "div", "em", "figcaption", "figure", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "span", "strong", "summary", "svg", "table", "tbody", "td", "th", "thead", "tr", "ul", "use",
}  # fmt: skip
_ATTRIBUTES: dict[str, set[str]] = {
    "*": set(),
    "a": {"href", "class", "aria-label"},
    "button": {"class", "type", "data-copy"},
    "code": {"class"},
    "details": {"class"},
    "div": {"class"},
    "figure": {"class"},
    "ol": {"start"},
    "pre": {"tabindex"},
    "span": {"class"},
    "svg": {"class", "aria-hidden"},
    "table": {"class"},
    "use": {"href"},
}


def answer(text: str, anchor: str, passages: Collection[int]) -> SafeString:
    """The HTML of an answer.

    Parameters
    ----------
    text
        Markdown, possibly cut off anywhere (while it is being written). ``[n]`` and ``[n, m]`` cite passages.
    anchor
        The turn's name within the page: passage n is the element ``<anchor>-p<n>``.
    passages
        The numbers that are passages; any other number in brackets stays text.
    """
    return _clean(_parser().render(text, {"anchor": anchor, "passages": frozenset(passages)}))


def answer_around(text: str, anchor: str, passages: Collection[int], apart: Collection[int]) -> list[SafeString | int]:
    """The HTML of an answer cut where some of its code blocks stand: their numbers, as of `code_blocks`, are in their places."""
    env = {"anchor": anchor, "passages": frozenset(passages), "apart": frozenset(apart), "blocks": 0}
    pieces = _MARKED.split(_clean(_parser().render(text, env)))
    return [int(piece) if place % 2 else mark_safe(piece) for place, piece in enumerate(pieces)]  # noqa: S308  (cleaned)


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Label and text of each code block of an answer, in their order: the first is number 1."""
    tokens = _parser().parse(text, {"anchor": "", "passages": frozenset()})
    return [(token.info, token.content.rstrip("\n")) for token in tokens if token.type in ("fence", "code_block")]


def prose(text: str) -> SafeString:
    """The HTML of a document or a passage of it: Markdown with its line breaks kept, because not all authors wrote Markdown."""
    return _clean(_parser(breaks=True).render(text, {"anchor": "", "passages": frozenset()}))


def _clean(html: str) -> SafeString:
    clean = nh3.clean(
        html, tags=_TAGS, attributes=_ATTRIBUTES, url_schemes={"http", "https", "mailto"}, link_rel="noopener noreferrer nofollow"
    )
    return mark_safe(clean)  # noqa: S308  (just cleaned)


def _cite(state: StateInline, silent: bool) -> bool:
    """The inline rule for ``[n]``: runs before links, so that ``[1](address)`` cannot pose as a citation that leads elsewhere.

    A number that is no passage stays as it stands, for example an index in prose.
    """
    found = CITATION.match(state.src, state.pos)
    if found is None:
        return False
    numbers = [int(number) for number in re.split(r"\s*[,;]\s*", found[1])]
    known = [number for number in dict.fromkeys(numbers) if number in state.env["passages"]]
    if not silent and not known:
        state.push("text", "", 0).content = found[0]
    elif not silent:
        for number in known:
            token = state.push("citation", "a", 0)
            token.meta = {"n": number, "anchor": state.env["anchor"]}
    state.pos = found.end()
    return True


def _citation(_self: Any, tokens: list[Token], index: int, _options: Any, _env: Any) -> str:
    meta: Mapping[str, Any] = tokens[index].meta
    return format_html(
        '<a class="cite" href="#{}-p{}" aria-label="Passage {}">{}</a>', meta["anchor"], meta["n"], meta["n"], meta["n"]
    )


def _fence(_self: Any, tokens: list[Token], index: int, _options: Any, env: Any) -> str:
    token = tokens[index]
    if apart := env.get("apart"):
        env["blocks"] += 1
        if env["blocks"] in apart:
            return f"<p>{_MARK}:{env['blocks']}</p>"
    words = token.info.split()
    return rendering.code_figure(token.content.rstrip("\n"), words[0] if words else "text")


def _heading(_self: Any, tokens: list[Token], index: int, _options: Any, _env: Any) -> str:
    """Headings of an answer stand below the question, which is the page's first or second level."""
    level = min(int(tokens[index].tag[1]) + 2, 6)
    return f"<{'/' if tokens[index].nesting < 0 else ''}h{level}>"


@cache
def _parser(*, breaks: bool = False) -> MarkdownIt:
    options = {"html": False, "linkify": False, "breaks": breaks, "maxNesting": NESTING}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    # No images (they would load from elsewhere), no references ("[1]: address" would take the citation's place).
    parser.disable(["image", "reference"])
    parser.validateLink = lambda url: LINK.match(url) is not None  # type: ignore[method-assign]
    parser.inline.ruler.before("link", "citation", _cite)
    parser.add_render_rule("citation", _citation)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("code_block", _fence)
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("heading_close", _heading)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll"><table class="tbl">')
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    return parser
