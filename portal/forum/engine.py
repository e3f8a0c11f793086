"""The forum bot's runs in the assistant's worker: a poll, a draft, a post. Each may die anywhere, and be sent twice.

What the forum says in a webhook or a list only tells where to look: before a draft is made and before it is posted, the topic
itself is read anew. The heavy parts are imported inside the functions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from portal.celery import stopping
from portal.forum import compose, issues, rules, services, verify
from portal.forum.models import Draft, Source, Topic
from portal.forum.rules import Rules

if TYPE_CHECKING:
    from assistant.answer import Answer
    from assistant.discourse import Discourse, TopicSummary
    from assistant.discourse import Topic as ForumTopic

log = logging.getLogger(__name__)

PAGES = 40  # of a category's list, in one poll
BEAT_SECONDS = 5.0
CATEGORIES_SECONDS = 300.0  # for which the list of public categories is believed
SIMILAR = 3
_MISSING = "It is gone, or the bot may not read it."

Answerer = Callable[[str, Callable[[], bool]], "Answer"]
"""Answers a question; asks the second argument many times a second whether to stop."""


@cache
def _client(url: str, user: str, key: str) -> Discourse:
    """One client for the process, so that its connections are used again."""
    from assistant.discourse import Discourse

    return Discourse(url, api_key=key, username=user)


def client() -> Discourse:
    """The configured forum."""
    env = settings.ENV
    return _client(env.forum_url, env.forum_user, env.forum_key.get_secret_value())


_readable: dict[str, tuple[float, frozenset[int]]] = {}


def current_rules(forum: Discourse) -> Rules:
    """The rules, with the categories that everybody may read according to the forum itself."""
    known = _readable.get(forum.base_url)
    if known is None or time.monotonic() - known[0] > CATEGORIES_SECONDS:
        # A subcategory of a private category is private, whatever it says itself.
        found = {category.id: category for category in forum.categories()}
        public = frozenset(
            each.id
            for each in found.values()
            if not each.restricted
            and (each.parent_id is None or (each.parent_id in found and not found[each.parent_id].restricted))
        )
        _readable[forum.base_url] = known = (time.monotonic(), public)
    return services.rules(known[1])


def forget() -> None:
    """Ask the forum for its categories again."""
    _readable.clear()


# --- poll ---------------------------------------------------------------------------------------------------------------------


def poll() -> int:
    """Queue the new topics of the categories that the bot reads. Returns how many.

    It reads back to the oldest age that still gets an answer, each time: a poll that broke off misses nothing.
    """
    from assistant.errors import BoardError

    if not services.start_poll():
        return 0
    queued, error = 0, ""
    try:
        forum = client()
        rule = current_rules(forum)
        for category in sorted(rule.categories & rule.readable):
            queued += _poll_category(forum, rule, category)
    except BoardError as problem:
        error = f"{problem.message} {problem.hint}".strip()
        log.warning("the forum could not be polled: %s", problem)
    except Exception:
        error = "The poll broke off; the assistant's log says why."
        log.exception("the forum could not be polled")
    finally:
        services.end_poll(error)
    services.enqueue_next()
    return queued


def _poll_category(forum: Discourse, rule: Rules, category: int) -> int:
    queued = 0
    for number in range(PAGES):
        page = forum.latest(category=category, page=number)
        queued += sum(notice(topic, rule) for topic in page.topics)
        current = [topic for topic in page.topics if not topic.pinned]  # pinned topics come first, however old
        if not page.more or any(rules.too_old(topic, rule, timezone.now()) for topic in current):
            break
    return queued


def notice(topic: TopicSummary, rule: Rules) -> bool:
    """Queue a topic of a list where it is in scope and new."""
    if rules.out_of_scope(topic, rule) or rules.too_old(topic, rule, timezone.now()):
        return False
    seen = services.see(topic.id, title=topic.title, category=topic.category_id, tags=topic.tags, created_at=topic.created_at)
    return seen is not None


# --- draft --------------------------------------------------------------------------------------------------------------------


def assistant_answer(question: str, stop: Callable[[], bool]) -> Answer:
    """The assistant's answer, by the retriever and model that the chat uses."""
    from assistant.answer import Finished, Options, answer
    from portal.chat import engine

    options = Options(lead=not settings.ENV.model_url, people="")
    if settings.ENV.model_url:
        options = Options(max_tokens=engine.SERVER_ANSWER_TOKENS, lead=False, people="")
    events = answer(question, retriever=engine.retriever(), provider=engine.provider(), options=options, cancelled=stop)
    with closing(events):
        for event in events:
            if isinstance(event, Finished):
                return event.answer
    raise RuntimeError("the answer has no end")


