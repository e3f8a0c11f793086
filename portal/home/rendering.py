"""Text to safe HTML: Markdown through a sanitizer, highlighted code, and SVG that jobs made."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache, lru_cache
from typing import Any

import nh3
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

# Imported here and not on first use: these modules replace themselves while they load, which two threads at once do not survive.
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters.html import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

TALL_ROWS = 40  # a longer table scrolls in its own frame
FOLD_LINES = 12  # longer code shows this many lines and folds the rest

LANGUAGE_TITLES = {
    "bash": "Shell", "c": "C", "c++": "C++", "cmake": "CMake", "cpp": "C++", "cxx": "C++", "json": "JSON", "markdown": "Markdown",
    "py": "Python", "python": "Python", "sh": "Shell", "text": "Text", "xml": "XML", "yaml": "YAML",
}  # fmt: skip

# What the renderer below makes. Raw HTML in the source is text already, so this is the second net, not the first.
_TAGS = {
    "a", "b", "blockquote", "br", "button", "code", "del", "details", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "li", "ol", "p", "pre", "s", "span", "strong", "summary", "svg", "table", "tbody", "td", "th", "thead", "tr",
    "ul", "use", "div",
}  # fmt: skip
_ATTRIBUTES = {
    "*": {"class"},
    "a": {"href", "title"},
    "button": {"class", "type", "data-copy"},
    "ol": {"start"},
    "pre": {"class", "tabindex"},
    "svg": {"class", "aria-hidden"},
    "use": {"href"},
}

_FIGURE = (
    '<figure class="code hl"><figcaption><span{}>{}</span><span class="end"><button type="button" class="btn quiet tiny" '
    'data-copy="code">{}Copy</button>{}</span></figcaption><pre tabindex="0"><code>{}</code></pre>{}</figure>'
)
_FOLDED = '<details class="rest"><summary>{} more lines</summary><pre tabindex="0"><code>{}</code></pre>{}</details>'
_CUT = mark_safe('<p class="cut-off xs mm">The file goes on; download it to see the rest.</p>')

_SVG_TAGS = {
    "svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "title", "desc", "use",
    "defs", "marker", "clippath",
}  # fmt: skip
_SVG_ATTRIBUTES = {
    "aria-hidden", "aria-label", "class", "cx", "cy", "d", "dx", "dy", "fill-rule", "height", "href", "id", "markerheight",
    "markerwidth", "orient", "points", "preserveaspectratio", "r", "refx", "refy", "role", "rx", "ry", "tabindex", "text-anchor",
    "transform", "viewbox", "width", "x", "x1", "x2", "y", "y1", "y2",
    "clipPath", "markerHeight", "markerWidth", "preserveAspectRatio", "refX", "refY", "viewBox",
}  # fmt: skip


def markdown(text: str) -> SafeString:
    """Markdown as HTML that holds nothing but text, links, lists, tables and highlighted code. Raw HTML stays text."""
    html = _markdown().render(text)
    clean = nh3.clean(
        html, tags=_TAGS, attributes=_ATTRIBUTES, url_schemes={"http", "https", "mailto"}, link_rel="noopener noreferrer"
    )
    return mark_safe(clean)  # noqa: S308  (just cleaned)


def code_lines(text: str, language: str) -> list[SafeString]:
    """Source code as one piece of highlighted HTML for each line; tags never run over the end of a line."""
    html = highlight(text, _lexer(language), HtmlFormatter(nowrap=True))
    return [mark_safe(line) for line in html.rstrip("\n").split("\n")]  # noqa: S308  (Pygments escapes)


@lru_cache(maxsize=256)
def code_parts(text: str, language: str) -> tuple[SafeString, SafeString, int]:
    """Highlighted code as what shows, what is folded away, and how many lines the latter has."""
    lines = code_lines(text, language)
    # A fold that hides one or two lines costs more than it saves.
    shown = lines if len(lines) <= FOLD_LINES + 2 else lines[:FOLD_LINES]
    rest = lines[len(shown) :]
    return mark_safe("\n".join(shown)), mark_safe("\n".join(rest)), len(rest)  # noqa: S308  (as above)


def code_figure(text: str, language: str, title: str = "", *, url: str = "", cut: bool = False) -> SafeString:
    """A framed piece of code with its name, a copy button, and all but the first lines folded.

    Parameters
    ----------
    url
        Where the whole file is downloaded from, if it is one.
    cut
        Whether the file goes on after ``text``.
    """
    shown, rest, more = code_parts(text, language)
    folded = format_html(_FOLDED, more, rest, _CUT if cut else "") if more else mark_safe(_CUT if cut else "")  # noqa: S308
    return format_html(
        _FIGURE,
        mark_safe(' class="mono"') if title else "",
        title or LANGUAGE_TITLES.get(language.lower(), language or "Text"),
        icon("copy"),
        format_html('<a class="btn quiet tiny" href="{}">{}Download</a>', url, icon("down")) if url else "",
        shown,
        folded,
    )


def table(columns: Iterable[Any], rows: Iterable[Iterable[Any]], numeric: Collection[int] = (), title: str = "") -> SafeString:
    """A table whose first column heads the rows. Columns in ``numeric`` (from 0) are right-aligned, an empty cell is a dash.

    A long one scrolls in a frame of its own, under its head; ``title`` is what that frame is called.
    """
    columns = list(columns)
    right = [' class="r"' if number in numeric else "" for number in range(len(columns))]
    head = "".join(f'<th scope="col"{side}>{escape(title)}</th>' for title, side in zip(columns, right, strict=True))
    lines = []
    for row in rows:
        cells = [escape(cell) if cell not in ("", None) else "–" for cell in row]
        sides = [*right, *[""] * (len(cells) - len(right))]
        first = f'<th scope="row"{sides[0]}>{cells[0]}</th>' if cells else ""
        lines.append(
            f"<tr>{first}{''.join(f'<td{side}>{cell}</td>' for cell, side in zip(cells[1:], sides[1:], strict=False))}</tr>"
        )
    body = "\n".join(lines)
    frame = ' class="scroll"'
    if len(lines) > TALL_ROWS:
        frame = f' class="scroll tall" tabindex="0" role="region" aria-label="{escape(title or "Table")}"'
    return mark_safe(  # noqa: S308  (each cell is escaped above)
        f'<div{frame}><table class="tbl"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def svg(source: str) -> SafeString:
    """An SVG drawing with shapes, text and classes only: no script, style, link or address."""
    clean = nh3.clean(source, tags=_SVG_TAGS, attributes={"*": _SVG_ATTRIBUTES}, url_schemes=set(), link_rel=None)
    return mark_safe(clean)  # noqa: S308  (just cleaned)


def icon(name: str, label: str = "") -> SafeString:
    """An icon of the sprite; with a label it is read out, without one it is decoration beside a word."""
    if label:
        return format_html('<svg class="i" role="img" aria-label="{}"><use href="#i-{}"/></svg>', label, name)
    return format_html('<svg class="i" aria-hidden="true"><use href="#i-{}"/></svg>', name)


def _lexer(language: str) -> Any:
    try:
        return get_lexer_by_name(language or "text", stripnl=False)
    except ClassNotFound:
        return TextLexer(stripnl=False)


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    parser.disable("image")  # images would come from elsewhere, which the policy forbids
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("code_block", _fence)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll"><table class="tbl">', fmt="html")
    parser.add_render_rule("table_close", lambda *_: "</table></div>", fmt="html")
    return parser


def _fence(_self: Any, tokens: list[Token], index: int, *_rest: Any) -> str:
    token = tokens[index]
    words = token.info.split()
    return code_figure(token.content.rstrip("\n"), words[0] if words else "text")
