"""The code of answers, run: by itself once an answer is whole, or when somebody asks for it; mended once where it fails.

Each run is a job of the type `run-root-code`, of the person whose answer it is. What belongs to an answer is kept in its record::

    answer["code"] = {"state": "open" | "done", "chain": ..., "at": ..., "blocks": [
        {"n": 1, "auto": true, "job": id, "refused": "",
         "repair": {"state": "asked" | "done", "text": ..., "job": id, "note": ""}}]}

``n`` counts the code blocks of the text from 1. A chain of messages carries an open record on: each step looks what has come of
the jobs and sends the next message. `heal` starts a new chain where one was lost; a step of an old chain does nothing.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils import timezone

from portal.accounts.models import User
from portal.chat import render
from portal.chat.models import Conversation, Turn, TurnState
from portal.chat.redact import redacted
from portal.jobs import services as jobs
from portal.jobs.models import Artifact, Job, JobState

log = logging.getLogger(__name__)

TYPE = "run-root-code"
FAULTY = ("failed", "timed_out", "ran_with_errors")  # what there is to mend
MOST_BLOCKS = 3  # of an answer that are run by themselves
STEP_SECONDS = 1  # between two looks at the jobs of an answer
LABEL_ERROR = 200  # characters of an error in a label
LOST_SECONDS = 240.0  # a chain that has not gone on for this long is lost; the model may take two minutes for a repair
HEALED_FOR = timedelta(hours=1)

TUTORIAL = re.compile(r"tutorials/[\w./+-]{1,200}\.(?:C|py)")

Record = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A code block of an answer that can be run."""

    n: int
    language: str
    text: str
    whole: bool


@dataclass(frozen=True)
class ShownPicture:
    """A picture that code drew."""

    url: str
    title: str
    artifact: str = ""


@dataclass(frozen=True)
class ShownRun:
    """What came of running code, as a page shows it: ``state`` names the badge."""

    state: str = "none"
    """``"none"``, ``"wait"``, ``"run"``, ``"ran"``, ``"ran_with_errors"``, ``"failed"``, ``"timed_out"``, ``"not_run"``,
    ``"refused"`` or ``"cancelled"``."""
    error: str = ""
    output: str = ""
    messages: str = ""
    pictures: tuple[ShownPicture, ...] = ()
    seconds: float = 0.0
    root: str = ""
    job: str = ""

    @property
    def busy(self) -> bool:
        """Whether it is still to end."""
        return self.state in ("wait", "run")

    @property
    def quiet(self) -> bool:
        """Whether nothing in its messages needs a look."""
        return self.state == "ran"


@dataclass(frozen=True)
class ShownBlock:
    """A block of an answer, or a tutorial, with what came of it."""

    n: int
    language: str
    text: str
    run: ShownRun
    url: str
    offered: bool
    """Whether there is a button that runs it."""
    mended: str = ""
    mended_run: ShownRun = field(default_factory=ShownRun)
    mending: bool = False
    note: str = ""
    """Why there is no mended version."""

    @property
    def busy(self) -> bool:
        """Whether there is something to wait for."""
        return self.run.busy or self.mending or self.mended_run.busy


# --- which blocks there are -----------------------------------------------------------------------------------------------------


def blocks_of(text: str) -> dict[int, Block]:
    """The blocks of an answer that are in a language that can be run, by their numbers."""
    from assistant.code_blocks import language_of, whole

    found: dict[int, Block] = {}
    for n, (info, content) in enumerate(render.code_blocks(text), 1):
        if language := language_of(info, content):
            found[n] = Block(n, language, content, whole(language, content))
    return found


def planned(text: str, written: str) -> Record:
    """The record of a new answer whose code is to be run: the whole blocks that the model wrote itself. Empty without any.

    What is quoted from passages is shown as it stands: half of it are signatures.
    """
    if settings.ENV.run_code != "answers":
        return {}
    own = {content for _, content in render.code_blocks(written)}
    chosen = [block.n for block in blocks_of(text).values() if block.whole and block.text in own][:MOST_BLOCKS]
    if not chosen:
        return {}
    blocks = [{"n": n, "auto": True} for n in chosen]
    return {"code": {"state": "open", "chain": uuid.uuid4().hex, "at": _now(), "blocks": blocks}}


