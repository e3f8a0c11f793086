"""The only writers of the forum's tables.

A change of state is one conditional UPDATE: zero rows changed means another was first.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from portal.accounts.models import User
from portal.chat.usage import note_draft
from portal.forum import compose
from portal.forum.models import (
    ACCEPTED,
    OPEN,
    AuditEntry,
    Delivery,
    Draft,
    DraftPicture,
    DraftState,
    Forum,
    RejectReason,
    Source,
    Topic,
    TopicState,
    Tracker,
)
from portal.forum.rules import Rules, names

log = logging.getLogger(__name__)

GROUP = "Forum reviewers"
PERMISSION = "forum.review_draft"
LOST_SECONDS = 60.0  # a post without a heartbeat for this long has lost its worker; more than a request may take
DRAFT_LOST_SECONDS = 300.0  # the same for a draft, which may wait for the forum in between
POLL_SECONDS = 60.0
POLL_LOST_SECONDS = 600.0
MIRROR_SECONDS = 300.0  # between two runs that bring the corpus's topics up to date
UNCERTAIN_SECONDS = 60.0  # after which the forum has surely done, or not, what it was asked
ATTEMPTS = 20
LONGEST_PAUSE = 900.0
DELIVERIES_KEPT = timedelta(days=14)
OLDEST_DELIVERY = timedelta(days=7)  # less than what is kept: an older body is refused by its own times
REASON_LIMIT = 2000
_MAY_REVIEW_SECONDS = 30


class ForumRefusedError(Exception):
    """A change that is not possible: a message for the person, what to do, and a stable code."""

    def __init__(self, message: str, *, hint: str = "", code: str = "forum.refused") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


# --- who and what -------------------------------------------------------------------------------------------------------------


def make_group() -> None:
    """The group whose members review drafts, where it is not there."""
    from django.contrib.auth.models import Group, Permission

    permission = Permission.objects.filter(content_type__app_label="forum", codename="review_draft").first()
    if permission is not None and not Group.objects.filter(name=GROUP).exists():
        Group.objects.create(name=GROUP).permissions.add(permission)


def may_review(user: Any) -> bool:
    """Whether a person may review drafts; remembered for some seconds, because every page asks."""
    if not settings.ENV.drafts or not getattr(user, "is_authenticated", False):
        return False
    if user.is_superuser and user.is_active:
        return True
    key = f"forum-reviewer-{user.pk}"
    known = cache.get(key)
    if known is None:
        cache.set(key, known := user.has_perm(PERMISSION), _MAY_REVIEW_SECONDS)
    return bool(known)


def reviewers() -> list[User]:
    """Those who may review drafts, by name."""
    allowed = (
        Q(groups__permissions__codename="review_draft") | Q(user_permissions__codename="review_draft") | Q(is_superuser=True)
    )
    return list(User.objects.filter(allowed, is_active=True).distinct().order_by("username"))


def configured() -> list[str]:
    """Where questions come from in this deployment: what waits of a source that was taken out of the settings goes on waiting."""
    given = {Source.DISCOURSE: settings.ENV.forum_url, Source.GITHUB: settings.ENV.github_repository}
    return [source for source, address in given.items() if address]


def forum() -> Forum:
    """The rules; made on the first call, with everything off."""
    return Forum.objects.get_or_create(pk=1)[0]


def tracker() -> Tracker:
    """The rules for issues; made on the first call, switched off."""
    return Tracker.objects.get_or_create(pk=1)[0]


def rules(readable: frozenset[int], of: Forum | None = None) -> Rules:
    """The rules as `portal.forum.rules` takes them."""
    of = of or forum()
    return Rules(
        me=settings.ENV.forum_user,
        categories=frozenset(int(each) for each in of.categories),
        readable=readable,
        tags=names(of.tags),
        excluded_tags=names(of.excluded_tags),
        bots=names(of.bots),
        max_age=timedelta(days=of.max_age_days),
    )


def record(action: str, topic: Topic | None = None, actor: User | None = None, **detail: Any) -> None:
    """Add to the audit trail."""
    name = actor.get_username() if actor else "bot"
    AuditEntry.objects.create(action=action, topic=topic, actor=actor, actor_name=name, detail=detail)


# --- topics -------------------------------------------------------------------------------------------------------------------


def take_delivery(body: bytes, event: str) -> bool:
    """Note a webhook; False where the same body came before."""
    digest = hashlib.sha256(body).hexdigest()
    return Delivery.objects.get_or_create(digest=digest, defaults={"event": event[:40]})[1]


def see(
    number: int, *, title: str, category: int, tags: Sequence[str], created_at: datetime, source: str = Source.DISCOURSE
) -> Topic | None:
    """Queue a topic that is in scope, once; None where it was known. One skipped for its place is queued when it comes back."""
    now = timezone.now()
    due = max(now, min(created_at + timedelta(minutes=forum().wait_minutes), now + timedelta(days=1)))
    values = {
        "title": title[: compose.TITLE_LIMIT], "category": category, "tags": list(tags), "created_at": created_at, "due_at": due,
    }  # fmt: skip
    topic, made = Topic.objects.get_or_create(source=source, number=number, defaults=values)
    if not made:
        known = Topic.objects.filter(pk=topic.pk, state=TopicState.SKIPPED, draft=None)
        known = known.filter(Q(reason__startswith="Its category") | Q(reason__startswith="It has "))
        if not known.update(state=TopicState.QUEUED, reason="", attempts=0, **values):
            return None
    record("seen", topic)
    return topic


def claim_topic(pk: int, now: datetime | None = None) -> Topic | None:
    """Take a topic that is due; None where it is not, or another run has it."""
    now = now or timezone.now()
    taken = Topic.objects.filter(pk=pk, state=TopicState.QUEUED, due_at__lte=now).update(
        state=TopicState.WORKING, claim=(token := uuid.uuid4()), heartbeat_at=now, attempts=F("attempts") + 1
    )
    return Topic.objects.filter(pk=pk, claim=token).first() if taken else None


def beat(topic: Topic) -> bool:
    """Write that the run lives; False where it has lost its claim."""
    return bool(_held(topic).update(heartbeat_at=timezone.now()))


def _held(topic: Topic) -> QuerySet[Topic]:
    return Topic.objects.filter(pk=topic.pk, state=TopicState.WORKING, claim=topic.claim)


def write_topic(topic: Topic, **read: Any) -> bool:
    """Store what was read of a topic; False where the run has lost its claim."""
    return bool(_held(topic).update(**read))


def skip(topic: Topic, reason: str) -> bool:
    """End the run without a draft. A draft that was being rewritten comes back to the queue, held."""
    with transaction.atomic():
        has_draft = Draft.objects.filter(topic=topic).exists()
        state = TopicState.DRAFTED if has_draft else TopicState.SKIPPED
        if not _held(topic).update(state=state, reason=reason[:300], claim=None):
            return False
        _end_rewriting(topic, reason)
        record("held" if has_draft else "skipped", topic, reason=reason)
    return True


def _end_rewriting(topic: Topic, note: str) -> None:
    Draft.objects.filter(topic=topic, state=DraftState.REWRITING).update(
        state=DraftState.HELD, note=note[:300], revision=F("revision") + 1
    )


def retry_topic(topic: Topic, reason: str, after: float | None = None) -> bool:
    """Give a topic back to the queue after something that may pass; it fails after `ATTEMPTS`."""
    with transaction.atomic():
        if topic.attempts >= ATTEMPTS:
            if not _held(topic).update(state=TopicState.FAILED, reason=reason[:300], claim=None):
                return False
            _end_rewriting(topic, reason)
            record("failed", topic, reason=reason)
            return True
        due = timezone.now() + timedelta(seconds=_pause(topic.attempts, after))
        return bool(_held(topic).update(state=TopicState.QUEUED, reason=reason[:300], due_at=due, claim=None))


def _pause(attempts: int, after: float | None) -> float:
    return max(after or 0.0, min(LONGEST_PAUSE, 5.0 * float(1 << min(attempts, 10))))


@dataclass(frozen=True)
class Written:
    """What the assistant wrote for a topic."""

    text: str
    passages: list[dict[str, Any]]
    similar: list[dict[str, Any]]
    confidence: float | None
    answer: dict[str, Any]
    pictures: Sequence[Drawn] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, and the sha256 of the code that drew it."""

    digest: str
    name: str
    width: int
    height: int
    png: bytes


