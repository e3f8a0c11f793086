"""The only writers of conversations. A change of state is one conditional UPDATE: zero rows changed means another was first."""

from __future__ import annotations

import logging
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portal.accounts.models import User
from portal.chat import code, offers, usage
from portal.chat.models import CLOSED, OPEN, RUNNING, Conversation, Feedback, Share, Turn, TurnState
from portal.jobs import services as jobs
from portal.jobs.models import Job
from portal.jobs.services import find_file
from portal.library.models import LibraryFile

log = logging.getLogger(__name__)

QUESTION_LIMIT = 4000  # characters
REASON_LIMIT = 2000
TITLE_LIMIT = 80
FILES = 5  # that go with one question
OPEN_QUESTIONS = 2  # questions of one person that wait or are being answered
OPEN_SEARCHES = 8  # the same for searches without an answer, which take milliseconds
HISTORY_TURNS = 3  # earlier turns handed to the assistant with a follow-up question
EARLIER_LIMIT = 8000  # characters of an earlier answer that a client tells
LOST_SECONDS = 15.0  # a run that has not written its heartbeat for this long has lost its worker
RESEND_SECONDS = 20.0  # a turn that waits this long gets its message again
SEARCHES_KEPT = timedelta(hours=1)
SHARE_BYTES = 32  # of a share link, from the system's source of randomness


class ChatRefusedError(Exception):
    """A question or change that is not possible: a message for the person, what to do, and a stable code."""

    def __init__(self, message: str, *, hint: str = "", code: str = "chat.refused") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class Options(BaseModel):
    """How a question is to be answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(0, ge=0, le=50, description="How many passages to find; 0: as many as suit")
    retrieve_only: bool = Field(False, description="Find passages, write no answer")
    use_model: bool = Field(True, description="Let the language model write; otherwise the best passages are the answer")
    history: tuple[tuple[str, str], ...] = Field(
        (),
        max_length=HISTORY_TURNS,
        description="Questions and answers before this one that the portal does not know, oldest first",
    )


# --- from people --------------------------------------------------------------------------------------------------------------


def ask(
    owner: User,
    question: str,
    conversation: Conversation | None = None,
    options: Mapping[str, Any] | None = None,
    files: Sequence[str] = (),
) -> Turn:
    """Store a question and queue it once the transaction is committed.

    Parameters
    ----------
    conversation
        The conversation it goes on with; None starts a new one (none at all with ``options["retrieve_only"]``).
    options
        The fields of `Options` that differ from their defaults.
    files
        Ids of the person's library files that the question is about.

    Raises
    ------
    ChatRefusedError
        The question is empty or too long, an option is wrong, the conversation is somebody else's or still being answered, or too
        many questions of this person are open.
    """
    text = question.strip()
    if not text:
        raise ChatRefusedError("The question is empty.", hint="Write what you want to know.", code="chat.empty")
    if len(text) > QUESTION_LIMIT:
        raise ChatRefusedError(
            f"The question has {len(text)} characters; {QUESTION_LIMIT} are allowed.",
            hint="Shorten it; keep the lines that matter of a long error message or program.",
            code="chat.long",
        )
    checked = _options(options or {})
    attached = _attached(owner, files)
    if conversation is not None and conversation.owner_id != owner.pk:
        raise ChatRefusedError("This conversation is somebody else's.", code="chat.forbidden")
    with transaction.atomic():
        User.objects.select_for_update().get(pk=owner.pk)  # one at a time, so that two questions cannot pass the limit together
        _check_open(owner, conversation, checked)
        now = timezone.now()
        if conversation is not None:
            Conversation.objects.filter(pk=conversation.pk).update(updated_at=now)
        elif not checked.retrieve_only:
            conversation = Conversation.objects.create(owner=owner, title=title_of(text))
        turn = Turn.objects.create(
            owner=owner,
            conversation=conversation,
            question=text,
            options=checked.model_dump(mode="json", exclude_defaults=True),
            attached=[{"id": str(file.pk), "name": file.name, "kind": file.kind} for file in attached],
            offer=None if checked.retrieve_only else offers.find(owner, text, attached),
            asked_at=now,
            queued_at=now,
        )
        transaction.on_commit(lambda: enqueue(turn))
    return turn


def _attached(owner: User, files: Sequence[str]) -> list[LibraryFile]:
    """The person's files with these ids, each once."""
    wanted = list(dict.fromkeys(str(each) for each in files if str(each)))
    if len(wanted) > FILES:
        raise ChatRefusedError(f"{FILES} files may go with a question.", hint="Attach fewer.", code="chat.files")
    found = []
    for each in wanted:
        file = find_file(owner, each)
        if file is None:
            raise ChatRefusedError("There is no such file in your library.", hint="Upload it first.", code="chat.files")
        found.append(file)
    return found