def is_tutorial(place: str) -> bool:
    """Whether a place within ROOT names a tutorial that can be run; whether it is there is for the job to say."""
    return TUTORIAL.fullmatch(place) is not None and ".." not in place


# --- from people ----------------------------------------------------------------------------------------------------------------


def run_block(turn: Turn, number: int, *, mended: bool = False) -> None:
    """Run a block of an answer, or its mended version, again.

    Raises
    ------
    jobs.JobRefusedError
        There is no such block, the person's quota is used up, or code is not run here.
    """
    block = blocks_of(turn.text).get(number)
    if turn.open or block is None:
        raise jobs.JobRefusedError("There is no such block in this answer.", code="code.block")
    entry = _entry(turn, number)
    text = str(entry.get("repair", {}).get("text", "")) if mended else block.text
    job = submit(turn.owner, block.language, text)

    def put(record: Record) -> None:
        ours = next((one for one in record["blocks"] if one["n"] == number), None)
        if ours is None:
            record["blocks"].append(ours := {"n": number, "auto": False})
        if mended:
            ours["repair"]["job"] = str(job.pk)
        else:
            ours["job"] = str(job.pk)
        ours.pop("refused", None)

    _change(turn.pk, put)


def submit(owner: User, language: str, text: str, *, tutorial: str = "") -> Job:
    """A job that runs code.

    Raises
    ------
    jobs.JobRefusedError
        As of `portal.jobs.services.submit`, or because code is not run here.
    """
    if settings.ENV.run_code == "never":
        raise jobs.JobRefusedError("Code is not run here.", hint="The administrator switched it off.", code="code.off")
    params = {"tutorial": tutorial} if tutorial else {"language": language, "code": text}
    return jobs.submit(owner, TYPE, params)


def run_now(owner: User, language: str, text: str, *, seconds: float = 100.0) -> dict[str, Any]:
    """Run code and wait for what comes of it: for callers that give their answer in one piece.

    Returns
    -------
    dict
        ``job``, its id; ``state``: as of `ShownRun`, ``"run"`` or ``"wait"`` where it had not ended after ``seconds``; ``error``,
        ``output``, ``messages``, ``seconds``, ``root``, and ``pictures`` [{url, title}].

    Raises
    ------
    jobs.JobRefusedError
        As of `submit`.
    """
    job = submit(owner, language, text)
    until = time.monotonic() + seconds
    while job.active and time.monotonic() < until:
        time.sleep(0.2)
        job.refresh_from_db()
    found = shown_run(job)
    plain = {name: getattr(found, name) for name in ("state", "error", "output", "messages", "seconds", "root", "job")}
    return plain | {"pictures": [{"url": picture.url, "title": picture.title} for picture in found.pictures]}


def forget(conversation: Conversation) -> None:
    """Remove the runs of a conversation's code: their parameters are pieces of it. One that runs right now is ended and stays."""
    answers = [each for turn in conversation.turns.all() for each in (turn.answer, *(old["answer"] for old in turn.earlier))]
    ids = [one for answer in answers for one in _jobs_of(answer)]
    for job in Job.objects.filter(pk__in=ids, type=TYPE, owner=conversation.owner_id):
        jobs.cancel(job)
        job.refresh_from_db()
        if not job.active:
            jobs.delete(job)


# --- from workers ---------------------------------------------------------------------------------------------------------------


def advance(turn_id: str, chain: str) -> None:
    """One step of a chain: start what is to be started, have mended what failed, end the record or send the next message."""
    turn = Turn.objects.filter(pk=turn_id, state=TurnState.DONE).select_related("owner").first()
    record = turn.answer.get("code", {}) if turn else {}
    if turn is None or record.get("state") != "open" or record.get("chain") != chain:
        return
    _change(turn.pk, lambda mine: mine.update(at=_now()))
    open_blocks = [_step(turn, entry) for entry in record["blocks"] if entry["auto"]]
    if any(open_blocks):
        _send(turn.pk, chain, after=STEP_SECONDS)
    else:
        _change(turn.pk, lambda mine: mine.update(state="done"))


