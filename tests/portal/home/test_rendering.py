"""Text to HTML: nothing hostile gets through, and people read units and times."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.home import rendering
from portal.home.templatetags import portal as tags

ROOT = Path(__file__).parents[3]

HOSTILE = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[a](javascript:alert(1))",
    "![pixel](https://elsewhere.example/p.png)",
    '<a href="https://x" onclick="x()">a</a>',
    "<style>body{}</style>",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_markdown_lets_nothing_active_through(source: str) -> None:
    html = rendering.markdown(source)
    for part in ("<script", "<img", "<style", 'href="javascript', 'href="data'):
        assert part not in html
    assert "<a href" not in html or "onclick=" not in html


def test_markdown_makes_lists_tables_and_highlighted_code() -> None:
    html = rendering.markdown("- one\n- `two`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```cpp\nint x = 1; // <b>\n```\n")
    assert "<li>one</li>" in html
    assert '<table class="tbl">' in html
    assert '<span class="kt">int</span>' in html
    assert "&lt;b&gt;" in html
    assert 'data-copy="code"' in html
    assert "style=" not in html


def test_long_code_folds_after_twelve_lines() -> None:
    shown, rest, more = rendering.code_parts("\n".join(f"int a{n};" for n in range(40)), "cpp")
    assert shown.count("\n") == rendering.FOLD_LINES - 1
    assert more == 28 == rest.count("\n") + 1
    assert rendering.code_parts("a\nb\nc", "text") == ("a\nb\nc", "", 0)


def test_comments_over_several_lines_are_closed_on_each() -> None:
    lines = rendering.code_lines("/* a\nb\nc */ int x;", "cpp")
    assert all(line.count("<span") == line.count("</span") for line in lines)


def test_an_unknown_language_is_text() -> None:
    assert rendering.code_lines("<a>", "no-such-language") == ["&lt;a&gt;"]


def test_svg_keeps_shapes_and_loses_what_acts() -> None:
    html = rendering.svg(
        '<svg viewBox="0 0 9 9" role="img" aria-label="x" onload="a()"><script>a()</script><style>b{}</style>'
        '<a href="https://x"><path class="ln e-own" d="M0 0L9 9" style="fill:red"/></a><foreignObject><b>x</b></foreignObject>'
        '<text x="1" y="2" class="a-e">m &lt; 3</text><image href="https://x/y.png"/></svg>'
    )
    assert 'viewBox="0 0 9 9"' in html
    assert 'class="ln e-own" d="M0 0L9 9"' in html
    assert "m &lt; 3" in html
    for part in ("script", "onload", "style", "https://", "<a", "<image", "foreign"):
        assert part not in html


def test_a_table_escapes_its_cells_and_fills_the_empty_ones() -> None:
    html = rendering.table(["Name", "n"], [["<b>", "1"], ["", None]], {1})
    assert '<th scope="row">&lt;b&gt;</th><td class="r">1</td>' in html
    assert '<th scope="row">–</th><td class="r">–</td>' in html


def test_a_long_table_scrolls_in_a_frame_with_a_name() -> None:
    rows = [[str(number)] for number in range(rendering.TALL_ROWS + 1)]
    assert 'class="scroll tall" tabindex="0" role="region" aria-label="&lt;b&gt;"' in rendering.table(["n"], rows, title="<b>")
    assert "tall" not in rendering.table(["n"], rows[1:])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (4100, "4.1 kB"), (1_920_000, "1.92 MB"), (312_000, "312 kB"), (2**32, "4 GiB")],
)
def test_sizes(value: int | None, text: str) -> None:
    assert tags.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.414, "0.41 s"),
        (2.13, "2.1 s"),
        (40.2, "40 s"),
        (192, "3 min 12 s"),
        (2880, "48 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(value: float | None, text: str) -> None:
    assert tags.duration(value) == text


NOW = datetime(2026, 5, 15, 14, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=2), "just now"),
        (timedelta(minutes=4), "4 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(hours=20), "yesterday"),
        (timedelta(days=3), "12 May"),
        (timedelta(days=300), "19 Jul 2025"),
    ],
)
def test_times(passed: timedelta, text: str) -> None:
    assert tags.ago_text(NOW - passed, NOW) == text


def test_counts_have_thin_spaces() -> None:
    assert tags.count(41208) == "41\u202f208"


def test_highlighters_are_there_before_the_first_request() -> None:
    """Pygments' packages replace themselves while they load: two first requests that import them at once would fail."""
    program = (
        "import sys, portal.home.rendering; print('pygments.formatters.html' in sys.modules, 'pygments.lexers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "True True\n", done.stderr
