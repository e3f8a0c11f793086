"""Reading pages in tests, and the rules that every page keeps."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "hr", "img", "use", "path", "circle", "rect"}


class Page(HTMLParser):
    """What the tests look at in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts = ""
        self.unbalanced: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts += data


def check_page(html: str) -> Page:
    """Fail where a page breaks the policy or the rules that every page keeps."""
    page = Page(html)
    assert not page.scripts.strip(), "an inline script"
    inline = [(tag, name) for tag, attrs in page.elements for name in attrs if name == "style" or re.match(r"on[a-z]+$", name)]
    assert not inline
    assert not any(tag == "style" for tag, _ in page.elements)
    elsewhere = [
        value
        for tag, attrs in page.elements
        for name, value in attrs.items()
        if name == "src" or (name == "href" and tag == "link")
        if value and not value.startswith("/static/")
    ]
    assert not elsewhere
    assert not page.unbalanced
    assert not page.open
    identifiers = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(identifiers) == len(set(identifiers)), "an id that is used twice"
    controls = {"input", "select", "textarea"}
    labelled = {attrs.get("for") for tag, attrs in page.elements if tag == "label"}
    for tag, attrs in page.elements:
        if tag in controls and attrs.get("type") not in ("hidden", "file", "checkbox", "radio") and "aria-label" not in attrs:
            assert attrs.get("id") in labelled or "<label" in html[: html.find(str(attrs.get("name")))], attrs
    posts = [attrs for tag, attrs in page.elements if tag == "form" and (attrs.get("method") or "").lower() == "post"]
    tokens = [attrs for tag, attrs in page.elements if attrs.get("name") == "csrfmiddlewaretoken"]
    assert len(tokens) >= len(posts), "a form without its token"
    return page


def text_of(html: str) -> str:
    """The words of a page with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
