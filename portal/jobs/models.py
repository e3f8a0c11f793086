"""Jobs, their logs and their artefacts.

States of a job::

    PENDING --claim--> RUNNING --> SUCCEEDED
       |  ^               |------> FAILED
       |  '--- reap ------|        (worker lost, attempts left)
       '-----> CANCELLED <'

A job may have parts, which are jobs too: it waits until all of them have SUCCEEDED, and ends where one of them does otherwise.

Only `portal.jobs.services` and `portal.jobs.parts` write these tables. PENDING -> RUNNING is one conditional UPDATE that stores a
fresh `claim`; every later write of that run names its claim, so a run that was given up cannot overwrite the one that replaced
it.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class JobState(models.TextChoices):
    PENDING = "PENDING", "Waiting"
    RUNNING = "RUNNING", "Running"
    SUCCEEDED = "SUCCEEDED", "Done"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"


ACTIVE = (JobState.PENDING, JobState.RUNNING)
FINISHED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Job(models.Model):
    """One run of a job type with given parameters. The type is a slug in `portal.jobs.registry`, not a table."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    type = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="jobs")
    params = models.JSONField(default=dict)
    queue = models.CharField(max_length=30)
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(help_text="When the message for the worker was last sent")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The run in progress
    attempt = models.PositiveSmallIntegerField(default=0)
    claim = models.UUIDField(null=True)
    worker = models.CharField(max_length=120, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    progress = models.FloatField(default=0.0, help_text="0 to 1")
    progress_text = models.CharField(max_length=200, blank=True)
    steps = models.JSONField(default=list, help_text="[{text, seconds}] of the steps so far")
    shown = models.JSONField(default=list, help_text="Plots of the run in progress, see portal.jobs.results.Plot")
    # How it ended
    result = models.JSONField(null=True, help_text="Figures, tables and notes, see portal.jobs.results")
    manifest = models.JSONField(default=dict, help_text="Versions and options behind the result")
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    error_hint = models.TextField(blank=True)
    expired_at = models.DateTimeField(null=True, help_text="When its artefacts were removed")
    retry_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="retries")

    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="parts", help_text="Whose part it is")
    part = models.PositiveIntegerField(null=True, help_text="Its number among the parts")

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["state", "heartbeat_at"]),
            models.Index(fields=["owner", "-created_at"]),
            models.Index(fields=["-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    @property
    def queue_seconds(self) -> float | None:
        """How long it waited for a worker."""
        return (self.started_at - self.created_at).total_seconds() if self.started_at else None

    @property
    def run_seconds(self) -> float | None:
        """How long its last run took."""
        return (self.finished_at - self.started_at).total_seconds() if self.started_at and self.finished_at else None


class LogChunk(models.Model):
    """A piece of a job's log; pieces in order of id are the log."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_chunks")
    at = models.DateTimeField(auto_now_add=True)
    text = models.TextField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text


class Artifact(models.Model):
    """A file that a job made."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="artifacts")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=30)
    title = models.CharField(max_length=200, blank=True)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    path = models.CharField(max_length=300, help_text="Name in the file storage")
    preview = models.JSONField(null=True, help_text="{language, text, lines} of a text file's beginning")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "name"]
        constraints = [models.UniqueConstraint(fields=["job", "name"], name="one_artifact_per_name")]

    def __str__(self) -> str:
        return self.name


class Kept(models.Model):
    """A file that a run keeps while it goes on, such as a checkpoint, for another run to start from. Dropped on success."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="kept")
    name = models.CharField(max_length=200)
    note = models.CharField(max_length=200, blank=True, help_text="How far the run was")
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    path = models.CharField(max_length=300, help_text="Name in the file storage")
    at = models.DateTimeField()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["job", "name"], name="one_kept_file_per_name")]

    def __str__(self) -> str:
        return self.name


class Pulse(models.Model):
    """When a worker last said that it lives; one row for each set of queues it serves."""

    name = models.CharField(max_length=100, primary_key=True, help_text="The worker's queues, for example `cpu`")
    at = models.DateTimeField()
    details = models.JSONField(default=dict, help_text="{host, isolation, slots}")

    def __str__(self) -> str:
        return self.name