def store_draft(topic: Topic, written: Written) -> Draft | None:
    """End the run with a draft: the topic's only one, or the next text of it. None where the run has lost its claim."""
    now = timezone.now()
    values: dict[str, Any] = {
        "state": DraftState.WAITING, "made_at": now, "made": written.text, "text": written.text, "passages": written.passages,
        "similar": written.similar, "confidence": written.confidence, "answer": written.answer, "remark": "", "note": "",
        "anyway": False, "attempts": 0,
    }  # fmt: skip
    with transaction.atomic():
        if not _held(topic).update(state=TopicState.DRAFTED, reason="", claim=None):
            return None
        draft = Draft.objects.select_for_update().filter(topic=topic).first()
        if draft is None:
            draft = Draft.objects.create(topic=topic, **values)
        elif not Draft.objects.filter(pk=draft.pk, state=DraftState.REWRITING).update(revision=F("revision") + 1, **values):
            return None  # decided meanwhile: what was decided stays
        draft.refresh_from_db()
        draft.pictures.all().delete()
        DraftPicture.objects.bulk_create(
            DraftPicture(draft=draft, **{name: getattr(drawn, name) for name in Drawn.__slots__}) for drawn in written.pictures
        )
        record("drafted", topic, confidence=written.confidence, revision=draft.revision)
        note_draft(written.answer)
        _approve_by_rule(draft)
    return draft


