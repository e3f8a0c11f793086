"""Conversations with the assistant.

A turn is answered by the assistant's worker (`portal.chat.tasks`), which writes passages and text as they come; pages and the API
only read. States: QUEUED -> SEARCHING -> WRITING -> DONE, STOPPED (by the reader) or FAILED.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class TurnState(models.TextChoices):
    QUEUED = "QUEUED", "Waiting"
    SEARCHING = "SEARCHING", "Searching"
    WRITING = "WRITING", "Writing"
    DONE = "DONE", "Done"
    STOPPED = "STOPPED", "Stopped"
    FAILED = "FAILED", "Failed"


OPEN = (TurnState.QUEUED, TurnState.SEARCHING, TurnState.WRITING)


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-updated_at"]

    def __str__(self) -> str:
        return self.title


class Turn(models.Model):
    """One question and its answer, with the trace of how it came about."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="turns")
    question = models.TextField()
    state = models.CharField(max_length=10, choices=TurnState.choices, default=TurnState.QUEUED)
    claim = models.UUIDField(null=True, help_text="The run that may write this turn")
    created_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    stop_requested_at = models.DateTimeField(null=True)
    options = models.JSONField(default=dict, help_text="{k, retrieve_only, use_model}")
    passages = models.JSONField(null=True, help_text="[{n, title, source, place, url, text, score}], None until found")
    text = models.TextField(blank=True, help_text="Markdown; [n] cites passage n")
    answer = models.JSONField(
        default=dict, help_text="{citations, abstained, extractive, provider, timings, tokens, versions}"
    )
    offer = models.JSONField(null=True, help_text="A job the question asks for: {type, title, url, why}")
    error = models.TextField(blank=True)
    hint = models.TextField(blank=True)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.question[:80]


class Feedback(models.Model):
    """What a reader thought of an answer."""

    turn = models.OneToOneField(Turn, on_delete=models.CASCADE, related_name="feedback")
    useful = models.BooleanField()
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{'useful' if self.useful else 'not useful'}: {self.turn}"
