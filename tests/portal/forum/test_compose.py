"""What is posted mentions nobody and does nothing; what is code stays code."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from portal.forum import compose

PASSAGES = [
    {"n": 1, "title": "TH1 [base] @all", "url": "https://root.cern/TH1"},
    {"n": 2, "title": "Ours", "url": "/ask/passages/x"},
    {"n": 3, "title": "Evil", "url": "javascript:alert(1)"},
]


def prose_of(markdown: str) -> tuple[str, list[Token]]:
    """All text outside of code as a forum's parser, which knows HTML, sees it; and the tokens."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)
    flat = [child for token in tokens for child in (token.children or [token])]
    return "".join(token.content if token.type == "text" else "\0" for token in flat), flat


def mentions(markdown: str) -> list[str]:
    """Who a forum would notify."""
    return re.findall(r"(?<![A-Za-z0-9])@[\w.-]+", prose_of(markdown)[0])


def post(text: str, **options: Any) -> str:
    return compose.post(text, PASSAGES, **({"automatic": False} | options))


@pytest.mark.parametrize(
    "text",
    [
        "@ada please", "cc @ada, @all and @here", "**@ada**", "_@ada_", "\\@ada", "@\\_ada", "&#64;ada", "&commat;ada",
        "@&lowbar;ada",
        "`a`@ada", "[@ada](https://root.cern)", "- `a\n- @ada`", "> `\n\n@ada `", "<div>\n```\n@ada\n```\n</div>", "```\n@ada",
        "- ```\n  x\n@ada\n  ```", "| a | b |\n|---|---|\n| `x | @ada` |", "    \n@ada", "<!-- `\n-->@ada `", "``x`@ada`",
        "@ada\n===",
        "<details>\n\n```\n\n</details>\n@ada\n\n```\n",
    ],
)  # fmt: skip
def test_nobody_is_mentioned(text: str) -> None:
    assert mentions(post(text)) == []


@given(st.text(alphabet=st.sampled_from("@ab_`~\n>-<*[]()\\&#;|1 \t/!"), max_size=60))
def test_nobody_is_mentioned_and_no_html_is_left_in_whatever_text(text: str) -> None:
    made = post(text)
    assert mentions(made) == []
    assert [token for token in prose_of(made)[1] if token.type in ("html_block", "html_inline", "image")] == []


@pytest.mark.parametrize(
    "code",
    [
        "```cpp\n#include <TH1.h>\nstd::vector<float> v; // @ada [1]\n```",
        "~~~\na[1] <b>\n~~~",
        "Use `std::vector<float>` and `@ROOT.Numba.Declare` here.",
        "``a ` <b>``",
    ],
)
def test_code_stays_as_it_is(code: str) -> None:
    assert post(code).startswith(code)


def test_html_pictures_commands_and_previews() -> None:
    made = post("<script>x</script> ![p](https://evil.example/p.png)\n\n[poll]\n* a\n[/poll]\n\nhttps://evil.example/page\n")
    tokens = prose_of(made)[1]
    assert {token.type for token in tokens} & {"html_block", "html_inline", "image"} == set()
    assert "\n[poll" not in made
    assert "\nhttps://" not in made


def test_citations_become_links_and_sources() -> None:
    made = post("Fill it [1]. Ours [2, 1], `a[1]`, not [7], evil [3].\n\n```\nx[1]\n```")
    assert "Fill it [\\[1\\]](https://root.cern/TH1)." in made
    assert "Ours \\[2\\][\\[1\\]]" in made
    assert "`a[1]`" in made
    assert "not [7]" in made
    assert "javascript" not in made
    assert "- \\[1\\] [TH1 \\[base\\]" in made, "an ordered list would count anew"
    assert made.endswith(compose.REVIEWED)
    assert mentions(made) == []
    assert post("x", automatic=True).endswith(compose.AUTOMATIC)


def test_cited_numbers() -> None:
    assert compose.cited_numbers("b [2]. a [1, 2] `[3]` [9]", PASSAGES) == [2, 1]


def test_a_question_is_short_and_without_quotations() -> None:
    raw = '[quote="ada, post:1"]\nsecret\n[/quote]\nWhy? ![shot](upload://x.png)\n```cpp\nh->Fit();\n```' + "x" * 2**20
    asked = compose.question("A  title", raw, "look at TF1")
    assert len(asked) <= compose.QUESTION_LIMIT
    assert asked.startswith("A title\n\nWhy?")
    assert "secret" not in asked
    assert "upload" not in asked
    assert asked.endswith("look at TF1")


@pytest.mark.parametrize(
    "raw", ["[quote" * 200_000, "![" * 500_000, "`" * 2**20, "[quote]\n" * 100_000, "@" * 2**20, ">" * 2**18]
)
def test_megabytes_take_no_time(raw: str) -> None:
    import time

    began = time.process_time()
    compose.question("t", raw)
    post(raw)
    assert time.process_time() - began < 60  # with a square of the length it would be hours