def _approve_by_rule(draft: Draft) -> None:
    """Approve without a person, where the rules allow it for this draft and the day's number is not reached."""
    rule = Forum.objects.select_for_update().get_or_create(pk=1)[0]  # one at a time: two drafts cannot pass the cap together
    said = draft.answer
    if not (rule.enabled and rule.auto_post) or draft.revision > 1 or draft.confidence is None or draft.topic.by_hand:
        return
    weak = said.get("abstained") or said.get("extractive") or said.get("unsupported") or said.get("unknown") or said.get("note")
    weak = weak or not all(entry["status"] == "ran" for entry in said.get("code", ()))
    if weak or not said.get("citations") or draft.confidence < rule.auto_confidence:
        return
    if draft.topic.category not in rule.auto_categories:
        return
    now = timezone.now()
    if Draft.objects.filter(automatic=True, approved_at__gt=now - timedelta(days=1)).count() >= rule.auto_daily:
        return
    if _decide(
        draft, draft.revision, (DraftState.WAITING,), state=DraftState.APPROVED, automatic=True, approved_at=now, due_at=now
    ):
        record("approved by rule", draft.topic, confidence=draft.confidence)
        transaction.on_commit(lambda: enqueue_post(draft.pk))


# --- what reviewers do --------------------------------------------------------------------------------------------------------


def _decide(draft: Draft, revision: int, states: Sequence[str], **values: Any) -> bool:
    rows = Draft.objects.filter(pk=draft.pk, state__in=states, revision=revision)
    return bool(rows.update(revision=F("revision") + 1, decided_at=timezone.now(), **values))


def _check(changed: bool, draft: Draft) -> None:
    """Refuse where another was first."""
    if changed:
        return
    now = Draft.objects.filter(pk=draft.pk).first()
    if now is not None and now.open:
        raise ForumRefusedError(
            "Somebody else has changed this draft.", hint="Look at it as it is now, and decide again.", code="forum.changed"
        )
    state = now.get_state_display().lower() if now else "gone"
    raise ForumRefusedError(f"This draft cannot be changed any more: it is {state}.", code="forum.closed")


def edit(draft: Draft, reviewer: User, text: str, revision: int) -> None:
    """Store a reviewer's text.

    Raises
    ------
    ForumRefusedError
        It is empty or too long, somebody else has changed the draft since `revision`, or it is decided.
    """
    clean = compose.storable(text).replace("\r\n", "\n").strip()
    if not clean:
        raise ForumRefusedError("The draft is empty.", hint="Reject it instead.", code="forum.empty")
    if len(clean) > compose.TEXT_LIMIT:
        raise ForumRefusedError(
            f"The draft has {len(clean)} characters; {compose.TEXT_LIMIT} are allowed.", hint="Shorten it.", code="forum.long"
        )
    with transaction.atomic():
        if clean == draft.text and draft.revision == revision and draft.open:
            return
        rows = Draft.objects.filter(pk=draft.pk, state__in=OPEN, revision=revision)
        _check(bool(rows.update(text=clean, revision=F("revision") + 1)), draft)
        record("edited", draft.topic, reviewer, before=draft.text, after=clean)