def _step(turn: Turn, entry: Record) -> bool:
    """Carry one block on. Returns whether there is more to do."""
    block = blocks_of(turn.text).get(entry["n"])
    if block is None or entry.get("refused"):
        return False
    if "job" not in entry:
        return _start(turn, block.n, block.language, block.text)
    job = Job.objects.filter(pk=entry["job"]).first()
    if job is None or job.active:
        return job is not None
    if shown_run(job).state not in FAULTY:
        return False
    repair = entry.get("repair")
    if repair is None:
        return _mend(turn, block, job)
    mended = Job.objects.filter(pk=repair["job"]).first() if repair.get("job") else None
    return mended is not None and mended.active


def _start(turn: Turn, number: int, language: str, text: str, *, mended: bool = False) -> bool:
    """Submit the job of a block; a refusal is noted, and ends it."""
    try:
        job = submit(turn.owner, language, text)
    except jobs.JobRefusedError as error:
        refused = f"{error.message} {error.hint}".strip()
        _on_block(turn, number, lambda mine: mine.update(refused=refused))
        return False
    where: Callable[[Record], Record] = (lambda mine: mine["repair"]) if mended else (lambda mine: mine)
    _on_block(turn, number, lambda mine: where(mine).update(job=str(job.pk)))
    return True


def _mend(turn: Turn, block: Block, job: Job) -> bool:
    """The one repair round: ask the model, run what it gives."""
    from assistant.errors import AssistantError
    from assistant.passages import Passage
    from assistant.repair import repair
    from portal.chat import engine

    provider = engine.provider()
    if provider is None:
        _on_block(turn, block.n, lambda mine: mine.update(repair={"state": "done", "note": "No language model is at hand."}))
        return False
    _on_block(turn, block.n, lambda mine: mine.update(repair={"state": "asked"}))
    run = shown_run(job)
    passages = [Passage(**{name: each[name] for name in Passage.__slots__}) for each in turn.passages or ()]
    text, note = "", ""
    try:
        error = "\n".join(part for part in (run.messages.strip(), run.error) if part)
        text = repair(
            "python" if block.language == "python" else "cpp", block.text, error,
            question=turn.question, provider=provider, passages=passages,
        )  # fmt: skip
        note = "" if text else "The model had nothing better."
    except AssistantError as failed:
        log.info("turn %s: code was not mended: %s", turn.pk, failed)
        note = "The language model gave no whole answer."
    _on_block(turn, block.n, lambda mine: mine.update(repair={"state": "done", "text": text, "note": note}))
    return bool(text) and _start(turn, block.n, block.language, text, mended=True)


def heal(now: datetime | None = None) -> int:
    """Start a new chain where one was lost. Returns how many."""
    now = now or timezone.now()
    recent = Turn.objects.filter(state=TurnState.DONE, finished_at__gt=now - HEALED_FOR, answer__code__state="open")
    lost = [turn for turn in recent if float(turn.answer["code"]["at"]) < now.timestamp() - LOST_SECONDS]
    for turn in lost:
        chain = uuid.uuid4().hex
        _change(turn.pk, lambda mine, chain=chain: mine.update(chain=chain, at=_now()))  # type: ignore[misc]
        _send(turn.pk, chain, after=0)
    return len(lost)


def _send(turn_id: uuid.UUID, chain: str, *, after: float) -> None:
    from portal.chat.tasks import check_code

    try:
        check_code.apply_async((str(turn_id), chain), queue="chat", countdown=after, retry=False)
    except Exception:
        log.warning("the code of turn %s waits for the broker", turn_id, exc_info=True)


# --- the record -----------------------------------------------------------------------------------------------------------------


def _jobs_of(answer: Mapping[str, Any]) -> list[str]:
    """The jobs that ran an answer's code."""
    entries = answer.get("code", {}).get("blocks", ())
    return [one for entry in entries for one in (entry.get("job"), entry.get("repair", {}).get("job")) if one]


def _entry(turn: Turn, number: int) -> Record:
    return next((one for one in turn.answer.get("code", {}).get("blocks", ()) if one["n"] == number), {})


def _on_block(turn: Turn, number: int, change: Callable[[Record], Any]) -> None:
    def on_record(record: Record) -> None:
        for entry in record["blocks"]:
            if entry["n"] == number:
                change(entry)

    _change(turn.pk, on_record)


