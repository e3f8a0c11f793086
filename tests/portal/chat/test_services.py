"""Who may ask what, and that a run which has lost its claim writes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from portal.chat import services
from portal.chat.models import Conversation, Feedback, Turn, TurnState

pytestmark = pytest.mark.django_db


def refusal(call: Any, *args: Any, **kwargs: Any) -> services.ChatRefusedError:
    with pytest.raises(services.ChatRefusedError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_a_question_makes_a_conversation_and_waits(person: Any) -> None:
    turn = services.ask(person, "  How do I\nfit?  ")
    assert (turn.state, turn.question, turn.owner) == (TurnState.QUEUED, "How do I\nfit?", person)
    assert turn.conversation is not None
    assert turn.conversation.title == "How do I"


def test_a_question_is_queued_once_it_is_committed(
    person: Any, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    sent: list[Turn] = []
    monkeypatch.setattr(services, "enqueue", sent.append)
    with django_capture_on_commit_callbacks(execute=True):
        turn = services.ask(person, "x")
        assert sent == []
    assert sent == [turn]


def test_a_message_goes_to_the_chat_queue_and_a_broker_that_is_away_is_no_error(
    person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.chat.tasks import answer_turn

    sent: list[Any] = []

    def send(args: Any, **options: Any) -> None:
        sent.append((args, options["queue"]))
        raise ConnectionError("no broker")

    monkeypatch.setattr(answer_turn, "apply_async", send)
    turn = services.ask(person, "x")
    services.enqueue(turn)
    assert sent == [((str(turn.pk),), "chat")]
    turn.refresh_from_db()
    assert turn.state == TurnState.QUEUED


@pytest.mark.parametrize(
    ("question", "options", "code"),
    [
        ("", {}, "chat.empty"),
        ("  \n ", {}, "chat.empty"),
        ("x" * 4001, {}, "chat.long"),
        ("x", {"k": 51}, "chat.options"),
        ("x", {"k": "many"}, "chat.options"),
        ("x", {"temperature": 1}, "chat.options"),
    ],
)
def test_what_cannot_be_asked(person: Any, question: str, options: dict[str, Any], code: str) -> None:
    error = refusal(services.ask, person, question, options=options)
    assert error.code == code
    assert error.message
    assert not Turn.objects.exists()


def test_the_longest_question_is_taken(person: Any) -> None:
    assert len(services.ask(person, "x" * services.QUESTION_LIMIT).question) == services.QUESTION_LIMIT


def test_somebody_elses_conversation_cannot_go_on(person: Any, other_person: Any) -> None:
    turn = services.ask(person, "x")
    assert refusal(services.ask, other_person, "y", turn.conversation).code == "chat.forbidden"


def test_one_question_of_a_conversation_at_a_time(person: Any) -> None:
    turn = services.ask(person, "x")
    assert refusal(services.ask, person, "y", turn.conversation).code == "chat.busy"
    services.stop(turn)
    assert services.ask(person, "y", turn.conversation).conversation == turn.conversation


def test_open_questions_are_limited_per_person_and_searches_apart(person: Any, other_person: Any) -> None:
    turns = [services.ask(person, "x") for _ in range(services.OPEN_QUESTIONS)]
    error = refusal(services.ask, person, "y")
    assert error.code == "chat.open"
    assert str(services.OPEN_QUESTIONS) in error.message
    services.ask(other_person, "y")
    search = services.ask(person, "y", options={"retrieve_only": True})
    assert search.conversation is None
    for _ in range(services.OPEN_SEARCHES - 1):
        services.ask(person, "y", options={"retrieve_only": True})
    assert refusal(services.ask, person, "y", options={"retrieve_only": True}).code == "chat.open"
    services.stop(turns[0])
    services.ask(person, "y")


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Short one", "Short one"),
        ("First line \n second", "First line"),
        ("word " * 40, "word " * 15 + "word…"),
        ("x" * 100, "x" * 79 + "…"),
    ],
)
def test_titles_are_the_first_line_cut_at_a_word(question: str, title: str) -> None:
    assert services.title_of(question) == title
    assert len(services.title_of(question)) <= services.TITLE_LIMIT


def test_only_one_run_gets_a_turn(person: Any) -> None:
    turn = services.ask(person, "x")
    first = services.claim(str(turn.pk))
    assert first is not None
    assert first.state == TurnState.SEARCHING
    assert services.claim(str(turn.pk)) is None


def test_a_run_that_lost_its_claim_writes_nothing(person: Any) -> None:
    turn = services.ask(person, "x")
    old = services.claim(str(turn.pk))
    assert old is not None
    services.release(old)
    new = services.claim(str(turn.pk))
    assert new is not None
    assert not services.write_text(old, "old")
    assert not services.write_passages(old, [], {})
    assert not services.finish(old, "old", {})
    assert not services.fail(old, "old", "")
    assert not services.stopped(old, "old")
    assert not services.beat(old).held
    assert services.finish(new, "new", {"citations": []})
    turn.refresh_from_db()
    assert (turn.text, turn.state) == ("new", TurnState.DONE)


def test_every_change_that_shows_raises_the_revision(person: Any) -> None:
    turn = services.ask(person, "x")
    run = services.claim(str(turn.pk))
    assert run is not None
    seen = [Turn.objects.get(pk=turn.pk).revision]
    for change in (
        lambda: services.write_passages(run, [{"n": 1}], {}),
        lambda: services.write_text(run, "a"),
        lambda: services.stop(run),
        lambda: services.stopped(run, "a"),
        lambda: services.give_feedback(Turn.objects.get(pk=turn.pk), True),
    ):
        change()
        seen.append(Turn.objects.get(pk=turn.pk).revision)
    assert seen == sorted(set(seen))
    services.beat(run)
    assert Turn.objects.get(pk=turn.pk).revision == seen[-1]


def test_stop_ends_a_waiting_turn_at_once_and_asks_a_running_one(person: Any) -> None:
    waiting = services.ask(person, "x")
    assert services.stop(waiting)
    waiting.refresh_from_db()
    assert waiting.state == TurnState.STOPPED
    assert services.claim(str(waiting.pk)) is None
    assert not services.stop(waiting)

    running = services.claim(str(services.ask(person, "y").pk))
    assert running is not None
    assert not services.check(running).stop
    assert services.stop(running)
    assert services.check(running).stop
    assert services.beat(running).stop


def test_regenerate_keeps_what_it_replaces(answered: Any) -> None:
    services.give_feedback(answered, False, "no code")
    fresh = services.regenerate(Turn.objects.get(pk=answered.pk))
    assert (fresh.state, fresh.text, fresh.passages, fresh.answer) == (TurnState.QUEUED, "", None, {})
    assert fresh.question == answered.question
    (kept,) = fresh.earlier
    assert kept["text"] == answered.text
    assert kept["answer"]["provider"] == "fake"
    assert kept["feedback"] == {"useful": False, "reason": "no code"}
    assert not Feedback.objects.exists()
    assert refusal(services.regenerate, fresh).code == "chat.busy"


def test_regenerate_counts_as_an_open_question(answered: Any, person: Any) -> None:
    for _ in range(services.OPEN_QUESTIONS):
        services.ask(person, "x")
    assert refusal(services.regenerate, answered).code == "chat.open"
    answered.refresh_from_db()
    assert answered.state == TurnState.DONE


def test_feedback_is_given_changed_and_taken_back(answered: Any) -> None:
    services.give_feedback(answered, False, " wrong class ")
    services.give_feedback(answered, True)
    given = Feedback.objects.get(turn=answered)
    assert (given.useful, given.reason) == (True, "wrong class")
    services.give_feedback(answered, None)
    assert not Feedback.objects.exists()


def test_no_feedback_before_the_end_and_no_novel(person: Any, answered: Any) -> None:
    assert refusal(services.give_feedback, services.ask(person, "x"), True).code == "chat.busy"
    assert refusal(services.give_feedback, answered, False, "x" * 2001).code == "chat.long"


def test_rename_and_delete(answered: Any) -> None:
    conversation = answered.conversation
    services.rename(conversation, "  Fits   of\nhistograms ")
    assert Conversation.objects.get().title == "Fits of histograms"
    assert refusal(services.rename, conversation, "  ").code == "chat.empty"
    services.delete(conversation)
    assert not Turn.objects.exists()


def test_wait_returns_the_turn_as_soon_as_it_has_ended(person: Any, answered: Any) -> None:
    assert services.wait(answered, 30).state == TurnState.DONE
    assert services.wait(services.ask(person, "x"), 0).state == TurnState.QUEUED


def test_history_is_the_last_answers_oldest_first(person: Any) -> None:
    conversation = None
    for number in range(services.HISTORY_TURNS + 2):
        run = services.claim(str(services.ask(person, f"q{number}", conversation).pk))
        assert run is not None
        conversation = run.conversation
        services.finish(run, "" if number == 2 else f"a{number}", {})
    last = services.ask(person, "last", conversation)
    assert services.history(last) == [("q1", "a1"), ("q3", "a3"), ("q4", "a4")]
    assert services.history(services.ask(person, "search", options={"retrieve_only": True})) == []


def age(turn: Turn, **fields: float) -> None:
    now = timezone.now()
    Turn.objects.filter(pk=turn.pk).update(**{name: now - timedelta(seconds=seconds) for name, seconds in fields.items()})


def test_heal_fails_a_turn_whose_worker_died_and_leaves_the_living(person: Any) -> None:
    dead, alive = (services.claim(str(services.ask(person, "x").pk)) for _ in range(2))
    assert dead is not None
    assert alive is not None
    services.write_text(dead, "half")
    age(dead, heartbeat_at=services.LOST_SECONDS + 1)
    age(alive, heartbeat_at=services.LOST_SECONDS - 5)
    assert services.heal() == 1
    dead.refresh_from_db()
    alive.refresh_from_db()
    assert (dead.state, dead.text) == (TurnState.FAILED, "half")
    assert "again" in dead.hint
    assert alive.state == TurnState.SEARCHING
    assert not services.write_text(dead, "a late word")
    assert services.regenerate(dead).state == TurnState.QUEUED


def test_heal_ends_a_dead_turn_that_was_to_stop_as_stopped(person: Any) -> None:
    run = services.claim(str(services.ask(person, "x").pk))
    assert run is not None
    services.stop(run)
    age(run, heartbeat_at=services.LOST_SECONDS + 1)
    assert services.heal() == 1
    run.refresh_from_db()
    assert run.state == TurnState.STOPPED


def test_heal_sends_lost_messages_again_but_not_at_once(person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Turn] = []
    monkeypatch.setattr(services, "enqueue", sent.append)
    old, new = services.ask(person, "x"), services.ask(person, "y")
    age(old, queued_at=services.RESEND_SECONDS + 1)
    assert services.heal() == 1
    assert sent == [old]
    assert services.heal() == 0
    assert Turn.objects.get(pk=new.pk).state == TurnState.QUEUED


def test_heal_drops_old_searches_and_keeps_answers(person: Any, answered: Any) -> None:
    search = services.ask(person, "x", options={"retrieve_only": True})
    run = services.claim(str(search.pk))
    assert run is not None
    services.finish(run, "", {})
    age(search, finished_at=2 * 3600)
    age(answered, finished_at=2 * 3600)
    services.heal()
    assert list(Turn.objects.all()) == [answered]


def test_the_housekeeping_task_heals(person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.celery import app
    from portal.chat import housekeeping

    called: list[bool] = []
    monkeypatch.setattr(services, "heal", lambda: called.append(True))
    housekeeping.heal()
    assert called == [True]
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert housekeeping.heal.name in scheduled