def approve(draft: Draft, reviewer: User, revision: int, *, text: str | None = None, anyway: bool = False) -> None:
    """Let a draft be posted, as the reviewer saw it; that for an issue is for the reviewer to post.

    Parameters
    ----------
    text
        The text as it stands in the reviewer's form; a change of it is stored first.
    anyway
        Post although somebody has answered meanwhile.

    Raises
    ------
    ForumRefusedError
        As for `edit`.
    """
    with transaction.atomic():
        if text is not None:
            edit(draft, reviewer, text, revision)
            current = Draft.objects.get(pk=draft.pk)
            revision = current.revision
        now = timezone.now()
        by_hand = draft.topic.by_hand
        changed = _decide(
            draft, revision, OPEN, state=DraftState.TAKEN if by_hand else DraftState.APPROVED, decided_by=reviewer,
            approved_at=now, due_at=None if by_hand else now, automatic=False, anyway=anyway, note="", attempts=0,
        )  # fmt: skip
        _check(changed, draft)
        record("approved", draft.topic, reviewer, revision=revision, anyway=anyway)
        if not by_hand:
            transaction.on_commit(lambda: enqueue_post(draft.pk))


def reject(draft: Draft, reviewer: User, revision: int, reason: str, text: str = "") -> None:
    """Turn a draft down, with one of `RejectReason` and perhaps words to it."""
    if reason not in RejectReason.values:
        raise ForumRefusedError("A rejection needs its reason.", hint="Choose one.", code="forum.reason")
    with transaction.atomic():
        values = {"reject_reason": reason, "reject_text": text.strip()[:REASON_LIMIT]}
        _check(_decide(draft, revision, OPEN, state=DraftState.REJECTED, decided_by=reviewer, note="", **values), draft)
        record("rejected", draft.topic, reviewer, reason=reason, text=text.strip()[:REASON_LIMIT])


def ask_another(draft: Draft, reviewer: User, revision: int, remark: str = "") -> None:
    """Have the assistant write the draft anew; the old one is kept in `Draft.earlier`."""
    remark = remark.strip()[:500]
    with transaction.atomic():
        kept = [*draft.earlier, {"made": draft.made, "text": draft.text, "remark": remark}][-10:]
        rows = Draft.objects.filter(pk=draft.pk, state__in=OPEN, revision=revision)
        changed = rows.update(state=DraftState.REWRITING, earlier=kept, remark=remark, note="", revision=F("revision") + 1)
        _check(bool(changed), draft)
        now = timezone.now()
        Topic.objects.filter(pk=draft.topic_id).update(state=TopicState.QUEUED, due_at=now, attempts=0, reason="")
        record("asked for another", draft.topic, reviewer, remark=remark)
        transaction.on_commit(enqueue_next)


def assign(draft: Draft, by: User, to: User | None) -> None:
    """Give a draft to a reviewer, or to nobody."""
    if to is not None and not (to.is_active and to.has_perm(PERMISSION)):
        raise ForumRefusedError(f"{to.get_username()} may not review drafts.", code="forum.reviewer")
    with transaction.atomic():
        Draft.objects.filter(pk=draft.pk).update(reviewer=to)
        record("assigned", draft.topic, by, to=to.get_username() if to else "")


def try_again(topic: Topic, by: User) -> None:
    """Queue a topic that failed."""
    with transaction.atomic():
        rows = Topic.objects.filter(pk=topic.pk, state=TopicState.FAILED)
        if not rows.update(state=TopicState.QUEUED, attempts=0, due_at=timezone.now(), reason=""):
            raise ForumRefusedError("This topic has not failed.", code="forum.closed")
        Draft.objects.filter(topic=topic, state=DraftState.HELD).update(state=DraftState.REWRITING)
        record("tried again", topic, by)
        transaction.on_commit(enqueue_next)


def hold(draft: Draft, note: str) -> bool:
    """Hold back a draft that waits, because its topic has changed."""
    with transaction.atomic():
        rows = Draft.objects.filter(pk=draft.pk, state=DraftState.WAITING)
        held = bool(rows.update(state=DraftState.HELD, note=note[:300], revision=F("revision") + 1))
        if held:
            record("held", draft.topic, reason=note)
    return held


# --- posting ------------------------------------------------------------------------------------------------------------------


def claim_post(pk: int, now: datetime | None = None) -> Draft | None:
    """Take a draft that is to be posted; None where it is not, or another run has it."""
    now = now or timezone.now()
    taken = Draft.objects.filter(pk=pk, state=DraftState.APPROVED, due_at__lte=now, topic__source=Source.DISCOURSE)
    taken = taken.exclude(approved_at=None)
    changed = taken.update(state=DraftState.POSTING, claim=(token := uuid.uuid4()), heartbeat_at=now, attempts=F("attempts") + 1)
    return Draft.objects.select_related("topic").filter(pk=pk, claim=token).first() if changed else None


