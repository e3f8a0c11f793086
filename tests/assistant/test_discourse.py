"""The client against a forum on this machine: what it reads, what it tries again, and what it never does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO

import pytest
from PIL import Image

from assistant import discourse
from assistant.discourse import WHISPER, Discourse, DiscourseError
from tests.assistant.discourse_server import BOT, KEY, FakeDiscourse, serving


@pytest.fixture
def forum() -> Iterator[FakeDiscourse]:
    with serving() as made:
        yield made


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(forum: FakeDiscourse, pauses: list[float]) -> Iterator[Discourse]:
    with Discourse(forum.url, api_key=KEY, username=BOT, timeout=0.2, sleep=pauses.append) as made:
        yield made


def queue(forum: FakeDiscourse, *faults: str) -> None:
    """The next requests fail this way, the later ones do not."""
    waiting = list(faults)
    forum.faults = lambda _method, _path: waiting.pop(0) if waiting else None


def test_pages_of_topics(forum: FakeDiscourse, client: Discourse) -> None:
    made = [forum.add_topic(f"Topic {n}", category=1 + n % 2, tags=("rdf",) if n % 5 == 0 else ()) for n in range(70)]
    numbers, page = [], 0
    while True:
        found = client.latest(page=page)
        numbers += [topic.id for topic in found.topics]
        if not found.more:
            break
        page += 1
    assert numbers == made[::-1]
    assert page == 2
    assert {topic.category_id for topic in client.latest(category=2).topics} == {2}
    assert [topic.tags for topic in client.latest(tag="rdf").topics] == [("rdf",)] * 14


def test_a_topic_with_all_its_posts(forum: FakeDiscourse, client: Discourse) -> None:
    number = forum.add_topic(raw="First post", age=timedelta(hours=1))
    for n in range(54):
        forum.add_post(number, f"Post {n}", accepted_answer=n == 30, hidden=n == 3)
    topic = client.topic(number)
    assert [post.number for post in topic.posts] == list(range(1, 56))
    assert topic.question is not None
    assert topic.question.raw == "First post"
    assert topic.posts[40].raw == "Post 39"
    assert topic.solved
    assert [post.number for post in topic.posts if post.deleted] == [5]
    assert [path for _method, path in forum.requests] == [f"/t/{number}.json"] + [f"/t/{number}/posts.json"] * 2


def test_categories_people_and_search(forum: FakeDiscourse, client: Discourse) -> None:
    forum.add_topic("Friend trees and indices")
    assert {category.id: category.restricted for category in client.categories()} == {1: False, 2: False, 9: True}
    assert client.person(BOT).staff
    assert client.person("system").id < 1
    with pytest.raises(DiscourseError) as caught:
        client.person("nobody")
    assert caught.value.permanent
    assert [topic.title for topic in client.search("friend status:solved")] == ["Friend trees and indices"]
    assert client.search("zebra") == ()


def test_a_category_of_unknown_openness_is_private(forum: FakeDiscourse, client: Discourse) -> None:
    del forum.categories[0]["read_restricted"]
    assert client.categories()[0].restricted


def test_reply_and_whisper(forum: FakeDiscourse, client: Discourse) -> None:
    number = forum.add_topic()
    assert client.reply(number, "An answer").username == BOT
    assert client.reply(number, "For staff", whisper=True).kind == WHISPER
    assert [row["post_type"] for row in forum.by_bot(number)] == [1, 4]


@pytest.mark.parametrize("fault", ["429", "500", "502", "timeout", "drop"])
def test_reading_is_tried_again(fault: str, forum: FakeDiscourse, client: Discourse, pauses: list[float]) -> None:
    number = forum.add_topic()
    queue(forum, fault, fault)
    assert client.topic(number).id == number
    assert len(pauses) == 2
    assert pauses[1] > pauses[0] > 0


def test_the_pause_that_the_forum_asks_for(forum: FakeDiscourse, client: Discourse, pauses: list[float]) -> None:
    forum.retry_after = "7"
    queue(forum, "429")
    client.latest()
    assert pauses == [7.0]
    forum.retry_after = "600"
    queue(forum, "429")
    with pytest.raises(DiscourseError) as caught:
        client.latest()
    assert caught.value.retry_after == 600
    assert not caught.value.permanent
    assert pauses == [7.0], "nobody sleeps for ten minutes"


def test_it_gives_up_after_some_attempts(forum: FakeDiscourse, client: Discourse) -> None:
    forum.faults = lambda _method, _path: "500"
    with pytest.raises(DiscourseError) as caught:
        client.latest()
    assert not caught.value.permanent
    assert len(forum.requests) == 4


@pytest.mark.parametrize("fault", ["502-done", "timeout-done", "500", "timeout", "drop", "html"])
def test_a_post_of_unknown_fate_is_not_sent_twice(fault: str, forum: FakeDiscourse, client: Discourse) -> None:
    number = forum.add_topic()
    queue(forum, fault)
    with pytest.raises(DiscourseError) as caught:
        client.reply(number, "An answer")
    assert caught.value.uncertain
    assert len(forum.requests) == 1
    assert len(forum.by_bot(number)) == (1 if fault.endswith("done") else 0)


def test_a_post_that_was_surely_not_taken_may_be_sent_again(forum: FakeDiscourse, client: Discourse) -> None:
    number = forum.add_topic()
    forum.retry_after = "3"
    queue(forum, "429")
    with pytest.raises(DiscourseError) as caught:
        client.reply(number, "An answer")
    assert (caught.value.uncertain, caught.value.permanent, caught.value.retry_after) == (False, False, 3.0)
    assert forum.by_bot(number) == []


def test_refusals_are_permanent_and_say_why(forum: FakeDiscourse, client: Discourse) -> None:
    number = forum.add_topic(closed=True)
    with pytest.raises(DiscourseError, match="That topic is closed") as caught:
        client.reply(number, "An answer")
    assert caught.value.permanent
    with pytest.raises(DiscourseError) as caught:
        client.topic(4711)
    assert caught.value.code == "discourse.missing"
    assert len(forum.requests) == 2


def test_a_wrong_key_is_named_and_not_shown(forum: FakeDiscourse) -> None:
    with Discourse(forum.url, api_key="s3cret", username=BOT) as stranger, pytest.raises(DiscourseError) as caught:
        stranger.latest()
    assert caught.value.code == "discourse.key"
    assert "ML4EP_FORUM_KEY" in caught.value.hint
    assert "s3cret" not in f"{caught.value}{caught.value.hint}{stranger!r}"


def test_no_forum_at_the_address() -> None:
    with (
        Discourse("http://127.0.0.1:9", api_key=KEY, username=BOT, sleep=lambda _s: None) as nowhere,
        pytest.raises(DiscourseError) as caught,
    ):
        nowhere.reply(1, "text")
    assert not caught.value.uncertain, "nothing was sent"


def test_a_login_page_is_not_json(forum: FakeDiscourse, client: Discourse) -> None:
    forum.faults = lambda _method, _path: "html"
    with pytest.raises(DiscourseError, match="not Discourse's JSON"):
        client.latest()


@pytest.mark.parametrize("field", [{"id": "7"}, {"created_at": "yesterday"}, {"created_at": "2026-01-01T00:00:00"}, {"id": True}])
def test_fields_of_the_wrong_type(field: dict[str, object], forum: FakeDiscourse, client: Discourse) -> None:
    forum.topics[forum.add_topic()].update(field)
    with pytest.raises(DiscourseError) as caught:
        client.latest()
    assert caught.value.code == "discourse.garbage"


def test_an_endless_answer_is_cut_off(forum: FakeDiscourse, client: Discourse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discourse, "ANSWER_LIMIT", 2**20)
    number = forum.add_topic(raw="x" * 2**21)
    with pytest.raises(DiscourseError) as caught:
        client.topic(number)
    assert caught.value.code == "discourse.long"
    assert caught.value.permanent


def png(width: int = 7, height: int = 5) -> bytes:
    target = BytesIO()
    Image.new("RGB", (width, height), "white").save(target, "PNG")
    return target.getvalue()


def test_a_picture_is_there_once(forum: FakeDiscourse, client: Discourse) -> None:
    made = client.upload("c1.png", png())
    assert (made.width, made.height) == (7, 5)
    assert made.short_url.startswith("upload://")
    assert client.upload("again.png", png()).short_url == made.short_url
    assert client.upload("c2.png", png(9)).short_url != made.short_url
    assert forum.uploads == [png(), png(9)]


def test_a_picture_that_is_not_taken(forum: FakeDiscourse, client: Discourse) -> None:
    with pytest.raises(DiscourseError, match=r"refuses the file: .*not authorized") as refused:
        client.upload("c1.svg", b"<svg/>")
    assert refused.value.permanent
    forum.largest_upload = 10
    with pytest.raises(DiscourseError, match="too big") as refused:
        client.upload("c1.png", png())
    assert refused.value.permanent
    queue(forum, "429")
    with pytest.raises(DiscourseError, match="too often") as busy:
        client.upload("c1.png", png())
    assert not busy.value.permanent
    assert forum.uploads == []


def test_an_upload_without_an_address_for_posts_is_an_error(client: Discourse, forum: FakeDiscourse) -> None:
    for short in (None, "https://elsewhere/x.png", "upload://x.png) ![](https://elsewhere/x.png"):
        forum.upload = lambda _kind, _body, short=short: (200, {"id": 1, "short_url": short})  # type: ignore[method-assign,misc]
        with pytest.raises(DiscourseError, match="not Discourse's JSON"):
            client.upload("c1.png", png())


def test_texts_that_no_database_takes(forum: FakeDiscourse, client: Discourse) -> None:
    number = forum.add_topic("a\x00b \ud800", "c\x00d \udfff")
    topic = client.topic(number)
    assert topic.title == "ab ?"
    assert topic.posts[0].raw == "cd ?"


def test_tags_as_objects(forum: FakeDiscourse, client: Discourse) -> None:
    forum.topics[forum.add_topic()]["tags"] = [{"id": 1, "name": "rdf"}]
    assert client.latest().topics[0].tags == ("rdf",)
