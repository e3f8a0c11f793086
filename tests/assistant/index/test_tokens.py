"""Tokens of prose and code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.index.tokens import looks_like_identifier, mentions, tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RDataFrame", {"rdataframe", "dataframe", "data", "fram"}),
        ("ROOT::RDataFrame", {"root::rdataframe", "rdataframe"}),
        ("TTree::SetBranchAddress", {"ttree::setbranchaddress", "ttree", "setbranchaddress", "branch", "address"}),
        ("my_branch_name", {"my_branch_name", "branch", "name"}),
        ("RooRealVar", {"roorealvar", "realvar", "real", "var"}),
        ("histograms", {"histogram"}),
        ("filling filled fill", {"fill"}),
    ],
)
def test_an_identifier_is_found_whole_and_by_its_words(text: str, expected: set[str]) -> None:
    assert expected <= set(tokenize(text))


def test_stop_words_and_single_letters_are_left_out() -> None:
    assert tokenize("How do I use the x of a tree?") == ["tree"]


def test_question_and_documentation_meet() -> None:
    for question, documentation in [("histogram", "histograms"), ("fitting", "fit"), ("classes", "class"), ("queries", "query")]:
        assert set(tokenize(question)) & set(tokenize(documentation)), (question, documentation)


def test_mentions_are_identifiers_as_written_then_words() -> None:
    found = mentions("Can ROOT::RDataFrame or uproot.open read a ttree? e.g. h.Fill() in CMS, v6.32")
    assert found.index("ROOT::RDataFrame") < found.index("RDataFrame") < found.index("ttree")
    assert "uproot.open" in found
    assert "CMS" not in found


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("TH1F", True),
        ("RDataFrame", True),
        ("a::b", True),
        ("np.mean", True),
        ("snake_case", True),
        ("tree", False),
        ("The", False),
        ("CERN", False),
        ("PDFs", False),
    ],
)
def test_what_could_hardly_be_prose(word: str, expected: bool) -> None:
    assert looks_like_identifier(word) is expected


@given(st.text(max_size=300))
def test_tokens_are_lower_case_and_never_empty(text: str) -> None:
    for token in tokenize(text):
        assert token
        assert token == token.lower()
    mentions(text)