def beat_post(draft: Draft) -> bool:
    """Write that the run lives; False where it has lost its claim, and must not post."""
    return bool(_posting(draft).update(heartbeat_at=timezone.now()))


def _posting(draft: Draft) -> QuerySet[Draft]:
    return Draft.objects.filter(pk=draft.pk, state=DraftState.POSTING, claim=draft.claim)


def uploaded(picture: DraftPicture, short_url: str) -> None:
    """Note that a picture is on the forum: a post that is tried again does not bring it there again."""
    DraftPicture.objects.filter(pk=picture.pk).update(upload=short_url)


def posted(draft: Draft, post: int, *, whisper: bool, found: bool = False) -> bool:
    """End the run: the post is there. `found` where an earlier run had posted it and could not say so."""
    with transaction.atomic():
        values = {"state": DraftState.POSTED, "post": post, "posted_at": timezone.now(), "whispered": whisper, "claim": None}
        done = bool(_posting(draft).update(revision=F("revision") + 1, note="", **values))
        if done:
            record("posted", draft.topic, post=post, whisper=whisper, found=found)
    return done


def hold_post(draft: Draft, note: str) -> bool:
    """End the run without posting: a person has to look again."""
    with transaction.atomic():
        rows = _posting(draft)
        values = {"state": DraftState.HELD, "note": note[:300], "claim": None, "approved_at": None, "automatic": False}
        done = bool(rows.update(revision=F("revision") + 1, **values))
        if done:
            record("held", draft.topic, reason=note)
    return done


def retry_post(draft: Draft, reason: str, after: float | None = None) -> bool:
    """Give a draft back after something that may pass; it is held after `ATTEMPTS`."""
    if draft.attempts >= ATTEMPTS:
        return hold_post(draft, f"It could not be posted: {reason}")
    due = timezone.now() + timedelta(seconds=_pause(draft.attempts, after))
    return bool(_posting(draft).update(state=DraftState.APPROVED, due_at=due, note=reason[:300], claim=None))


# --- messages and housekeeping ------------------------------------------------------------------------------------------------


def _send(task: str, *arguments: int) -> None:
    from portal.celery import app

    try:
        app.send_task(task, arguments, queue="chat", retry=False)
    except Exception:
        log.warning("%s waits for the broker", task, exc_info=True)


def enqueue_next() -> None:
    """Send the oldest topic that is due to the worker, where none is being drafted: people's questions come before."""
    if Topic.objects.filter(state=TopicState.WORKING).exists():
        return
    waiting = Topic.objects.filter(state=TopicState.QUEUED, due_at__lte=timezone.now(), source__in=configured())
    due = waiting.order_by("due_at").values_list("pk", flat=True)
    if (pk := due.first()) is not None:
        _send("portal.forum.draft_topic", pk)


def enqueue_post(pk: int) -> None:
    """Send an approved draft to the worker."""
    _send("portal.forum.post_draft", pk)


def enqueue_recheck(number: int) -> None:
    """Have the worker look at a known topic of the forum again."""
    _send("portal.forum.recheck", number)


def start_poll(of: type[Forum] | type[Tracker] = Forum, now: datetime | None = None) -> bool:
    """Take the next poll of the forum or the repository; False where it is not due, or one is running."""
    now = now or timezone.now()
    row = of.objects.get_or_create(pk=1)[0]
    due = Q(polled_at=None) | Q(polled_at__lt=now - timedelta(seconds=POLL_SECONDS))
    idle = Q(poll_started_at=None) | Q(poll_started_at__lt=now - timedelta(seconds=POLL_LOST_SECONDS))
    if of is Tracker:
        due &= Q(not_before=None) | Q(not_before__lte=now)
    return bool(of.objects.filter(due, idle, pk=row.pk, enabled=True).update(poll_started_at=now))


def start_mirror(now: datetime | None = None) -> bool:
    """Take the next run of the mirror; False where it is not due. Noted at its beginning: one that dies comes again later."""
    now = now or timezone.now()
    due = Q(mirrored_at=None) | Q(mirrored_at__lt=now - timedelta(seconds=MIRROR_SECONDS))
    return bool(Forum.objects.filter(due, pk=forum().pk, enabled=True, mirror=True).update(mirrored_at=now))