def _options(raw: Mapping[str, Any]) -> Options:
    try:
        return Options.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ChatRefusedError(f"The option “{field}” is wrong: {first['msg']}.", code="chat.options") from error


def _check_open(owner: User, conversation: Conversation | None, options: Options) -> None:
    """Refuse where the conversation is still being answered, or this person has enough open questions."""
    waiting = Turn.objects.filter(owner=owner, state__in=OPEN)
    if options.retrieve_only:
        count, limit, what = waiting.filter(conversation=None).count(), OPEN_SEARCHES, "searches"
    else:
        if conversation is not None and waiting.filter(conversation=conversation).exists():
            raise ChatRefusedError(
                "The last question of this conversation is still being answered.",
                hint="Wait for the answer, or stop it.",
                code="chat.busy",
            )
        count, limit, what = waiting.exclude(conversation=None).count(), OPEN_QUESTIONS, "questions"
    if count >= limit:
        raise ChatRefusedError(
            f"{count} of your {what} are still being answered; {limit} are allowed at a time.",
            hint="Wait for an answer, or stop one.",
            code="chat.open",
        )


def title_of(question: str) -> str:
    """A conversation's first title: the question's first line, cut at a word."""
    line = " ".join(question.split("\n", 1)[0].split())
    if len(line) <= TITLE_LIMIT:
        return line
    cut = line[:TITLE_LIMIT]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_LIMIT // 2 :] else cut[:-1]) + "…"


def stop(turn: Turn) -> bool:
    """End the answer: at once where it waits, within a second where it is being written. False where it had ended already."""
    now = timezone.now()
    waiting = Turn.objects.filter(pk=turn.pk, state=TurnState.QUEUED)
    if waiting.update(state=TurnState.STOPPED, finished_at=now, stop_requested_at=now, revision=F("revision") + 1):
        return True
    running = Turn.objects.filter(pk=turn.pk, state__in=RUNNING)
    return bool(running.update(stop_requested_at=now, revision=F("revision") + 1))


def regenerate(turn: Turn) -> Turn:
    """Answer the same question again. The old text and its feedback are kept in `Turn.earlier`.

    Raises
    ------
    ChatRefusedError
        The turn is still being answered, or too many questions of this person are open.
    """
    with transaction.atomic():
        owner = User.objects.select_for_update().get(pk=turn.owner_id)
        turn = Turn.objects.select_for_update().get(pk=turn.pk)
        if turn.open:
            raise ChatRefusedError("This answer is still being written.", hint="Stop it first.", code="chat.busy")
        _check_open(owner, turn.conversation, _options(turn.options))
        now = timezone.now()
        Turn.objects.filter(pk=turn.pk).update(
            earlier=[*turn.earlier, _record(turn)] if turn.text else turn.earlier,
            state=TurnState.QUEUED,
            asked_at=now,
            queued_at=now,
            started_at=None,
            finished_at=None,
            claim=None,
            heartbeat_at=None,
            stop_requested_at=None,
            revision=F("revision") + 1,
            passages=None,
            text="",
            answer={},
            steps=[],
            offer=None if turn.options.get("retrieve_only") else offers.find(owner, turn.question, files_of(turn)),
            error="",
            hint="",
        )
        Feedback.objects.filter(turn=turn).delete()
        if turn.conversation_id:
            Conversation.objects.filter(pk=turn.conversation_id).update(updated_at=now)
        transaction.on_commit(lambda: enqueue(turn))
    return Turn.objects.get(pk=turn.pk)


