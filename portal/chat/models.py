"""Conversations with the assistant.

A turn is answered by the assistant's worker (`portal.chat.tasks`), which writes passages and text as they come; pages and the API
only read. States of a turn::

    QUEUED --claim--> SEARCHING --> WRITING --> DONE
       |                  |------------|------> STOPPED  (by the reader; what was written stays)
       |                  '------------'------> FAILED   (with a hint; also where the worker died)
       '-----------------> STOPPED

Only `portal.chat.services` writes these tables, and `portal.chat.usage` the last of them. QUEUED -> SEARCHING is one conditional
UPDATE that stores a fresh `claim`; every later write of that run names its claim, so a run that was given up cannot overwrite the
one that replaced it.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone


class TurnState(models.TextChoices):
    QUEUED = "QUEUED", "Waiting"
    SEARCHING = "SEARCHING", "Searching"
    WRITING = "WRITING", "Writing"
    DONE = "DONE", "Done"
    STOPPED = "STOPPED", "Stopped"
    FAILED = "FAILED", "Failed"


OPEN = (TurnState.QUEUED, TurnState.SEARCHING, TurnState.WRITING)
RUNNING = (TurnState.SEARCHING, TurnState.WRITING)
CLOSED = (TurnState.DONE, TurnState.STOPPED, TurnState.FAILED)


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-updated_at"]
        indexes = [models.Index(fields=["owner", "-updated_at"])]

    def __str__(self) -> str:
        return self.title


class Turn(models.Model):
    """One question and its answer, with the trace of how it came about.

    A turn without a conversation is a search for passages, as the API and the command line ask for.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="turns")
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, null=True, related_name="turns")
    question = models.TextField()
    options = models.JSONField(default=dict, help_text="{k, retrieve_only, use_model}")
    attached = models.JSONField(default=list, help_text="Files of the library that the question is about: [{id, name, kind}]")
    state = models.CharField(max_length=10, choices=TurnState.choices, default=TurnState.QUEUED)
    created_at = models.DateTimeField(auto_now_add=True)
    asked_at = models.DateTimeField(help_text="When it was asked, or asked again")
    queued_at = models.DateTimeField(help_text="When the message for the worker was last sent")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The run in progress
    claim = models.UUIDField(null=True, help_text="The run that may write this turn")
    heartbeat_at = models.DateTimeField(null=True)
    stop_requested_at = models.DateTimeField(null=True)
    revision = models.PositiveIntegerField(default=0, help_text="Goes up with every change that a reader can see")
    # What came of it
    passages = models.JSONField(null=True, help_text="[{n, id, title, source, kind, place, url, text, score}], None until found")
    text = models.TextField(blank=True, help_text="Markdown; [n] cites passage n")
    answer = models.JSONField(
        default=dict, help_text="{citations, abstained, extractive, provider, timings, tokens, versions, note}"
    )
    offer = models.JSONField(null=True, help_text="A job the question asks for: {type, title, summary, url, files, why}")
    steps = models.JSONField(
        default=list,
        help_text="Tools that were called: [{tool, title, state, summary, url, seconds, offer, job}]; state: running, done, "
        "failed, offered, started",
    )
    error = models.TextField(blank=True)
    hint = models.TextField(blank=True)
    earlier = models.JSONField(default=list, help_text="[{text, answer, finished_at, feedback}] of answers that were regenerated")

    class Meta:
        ordering = ["created_at"]
        indexes = [
            models.Index(fields=["state", "heartbeat_at"]),
            models.Index(fields=["owner", "state"]),
            models.Index(fields=["conversation", "created_at"]),
        ]

    def __str__(self) -> str:
        return self.question[:80]

    @property
    def open(self) -> bool:
        """Whether it waits or is being answered."""
        return self.state in OPEN

    @property
    def anchor(self) -> str:
        """Short name within a page: the turn is the element ``turn-<anchor>``, its passage n ``<anchor>-p<n>``."""
        return f"t{self.pk.hex[:8]}"

    @property
    def seconds(self) -> float | None:
        """From asking to the end of the answer."""
        return (self.finished_at - self.asked_at).total_seconds() if self.finished_at else None

    @property
    def cited(self) -> int:
        """How many of the passages the answer cites."""
        return len(set(self.answer.get("citations", ())))

    @property
    def judgement(self) -> Feedback | None:
        """The reader's feedback, None where there is none."""
        return getattr(self, "feedback", None)

    def passage(self, n: int) -> dict[str, Any] | None:
        """The passage with number ``n``."""
        return next((passage for passage in self.passages or () if passage["n"] == n), None)


class Feedback(models.Model):
    """What a reader thought of an answer."""

    turn = models.OneToOneField(Turn, on_delete=models.CASCADE, related_name="feedback")
    useful = models.BooleanField()
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{'useful' if self.useful else 'not useful'}: {self.turn}"


class Share(models.Model):
    """A link by which anybody reads a conversation, as it was when it was shared; deleting the row ends it."""

    conversation = models.OneToOneField(Conversation, on_delete=models.CASCADE, related_name="share")
    token = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    until = models.DateTimeField(help_text="Answers asked for later are not shown")

    def __str__(self) -> str:
        return f"shared: {self.conversation}"


class UsageKind(models.TextChoices):
    ANSWER = "answer", "answers"
    SEARCH = "search", "searches"
    FORUM = "forum", "forum drafts"


class Outcome(models.TextChoices):
    WRITTEN = "written", "written by the model"
    QUOTED = "quoted", "quoted from passages"
    ABSTAINED = "abstained", "no answer found"
    ASKED = "asked", "asked back"
    STOPPED = "stopped", "stopped by the reader"
    FAILED = "failed", "failed"


class Usage(models.Model):
    """What one answer or search took, without a word of it: stays when its conversation is deleted."""

    at = models.DateTimeField(default=timezone.now)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(max_length=6, choices=UsageKind.choices)
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    model = models.CharField(max_length=200, blank=True)
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    cost = models.FloatField(default=0.0, help_text="By the prices that were set at the time")
    wait = models.FloatField(null=True, help_text="Seconds before it began")
    retrieve = models.FloatField(null=True, help_text="Seconds of the search")
    first_text = models.FloatField(null=True, help_text="Seconds from its beginning to the first word")
    generate = models.FloatField(null=True, help_text="Seconds of the model")
    total = models.FloatField(null=True, help_text="Seconds from asking to the end")

    class Meta:
        indexes = [models.Index(fields=["at"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.outcome} {self.at:%Y-%m-%d}"
