"""What a question lacks is told by its structure."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.clarify import CODE, MESSAGE, SUBJECT, VERSION, lacking
from assistant.condense import Turn
from assistant.evaluation import read_golden

DATA = Path(__file__).parents[1] / "data" / "assistant"
EARLIER = Turn("How do I read a TTree?", "Use TTree::Draw.")


@pytest.mark.parametrize(
    "question",
    [
        "My program crashes",
        "It does not work",
        "I get an error when I open my file. What can I do?",
        "Fit problem\nHi,\nmy fit fails since yesterday.\nThanks!",
        "ROOT crashed, what can I do?",
    ],
)
def test_trouble_without_message_code_or_name(question: str) -> None:
    lack = lacking(question)
    assert lack.items == (MESSAGE, CODE, VERSION)
    assert lack.hopeless


@pytest.mark.parametrize(
    "question",
    [
        "It does not work\n```cpp\nh->Fill(3);\n```",
        "It does not work\nError in <TFile::Open>: file x.root does not exist",
        "I get error code 127 when I open my file",
        "How can I catch exceptions of a macro?",
        "How do I draw asymmetric errors?",
        "A fit where the errors are all the same",
        "Histogram with the error bars of each bin",
        "How do I fill a histogram?",
    ],
)
def test_what_can_be_answered_is_not_asked_back(question: str) -> None:
    assert not lacking(question)


def test_with_a_name_it_is_answered_and_asked() -> None:
    lack = lacking("My TTree::Draw does not work")
    assert lack.items
    assert not lack.hopeless


@pytest.mark.parametrize("question", ["And in Python?", "What does it mean?", "why?"])
def test_a_follow_up_of_nothing(question: str) -> None:
    assert lacking(question).items == (SUBJECT,)
    assert not lacking(question, [EARLIER])


def test_an_earlier_turn_may_have_what_is_missing() -> None:
    assert lacking("Now I get an error", [EARLIER]).items
    assert not lacking("Now I get an error", [EARLIER]).hopeless
    assert not lacking("I still get an error", [Turn("Why?\n```cpp\nh->Fill();\n```", "Because.")])


def test_no_question_of_a_forum_is_asked_back_in_vain() -> None:
    questions = [golden for name in ("forum_development", "golden") for golden in read_golden(DATA / f"{name}.jsonl")]
    assert len(questions) > 80
    assert [golden.text for golden in questions if lacking(golden.text).hopeless] == []