def _record(turn: Turn) -> dict[str, Any]:
    """What is kept of an answer that is replaced."""
    judgement = turn.judgement
    return {
        "text": turn.text,
        "answer": turn.answer,
        "finished_at": turn.finished_at.isoformat() if turn.finished_at else None,
        "feedback": {"useful": judgement.useful, "reason": judgement.reason} if judgement else None,
    }


def files_of(turn: Turn) -> list[LibraryFile]:
    """The attached files that are still in the library, in their order."""
    found = (find_file(turn.owner, str(each["id"])) for each in turn.attached)
    return [file for file in found if file is not None]


def start_step(turn: Turn, number: int) -> Job:
    """Start the job that a step of an answer offers: what a person's click does, once.

    Raises
    ------
    ChatRefusedError
        There is no such offer, or it was started before.
    JobRefusedError
        A parameter is not right any more, or a quota is used up; the offer stays.
    """
    with transaction.atomic():
        now = Turn.objects.select_for_update().select_related("owner").get(pk=turn.pk)
        step = now.steps[number] if 0 <= number < len(now.steps) else {}
        if step.get("state") == "started":
            raise ChatRefusedError("This job was started before.", hint="Follow its link.", code="chat.started")
        if step.get("state") != "offered":
            raise ChatRefusedError("This answer offers no such job.", code="chat.refused")
        if now.open:
            raise ChatRefusedError("This answer is still being written.", hint="Wait for its end.", code="chat.busy")
        job = jobs.submit(now.owner, step["offer"]["type"], step["offer"]["params"])
        step |= {"state": "started", "job": str(job.pk), "summary": f"started {timezone.now():%H:%M} UTC"}
        Turn.objects.filter(pk=turn.pk).update(steps=now.steps, revision=F("revision") + 1)
    return job


def give_feedback(turn: Turn, useful: bool | None, reason: str | None = None) -> None:
    """Store what the reader thinks of an answer; None takes it back. A reason of None leaves the one given before.

    Raises
    ------
    ChatRefusedError
        There is no answer yet, or the reason is too long.
    """
    if turn.open:
        raise ChatRefusedError("This answer is still being written.", hint="Wait for its end.", code="chat.busy")
    if reason is not None and len(reason) > REASON_LIMIT:
        raise ChatRefusedError(f"The reason is longer than {REASON_LIMIT} characters.", hint="Shorten it.", code="chat.long")
    if useful is None:
        Feedback.objects.filter(turn=turn).delete()
    else:
        given = {"useful": useful} | ({} if reason is None else {"reason": reason.strip()})
        Feedback.objects.update_or_create(turn=turn, defaults=given)
    Turn.objects.filter(pk=turn.pk).update(revision=F("revision") + 1)


def rename(conversation: Conversation, title: str) -> None:
    """Give a conversation another title; refuses an empty one."""
    clean = " ".join(title.split())
    if not clean:
        raise ChatRefusedError("The title is empty.", hint="Write a few words.", code="chat.empty")
    Conversation.objects.filter(pk=conversation.pk).update(title=clean[:200])


def delete(conversation: Conversation) -> None:
    """Remove a conversation for good, with its turns, feedback and share link.

    A run in progress notices that its turn is gone and ends. What stays is `Usage`, which has no word of it, and the jobs; but
    not those that ran its code.
    """
    code.forget(conversation)
    conversation.delete()