def _change(turn_id: uuid.UUID, change: Callable[[Record], Any]) -> None:
    """Change an answer's record of its code, one change at a time; nothing where the answer is gone or being written anew."""
    with transaction.atomic():
        turn = Turn.objects.select_for_update().filter(pk=turn_id).first()
        if turn is None or turn.open:
            return
        record = turn.answer.get("code") or {"state": "done", "chain": "", "at": _now(), "blocks": []}
        change(record)
        Turn.objects.filter(pk=turn_id).update(answer=turn.answer | {"code": record}, revision=F("revision") + 1)


def _now() -> float:
    return timezone.now().timestamp()


# --- for pages ------------------------------------------------------------------------------------------------------------------


def shown(turn: Turn) -> dict[int, ShownBlock]:
    """The blocks of an answer that can be run, with what came of them."""
    blocks = blocks_of(turn.text)
    record = turn.answer.get("code", {})
    entries = {entry["n"]: entry for entry in record.get("blocks", ())}
    ids = _jobs_of(turn.answer)
    found = {str(job.pk): job for job in Job.objects.filter(pk__in=ids)} if ids else {}
    pictures = _pictures(found)
    going_on = record.get("state") == "open"

    def run_of(entry: Mapping[str, Any]) -> ShownRun:
        if entry.get("refused"):
            return ShownRun("refused", str(entry["refused"]))
        job = found.get(str(entry.get("job")))
        if job is None:
            return ShownRun("wait" if going_on and entry.get("auto") and "job" not in entry else "none")
        return shown_run(job, pictures.get(str(job.pk), ()))

    def show(block: Block) -> ShownBlock:
        entry = entries.get(block.n, {})
        repair = entry.get("repair", {})
        run = run_of(entry)
        unmended = going_on and entry.get("auto") and run.state in FAULTY and not repair
        return ShownBlock(
            block.n, block.language, block.text, run, reverse("turn-code", args=[turn.pk, block.n]),
            offered=settings.ENV.run_code != "never",
            mended=str(repair.get("text", "")),
            mended_run=run_of({"job": repair["job"]}) if repair.get("job") else ShownRun(),
            mending=bool(unmended or (going_on and repair.get("state") == "asked")),
            note=str(repair.get("note", "")),
        )  # fmt: skip

    return {n: show(block) for n, block in blocks.items()}


def shown_to_others(turn: Turn, text: str, until: datetime, picture_url: Callable[[str], str]) -> dict[int, ShownBlock]:
    """The blocks of an answer for those who have a share link: what came of runs that had ended when it was shared.

    Parameters
    ----------
    text
        The answer as they see it.
    picture_url
        Where they find a picture, by its artefact.
    """
    ended = {str(job) for job in _ended(turn, until).values_list("pk", flat=True)}

    def public(run: ShownRun) -> ShownRun:
        if run.job not in ended:
            return ShownRun()
        pictures = tuple(replace(each, url=picture_url(each.artifact)) for each in run.pictures)
        return replace(
            run, pictures=pictures, job="",
            error=redacted(run.error), output=redacted(run.output), messages=redacted(run.messages),
        )  # fmt: skip

    ours, theirs = shown(turn), blocks_of(text)
    found: dict[int, ShownBlock] = {}
    for n, block in theirs.items():
        known = ours.get(n)
        run, mended_run = (public(known.run), public(known.mended_run)) if known else (ShownRun(), ShownRun())
        mended = redacted(known.mended) if known and mended_run.state != "none" else ""
        found[n] = ShownBlock(n, block.language, block.text, run, "", offered=False, mended=mended, mended_run=mended_run)
    return found


def shared_picture(turns: Iterable[Turn], artifact: uuid.UUID, until: datetime) -> Artifact | None:
    """A picture that the code of one of these answers drew before ``until``."""
    jobs_then = [job for turn in turns for job in _ended(turn, until)]
    return Artifact.objects.filter(pk=artifact, kind="picture", job__in=jobs_then).first()


def _ended(turn: Turn, until: datetime) -> QuerySet[Job]:
    return Job.objects.filter(pk__in=_jobs_of(turn.answer), type=TYPE, owner=turn.owner_id, finished_at__lte=until)


