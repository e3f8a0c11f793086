"""Doxygen comments as text."""

from __future__ import annotations

import pytest

from assistant.corpus.parsing import doxygen


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        ("/// \\brief Short.\n/// More.", "Short.\nMore."),
        ("/** A block.\n * with stars\n */", "A block.\nwith stars"),
        ("/*! No stars:\n* only a list item\nend */", "No stars:\n* only a list item\nend"),
        ("/// @param[in] x the value\n/// \\return the square", "- x: the value\nReturns the square"),
        ("/// See \\ref TH1::Fill and \\c kTRUE", "See TH1::Fill and kTRUE"),
        ("/// \\ingroup Hist\n/// \\author Someone\n/// Text <b>bold</b>", "Text bold"),
        ("/// ~~~{.cpp}\n/// h.Fill(1);\n/// ~~~", "```cpp\nh.Fill(1);\n```"),
        (
            "/// \\code{.py}\n/// h.Fill(1)  # \\brief stays\n/// \\endcode\n/// after",
            "```py\nh.Fill(1)  # \\brief stays\n```\nafter",
        ),
        ("/// ```\n/// x\n/// ```", "```\nx\n```"),
        ("/// \\code\n/// never closed", "```\nnever closed\n```"),
        ("/////////////////////////\n/// Text below a rule.", "Text below a rule."),
    ],
)
def test_commands_become_text_and_code_stays_code(comment: str, text: str) -> None:
    assert doxygen.to_text(comment) == text


def test_python_comments_lose_their_hashes() -> None:
    assert doxygen.to_text("## \\file\n## \\brief Shows it.\n##\n## \\macro_code", python=True) == "Shows it."


def test_brief_is_the_first_sentence() -> None:
    assert doxygen.brief("## Title\n\nThe first. The second.") == "Title"
    assert doxygen.brief("One sentence\nover two lines. Another.") == "One sentence over two lines"
    assert doxygen.brief("```\ncode\n```\n") == "code"
    assert doxygen.brief("") == ""