def share(conversation: Conversation) -> Share:
    """The link by which anybody reads what the conversation holds now; a later call adds what came since, the link stays.

    Raises
    ------
    ChatRefusedError
        There is no whole answer yet.
    """
    answered = conversation.turns.filter(state__in=CLOSED).exclude(text="")
    if not answered.exists():
        raise ChatRefusedError("There is no answer to share yet.", hint="Wait for its end.", code="chat.empty")
    now = timezone.now()
    shared, made = Share.objects.get_or_create(
        conversation=conversation, defaults={"token": secrets.token_urlsafe(SHARE_BYTES), "until": now}
    )
    if not made:
        Share.objects.filter(pk=shared.pk).update(until=now)
        shared.until = now
    return shared


def stop_sharing(conversation: Conversation) -> bool:
    """End the link; False where there was none. A link made later is another one."""
    return bool(Share.objects.filter(conversation=conversation).delete()[0])


def shared_turns(share: Share) -> QuerySet[Turn]:
    """What a share link shows: whole answers that were there when it was shared."""
    turns = Turn.objects.filter(conversation_id=share.conversation_id, state__in=CLOSED, finished_at__lte=share.until)
    return turns.exclude(text="").order_by("created_at")


def wait(turn: Turn, seconds: float) -> Turn:
    """The turn as it is once it has ended, or after ``seconds``: for callers that give their answer in one piece."""
    until = time.monotonic() + seconds
    pause = 0.02
    while True:
        turn = Turn.objects.get(pk=turn.pk)
        if not turn.open or time.monotonic() >= until:
            return turn
        time.sleep(pause)
        pause = min(pause * 1.3, 0.25)


# --- from workers -------------------------------------------------------------------------------------------------------------


def enqueue(turn: Turn) -> None:
    """Send the message that a turn waits. Where the broker is away the turn stays QUEUED, and `heal` sends it again."""
    from portal.chat.tasks import answer_turn

    try:
        answer_turn.apply_async((str(turn.pk),), queue="chat", retry=False)
    except Exception:
        log.warning("turn %s waits for the broker", turn.pk, exc_info=True)


def claim(turn_id: str) -> Turn | None:
    """Take a waiting turn; None where it does not wait any more."""
    now = timezone.now()
    taken = Turn.objects.filter(pk=turn_id, state=TurnState.QUEUED).update(
        state=TurnState.SEARCHING, claim=(token := uuid.uuid4()), started_at=now, heartbeat_at=now, revision=F("revision") + 1
    )
    # A turn that was stopped, regenerated or removed in between is not this run's any more.
    return Turn.objects.filter(pk=turn_id, claim=token).first() if taken else None


@dataclass(frozen=True)
class Heartbeat:
    """What the database answers to a heartbeat: whether the run still holds its claim, and whether it is to stop."""

    held: bool
    stop: bool


def beat(turn: Turn) -> Heartbeat:
    """Write that the run lives, and read whether it goes on."""
    held = bool(_held(turn).update(heartbeat_at=timezone.now()))
    return Heartbeat(held=held, stop=held and check(turn).stop)


def check(turn: Turn) -> Heartbeat:
    """Whether the run goes on, without writing."""
    row = _held(turn).values("stop_requested_at").first()
    return Heartbeat(held=row is not None, stop=row is not None and row["stop_requested_at"] is not None)


def write_passages(turn: Turn, passages: Sequence[Mapping[str, Any]], timings: Mapping[str, float]) -> bool:
    """Store the passages found; the answer is written next. False where the run has lost its claim."""
    return _write(turn, state=TurnState.WRITING, passages=[dict(p) for p in passages], answer={"timings": dict(timings)})


def write_steps(turn: Turn, steps: Sequence[Mapping[str, Any]]) -> bool:
    """Store the tools that were called so far."""
    return _write(turn, steps=[dict(step) for step in steps])


def write_text(turn: Turn, text: str) -> bool:
    """Store the text so far."""
    return _write(turn, text=text)


