"""Answers without a model: what is chosen of a passage, and how it is shown."""

from __future__ import annotations

import pytest

from assistant.excerpts import excerpts, python_or_cpp
from assistant.extractive import blocks, lead, links, quote
from assistant.index.tokens import tokenize
from assistant.passages import Passage

CLASS = Passage(
    "c",
    "TH1: 1-Dim histogram base class",
    "TH1",
    "class",
    "include/TH1.h:109",
    "https://root.cern/doc/master/classTH1.html",
    2.0,
    'TH1: 1-Dim histogram base class\n#include "TH1.h"\nInherits from TNamed, TAttLine.\n…\n'
    "- kIsAverage: Bin contents are average (used by Add)\n…\n"
    "void FillRandom(const char *fname, Int_t ntimes=5000)\nFill histogram following distribution in function fname.\n"
    "Int_t FindBin(Double_t x)\nSee TH1::GetBin() for this. ",
)
TUTORIAL = Passage(
    "t",
    "hist001.C: fill a histogram",
    "hist001.C",
    "tutorial",
    "tutorials/hist/hist001.C:1",
    "https://root.cern/doc/master/hist001_8C.html",
    1.5,
    "Fills a histogram with random numbers. It then draws it.\n```cpp\n"
    '   TH1D h("h", "title", 100, 0, 1);\n   h.FillRandom("gaus");\n…\n'
    "   gStyle->SetOptStat(0);\n```",
)
PYTHON = Passage("p", "df1", "df1.py", "tutorial", "tutorials/df1.py:1", "", 1.0, "```\nh = df.Histo1D('x')\nh.Draw()\n```")
QUESTION = "How do I fill a histogram with random numbers?"


def test_excerpts_leave_out_what_says_nothing() -> None:
    found = excerpts(CLASS, set(tokenize(QUESTION)))
    assert [(part.kind, part.lines[0]) for part in found] == [
        ("prose", "- kIsAverage: Bin contents are average (used by Add)"),
        ("signature", "void FillRandom(const char *fname, Int_t ntimes=5000)"),
        ("signature", "Int_t FindBin(Double_t x)"),
    ]
    assert found[1].lines[1] == "    // Fill histogram following distribution in function fname."
    assert found[1].told == {"fill", "random", "histogram"}
    assert found[2].fit == 0


def test_a_class_page_gets_no_credit_for_naming_the_class() -> None:
    (part,) = excerpts(
        Passage("x", "TFile: a file", "TFile", "class", "TFile.h:1", "", 1.0, "TFile(const char *name)"),
        set(tokenize("open a TFile")),
    )
    assert part.fit == 0


def test_code_is_cut_where_the_passage_leaves_something_out() -> None:
    found = excerpts(TUTORIAL, set(tokenize(QUESTION)))
    assert [part.kind for part in found] == ["prose", "prose", "code", "code"]
    assert found[2].lines == ('TH1D h("h", "title", 100, 0, 1);', 'h.FillRandom("gaus");')


def test_blocks_show_what_fits() -> None:
    first, second = blocks(QUESTION, (CLASS, TUTORIAL, PYTHON))
    assert first.number == 1
    assert first.text == (
        "**[TH1: 1-Dim histogram base class](https://root.cern/doc/master/classTH1.html)** [1]\n\n"
        "```cpp\nvoid FillRandom(const char *fname, Int_t ntimes=5000)\n"
        "    // Fill histogram following distribution in function fname.\n```"
    )
    assert not first.has_example
    assert second.text.splitlines()[2] == "> Fills a histogram with random numbers."
    assert 'h.FillRandom("gaus");' in second.text
    assert "SetOptStat" not in second.text
    assert second.has_example


def test_lead_is_the_passage_that_tells_most_and_the_best_example() -> None:
    assert [block.number for block in lead(QUESTION, (CLASS, TUTORIAL, PYTHON))] == [2]
    telling = Passage(
        "r", "Notes", "notes", "release", "n.md:1", "", 1.0, "Fill a histogram with random numbers: FillRandom does it."
    )
    assert [block.number for block in lead("random numbers for a histogram: how to fill?", (telling, TUTORIAL))] == [1, 2]
    assert lead("x", ()) == ()


def test_a_passage_that_fits_in_no_word_is_shown_where_no_other_does() -> None:
    (block,) = blocks("Bananas?", (PYTHON,))
    assert "```python\nh = df.Histo1D('x')\nh.Draw()\n```" in block.text


def test_long_code_and_prose_are_cut() -> None:
    long = Passage(
        "l", "long", "l.C", "tutorial", "l.C:1", "", 1.0, "```cpp\n" + "fill(histogram);\n" * 90 + "```\n" + "fill it " * 200
    )
    (block,) = blocks("fill histogram", (long,), prose_characters=100, code_lines=5)
    assert block.text.count("fill(histogram);") == 5
    assert len(block.text) < 350


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a [9] b", "a (9) b"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("![img](http://x/y)", "img"),
        ('[label](http://x/y "t")', "label"),
        ("a [1, 2-5] `b[0]`", "a (1, 2-5) `b(0)`"),
    ],
)
def test_quotes_do_nothing(text: str, shown: str) -> None:
    assert quote(text) == shown


def test_a_fence_in_code_cannot_end_the_block() -> None:
    hostile = Passage("h", "h", "h.C", "tutorial", "h.C:1", "", 1.0, "print('fill ```');\nfill();\n")
    (block,) = blocks("fill", (hostile,))
    assert "````cpp\nprint('fill ```');" in block.text
    assert block.text.endswith("\n````")


def test_titles_and_addresses_are_made_safe() -> None:
    hostile = Passage("h", "A [9] <b> title](http://evil)", "h", "page", "h:1", "javascript:alert(1)", 1.0, "fill")
    assert links((hostile,)) == "- A (9) &lt;b&gt; title)(http://evil) [1]"


def test_language() -> None:
    assert python_or_cpp(TUTORIAL, ["x"]) == "cpp"
    assert python_or_cpp(PYTHON, ["x"]) == "python"
    notes = Passage("n", "n", "n", "release", "n.md:1", "", 1.0, "")
    assert python_or_cpp(notes, ["import ROOT"]) == "python"
    assert python_or_cpp(notes, ["auto h = df.Histo1D();"]) == "cpp"
