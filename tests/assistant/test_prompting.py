"""Prompts: within the budget, the best passages first; and what is searched for in a follow-up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assistant import prompts
from assistant.condense import Turn, search_query
from assistant.passages import Passage
from assistant.prompting import as_data, build, clip, estimate_tokens


def passage(number: int, text: str = "word " * 200) -> Passage:
    return Passage(f"p{number}", f"Title {number}", f"s{number}", "page", "x:1", "", 1.0 / number, text)


TEMPLATE = 16  # tokens of what stands around two messages
PASSAGES = tuple(passage(number) for number in range(1, 9))


@pytest.mark.parametrize("tokens", [400, 600, 1200, 4000])
def test_the_prompt_stays_within_its_budget_and_uses_it(tokens: int) -> None:
    history = [Turn("Earlier? " * 50, "Answer. " * 200)]
    built = build("What is it? " * 100, PASSAGES, history, tokens=tokens)
    assert built.tokens <= tokens
    assert built.tokens == TEMPLATE + sum(estimate_tokens(message.content) for message in built.messages)
    assert built.shown == tuple(range(1, len(built.shown) + 1))
    assert built.shown
    if tokens == 4000:
        assert len(built.shown) == len(PASSAGES)
        assert built.tokens > 2000


DENSE = {
    "numbers": "0.12345 67890 -1e-05, " * 400,
    "signs": "{{[((<>))]}};;~!@#" * 400,
    "capitals": "TSPHE TBRIK XMLHTTP ABCDEF " * 200,
    "identifiers": "RooNonCPEigenDecay::getParametersAndObservables " * 200,
    "japanese": "これは日本語の文章です。" * 400,
    "pictures": "😀🎉 " * 800,
    "short lines": "a\n\nb\n" * 800,
    "nothing": " " * 100_000 + "\n" * 10_000,
    "megabytes": "x" * 300_000,
}


@pytest.mark.parametrize("text", DENSE.values(), ids=DENSE)
@pytest.mark.parametrize("name", ["answer", "answer-small"])
def test_no_text_makes_a_prompt_longer_than_its_budget(name: str, text: str) -> None:
    asked, history = f"What? {text}", [Turn(text, text)]
    built = build(asked, tuple(passage(number, text) for number in range(1, 9)), history, tokens=600, name=name)
    written = "".join(message.content for message in built.messages)
    assert len(re.findall(r"[0-9]|[^\w\s]", written)) <= 600, "digits and signs are tokens of their own"
    assert built.tokens <= 600


def test_tokens_are_counted_by_what_is_written() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("1234567890") == 10
    assert estimate_tokens("3, 14") == 5, "a blank before a digit is one too"
    assert estimate_tokens("The histogram is filled.") == 7
    assert estimate_tokens("日本") == 6


def test_without_history_nothing_is_said_of_it() -> None:
    built = build("What?", PASSAGES, (), tokens=600)
    assert "Earlier" not in built.messages[-1].content
    assert built.messages[0].role == "system"
    assert len(built.shown) >= 2
    assert built.version == prompts.load("answer").version


def test_dollar_signs_of_a_passage_are_text() -> None:
    built = build("cost $question $x", (passage(1, "$passages $history ${x} " * 5),), (), tokens=600)
    assert "$passages $history ${x}" in built.messages[-1].content
    assert built.messages[-1].content.endswith("Question: cost $question $x")


def test_with_little_room_only_the_lines_that_fit_the_question_are_shown() -> None:
    filler = "This says something else. " * 12
    many = tuple(passage(number, f"{filler}To fill a histogram, call Fill{number}. {filler}") for number in range(1, 9))
    small, large = (build("How do I fill a histogram?", many, (), tokens=tokens) for tokens in (600, 4000))
    assert "something else" not in small.messages[-1].content
    assert "call Fill4." in small.messages[-1].content
    assert len(small.shown) >= 4
    assert "something else" in large.messages[-1].content
    assert len(large.shown) == 8


def test_clip_ends_at_a_line_or_word() -> None:
    assert clip("short", 10) == "short"
    clipped = clip("first line here is long enough\nsecond line that does not fit any more", 14)
    assert clipped == "first line here is long enough ..."
    assert estimate_tokens(clip("x" * 1000, 50)) <= 50


def test_array_indices_in_code_stay() -> None:
    assert as_data("a[3] = b(x)[1]; see [3]") == "a[3] = b(x)[1]; see (3)"
    assert as_data("if (a < b || c<d) std::vector<System> v;") == "if (a < b || c<d) std::vector<System> v;"


@pytest.mark.parametrize(
    "text", ["", "+++\nversion = 1\n+++\na\n+++\nb", "+++\nversion='x'\n+++\na", "x\n+++\nversion='x'\n+++\na\n+++\nb"]
)
def test_a_broken_prompt_file_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *args, **kwargs: text)
    prompts.load.cache_clear()
    with pytest.raises(ValueError, match="prompt answer"):
        prompts.load("answer")
    prompts.load.cache_clear()


HISTORY = [Turn("How do I read a TTree with RDataFrame?", "Construct `ROOT::RDataFrame` with the tree's name.")]


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("How do I open a TFile in update mode, please tell?", "How do I open a TFile in update mode, please tell?"),
        ("Can it run in parallel?", "Can it run in parallel? RDataFrame TTree"),
        ("And in Python?", "And in Python? RDataFrame TTree"),
        ("What about RNTuple instead?", "What about RNTuple instead? RDataFrame TTree"),
        ("Does it work with a TTree in memory?", "Does it work with a TTree in memory? RDataFrame"),
        ("in parallel", "in parallel RDataFrame TTree"),
    ],
)
def test_a_follow_up_takes_over_the_names_of_the_question_before(question: str, query: str) -> None:
    asked = search_query(question, HISTORY)
    assert asked.startswith(question)
    assert sorted(asked.split()) == sorted(query.split())


def test_a_first_question_is_searched_for_as_it_is() -> None:
    assert search_query("  And in Python? ") == "And in Python?"


def test_without_names_the_earlier_words_are_taken() -> None:
    assert search_query("why is that?", [Turn("slow histogram drawing", "No idea.")]) == "why is that? slow histogram draw"