def draft(pk: int, answerer: Answerer = assistant_answer, run: verify.Runner = verify.run_here) -> None:
    """Make the draft for one topic that waits; returns at once where it does not wait any more."""
    from assistant.errors import AssistantError, BoardError

    topic = services.claim_topic(pk)
    if topic is None:
        return
    try:
        _draft(topic, answerer, run)
    except BoardError as error:
        log.warning("topic %s: %s", topic.number, error)
        if error.missing:
            services.skip(topic, _MISSING)
        else:
            services.retry_topic(topic, error.message, error.retry_after)
    except AssistantError as error:
        log.warning("topic %s: %s", topic.number, error)
        services.retry_topic(topic, error.message)
    except Exception:
        log.exception("topic %s: no draft could be made", topic.number)
        services.retry_topic(topic, "No draft could be made; the assistant's log says why.")
    services.enqueue_next()


def _draft(topic: Topic, answerer: Answerer, run: verify.Runner) -> None:
    rule, read = _read(topic)
    if reason := _refused(topic, read, rule):
        services.skip(topic, reason)
        return
    question = read.question
    if question is None:  # `refuse` has said so already
        return
    services.write_topic(
        topic,
        title=read.title[: compose.TITLE_LIMIT],
        slug=read.slug[:300],
        category=read.category_id,
        tags=list(read.tags),
        author=question.username[:100],
        question=question.raw[: compose.KEPT_LIMIT],
        digest=compose.digest(read.title, question.raw),
    )
    waiting = Draft.objects.filter(topic=topic).first()
    remark = waiting.remark if waiting else ""
    beat = _Beat(lambda: services.beat(topic))
    asked = compose.question(read.title, question.raw, remark)
    answer = answerer(asked, beat)
    text = compose.storable(answer.text)[: compose.TEXT_LIMIT]
    checked = verify.Checked(text) if answer.cancelled else verify.check(text, answer, asked, beat, run)
    if answer.cancelled or beat.over:
        if beat.held:  # the worker stops: the next one goes on
            services.retry_topic(topic, "The worker was asked to stop.")
        return
    similar = _similar(read, topic)
    services.store_draft(topic, _written(answer, checked, similar))


def _read(topic: Topic) -> tuple[Rules, ForumTopic]:
    """A topic as it is now, and the rules for it."""
    if topic.source == Source.GITHUB:
        return issues.current_rules(), issues.read(topic.number)
    forum = client()
    return current_rules(forum), forum.topic(topic.number)


def _refused(topic: Topic, read: ForumTopic, rule: Rules) -> str:
    """Why a topic gets no draft. A reviewer who asks for another draft has seen the answers that are there."""
    reason = rules.refuse(read, rule)
    rewriting = Draft.objects.filter(topic=topic).exists()
    return "" if rewriting and reason and reason == rules.answered(read, rule) else reason


class _Beat:
    """Writes the heartbeat now and then while the assistant asks whether to stop."""

    def __init__(self, write: Callable[[], bool]) -> None:
        self.held = True
        self.over = False
        self._write = write
        self._next = time.monotonic() + BEAT_SECONDS

    def __call__(self) -> bool:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + BEAT_SECONDS
            self.held = self._write()
        self.over = not self.held or stopping.is_set()
        return self.over


def _similar(read: ForumTopic, topic: Topic) -> list[dict[str, object]]:
    """Solved topics of the forum like this one, in public categories; none where the forum cannot say."""
    from assistant.errors import BoardError

    if not settings.ENV.forum_url:
        return []
    forum = client()
    words = " ".join(word for word in read.title.split() if word.isalnum())[:150]
    if not words:
        return []
    try:
        found, rule = forum.search(f"{words} status:solved"), current_rules(forum)
    except BoardError as error:
        log.info("no similar topics: %s", error)
        return []
    same = read.id if topic.source == Source.DISCOURSE else None
    shown = (each for each in found if each.id != same and each.category_id in rule.readable and not each.private)
    return [{"number": each.id, "title": each.title[: compose.TITLE_LIMIT]} for each in shown][:SIMILAR]