def end_mirror(error: str = "") -> None:
    """Note how a run of the mirror ended."""
    Forum.objects.filter(pk=1).update(mirror_error=error[:2000])


def end_poll(error: str = "", of: type[Forum] | type[Tracker] = Forum, **values: Any) -> None:
    """Note the end of a poll."""
    of.objects.filter(pk=1).update(polled_at=timezone.now(), poll_started_at=None, poll_error=error[:2000], **values)


def heal(now: datetime | None = None) -> int:
    """Give runs whose worker died back to the queue, and forget old deliveries. Returns how many runs changed."""
    now = now or timezone.now()
    changed = 0
    lost = now - timedelta(seconds=DRAFT_LOST_SECONDS)
    for topic in Topic.objects.filter(state=TopicState.WORKING, heartbeat_at__lt=lost):
        changed += retry_topic(topic, "The worker stopped in the middle of it.")
    lost = now - timedelta(seconds=LOST_SECONDS)
    for draft in Draft.objects.filter(state=DraftState.POSTING, heartbeat_at__lt=lost):
        changed += retry_post(draft, "The worker stopped in the middle of posting.", UNCERTAIN_SECONDS)
    Delivery.objects.filter(received_at__lt=now - DELIVERIES_KEPT).delete()
    return changed


def tick() -> None:
    """What is due: lost runs, the poll, the next topic, posts whose message was lost."""
    env = settings.ENV
    if not env.drafts:
        return
    heal()
    now = timezone.now()
    of_forum, of_tracker = bool(env.forum_url and forum().enabled), bool(env.github_repository and tracker().enabled)
    if of_forum and _poll_is_due(forum(), now):
        _send("portal.forum.poll")
    if of_tracker and _poll_is_due(tracker(), now):
        _send("portal.forum.poll_issues")
    if of_forum or of_tracker:
        enqueue_next()
    if not of_forum:
        return
    of = forum()
    if of.mirror and (of.mirrored_at is None or now - of.mirrored_at > timedelta(seconds=MIRROR_SECONDS)):
        _send("portal.forum.mirror")
    for pk in Draft.objects.filter(state=DraftState.APPROVED, due_at__lte=now).values_list("pk", flat=True)[:20]:
        enqueue_post(pk)


def _poll_is_due(of: Forum | Tracker, now: datetime) -> bool:
    if isinstance(of, Tracker) and of.not_before is not None and of.not_before > now:
        return False
    return of.polled_at is None or now - of.polled_at > timedelta(seconds=POLL_SECONDS)


# --- what it amounts to -------------------------------------------------------------------------------------------------------


def track_record(confidence: float | None) -> tuple[int, int, float] | None:
    """Of the decided drafts with about this confidence: how many were posted unchanged, how many there are, and from where.

    Tells a reviewer what a confidence meant in the past; None where nothing like it was decided yet.
    """
    if confidence is None:
        return None
    low = int(confidence * 10) / 10
    decided = Draft.objects.filter(confidence__gte=low, confidence__lt=low + 0.1, decided_by__isnull=False)
    decided = decided.filter(state__in=(*ACCEPTED, DraftState.REJECTED))
    total = decided.count()
    return (decided.filter(state__in=ACCEPTED, text=F("made")).count(), total, low) if total else None


def evaluation_rows() -> Iterator[dict[str, Any]]:
    """What reviewers made of the drafts, one row for each that was decided: questions with the sources of a good answer.

    No name of a person is among it; what the asker wrote is.
    """
    decided = Draft.objects.filter(state__in=(*ACCEPTED, DraftState.REJECTED), automatic=False).select_related("topic")
    for draft in decided.order_by("pk").iterator():
        posted = draft.state in ACCEPTED
        sources = {each["n"]: each["source"] for each in draft.passages}
        yield {
            "title": draft.topic.title,
            "question": compose.question(draft.topic.title, draft.topic.question),
            "gold_sources": [sources[n] for n in compose.cited_numbers(draft.text, draft.passages)] if posted else [],
            "out_of_scope": draft.reject_reason == RejectReason.OFF_TOPIC,
            "decision": "approved" if posted else "rejected",
            "reason": draft.reject_reason,
            "remark": draft.reject_text,
            "edited": draft.edited,
            "draft": draft.made,
            "final": draft.text if posted else "",
            "earlier": draft.earlier,
            "confidence": draft.confidence,
            "retrieved": [each["source"] for each in draft.passages],
            "versions": draft.answer.get("versions", {}),
        }
