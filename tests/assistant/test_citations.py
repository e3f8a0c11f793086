"""Citations while streaming: none to what was not retrieved, whatever the model writes and wherever its pieces are cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.citations import CitationWriter, Support, identifiers
from assistant.passages import Passage


def passage(source: str, text: str, url: str = "") -> Passage:
    return Passage(source, f"{source}: a title", source, "class", f"{source}.h:1", url, 1.0, text)


PASSAGES = (
    passage("TTree", "A TTree stores columns. TTree::Draw makes a histogram of an expression.", "https://root.cern/TTree"),
    passage("TH1", "TH1::Fit fits a function to the bin contents of a histogram. See https://root.cern/fit for options."),
    passage("RDataFrame", "ROOT::EnableImplicitMT switches multi-threading on; RDataFrame then runs its event loop in parallel."),
)


def write(text: str, shown: tuple[int, ...] | None = None, step: int = 1) -> tuple[str, CitationWriter]:
    writer = CitationWriter(PASSAGES, shown)
    out = "".join(writer.feed(text[start : start + step]) for start in range(0, len(text), step))
    return out + writer.finish(), writer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`TTree::Draw` makes a histogram [1].", "`TTree::Draw` makes a histogram [1]."),
        ("`TTree::Draw` makes a histogram [9].", "`TTree::Draw` makes a histogram [1]."),  # dropped, then assigned
        ("`TTree::Draw` makes a histogram. [1] More.", "`TTree::Draw` makes a histogram [1]. More."),
        ("`TTree::Draw` makes a histogram [1, 9].", "`TTree::Draw` makes a histogram [1]."),
        ("`TTree::Draw` makes a histogram [^1].", "`TTree::Draw` makes a histogram [1]."),
        ("`TTree::Draw` makes a histogram 【1】.", "`TTree::Draw` makes a histogram [1]."),
        ("`TTree::Draw` makes a histogram [passage 1].", "`TTree::Draw` makes a histogram [1]."),
        ("Use TH1::Fit for that", "Use TH1::Fit for that [2]"),
        ("- use `TTree::Draw`\n- use `TH1::Fit`\n", "- use `TTree::Draw` [1]\n- use `TH1::Fit` [2]\n"),
        ("Nothing of it is known here.", "Nothing of it is known here."),
        ("## TTree\n", "## TTree\n"),
        ("Like this, with TTree:\n", "Like this, with TTree:\n"),
        ("Works, e.g. with TTree::Draw. Yes", "Works, e.g. with TTree::Draw [1]. Yes"),
        ("In TH1::Fit version 6.40 is best.", "In TH1::Fit version 6.40 is best [2]."),
        ("An interval [0, 1] stays.", "An interval [0, 1] stays."),
        ("An array `a[7]` stays.", "An array `a[7]` stays."),
        ("```cpp\nint b = a[7];\n```\n", "```cpp\nint b = a[7];\n```\n"),
        ("```cpp\ntree.Draw(x[7]); // TTree::Draw\n```\n", "```cpp\ntree.Draw(x[7]); // TTree::Draw\n```\n\nSee [1].\n"),
        ("See [the manual](https://root.cern/TTree).", "See [the manual](https://root.cern/TTree)."),
        ("See [the manual](https://invented.example/x).", "See the manual."),
        ("See https://root.cern/fit for options.", "See https://root.cern/fit for options [2]."),
        ("See https://invented.example/x.", "See (no address)."),
        ("[1](https://invented.example)", "[1]"),
        ("[[9]9] and [1[9]2]", "[?9] and [1?2]"),
        ("[1]: https://invented.example", "[1] : (no address)"),
        ("\\`[9]\\`", "\\`\\`"),
        ("`` [9] `", "`` `"),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_rewriting(text: str, expected: str, step: int) -> None:
    assert write(text, step=step)[0] == expected


def test_the_model_cannot_cite_what_it_was_not_shown_but_code_can_assign_it() -> None:
    text, writer = write("It is known [3]. RDataFrame runs its event loop in parallel.", shown=(1, 2))
    assert text == "It is known. RDataFrame runs its event loop in parallel [3]."
    assert writer.citations == [3]


def test_a_citation_of_a_passage_about_something_else_is_replaced() -> None:
    text, _ = write("`TH1::Fit` fits a function to the bin contents [1].")
    assert text == "`TH1::Fit` fits a function to the bin contents [2]."


def test_an_invented_method_gets_no_citation_and_is_named() -> None:
    text, writer = write("Call `RDataFrame::SetNumberOfThreads` on the RDataFrame first [3].")
    assert "[" not in text
    assert writer.unsupported == 1
    assert writer.unknown_names("") == ["SetNumberOfThreads"]
    assert writer.unknown_names("What does SetNumberOfThreads do?") == []


def test_names_in_code_are_looked_up_too() -> None:
    _, writer = write("```cpp\nROOT::EnableImplicitMT();\ntree->MakeMagic();\nTH1 h; TUnheardOf u;\n```\n")
    assert writer.unknown_names("") == ["MakeMagic", "TUnheardOf"]


def test_code_cut_off_in_the_middle_is_closed() -> None:
    text, _ = write("```cpp\nint x;")
    assert text == "```cpp\nint x;\n```\n"


def test_prose_is_not_held_back_longer_than_needed() -> None:
    writer = CitationWriter(PASSAGES)
    assert writer.feed("A TTree stores") == "A TTree stores"
    assert writer.feed(" col") == " col"
    assert writer.feed("umns.\n```\nint a;\n") == "umns [1].\n```\nint a;\n"  # code goes on line by line


@given(st.text(alphabet=st.sampled_from("[]()`1290 .\nab,-^:\\<>h【】#T"), max_size=60), st.integers(1, 7))
@settings(max_examples=400, deadline=None)
def test_no_stray_citation_whatever_comes(text: str, step: int) -> None:
    written, _ = write(text, step=step)
    prose = re.sub(
        r"(?<![\\`])(`+)(?!`)[^\n]*?(?<!`)\1(?!`)", "", re.sub(r"(?ms)^.{0,12}?```.*?(?:^\s*```+\s*$|\Z)", "", written)
    )
    for number in re.findall(r"\[(\d+)\]", prose):
        assert 1 <= int(number) <= len(PASSAGES)


@given(st.text(alphabet=st.sampled_from("[]()`19 .\nab"), max_size=40), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_where_pieces_are_cut_makes_no_difference(text: str, step: int) -> None:
    assert write(text, step=step)[0] == write(text, step=1000)[0]


def test_support_prefers_the_passage_with_the_rarer_name() -> None:
    support = Support(PASSAGES)
    assert support.best("With RDataFrame, ROOT::EnableImplicitMT makes the event loop run in parallel.") == 3
    assert support.best("Bananas are yellow and curved fruit.") is None


def test_identifiers() -> None:
    assert identifiers("Use `Fill` and TTree::Draw, e.g. my_tree, but not Draw or I.") == {
        "fill",
        "ttree::draw",
        "ttree",
        "my_tree",
    }