def write_place(turn: Turn, before: int) -> bool:
    """Store how many wait for the language model before this answer."""
    row = _held(turn).values("answer").first()
    return row is not None and _write(turn, answer=row["answer"] | {"before": before})


def before(turn: Turn) -> int:
    """How many questions and searches, of all people, wait for the assistant's worker before this one."""
    return Turn.objects.filter(state=TurnState.QUEUED, asked_at__lt=turn.asked_at).count()


def finish(turn: Turn, text: str, answer: Mapping[str, Any]) -> bool:
    """End the run well."""
    return _end(turn, state=TurnState.DONE, text=text, answer=dict(answer))


def stopped(turn: Turn, text: str | None = None, answer: Mapping[str, Any] | None = None) -> bool:
    """End the run as the reader asked; what was written stays."""
    values: dict[str, Any] = {} if text is None else {"text": text}
    values |= {} if answer is None else {"answer": dict(answer)}
    return _end(turn, state=TurnState.STOPPED, **values)


def fail(turn: Turn, message: str, hint: str) -> bool:
    """End the run badly."""
    return _end(turn, state=TurnState.FAILED, error=message, hint=hint)


def release(turn: Turn) -> None:
    """Give a run back unharmed, because its worker stops: it waits for another."""
    now = timezone.now()
    if _write(
        turn, state=TurnState.QUEUED, claim=None, queued_at=now, started_at=None, passages=None, text="", answer={}, steps=[]
    ):
        enqueue(turn)


def _end(turn: Turn, **values: Any) -> bool:
    """End the run, and note what it took."""
    with transaction.atomic():
        ended = _write(turn, finished_at=timezone.now(), **values)
        if ended and (now := Turn.objects.filter(pk=turn.pk).first()) is not None:
            usage.note_turn(now)
    return ended


def _write(turn: Turn, **values: Any) -> bool:
    return bool(_held(turn).update(revision=F("revision") + 1, heartbeat_at=timezone.now(), **values))


def _held(turn: Turn) -> QuerySet[Turn]:
    """The row of this run, as long as it holds its claim."""
    return Turn.objects.filter(pk=turn.pk, state__in=RUNNING, claim=turn.claim)


def history(turn: Turn) -> list[tuple[str, str]]:
    """Questions and answers of the conversation before this turn, oldest first: those told with it, else those stored."""
    if told := turn.options.get("history"):
        return [(question, said) for question, said in told]
    if turn.conversation_id is None:
        return []
    before = Turn.objects.filter(conversation_id=turn.conversation_id, created_at__lt=turn.created_at).exclude(text="")
    pairs = before.order_by("-created_at").values_list("question", "text")[:HISTORY_TURNS]
    return list(reversed(pairs))


# --- housekeeping -------------------------------------------------------------------------------------------------------------


def heal(now: datetime | None = None) -> int:
    """End runs whose worker died, send lost messages again, drop old searches. Returns how many turns changed."""
    now = now or timezone.now()
    changed = 0
    lost = Turn.objects.filter(state__in=RUNNING, heartbeat_at__lt=now - timedelta(seconds=LOST_SECONDS))
    changed += lost.exclude(stop_requested_at=None).update(state=TurnState.STOPPED, finished_at=now, revision=F("revision") + 1)
    for turn in lost:
        changed += fail(
            turn,
            "The assistant stopped in the middle of this answer.",
            "Ask again with “Answer again”. If it happens twice, the administrator finds the reason in the assistant's log.",
        )
    for turn in Turn.objects.filter(state=TurnState.QUEUED, queued_at__lt=now - timedelta(seconds=RESEND_SECONDS)):
        # The broker may have lost the message, or the queue is just long: a second message does no harm, the claim decides.
        if Turn.objects.filter(pk=turn.pk, state=TurnState.QUEUED, queued_at=turn.queued_at).update(queued_at=now):
            enqueue(turn)
            changed += 1
    Turn.objects.filter(conversation=None, state__in=CLOSED, finished_at__lt=now - SEARCHES_KEPT).delete()
    return changed
