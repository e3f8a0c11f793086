"""A post becomes a query: its parts told apart, courtesy left out, identifiers kept whole, pasted code held down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.condense import Post, Turn, condense, plain, search_query

POST = """Fit of a slice
Dear experts,

I want to fit each slice of my `TH2F` with TH2::FitSlicesY, see [the manual](https://root.cern/manual/) and ![plot](upload://abc.png).

```cpp
TFile *f = TFile::Open("in.root");
h->FitSlicesY();
```

```
Error in <TH2F::FitSlicesY>: bad range
#5  0x00007f2e in TBranch::GetEntry(long long, int) () from libTree.so
Processing fit.C...
```

Thanks a lot in advance!
Best regards,
_ROOT Version:_ 6.32/04
_Platform:_ Ubuntu 22.04
_Compiler:_ gcc 11.4
"""


def test_the_parts_of_a_post() -> None:
    post = Post.read(POST)
    assert post.title == "Fit of a slice"
    assert post.prose == "I want to fit each slice of my `TH2F` with TH2::FitSlicesY, see the manual and plot."
    assert post.messages == "Error in <TH2F::FitSlicesY>: bad range"
    assert post.code == 'TFile *f = TFile::Open("in.root");\nh->FitSlicesY();\nProcessing fit.C...'


def test_what_the_words_are_worth() -> None:
    query = condense(POST)
    assert query.words["slic"] > query.words["th2f"] > query.words["bad"] > query.words["open"]
    assert query.words["th2::fitslicesy"] > query.words["tfile"]
    assert query.names["TH2::FitSlicesY"] > query.names["TFile"]
    assert "getentry" not in query.words
    assert "ubuntu" not in query.words
    assert query.meaning.startswith("Fit of a slice I want to fit")
    assert "TFile" not in query.meaning


def test_all_the_code_weighs_less_than_what_is_said() -> None:
    names = "\n".join(f"TClass{n}Thing *object{n} = make{n}Other();" for n in range(300))
    query = condense(f"Peaks\nHow do I find peaks?\n```cpp\n{names}\n```")
    said = query.words["peak"] + query.words["find"]
    code = sum(query.words.values()) - said
    assert code <= 0.3 * said * 1.001
    short = condense("Peaks\nHow do I find peaks?\n```cpp\ns.Search();\n```")
    assert short.words["search"] > query.words["tclass0thing"]


@pytest.mark.parametrize(
    "line",
    [
        "Error in <TTree::SetBranchAddress>: unknown branch -> pt",
        "main.cpp:1:10: fatal error: TH1F.h: No such file or directory",
        "undefined reference to `TCanvas::TCanvas()'",
        "terminate called after throwing an instance of 'std::runtime_error'",
        "TypeError: can not resolve method template call for 'Define'",
        "Traceback (most recent call last):",
    ],
)
def test_messages_are_known_with_and_without_a_fence(line: str) -> None:
    assert Post.read(f"It fails\nWhat does this mean?\n{line}\n").messages == line
    assert Post.read(f"It fails\nWhat does this mean?\n```\n{line}\n```\n").messages == line


@pytest.mark.parametrize(
    "text",
    [
        "How do I change the error bars of a histogram?",
        "Which version of the compiler do I need for RNTuple, and on which platform does it work?",
        "Thanks to TChain I can read many files, but how do I know which one an entry is from?",
        "Hello world with TApplication: which class do I need?",
    ],
)
def test_questions_about_errors_and_versions_are_still_questions(text: str) -> None:
    assert Post.read(f"Title\n{text}").prose == text
    assert condense(text).meaning == text


def test_one_line_has_no_title() -> None:
    assert Post.read("How do I fit?") == Post("", "How do I fit?")
    long = "word " * 100
    assert Post.read(f"{long}\nmore").title == ""


def test_code_alone_is_searched_as_it_is() -> None:
    for text in ("```cpp\nTSpectrum s;\n```", "Error in <TFile::Open>: no such file", "", "\n"):
        assert condense(text) == plain(text)


def test_a_fence_left_open_and_one_within_another() -> None:
    assert Post.read("T\nprose\n```\ncode").code == "code"
    assert Post.read("T\n````\n```\ninner\n```\n````\nafter").prose == "after"


@given(st.text(max_size=300))
def test_any_text_gives_weights_that_are_positive(text: str) -> None:
    query = condense(text)
    assert all(0 < weight <= 1.5 for weight in (*query.words.values(), *query.names.values()))
    assert set(query.words) <= set(plain(text).words) | set(plain(text.replace("](", "] (")).words)


@pytest.mark.timeout(30)
def test_long_posts_end_quickly() -> None:
    for piece in ("```\n", "a " * 50 + "\n", "[x](", "[", "Error in <", "# 1 0x0\n", "=" * 50 + "\n", "thanks "):
        Post.read((piece * 100_000)[:100_000])


def test_a_follow_up_takes_names_over() -> None:
    assert search_query("And in Python?", [Turn("How do I fill a TH1F?", "...")]) == "And in Python? TH1F"
