"""The line before the embedded model: one at a time, in turns between people, each with a place that they see."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from assistant.errors import ProviderError
from assistant.providers import Chunk
from assistant.providers.fake import FakeProvider
from portal.chat import engine, line, services
from portal.chat.line import InLine, Line
from portal.chat.models import Turn, TurnState
from portal.chat.show import show
from portal.chat.stream import Reader


class Waiting:
    """Somebody in the line, in a thread of their own; inside they stay until `leave`."""

    def __init__(self, one: Line, owner: str, entered: list[str], name: str = "") -> None:
        self.gone, self.leave = threading.Event(), threading.Event()
        self.told: list[int] = []
        self._arguments = (one, owner, entered, name or owner)
        self.thread = threading.Thread(target=self._stand)
        before = len(one._waiting) + (one._inside is not None)
        self.thread.start()
        while len(one._waiting) + (one._inside is not None) == before:
            time.sleep(0.002)

    def _stand(self) -> None:
        one, owner, entered, name = self._arguments
        with one.place(owner, self.gone, self.told.append) as mine:
            if mine:
                entered.append(name)
                self.leave.wait(20)


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_people_take_turns_and_see_their_place() -> None:
    one, entered = Line(), list[str]()
    first = Waiting(one, "ada", entered, "ada 1")
    wait_for(lambda: entered == ["ada 1"])
    ada2 = Waiting(one, "ada", entered, "ada 2")
    ada3 = Waiting(one, "ada", entered, "ada 3")
    eve = Waiting(one, "eve", entered, "eve 1")
    # Eve came last, and is behind the one that is answered, before the further questions of somebody else.
    for each, place in ((eve, 1), (ada2, 2), (ada3, 3)):
        wait_for(lambda each=each, place=place: each.told[-1:] == [place])
    for place, leaving in ((2, first), (1, eve), (0, ada2)):
        leaving.leave.set()
        leaving.thread.join(20)
        wait_for(lambda place=place: ada3.told[-1] == place)
    ada3.leave.set()
    ada3.thread.join(20)
    assert entered == ["ada 1", "eve 1", "ada 2", "ada 3"]
    assert ada3.told[-4:] == [3, 2, 1, 0]
    assert first.told == []


def test_who_leaves_leaves_no_gap() -> None:
    one, entered = Line(), list[str]()
    first, second, third = (Waiting(one, name, entered) for name in ("ada", "eve", "max"))
    wait_for(lambda: third.told[-1:] == [2])
    second.gone.set()
    second.thread.join(20)
    wait_for(lambda: third.told[-1:] == [1])
    first.leave.set()
    third.leave.set()
    for each in (first, third):
        each.thread.join(20)
    assert entered == ["ada", "max"]


def test_a_request_that_waits_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "LONGEST_SECONDS", 0.1)
    one, entered = Line(), list[str]()
    first = Waiting(one, "ada", entered)
    model = InLine(FakeProvider.saying("late"), one).of("eve", threading.Event(), lambda _before: None)
    try:
        with pytest.raises(ProviderError, match="busy with other questions"):
            list(model.stream((), max_tokens=5))
        assert model.waited[0] >= 0.1
    finally:
        first.leave.set()
        first.thread.join(20)
    assert "".join(chunk.text for chunk in model.stream((), max_tokens=5)) == "late"


def test_a_model_that_fails_lets_the_next_one_in() -> None:
    class Broken(FakeProvider):
        def stream(self, messages: Any, *, max_tokens: int) -> Iterator[Chunk]:
            raise ProviderError("broken")
            yield

    one = Line()
    with pytest.raises(ProviderError, match="broken"):
        list(InLine(Broken.saying("x"), one).stream((), max_tokens=5))
    assert (one._inside, one._waiting) == (None, [])


@pytest.mark.django_db(transaction=True)
def test_an_answer_waits_for_the_model_with_its_passages_and_place(
    person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, entered = Line(), list[str]()
    ahead = Waiting(one, "somebody", entered)
    wait_for(lambda: entered)
    model = InLine(FakeProvider.saying("Call `TH1::Fit` with option S [1]."), one)
    monkeypatch.setattr(engine, "provider", lambda: model)
    turn = services.ask(person, "How do I fit a TH1 with a Gaussian?")
    worker = threading.Thread(target=_execute, args=(str(turn.pk),))
    worker.start()
    try:
        wait_for(lambda: Turn.objects.get(pk=turn.pk).answer.get("before") == 1)
        waiting = Turn.objects.get(pk=turn.pk)
        assert (waiting.state, len(waiting.passages or ())) == (TurnState.WRITING, 2)
        assert 'h->Fit("gaus")' in waiting.text, "the quoted answer is there"
        assert show(waiting).progress == "Waiting for the language model: 1 question before you"
    finally:
        ahead.leave.set()
        worker.join(30)
    done = Turn.objects.get(pk=turn.pk)
    assert done.state == TurnState.DONE
    assert "before" not in done.answer
    assert done.answer["timings"]["line"] > 0
    assert 0 <= done.answer["timings"]["first_token"] < done.answer["timings"]["total"]


@pytest.mark.django_db(transaction=True)
def test_a_stopped_answer_leaves_the_line(person: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, entered = Line(), list[str]()
    ahead = Waiting(one, "somebody", entered)
    fake = FakeProvider.saying("never")
    model = InLine(fake, one)
    monkeypatch.setattr(engine, "provider", lambda: model)
    turn = services.ask(person, "How do I fit a TH1 with a Gaussian?")
    worker = threading.Thread(target=_execute, args=(str(turn.pk),))
    worker.start()
    try:
        wait_for(lambda: Turn.objects.get(pk=turn.pk).answer.get("before") == 1)
        services.stop(turn)
        worker.join(30)
        wait_for(lambda: one._waiting == [])
        assert Turn.objects.get(pk=turn.pk).state == TurnState.STOPPED
    finally:
        ahead.leave.set()
    assert fake.requests == []


@pytest.mark.django_db
def test_the_place_of_a_question_that_no_worker_has_taken(person: Any) -> None:
    from portal.accounts.models import User

    first = services.ask(person, "one")
    second = services.ask(User.objects.create_user("eve"), "two")
    assert show(first).progress == "Waiting for the assistant"
    assert show(second).progress == "Waiting for the assistant: 1 question before you"
    reader = Reader(second.pk, second.owner_id, "")
    assert any("1 question before you" in html for _name, html in reader.read())
    assert reader.read() == []
    services.stop(first)
    assert [name for name, _html in reader.read()] == ["state"], "the place changes though nothing was written to this turn"


def _execute(pk: str) -> None:
    from django.db import connection

    try:
        engine.execute(pk)
    finally:
        connection.close()
