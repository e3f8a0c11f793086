"""What the assistant's use amounts to, and who may see it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from assistant.errors import ProviderError
from portal.chat import engine, services
from portal.chat.models import Outcome, Turn, Usage, UsageKind
from portal.chat.usage import note_draft, report

pytestmark = pytest.mark.django_db


def run(owner: Any, question: str, **options: Any) -> Turn:
    turn = services.ask(owner, question, options=options)
    engine.execute(str(turn.pk))
    return Turn.objects.get(pk=turn.pk)


def test_each_end_of_an_answer_is_noted_once(person: Any, retriever: Any, model: Any) -> None:
    run(person, "How do I fit a TH1?")
    model.replies.append(ProviderError("broken", hint=""))
    run(person, "How do I fit a TH1 again?")
    run(person, "TH1", retrieve_only=True)
    retriever.confidence = 0.1
    run(person, "What is for lunch?")
    retriever.error = RuntimeError("x")
    run(person, "x")
    rows = list(Usage.objects.order_by("pk").values_list("kind", "outcome"))
    assert rows == [
        (UsageKind.ANSWER, Outcome.WRITTEN),
        (UsageKind.ANSWER, Outcome.QUOTED),
        (UsageKind.SEARCH, Outcome.QUOTED),
        (UsageKind.ANSWER, Outcome.ABSTAINED),
        (UsageKind.ANSWER, Outcome.FAILED),
    ]
    first = Usage.objects.order_by("pk")[0]
    assert first.model == "fake"
    assert first.prompt_tokens > 0
    assert first.completion_tokens > 0
    assert first.cost == 0.0
    assert first.total is not None
    assert 0 < (first.first_text or 0) <= first.total + 1
    engine.execute(str(Turn.objects.order_by("created_at")[0].pk))
    assert Usage.objects.count() == 5, "a message that comes twice is not counted twice"


def test_an_answer_that_asks_back_counts_as_such(person: Any, retriever: Any, model: Any) -> None:
    turn = run(person, "It does not work, why?")
    assert turn.text.startswith("To answer this I need to know more.")
    assert Usage.objects.get().outcome == Outcome.ASKED


def test_a_stopped_and_a_lost_run_are_noted(person: Any) -> None:
    turn = services.ask(person, "x")
    claimed = services.claim(str(turn.pk))
    assert claimed is not None
    services.stop(turn)
    services.stopped(claimed, "half")
    other = services.ask(person, "y")
    assert services.claim(str(other.pk)) is not None
    assert services.heal(timezone.now() + timedelta(seconds=16)) >= 1
    assert list(Usage.objects.order_by("pk").values_list("outcome", flat=True)) == [Outcome.STOPPED, Outcome.FAILED]


def test_answers_of_a_paid_server_have_their_price(person: Any, retriever: Any, model: Any, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(
        update={"model_url": "https://models.example.org/v1", "model_price_prompt": 3.0, "model_price_completion": 15.0}
    )
    run(person, "How do I fit a TH1?")
    row = Usage.objects.get()
    assert row.cost == pytest.approx((3 * row.prompt_tokens + 15 * row.completion_tokens) / 1e6)
    assert report(7).cost == pytest.approx(row.cost)


def usage(at: Any, owner: Any = None, **values: Any) -> None:
    Usage.objects.create(**({"kind": UsageKind.ANSWER, "outcome": Outcome.WRITTEN, "at": at, "owner": owner} | values))


def test_the_report_counts_days_people_and_latency(person: Any, other_person: Any) -> None:
    now = timezone.now().replace(hour=12)
    for number in range(20):
        usage(
            now, person, total=float(number + 1), first_text=0.5, model="a", prompt_tokens=10, completion_tokens=5, generate=2.0
        )
    usage(now - timedelta(days=2), other_person, outcome=Outcome.ABSTAINED)
    usage(now - timedelta(days=6), other_person, kind=UsageKind.SEARCH)
    usage(now - timedelta(days=7), other_person, total=1000.0)
    note_draft({"provider": "a", "tokens": {"prompt": 1, "completion": 2}, "timings": {"total": 3.0}})
    Usage.objects.filter(kind=UsageKind.FORUM).update(at=now)
    found = report(7, now + timedelta(hours=1))
    assert len(found.days) == 7
    assert [sum(counts.values()) for _, counts in found.days] == [1, 0, 0, 0, 1, 0, 21]
    assert found.people == 2
    assert found.counts == {"answer": 21, "search": 1, "forum": 1}
    assert found.outcomes == {"written": 20, "quoted": 0, "abstained": 1, "asked": 0, "stopped": 0, "failed": 0}
    assert (found.latency["total"].median, found.latency["total"].p95, found.latency["total"].count) == (10.5, 19.0, 20)
    assert "wait" not in found.latency
    (row,) = found.models
    assert (row["answers"], row["prompt"], row["completion"], row["busy"]) == (21, 201, 102, 40.0)


def test_gaps_are_the_questions_without_an_answer(person: Any, other_person: Any, retriever: Any, no_model: None) -> None:
    run(person, "How do I fit a TH1?")
    retriever.confidence, retriever.passages = 0.2, ()
    run(person, "What is a  TFrobnicator?")
    run(other_person, "what is a TFrobnicator?")
    gone = run(person, "Frobnicate with ml4ep_0123456789abcdefghij?")
    gaps = report(7).gaps
    assert [(gap.times, gap.confidence) for gap in gaps] == [(2, 0.2), (1, 0.2)]
    assert gaps[0].text == "what is a TFrobnicator?", "the newest wording"
    assert "ml4ep_" not in gaps[1].text
    assert gone.conversation is not None
    services.delete(gone.conversation)
    assert len(report(7).gaps) == 1
    assert report(7).outcomes["abstained"] == 3, "the count stays"


def test_the_page_is_for_administrators_and_names_nobody(
    client: Client, person: Any, administrator: Any, answered: Any, retriever: Any
) -> None:
    services.give_feedback(answered, False, "The <b>option</b> is wrong")
    retriever.confidence, retriever.passages = 0.2, ()
    run(person, "What is a TFrobnicator?")
    client.force_login(person)
    assert client.get("/ask/use").status_code == 403
    assert "/ask/use" not in client.get("/ask/").content.decode()
    client.force_login(administrator)
    assert "/ask/use" in client.get("/ask/").content.decode()
    shown = client.get("/ask/use").content.decode()
    assert "What is a TFrobnicator?" in shown
    assert "The &lt;b&gt;option&lt;/b&gt; is wrong" in shown
    assert person.username not in shown.replace("ml4ep", "")
    assert shown.count("<svg viewBox") >= 2
    assert "best match 0.20" in shown
    assert answered.text not in shown
    for days in ("7", "90", "x", "-1", "9" * 30):
        assert client.get("/ask/use", {"days": days}).status_code == 200


def test_the_page_of_an_unused_portal(client: Client, administrator: Any) -> None:
    client.force_login(administrator)
    assert "Nothing was asked" in client.get("/ask/use").content.decode()


def test_the_page_needs_few_queries(client: Client, administrator: Any, person: Any, django_assert_max_num_queries: Any) -> None:
    for number in range(50):
        usage(timezone.now() - timedelta(days=number % 20), person, model=f"m{number % 3}", total=1.0)
    client.force_login(administrator)
    with django_assert_max_num_queries(24):
        client.get("/ask/use")
