"""The mirror of a forum's topics against a forum on this machine: backfill, edits, deletions, and what is private."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assistant.corpus import SourceEntry, source_kind
from assistant.discourse import Discourse, DiscourseError
from assistant.errors import CorpusError
from assistant.forum_mirror import READ_AGAIN_SECONDS, Mirror
from tests.assistant.discourse_server import BOT, KEY, FakeDiscourse, random_faults, serving, stamp


@pytest.fixture
def forum() -> Iterator[FakeDiscourse]:
    with serving() as made:
        yield made


@pytest.fixture
def client(forum: FakeDiscourse) -> Iterator[Discourse]:
    with Discourse(forum.url, api_key=KEY, username=BOT, timeout=0.5, sleep=lambda _seconds: None) as made:
        yield made


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "index" / "forum.sqlite3")


def fill(forum: FakeDiscourse, count: int, category: int = 1) -> list[int]:
    numbers = []
    for n in range(count):
        number = forum.add_topic(
            f"Topic {n}", f"Question {n} about TTree, long enough to be read by somebody.", category=category
        )
        forum.add_post(number, f"An answer to {n} that is long enough to be kept as well, with TTree::Draw.")
        bumped = stamp(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n))
        forum.topics[number]["bumped_at"] = bumped
        numbers.append(number)
    return numbers


def texts(mirror: Mirror) -> dict[int, str]:
    return {topic.number: topic.text for topic in mirror.topics()}


def test_all_topics_of_the_public_categories_are_read_and_no_private_one(
    forum: FakeDiscourse, client: Discourse, mirror: Mirror
) -> None:
    wanted = fill(forum, 65)
    fill(forum, 3, category=2)
    secret = fill(forum, 2, category=9)
    forum.add_topic("A message", archetype="private_message")
    done = mirror.sync(client, {1})
    assert (done.read, done.changed, done.complete) == (65, 65, True)
    assert sorted(texts(mirror)) == wanted
    asked = {path for _, path in forum.requests}
    assert not {f"/t/{number}.json" for number in secret} & asked
    assert {path for path in asked if path.startswith("/c/")} == {"/c/1/l/latest.json"}


def test_a_second_run_reads_what_is_new_alone(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    numbers = fill(forum, 65)
    mirror.sync(client, {1})
    forum.requests.clear()
    assert mirror.sync(client, {1}).read == 0
    assert len(forum.requests) == 1
    forum.add_post(numbers[0], "One more reply that is new.")
    forum.topics[numbers[0]]["bumped_at"] = stamp(datetime.now(UTC))
    new = forum.add_topic("New")
    done = mirror.sync(client, {1})
    assert (done.read, done.changed) == (2, 2)
    assert "One more reply" in texts(mirror)[numbers[0]]
    assert new in texts(mirror)


def test_the_accepted_answer_is_marked_and_nobody_is_named(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    number = forum.add_topic("Fill", "[quote]\nold\n[/quote]\nHow do I fill? ![x](upload://x.png)", by="ada")
    forum.add_post(number, "Not like this.", by="emmy")
    forum.add_post(number, "Use Fill.", by="rita", accepted_answer=True)
    forum.add_post(number, "A whisper", kind=4)
    forum.add_post(number, "Deleted", deleted_at=stamp(datetime.now(UTC)))
    mirror.sync(client, {1})
    (topic,) = mirror.topics()
    assert (topic.solved, topic.accepted) == (True, 3)
    assert topic.text == "## Question\n\nHow do I fill?\n\n## Accepted answer\n\nUse Fill.\n\n## Reply\n\nNot like this."


def test_edits_and_deletions_are_followed(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    edited, deleted, hidden, moved, marked = fill(forum, 5)
    now = [1_000_000.0]
    mirror.sync(client, {1}, now=lambda: now[0])
    forum.posts[edited][0]["raw"] = "Edited without a bump."
    forum.topics[deleted]["gone"] = True
    forum.topics[hidden]["visible"] = False
    forum.topics[moved]["category_id"] = 9
    forum.posts[marked][1]["raw"] = "Edited, and a webhook said so."
    mirror.mark(marked)
    done = mirror.sync(client, {1}, now=lambda: now[0])
    assert done.read == 1
    assert "a webhook said so" in texts(mirror)[marked]
    assert hidden not in texts(mirror), "the list tells that"
    now[0] += READ_AGAIN_SECONDS + 1
    done = mirror.sync(client, {1}, now=lambda: now[0], again=10)
    assert done.read == 4
    assert sorted(texts(mirror)) == [edited, marked]
    assert "Edited without a bump." in texts(mirror)[edited]


def test_a_category_that_becomes_private_leaves_at_once(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    fill(forum, 3)
    kept = fill(forum, 2, category=2)
    mirror.sync(client, {1, 2})
    forum.requests.clear()
    assert mirror.sync(client, {2}).removed == 3
    assert sorted(texts(mirror)) == kept
    assert mirror.sync(client, set()).removed == 2
    assert len(mirror) == 0


def test_a_run_that_stops_anywhere_goes_on_there(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    wanted = fill(forum, 70)
    runs = reads = 0
    complete = False
    while not complete:
        done = mirror.sync(client, {1}, budget=7)
        runs, reads, complete = runs + 1, reads + done.read, done.complete
        assert done.read <= 7
        assert runs < 20
    assert sorted(texts(mirror)) == wanted
    assert reads == 70, "nothing is read twice"
    assert not mirror.sync(client, {1}, stop=lambda: True).complete


def test_a_rate_limit_ends_the_run_and_loses_nothing(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    wanted = fill(forum, 40)
    asked = iter(range(1000))
    forum.retry_after = "600"
    forum.faults = lambda _method, path: "429" if path.startswith("/t/") and next(asked) == 25 else None
    with pytest.raises(DiscourseError) as caught:
        mirror.sync(client, {1})
    assert caught.value.retry_after == 600
    assert len(mirror) == 25
    assert mirror.sync(client, {1}).read == 15
    assert sorted(texts(mirror)) == wanted


def test_faults_are_tried_again(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    wanted = fill(forum, 40)
    forum.faults = random_faults(3, 0.1, ("429", "500", "drop"))
    for _ in range(5):
        try:
            mirror.sync(client, {1})
        except DiscourseError:
            continue
    forum.faults = lambda *_: None
    mirror.sync(client, {1})
    assert sorted(texts(mirror)) == wanted


def test_topics_are_documents_with_a_link_to_the_accepted_answer(forum: FakeDiscourse, client: Discourse, mirror: Mirror) -> None:
    (plain,) = fill(forum, 1)
    solved = forum.add_topic("Solved one", "A question that is long enough to be read by somebody.")
    forum.add_post(solved, "The answer that was accepted, long enough as well.", accepted_answer=True)
    alone = forum.add_topic("Nobody answered", "A question that nobody has answered, however long it is. " * 3)
    mirror.sync(client, {1})
    entry = SourceEntry("forum", "discourse", str(mirror.path), "https://forum.example.org")
    kind = source_kind("discourse")
    documents = {document.id: document for document in kind.documents(entry)}
    assert list(documents) == [f"topic:{solved}", f"topic:{plain}"]
    assert f"topic:{alone}" not in documents
    assert documents[f"topic:{solved}"].url == f"https://forum.example.org/t/{solved}/2"
    assert documents[f"topic:{solved}"].title == "Solved one (solved)"
    with pytest.raises(CorpusError, match="no mirror"):
        kind.check(SourceEntry("forum", "discourse", "/nowhere"))
