"""The pipeline with a fake retriever and a fake model: what is asked, what is said, what happens where something fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from assistant.answer import Answer, Event, Finished, Options, PassagesFound, Token, Turn, answer
from assistant.errors import AssistantError, IndexUnavailableError, ProviderError
from assistant.passages import Passage, Retrieval
from assistant.providers.fake import FakeProvider


def passage(source: str, text: str, kind: str = "tutorial", place: str = "x.C:1") -> Passage:
    return Passage(source, f"{source}: a title", source, kind, place, f"https://root.cern/doc/{source}", 1.0, text)


TREE = passage("tree1.C", 'Fill a histogram from a TTree with TTree::Draw.\n```cpp\ntree->Draw("px>>h(100, -5, 5)");\n```')
HIST = passage(
    "TH1", "void FillRandom(const char *name)\nFill histogram following a function.", kind="class", place="include/TH1.h:9"
)
FRAME = passage("df1.py", '```python\nh = ROOT.RDataFrame("t", "f.root").Histo1D("px")\n```', place="df1.py:1")
QUESTION = "How do I fill a histogram from a TTree?"


@dataclass
class FakeRetriever:
    passages: tuple[Passage, ...] = (TREE, HIST, FRAME)
    confidence: float | None = 0.7
    unknown: float = 0.0
    queries: list[str] = field(default_factory=list)

    def retrieve(self, query: str, k: int = 10) -> Retrieval:
        self.queries.append(query)
        return Retrieval(query, self.passages[:k], self.confidence, {"lexical": 0.01}, self.unknown)


def ask(
    provider: FakeProvider | None,
    *,
    question: str = QUESTION,
    retriever: FakeRetriever | None = None,
    history: Sequence[Turn] = (),
    options: Options | None = None,
) -> tuple[list[Event], Answer]:
    events = list(answer(question, retriever=retriever or FakeRetriever(), provider=provider, history=history, options=options))
    last = events[-1]
    assert isinstance(last, Finished)
    assert isinstance(events[0], PassagesFound)
    assert "".join(event.text for event in events if isinstance(event, Token)).strip() == last.answer.text
    return events, last.answer


def test_the_whole_way() -> None:
    fake = FakeProvider.saying("Use `TTree::Draw` to fill a histogram [1]. It is fast [7].")
    events, given = ask(fake)
    assert isinstance(events[0], PassagesFound)
    assert events[0].passages == (TREE, HIST, FRAME)
    assert given.text.startswith("**[tree1.C: a title](https://root.cern/doc/tree1.C)** [1]")
    assert 'tree->Draw("px>>h(100, -5, 5)");' in given.text
    assert given.text.endswith("Use `TTree::Draw` to fill a histogram [1]. It is fast.")
    assert given.citations == (1,)
    assert (given.abstained, given.extractive, given.cancelled, given.note) == (False, False, False, "")
    assert given.provider == "fake"
    assert given.prompt_version
    assert given.finish == "stop"
    assert given.tokens["completion"] == 11
    assert set(given.timings) >= {"retrieve", "retrieve.lexical", "first_text", "first_token", "generate", "total"}
    assert given.timings["total"] >= given.timings["generate"] >= given.timings["first_token"] >= 0


def test_passages_are_shown_before_the_model_is_asked() -> None:
    fake = FakeProvider.saying("A TTree.")
    events = answer(QUESTION, retriever=FakeRetriever(), provider=fake)
    assert isinstance(next(events), PassagesFound)
    assert not fake.requests
    assert isinstance(next(events), Token)  # the best passage's own lines
    assert not fake.requests


def test_without_lead_only_the_model_speaks() -> None:
    _, given = ask(FakeProvider.saying("Use `TTree::Draw`."), options=Options(lead=False))
    assert given.text == "Use `TTree::Draw` [1]."


def test_without_a_model_the_passages_answer() -> None:
    _, given = ask(None)
    assert given.extractive
    assert "No language model" in given.text
    assert "```cpp" in given.text
    assert "void FillRandom" in given.text
    assert given.citations == (1, 2)
    assert given.provider == ""


@pytest.mark.parametrize(
    ("retriever", "abstains"),
    [
        (FakeRetriever(passages=()), True),
        (FakeRetriever(confidence=0.39), True),
        (FakeRetriever(confidence=0.41), False),
        (FakeRetriever(confidence=0.5, unknown=0.1), False),
        (FakeRetriever(confidence=0.5, unknown=0.3), True),  # words that no document has
        (FakeRetriever(confidence=None), False),
        (FakeRetriever(passages=(FRAME,), confidence=None), True),  # shares hardly a word with the question
        (FakeRetriever(passages=(replace(TREE, source="TTree"),), confidence=0.2), False),  # asked for by name
        (FakeRetriever(passages=(replace(TREE, source="TTree"),), confidence=0.2, unknown=0.3), True),
    ],
)
def test_nothing_found_is_said(retriever: FakeRetriever, abstains: bool) -> None:
    fake = FakeProvider.saying("Something made up.")
    _, given = ask(fake, retriever=retriever)
    assert given.abstained is abstains
    if abstains:
        assert given.text.startswith("I found nothing")
        assert not fake.requests, "the model is not tempted to make something up"
        assert given.citations == tuple(range(1, len(retriever.passages) + 1))
        assert all(passage.url in given.text for passage in retriever.passages)


def test_who_helps_is_said_where_nothing_was_found() -> None:
    _, given = ask(None, retriever=FakeRetriever(confidence=0.2))
    assert given.text.endswith("If that does not help, people do: the [ROOT forum](https://root-forum.cern.ch).")
    _, silent = ask(None, retriever=FakeRetriever(confidence=0.2), options=Options(people=""))
    assert "people" not in silent.text


def test_it_asks_back_without_asking_the_model() -> None:
    fake = FakeProvider.saying("Something made up.")
    retriever = FakeRetriever()
    _, given = ask(fake, question="My macro crashes, what can I do?", retriever=retriever)
    assert retriever.queries, "retrieval is never skipped"
    assert not fake.requests
    assert len(given.asked) == 3
    assert "the **error message**" in given.text
    assert given.citations == (1, 2, 3)
    assert all(passage.url in given.text for passage in retriever.passages)
    assert not given.abstained
    _, thin = ask(fake, question="My macro crashes, what can I do?", retriever=FakeRetriever(confidence=0.3))
    assert thin.abstained
    assert thin.asked
    assert thin.citations == ()


def test_with_what_the_asker_handed_in_nothing_is_lacking() -> None:
    said = FakeProvider.saying("Use `TTree::Draw` [1].")
    _, given = ask(said, question="What does this do?", options=Options(complete=True))
    assert given.asked == ()
    assert said.requests


def test_it_answers_and_asks_where_a_name_is_known() -> None:
    _, given = ask(FakeProvider.saying("Use `TTree::Draw` [1]."), question="My TTree::Draw does not work")
    assert "Use `TTree::Draw` [1]." in given.text
    assert given.text.index("Use `TTree::Draw` [1].") < given.text.index("If this is not it, please add:")
    assert given.asked


def test_the_version_of_what_is_cited_is_stated() -> None:
    old, new = replace(TREE, version="6.32.04"), replace(TREE, version="6.40.00")
    array = Passage("np", "numpy.histogram: count", "numpy.histogram", "api", "x.py:1", "", 1.0, "Fill a histogram.", "2.4.6")
    said = FakeProvider.saying(*["Use `TTree::Draw` to fill a histogram [1]."] * 3)
    _, given = ask(said, retriever=FakeRetriever((new, HIST, array)))
    assert given.text.endswith("*From the documentation of ROOT 6.40.00.*")
    _, given = ask(said, question=f"{QUESTION} I use ROOT 6.32/02", retriever=FakeRetriever((new,)))
    assert given.text.endswith(
        "*From the documentation of ROOT 6.40.00. You ask about ROOT 6.32, where names and defaults may differ.*"
    )
    _, given = ask(said, question=f"{QUESTION} I use ROOT 6.32/02", retriever=FakeRetriever((old,)))
    assert given.text.endswith("*From the documentation of ROOT 6.32.04.*")
    _, given = ask(None, retriever=FakeRetriever((array,)))
    assert given.text.endswith("*From the documentation of numpy 2.4.6.*")


def test_an_invented_name_is_pointed_out() -> None:
    _, given = ask(FakeProvider.saying("Call `TTree::MakeHistogramNow` with the TTree."))
    assert given.unknown == ("MakeHistogramNow",)
    assert given.text.endswith("look it up before you use it: `MakeHistogramNow`.*")


def test_a_model_that_fails_in_the_middle_keeps_what_arrived() -> None:
    error = ProviderError("the server went away.", hint="Ask again.", code="provider.cut-off")
    _, given = ask(FakeProvider.saying(["Use `TTree::Draw`", " to fill", error]))
    assert "Use `TTree::Draw` to fill" in given.text
    assert "gave no whole answer." in given.text
    assert "went away" not in given.text, "the reason is for the note"
    assert given.extractive
    assert given.error_code == "provider.cut-off"
    assert given.note == "the server went away. Ask again."
    assert given.text.count("tree->Draw") == 1, "what the lead quoted is not quoted again"
    assert "void FillRandom" in given.text


@pytest.mark.parametrize("reply", [ProviderError("no key", permanent=True, code="provider.key"), "", "  \n "])
def test_a_model_that_says_nothing_falls_back_to_the_passages(reply: str | ProviderError) -> None:
    _, given = ask(FakeProvider.saying(reply), options=Options(lead=False))
    assert given.extractive
    assert given.error_code in {"provider.key", "provider.empty"}
    assert "tree->Draw" in given.text


@pytest.mark.parametrize("reply", ["[1] [2]", "[1]", " [1], [2].\n", "1. [1]\n2. [2]"])
def test_numbers_of_passages_are_no_answer(reply: str) -> None:
    _, given = ask(FakeProvider.saying(reply))
    assert given.extractive
    assert given.error_code == "provider.empty"
    assert "[1][2]" not in given.text.replace(" ", "")
    assert "gave no whole answer" in given.text


def test_a_small_model_is_not_asked_for_citations_and_gets_them_all_the_same() -> None:
    small, large = FakeProvider.saying("Use `TTree::Draw`."), FakeProvider.saying("Use `TTree::Draw` [1].")
    large.prompt_tokens = 3000
    for fake in (small, large):
        _, given = ask(fake, options=Options(lead=False))
        assert given.text == "Use `TTree::Draw` [1]."
        (system, _question), *_ = fake.requests
        assert ("like [1]" in system.content) is (fake is large)


def test_a_model_that_goes_round_in_circles_is_stopped() -> None:
    fake = FakeProvider.saying("Use TTree::Draw for that.\n" * 200)
    _, given = ask(fake, options=Options(max_tokens=1000))
    assert given.finish == "repetition"
    assert given.text.count("Use TTree::Draw for that") == 3
    deadline = time.monotonic() + 2
    while not fake.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fake.closed == 1


def test_the_limit_is_passed_on() -> None:
    _, given = ask(FakeProvider.saying("one two three four"), options=Options(max_tokens=2, lead=False))
    assert given.text == "one two"
    assert given.finish == "length"


def test_cancelled_while_the_model_thinks() -> None:
    fake = FakeProvider.saying("Use TTree::Draw.", delay=60)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    events = list(answer(QUESTION, retriever=FakeRetriever(), provider=fake, cancelled=stop.is_set))
    assert time.monotonic() - began < 30
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.answer.cancelled
    assert last.answer.error_code == "assistant.cancelled"
    assert "tree->Draw" in last.answer.text, "what was said stays"


def test_cancelled_between_tokens() -> None:
    fake = FakeProvider.saying("one " * 500, delay=0.01)
    polls = iter(range(1000))
    seen = list(
        answer(
            QUESTION,
            retriever=FakeRetriever(),
            provider=fake,
            options=Options(lead=False, max_tokens=500),
            cancelled=lambda: next(polls) > 5,
        )
    )
    assert isinstance(seen[-1], Finished)
    assert seen[-1].answer.cancelled
    assert 1 <= seen[-1].answer.text.count("one") < 100


def test_a_model_that_takes_too_long_is_left() -> None:
    _, given = ask(FakeProvider.saying("one two three", delay=0.3), options=Options(lead=False, seconds=0.5))
    assert given.error_code == "assistant.time"
    assert given.text.startswith("one")
    assert not given.cancelled


def test_leaving_the_answer_ends_the_request() -> None:
    fake = FakeProvider.saying("one " * 500, delay=0.01)
    events = answer(QUESTION, retriever=FakeRetriever(), provider=fake, options=Options(lead=False))
    next(events)
    next(events)
    events.close()
    deadline = time.monotonic() + 2
    while not fake.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fake.closed == 1


def test_a_follow_up_is_searched_for_with_the_names_of_the_question_before() -> None:
    retriever = FakeRetriever()
    fake = FakeProvider.saying("Like this.")
    history = [Turn("How do I use RDataFrame with a TChain?", "Give the chain to it.\n```cpp\nRDataFrame df(chain);\n```")]
    _, given = ask(fake, question="And how in Python?", retriever=retriever, history=history)
    assert retriever.queries == ["And how in Python? RDataFrame TChain"]
    assert given.query == "And how in Python? RDataFrame TChain"
    sent = fake.requests[0][-1].content
    assert "Earlier question: How do I use RDataFrame with a TChain?" in sent
    assert "RDataFrame df(chain)" not in sent
    assert "Question: And how in Python?" in sent


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(AssistantError, match="empty"):
        list(answer("  \n", retriever=FakeRetriever()))


def test_without_an_index_the_retrievers_error_comes_through() -> None:
    class Broken:
        def retrieve(self, query: str, k: int = 10) -> Retrieval:
            raise IndexUnavailableError("There is no index.", hint="Build it.")

    with pytest.raises(IndexUnavailableError):
        list(answer(QUESTION, retriever=Broken()))


def test_many_answers_at_a_time() -> None:
    fake = FakeProvider.saying(*(f"Number {number} uses `TTree::Draw`." for number in range(16)), delay=0.002)

    def one(_: int) -> str:
        return ask(fake, options=Options(lead=False))[1].text

    with ThreadPoolExecutor(8) as pool:
        texts = sorted(pool.map(one, range(16)))
    assert texts == sorted(f"Number {number} uses `TTree::Draw` [1]." for number in range(16))