def shown_tutorial(owner: User, place: str) -> ShownBlock:
    """A tutorial with what came of running it last."""
    job = Job.objects.filter(owner=owner, type=TYPE, params__tutorial=place).order_by("-created_at").first()
    pictures = _pictures({str(job.pk): job}) if job else {}
    run = shown_run(job, pictures.get(str(job.pk), ())) if job else ShownRun()
    url = f"{reverse('tutorial-run')}?place={place}"
    language = "python" if place.endswith(".py") else "cpp"
    return ShownBlock(0, language, "", run, url, offered=settings.ENV.run_code != "never")


def shown_run(job: Job, pictures: tuple[ShownPicture, ...] = ()) -> ShownRun:
    """What came of a job."""
    if not pictures and job.state == JobState.SUCCEEDED:
        pictures = _pictures({str(job.pk): job}).get(str(job.pk), ())
    match job.state:
        case JobState.PENDING:
            return ShownRun("wait", job=str(job.pk))
        case JobState.RUNNING:
            return ShownRun("run", job=str(job.pk))
        case JobState.CANCELLED:
            return ShownRun("cancelled", "It was cancelled.", job=str(job.pk))
        case JobState.FAILED:
            state = "timed_out" if job.error_code in ("limit.wall", "limit.cpu") else "failed"
            return ShownRun(state, f"{job.error_message} {job.error_hint}".strip(), job=str(job.pk))
    result = job.result or {}
    facts = result.get("facts", {})
    texts = {text["title"]: text["text"] for text in result.get("texts", ())}
    return ShownRun(
        str(facts.get("status", "failed")), str(facts.get("error", "")), texts.get("Output", ""), texts.get("Messages", ""),
        pictures, float(facts.get("seconds", 0.0)), str(facts.get("root", "")), str(job.pk),
    )  # fmt: skip


def is_run(turn: Turn) -> bool:
    """Whether code of the answer is being run."""
    return bool(turn.answer.get("code", {}).get("state") == "open")


def settled(turn: Turn, seconds: float) -> Turn:
    """The turn once its code has been run, or so many seconds later: for callers that give their answer in one piece."""
    until = time.monotonic() + seconds
    while is_run(turn) and time.monotonic() < until:
        time.sleep(0.2)
        turn.refresh_from_db()
    return turn


def label(run: ShownRun) -> str:
    """What came of a run in one sentence of Markdown, for texts that have no badges."""
    if run.busy:
        return "This code was still running."
    if run.state in ("none", "not_run", "refused", "cancelled"):
        return "This code was not run."
    where = f"in a sandbox with ROOT {run.root}" if run.root else "in a sandbox"
    if run.state == "ran":
        return f"This code ran {where}."
    error = re.sub(r"[`\s]+", " ", run.error).strip()[:LABEL_ERROR]
    said = f": `{error}`" if error else "."
    if run.state == "ran_with_errors":
        return f"This code ran {where} and reported an error{said}"
    return f"This code {'did not end in time' if run.state == 'timed_out' else 'failed'} {where}{said}"


def labels(turn: Turn) -> dict[int, str]:
    """Of each block that can be run, what came of it, in Markdown; with the mended version where the model made one that ran."""
    found = {}
    for n, block in shown(turn).items():
        found[n] = f"*{label(block.run)}*"
        if block.mended and block.mended_run.state == "ran":
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.mended)), default=0))
            mended = f"{fence}{block.language}\n{block.mended.rstrip()}\n{fence}"
            found[n] += f"\n\nMended by the model:\n\n{mended}\n\n*{label(block.mended_run)}*"
    return found


def _pictures(found: Mapping[str, Job]) -> dict[str, tuple[ShownPicture, ...]]:
    pictures: dict[str, tuple[ShownPicture, ...]] = {}
    for artifact in Artifact.objects.filter(job__in=list(found), kind="picture").order_by("name"):
        url = reverse("artifact", args=[artifact.job_id, artifact.pk])
        one = ShownPicture(url, artifact.title or artifact.name, str(artifact.pk))
        pictures[str(artifact.job_id)] = (*pictures.get(str(artifact.job_id), ()), one)
    return pictures
