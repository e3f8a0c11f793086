"""What notebooks show: nothing of it is markup but our own, and plots have the portal's colours."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from portal.client import Artifact, File, Job, JobType, Passage, Turn, display
from portal.client.display import answer_html, job_html, picture, turn_html
from portal.jobs import plots

CSS = Path(__file__).parents[3] / "portal" / "static" / "portal" / "portal.css"
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
ALLOWED = {
    "div", "p", "b", "span", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "a", "ul", "ol", "li", "details",
    "summary", "figure", "figcaption", "img",
}  # fmt: skip


class Reader(HTMLParser):
    """The tags and attributes of a page, and whether each is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(page: str) -> Reader:
    """The page, which is well formed and has no markup that could do anything."""
    read = Reader(page)
    assert read.open == []
    assert set(read.tags) <= ALLOWED
    for name, value in read.attributes:
        assert not name.startswith("on")
        assert name not in ("href", "src") or value.startswith(("https://", "http://", "data:image/svg+xml;base64,"))
    return read


def evil_job() -> Job:
    svg = '<svg viewBox="0 0 1 1"><script>alert(1)</script></svg>'
    result = {
        "notes": [{"kind": EVIL, "headline": EVIL, "text": EVIL}],
        "figures": [{"label": EVIL, "value": EVIL, "condition": EVIL}],
        "texts": [{"title": EVIL, "text": EVIL}],
        "events": [{"title": EVIL, "file": EVIL, "caption": EVIL}],
        "plots": [{"title": EVIL, "svg": svg, "caption": EVIL}],
        "series": [{"title": EVIL, "plots": [{"title": EVIL, "svg": svg, "caption": EVIL}], "first": 0, "total": 1}],
        "tables": [{"title": EVIL, "columns": [EVIL], "rows": [[EVIL]], "numeric": [0], "note": EVIL}],
    }
    artifact = Artifact("1", EVIL, EVIL, EVIL, 1, EVIL, "javascript:alert(1)")
    error = {"message": EVIL, "hint": EVIL}
    return Job(
        "1", EVIL, EVIL, EVIL, {"fraction": 0.0, "text": EVIL}, "", result=result, artifacts=(artifact,), error=error, url=EVIL
    )


def test_a_job_is_escaped() -> None:
    read = harmless(job_html(evil_job(), "https://portal.example.org"))
    assert read.text.count(EVIL) >= 12, "it is shown as it is"
    assert read.tags.count("img") == 2


def test_everything_else_is_escaped() -> None:
    passage = Passage(1, EVIL, EVIL, 1.0, EVIL, url="javascript:alert(1)")
    turn = Turn(
        "1", EVIL, "DONE", f"# {EVIL}\n\n- {EVIL}\n\n```{EVIL}\n{EVIL}\n```\n**{EVIL}** `{EVIL}` [1]", passages=(passage,)
    )
    schema = {"properties": {EVIL: {"title": EVIL, "description": EVIL, "default": EVIL}}, "required": []}
    shown: list[Any] = [
        turn, replace(turn, error=EVIL, hint=EVIL), passage, File("1", EVIL, EVIL, EVIL, 1, "", "", url="javascript:alert(1)"),
        JobType(EVIL, EVIL, EVIL, EVIL, schema, {EVIL: [EVIL]}), evil_job(),
    ]  # fmt: skip
    for each in shown:
        assert EVIL in harmless(each._repr_html_()).text


def test_plots_are_pictures_in_the_portals_colours() -> None:
    svg = plots.histogram([0, 1, 2], [3, 4], x_title="x", y_title="y", label="Two bins")
    kind, _, data = picture(svg).partition(",")
    assert kind == "data:image/svg+xml;base64"
    drawn = base64.b64decode(data).decode()
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox')
    import xml.etree.ElementTree as ET

    assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - made here
    assert display.PLOT_STYLE in drawn
    assert f'viewBox="-8 -8 {plots.WIDTH + 16} {plots.HEIGHT + 16}"' in drawn, "an axis title over the edge is not cut off"


def test_every_colour_of_the_pages_is_there() -> None:
    """A class that plots get on pages and not here would be black in notebooks."""
    css = CSS.read_text()
    section = css[css.index("/* ---------- plots") : css.index(".plot + .legend")]
    classes = set(re.findall(r"\.([a-z][\w-]*)\s*[{,.\s]", re.sub(r"var\([^)]*\)", "", section))) - {
        "plot",
        "keep",
        "tree",
        "face-g",
    }
    assert len(classes) > 50
    missing = {name for name in classes if f".{name}{{" not in display.PLOT_STYLE and f".{name}," not in display.PLOT_STYLE}
    assert missing == set()


def test_an_answer() -> None:
    code = '```cpp\nh.Fit("gaus"); // [1] **x**\n\nint i;\n```'
    text = f"# Fit\n\nUse **Fit** of `TH1` [1], not [7].\nOn.\n\n1. one\n2. two\n- a < b\n\n{code}\nEnd"
    passages = (Passage(1, "TH1", "docs", 1.0, "Fits.", url="https://root.cern/TH1"),)
    page = answer_html(text, passages)
    harmless(page)
    assert '<a href="https://root.cern/TH1" target="_blank" rel="noopener noreferrer">[1]</a>, not [7]. On.' in page
    assert "<b>Fit</b> of <code" in page
    assert "<ol><li>one</li><li>two</li></ol><ul><li>a &lt; b</li></ul>" in page
    assert "h.Fit(&quot;gaus&quot;); // [1] **x**\n\nint i;" in page
    assert page.endswith("<p>End</p>")
    assert "Passages: 1<" in turn_html(Turn("1", "?", "DONE", text, passages=passages))


@pytest.mark.parametrize("text", ["```\nnever closed", "`", "**", "[", "", "~~~", "- ", "1.", "#"])
def test_half_an_answer_is_shown(text: str) -> None:
    """While it is written, it may end anywhere."""
    harmless(answer_html(text))


def test_long_tables_are_cut() -> None:
    page = display.table_html(("n",), [(n,) for n in range(250)])
    assert page.count("<tr>") == 101
    assert "150 more rows are not shown." in page


def test_links_lead_to_the_portal() -> None:
    job = Job("1", "t", "mine", "RUNNING", {"fraction": 0.25, "text": ""}, "", url="/jobs/1")
    assert 'href="https://portal.example.org/jobs/1"' in job_html(job, "https://portal.example.org")
    assert "running, 25 %" in job_html(job)
    assert "href" not in job_html(job), "without an address there is no link"
