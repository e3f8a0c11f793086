"""The event stream: whole parts in order, an end, nothing for strangers, no reading on when the reader has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections
from django.test import AsyncClient

from portal.chat import engine, services, stream
from portal.chat.models import Turn, TurnState

pytestmark = pytest.mark.django_db(transaction=True)

Event = tuple[str, str]


async def events(response: Any) -> AsyncIterator[Event]:
    """The events of a response as they come."""
    pending = ""
    async for piece in response.streaming_content:
        pending += piece.decode()
        *whole, pending = pending.split("\n\n")
        for block in whole:
            lines = block.split("\n")
            name = next((line[7:] for line in lines if line.startswith("event: ")), "")
            if name:
                yield name, "\n".join(line[6:] for line in lines if line.startswith("data: "))


async def all_events(response: Any) -> list[Event]:
    return [event async for event in events(response)]


@pytest.fixture(autouse=True)
def _give_connections_back() -> Iterator[None]:
    """What runs beside the event loop has a connection of its own, which would keep the test database from being removed."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture
def browser(person: Any) -> AsyncClient:
    client = AsyncClient()
    client.force_login(person)
    return client


async def test_a_finished_turn_comes_whole_and_ends(browser: AsyncClient, answered: Any) -> None:
    response = await browser.get(f"/ask/turns/{answered.pk}/events")
    assert response["Content-Type"].startswith("text/event-stream")
    assert response["Cache-Control"] == "no-store"
    assert response["X-Accel-Buffering"] == "no"
    got = await asyncio.wait_for(all_events(response), 5)
    assert [name for name, _ in got] == ["passages", "text", "done"]
    parts = dict(got)
    assert f'id="{answered.anchor}-p1"' in parts["passages"]
    assert f'href="#{answered.anchor}-p1"' in parts["text"]
    assert parts["done"].strip().startswith("<article")
    assert "data-events" not in parts["done"]


async def test_parts_come_as_they_are_written(browser: AsyncClient, person: Any) -> None:
    turn = await sync_to_async(services.ask)(person, "x")
    response = await browser.get(f"/ask/turns/{turn.pk}/events")
    got = events(response)

    async def following() -> Event:
        return await asyncio.wait_for(anext(got), 5)

    name, html = await following()
    assert name == "state"
    assert "Waiting for the assistant" in html
    run = await sync_to_async(services.claim)(str(turn.pk))
    assert run is not None
    name, html = await following()
    assert (name, "Searching" in html) == ("state", True)
    passage = {"n": 1, "id": "a", "title": "T", "source": "S", "kind": "page", "place": "p", "url": "", "score": 1.0, "text": "x"}
    await sync_to_async(services.write_passages)(run, [passage], {"retrieve": 0.2})
    assert [(await following())[0], (await following())[0]] == ["passages", "state"]
    await sync_to_async(services.write_text)(run, "Half **a")
    assert await following() == ("text", "<p>Half **a</p>\n")
    await sync_to_async(services.write_text)(run, "Half **an** answer [1] <b>")
    name, html = await following()
    assert name == "text"
    assert "<strong>an</strong>" in html
    assert "&lt;b&gt;" in html
    await sync_to_async(services.beat)(run)
    await sync_to_async(services.finish)(run, "Whole answer [1]", {"citations": [1], "timings": {"retrieve": 0.2}})
    assert [(await following())[0], (await following())[0]] == ["text", "done"]
    with pytest.raises(StopAsyncIteration):
        await following()


async def test_two_readers_and_a_late_one_see_the_same(browser: AsyncClient, person: Any) -> None:
    turn = await sync_to_async(services.ask)(person, "x")
    run = await sync_to_async(services.claim)(str(turn.pk))
    assert run is not None
    first, second = [asyncio.create_task(all_events(await browser.get(f"/ask/turns/{turn.pk}/events"))) for _ in range(2)]
    await sync_to_async(services.write_passages)(run, [], {})
    await sync_to_async(services.write_text)(run, "word")
    late = asyncio.create_task(all_events(await browser.get(f"/ask/turns/{turn.pk}/events")))
    await asyncio.sleep(0.3)
    await sync_to_async(services.finish)(run, "word and word", {})
    ends = [dict(await asyncio.wait_for(task, 5)) for task in (first, second, late)]
    assert ends[0]["text"] == ends[1]["text"] == ends[2]["text"] == "<p>word and word</p>\n"
    assert all("done" in end for end in ends)


async def test_a_turn_that_is_removed_ends_the_stream(browser: AsyncClient, person: Any) -> None:
    turn = await sync_to_async(services.ask)(person, "x")
    task = asyncio.create_task(all_events(await browser.get(f"/ask/turns/{turn.pk}/events")))
    await asyncio.sleep(0.2)
    await sync_to_async(services.delete)(turn.conversation)
    assert (await asyncio.wait_for(task, 5))[-1] == ("gone", "")


async def test_no_reading_on_when_the_reader_has_gone(browser: AsyncClient, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = stream.Reader.read

    def counted(self: stream.Reader) -> Any:
        nonlocal reads
        reads += 1
        return read(self)

    monkeypatch.setattr(stream.Reader, "read", counted)
    turn = await sync_to_async(services.ask)(person, "x")
    task = asyncio.create_task(all_events(await browser.get(f"/ask/turns/{turn.pk}/events")))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    seen = reads
    assert 2 <= seen <= 6  # one look every 0.12 s, not a busy loop
    await asyncio.sleep(0.4)
    assert reads <= seen + 1


async def test_a_quiet_stream_says_that_it_lives_and_ends_in_time(
    browser: AsyncClient, person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 0.05)
    monkeypatch.setattr(stream, "LONGEST_SECONDS", 2.0)
    turn = await sync_to_async(services.ask)(person, "x")
    response = await browser.get(f"/ask/turns/{turn.pk}/events")
    raw = b"".join([piece async for piece in response.streaming_content]).decode()
    assert raw.count(": still here") >= 2
    assert "event: done" not in raw
    assert raw.startswith("retry: ")


async def test_strangers_get_nothing(other_person: Any, answered: Any) -> None:
    client = AsyncClient()
    assert (await client.get(f"/ask/turns/{answered.pk}/events")).status_code == 302
    await client.aforce_login(other_person)
    assert (await client.get(f"/ask/turns/{answered.pk}/events")).status_code == 404


async def test_the_worker_and_the_stream_together(browser: AsyncClient, person: Any, retriever: Any, monkeypatch: Any) -> None:
    """A real run in a thread, as the worker has it, read from here."""
    from assistant.providers.fake import FakeProvider

    slow = FakeProvider.saying("TH1::Fit fits the histogram with a function. " * 8, delay=0.02)
    monkeypatch.setattr(engine, "provider", lambda: slow)
    turn = await sync_to_async(services.ask)(person, "How do I fit a TH1?")
    response = await browser.get(f"/ask/turns/{turn.pk}/events")
    worker = asyncio.create_task(sync_to_async(engine.execute)(str(turn.pk)))
    got = await asyncio.wait_for(all_events(response), 30)
    await worker
    names = [name for name, _ in got]
    assert names[-1] == "done"
    assert names.index("passages") < names.index("text")
    assert (await Turn.objects.aget(pk=turn.pk)).state == TurnState.DONE


def test_an_event_of_several_lines() -> None:
    assert stream.message("text", "a\r\nb\n\nc") == b"event: text\ndata: a\ndata: b\ndata: \ndata: c\n\n"
