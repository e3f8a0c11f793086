"""What a model writes becomes safe HTML, and only citations of passages become links to them."""

from __future__ import annotations

import re

import pytest

from portal.chat import render

ALLOWED = {
    "a", "blockquote", "br", "button", "code", "details", "div", "em", "figcaption", "figure", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "span", "strong", "summary", "svg", "table", "tbody", "td", "th", "thead", "tr", "ul", "use",
}  # fmt: skip


def html(text: str, passages: tuple[int, ...] = (1, 2)) -> str:
    return str(render.answer(text, "tab", passages))


HOSTILE = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "![x](https://ok.example/pixel.png)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox)",
    "[x](//evil.example)",
    "[x](/accounts/logout/)",
    "<javascript:alert(1)>",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "<a href='https://evil.example' style='position:fixed'>x</a>",
    "<p style='background:url(//evil.example)'>x</p>",
    "<style>body{display:none}</style>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<!-- <script>alert(1)</script> -->",
    "<!--><img src=x onerror=alert(1)>-->",
    "<iframe src=https://evil.example></iframe>",
    "<form action=//evil.example><input name=q><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example>",
    "<object data=x></object><embed src=x>",
    "`<img src=x onerror=alert(1)>`",
    '```"><script>alert(1)</script>\nx\n```',
    "```html\n<script>alert(1)</script>\n```",
    "    <script>alert(1)</script>",
    '[x](https://ok.example "onmouseover=alert(1)")',
    '[x](https://ok.example"onmouseover="alert(1))',
    "| <img src=x onerror=alert(1)> |\n|--|\n| <script>alert(1)</script> |",
    "[1](https://evil.example)",
    "[1]: https://evil.example\n\nsee [1]",
    "[9]: https://evil.example\n\nsee [9]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_survives(text: str) -> None:
    out = html(text)
    tags = re.findall(r"<\s*/?\s*([a-zA-Z0-9]+)([^>]*)>", out)
    assert {name for name, _ in tags} <= ALLOWED
    assert "<!--" not in out
    for _name, attributes in tags:
        names = re.findall(r'([\w-]+)="[^"]*"', attributes)
        assert re.sub(r'\s*[\w-]+="[^"]*"', "", attributes).strip("/ ") == ""
        assert set(names) <= {"href", "class", "aria-label", "aria-hidden", "rel", "type", "data-copy", "tabindex", "start"}
    for address in re.findall(r'href="([^"]*)"', out):
        assert address.startswith(("https://ok.example", "http", "#tab-p", "#i-copy")), address
        assert not address.lower().startswith(("javascript", "data", "vbscript"))
    assert "evil.example" not in " ".join(re.findall(r'(?:href|src)="([^"]*)"', out))


def test_links_lead_out_without_telling_where_from() -> None:
    out = html("[ROOT](https://root.cern/doc) and <https://root.cern>")
    assert out.count('rel="noopener noreferrer nofollow"') == 2
    assert 'href="https://root.cern/doc"' in out


CITE = '<a class="cite" href="#tab-p{n}" aria-label="Passage {n}" rel="noopener noreferrer nofollow">{n}</a>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fit [1].", f"Fit {CITE.format(n=1)}."),
        ("Fit[1][2]", f"Fit{CITE.format(n=1)}{CITE.format(n=2)}"),
        ("Fit [1, 2]", f"Fit {CITE.format(n=1)}{CITE.format(n=2)}"),
        ("Fit [1;1]", f"Fit {CITE.format(n=1)}"),
        ("Fit [1, 7]", f"Fit {CITE.format(n=1)}"),
        ("Fit [7]", "Fit [7]"),
        ("Fit [0]", "Fit [0]"),
        ("Fit [1](https://x.example)", f"Fit {CITE.format(n=1)}(https://x.example)"),
        ("Fit [7](https://x.example)", "Fit [7](https://x.example)"),
        ("**Fit [2]**", f"<strong>Fit {CITE.format(n=2)}</strong>"),
        (r"Fit \[1]", "Fit [1]"),
        ("`h[1]`", "<code>h[1]</code>"),
        ("Fit [one]", "Fit [one]"),
        ("Fit [1", "Fit [1"),
        ("Fit [12345]", "Fit [12345]"),
    ],
)
def test_citations(text: str, expected: str) -> None:
    assert html(text).strip() == f"<p>{expected}</p>"


def test_brackets_in_a_program_are_no_citations() -> None:
    assert "cite" not in html("```cpp\nint a[1]; a[2] = 0;\n```")


def test_code_is_highlighted_and_can_be_copied() -> None:
    out = html("```cpp\nint main() { return 0; }\n```")
    assert '<figure class="code hl">' in out
    assert "<span>C++</span>" in out
    assert 'data-copy="code"' in out
    assert '<span class="kt">int</span>' in out


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_text_that_is_cut_anywhere_still_makes_whole_html(cut: int) -> None:
    text = (
        "Use **`TH1::Fit`** [1], see [docs](https://root.cern).\n\n"
        '```cpp\nh->Fit("gaus");\n```\n\n'
        "| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    out = html(text[:cut])
    opened = re.findall(r"<([a-z0-9]+)[^>]*>", out)
    closed = re.findall(r"</([a-z0-9]+)>", out)
    assert sorted(name for name in opened if name not in {"br", "hr"}) == sorted(closed)


def test_headings_stand_below_the_question() -> None:
    out = html("# One\n\n#### Four\n\nSetext\n======")
    assert "<h3>One</h3>" in out
    assert "<h6>Four</h6>" in out
    assert "<h3>Setext</h3>" in out


@pytest.mark.parametrize("text", ["[" * 3000, "*a_ " * 3000, ">" * 3000 + "x", "![[](" * 2000, "`" * 5000, "- " * 2000 + "x"])
@pytest.mark.timeout(10)
def test_text_made_to_be_slow_is_not(text: str) -> None:
    html(text)


def test_documents_keep_their_lines_and_cite_nothing() -> None:
    assert render.prose("Fits <script>\n#include [1]") == "<p>Fits &lt;script&gt;<br>\n#include [1]</p>\n"
    assert '<figure class="code hl">' in render.prose("Say\n\n```py\nx = 1\n```")