def _written(answer: Answer, checked: verify.Checked, similar: list[dict[str, object]]) -> services.Written:
    from portal.chat import engine

    record = {
        "citations": list(answer.citations),
        "abstained": answer.abstained,
        "extractive": answer.extractive,
        "note": answer.note,
        "unsupported": answer.unsupported,
        "unknown": list(answer.unknown),
        "query": answer.query[:1000],
        "code": checked.runs,
        "provider": answer.provider,
        "timings": {name: round(seconds, 4) for name, seconds in answer.timings.items()},
        "tokens": dict(answer.tokens),
        "versions": engine.versions() | ({"prompt": answer.prompt_version} if answer.prompt_version else {}),
    }
    text, passages = checked.text[: compose.TEXT_LIMIT], engine.stored(answer.passages)
    return services.Written(text, passages, similar, answer.confidence, record, checked.pictures)


# --- post ---------------------------------------------------------------------------------------------------------------------


def post(pk: int) -> None:
    """Post one approved draft; returns at once where it is not approved, or another run has it."""
    from assistant.errors import BoardError

    found = services.claim_post(pk)
    if found is None:
        return
    try:
        _post(found)
    except BoardError as error:
        log.warning("draft %s: %s", found.pk, error)
        if error.uncertain:
            # The post may be there; the next run looks for it, once the forum has surely done what it was asked.
            services.retry_post(found, error.message, services.UNCERTAIN_SECONDS)
        elif error.permanent:
            services.hold_post(found, _MISSING if error.missing else error.message)
        else:
            services.retry_post(found, error.message, error.retry_after)
    except Exception:
        log.exception("draft %s could not be posted", found.pk)
        services.retry_post(found, "The assistant's log says why.", services.UNCERTAIN_SECONDS)


def _post(found: Draft) -> None:
    from assistant.discourse import WHISPER

    topic, forum = found.topic, client()
    rule = current_rules(forum)
    settings_of_forum = services.forum()
    read = forum.topic(topic.number)
    if there := rules.mine(read, rule):
        services.posted(found, there.id, whisper=there.kind == WHISPER, found=True)
        return
    reason = rules.refuse(read, rule)
    answered = rules.answered(read, rule)
    if reason and not (found.anyway and reason == answered):
        services.hold_post(found, reason)
        return
    question = read.question
    if question is not None and compose.digest(read.title, question.raw) != topic.digest and not found.anyway:
        services.hold_post(found, "The question was changed after the draft was written.")
        return
    if found.automatic and not (settings_of_forum.enabled and settings_of_forum.auto_post):
        services.hold_post(found, "Posting without review was switched off.")
        return
    whisper = settings_of_forum.whisper or topic.category in settings_of_forum.whisper_categories
    if not _upload(found, forum):
        return
    labelled = verify.labelled(found.text, found.answer, found.pictures.all())
    text = compose.post(labelled.text, found.passages, automatic=found.automatic, pictures=labelled.pictures)
    if services.beat_post(found):  # the last look before what cannot be taken back
        made = forum.reply(topic.number, text, whisper=whisper)
        services.posted(found, made.id, whisper=whisper)


def _upload(found: Draft, forum: Discourse) -> bool:
    """Bring the pictures of the draft's code to the forum; one that it takes not is left out. False where the claim is lost."""
    from assistant.errors import BoardError

    for picture in verify.wanted(found.text, found.pictures.filter(upload="")):
        if not services.beat_post(found):
            return False
        try:
            services.uploaded(picture, forum.upload(picture.name, bytes(picture.png)).short_url)
        except BoardError as error:
            if not error.permanent:
                raise
            log.warning("draft %s: a picture is left out: %s", found.pk, error)
    return True


# --- what changed on the forum ------------------------------------------------------------------------------------------------


def recheck(number: int, source: str = Source.DISCOURSE) -> None:
    """Look at a known topic again that changed: hold its draft back where somebody has answered or the question was edited."""
    from assistant.errors import BoardError

    waiting = Draft.objects.select_related("topic").filter(topic__number=number, topic__source=source, state="WAITING").first()
    if waiting is None:
        return
    try:
        rule, read = _read(waiting.topic)
    except BoardError as error:
        if error.missing:
            services.hold(waiting, _MISSING)
        else:  # it is read again before anything is posted
            log.info("topic %s could not be looked at: %s", number, error)
        return
    reason = rules.refuse(read, rule)
    if not reason and read.question and compose.digest(read.title, read.question.raw) != waiting.topic.digest:
        reason = "The question was changed after the draft was written."
    if reason:
        services.hold(waiting, reason)
