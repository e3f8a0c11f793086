"""Topics of the forum, drafts of answers to them, and who did what.

States of a topic::

    QUEUED --claim--> WORKING --> DRAFTED
      ^                 |  |----> SKIPPED  (not for the bot; `reason` says why)
      |                 |  '----> FAILED   (tried too often; a reviewer can try again)
      '-----------------'  (forum or model out of reach, worker died: again at `due_at`)

States of its draft::

    WAITING --approve--> APPROVED --claim--> POSTING --> POSTED
      | ^ ^------ask another-----.  ^            |-----> HELD     (somebody answered, the question changed, the forum refused)
      | '--------- REWRITING <---'  '------------'  (forum out of reach: again at `due_at`)
      '--> REJECTED
    '--> TAKEN    (an issue: the reviewer takes the text over, the bot never posts there)

HELD goes where WAITING goes. Only `portal.forum.services` writes these tables. Each change of state is one conditional UPDATE; a
run of a worker stores a fresh `claim`, and every later write of it names that claim. The database itself keeps three promises: a
topic is there once, it has one draft, and what is posted was approved.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Forum(models.Model):
    """What the bot may do; one row. Address and keys are settings of the deployment (`portal.env`)."""

    enabled = models.BooleanField(default=False, help_text="Whether topics are looked at")
    categories = models.JSONField(default=list, blank=True, help_text="Numbers of the categories it reads, e.g. [1, 7]")
    tags = models.JSONField(default=list, blank=True, help_text="Only topics with one of these tags; empty: any topic")
    excluded_tags = models.JSONField(default=list, blank=True, help_text="Never topics with one of these tags")
    bots = models.JSONField(default=list, blank=True, help_text="User names of other bots, which get no answer")
    wait_minutes = models.PositiveIntegerField(default=10, help_text="How long people come first, after a topic was created")
    max_age_days = models.PositiveIntegerField(
        default=2, validators=[MinValueValidator(1)], help_text="Older topics get no draft"
    )
    whisper = models.BooleanField(default=False, help_text="Post everywhere as a whisper, which the forum's staff alone see")
    whisper_categories = models.JSONField(default=list, blank=True, help_text="Numbers of categories with whispers alone")
    # Posting without a person
    auto_post = models.BooleanField(default=False, help_text="Post without review where all of the following holds")
    auto_confidence = models.FloatField(
        default=0.8, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)], help_text="Least confidence"
    )
    auto_categories = models.JSONField(default=list, blank=True, help_text="Numbers of categories; empty: none")
    auto_daily = models.PositiveIntegerField(default=3, help_text="Most such posts in 24 hours")
    mirror = models.BooleanField(
        default=False, help_text="Keep the topics of the public categories above in the corpus, accepted answers marked"
    )
    mirrored_at = models.DateTimeField(null=True, editable=False)
    mirror_error = models.TextField(blank=True, editable=False)
    # The poll
    polled_at = models.DateTimeField(null=True, editable=False)
    poll_started_at = models.DateTimeField(null=True, editable=False)
    poll_error = models.TextField(blank=True, editable=False)

    class Meta:
        verbose_name = verbose_name_plural = "rules of the forum bot"

    def __str__(self) -> str:
        return "Rules of the forum bot"


class Tracker(models.Model):
    """Which issues of the GitHub repository get drafts; one row. How long people come first, and who is a bot, is in `Forum`."""

    enabled = models.BooleanField(default=False, help_text="Whether issues are looked at")
    labels = models.JSONField(default=list, blank=True, help_text="Only issues with one of these labels; empty: any issue")
    excluded_labels = models.JSONField(default=list, blank=True, help_text="Never issues with one of these labels")
    # The poll
    since = models.DateTimeField(null=True, editable=False, help_text="Changes before it were seen")
    polled_at = models.DateTimeField(null=True, editable=False)
    poll_started_at = models.DateTimeField(null=True, editable=False)
    poll_error = models.TextField(blank=True, editable=False)
    not_before = models.DateTimeField(null=True, editable=False, help_text="When GitHub's rate limit is open again")

    class Meta:
        verbose_name = verbose_name_plural = "rules for GitHub issues"

    def __str__(self) -> str:
        return "Rules for GitHub issues"


class Source(models.TextChoices):
    DISCOURSE = "discourse", "forum"
    GITHUB = "github", "GitHub"


class TopicState(models.TextChoices):
    QUEUED = "QUEUED", "Waiting"
    WORKING = "WORKING", "Being drafted"
    DRAFTED = "DRAFTED", "Drafted"
    SKIPPED = "SKIPPED", "Skipped"
    FAILED = "FAILED", "Failed"


class Topic(models.Model):
    source = models.CharField(max_length=9, choices=Source.choices, default=Source.DISCOURSE)
    number = models.BigIntegerField(help_text="The topic's number on the forum, or the issue's in its repository")
    title = models.CharField(max_length=300)
    slug = models.CharField(max_length=300, blank=True)
    category = models.BigIntegerField()
    tags = models.JSONField(default=list)
    author = models.CharField(max_length=100, blank=True)
    question = models.TextField(blank=True, help_text="The first post's Markdown, cut at a limit")
    digest = models.CharField(max_length=64, blank=True, help_text="sha256 of title and whole first post")
    created_at = models.DateTimeField(help_text="On the forum")
    seen_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=8, choices=TopicState.choices, default=TopicState.QUEUED)
    reason = models.CharField(max_length=300, blank=True, help_text="Why it was skipped or failed")
    due_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    claim = models.UUIDField(null=True)
    heartbeat_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["state", "due_at"])]
        constraints = [models.UniqueConstraint(fields=["source", "number"], name="topic_once")]

    def __str__(self) -> str:
        return self.title

    @property
    def by_hand(self) -> bool:
        """Whether the bot has no way to post there: a person does."""
        return self.source == Source.GITHUB

    @property
    def url(self) -> str:
        """Its page on the forum, or on GitHub."""
        if self.source == Source.GITHUB:
            return f"{settings.ENV.github_page}/issues/{self.number}"
        return f"{settings.ENV.forum_url}/t/{self.number}"


class DraftState(models.TextChoices):
    WAITING = "WAITING", "Waiting"
    HELD = "HELD", "Held back"
    REWRITING = "REWRITING", "Being rewritten"
    APPROVED = "APPROVED", "Approved"
    POSTING = "POSTING", "Being posted"
    POSTED = "POSTED", "Posted"
    TAKEN = "TAKEN", "Approved, posted by hand"
    REJECTED = "REJECTED", "Rejected"


OPEN = (DraftState.WAITING, DraftState.HELD)
"""States in which a person may change or decide it."""

ACCEPTED = (DraftState.POSTED, DraftState.TAKEN)
"""States of a draft whose last text a reviewer found good enough to be read."""

ON_ITS_WAY = (DraftState.APPROVED, DraftState.POSTING, *ACCEPTED)


class RejectReason(models.TextChoices):
    WRONG = "wrong", "wrong"
    INCOMPLETE = "incomplete", "incomplete"
    OFF_TOPIC = "off-topic", "off topic"
    PERSON = "person", "a person should answer"


class Draft(models.Model):
    topic = models.OneToOneField(Topic, on_delete=models.CASCADE, related_name="draft")
    state = models.CharField(max_length=9, choices=DraftState.choices, default=DraftState.WAITING)
    revision = models.PositiveIntegerField(default=1, help_text="Goes up with each text and decision")
    made_at = models.DateTimeField(default=timezone.now)
    made = models.TextField(help_text="The text as the assistant wrote it")
    text = models.TextField(help_text="Markdown; [n] cites passage n")
    passages = models.JSONField(default=list, help_text="[{n, id, title, source, kind, place, url, text, score}]")
    similar = models.JSONField(default=list, help_text="Solved topics: [{number, title}]")
    confidence = models.FloatField(null=True, help_text="The retrieval's best cosine similarity")
    answer = models.JSONField(
        default=dict, help_text="{citations, abstained, extractive, unsupported, provider, timings, versions}"
    )
    earlier = models.JSONField(default=list, help_text="[{made, text, remark}] of drafts that were replaced")
    remark = models.TextField(blank=True, help_text="What the reviewer wants of the next draft")
    note = models.CharField(max_length=300, blank=True, help_text="Why it is held back")
    anyway = models.BooleanField(default=False, help_text="Post although somebody has answered")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="assigned_drafts")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="decided_drafts")
    approved_at = models.DateTimeField(null=True)
    automatic = models.BooleanField(default=False, help_text="Approved by rule, not by a person")
    reject_reason = models.CharField(max_length=10, choices=RejectReason.choices, blank=True)
    reject_text = models.TextField(blank=True)
    decided_at = models.DateTimeField(null=True)
    # Posting
    due_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    claim = models.UUIDField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    whispered = models.BooleanField(default=False)
    post = models.BigIntegerField(null=True, unique=True, help_text="The post's number on the forum")
    posted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["made_at"]
        indexes = [models.Index(fields=["state", "due_at"])]
        permissions = [("review_draft", "Can review drafts for the forum")]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state__in=ON_ITS_WAY) | Q(approved_at__isnull=False), name="draft_posted_only_after_approval"
            ),
            models.CheckConstraint(condition=~Q(state=DraftState.POSTED) | Q(post__isnull=False), name="draft_posted_has_post"),
        ]

    def __str__(self) -> str:
        return f"Draft for {self.topic}"

    @property
    def open(self) -> bool:
        """Whether a person may change or decide it."""
        return self.state in OPEN

    @property
    def edited(self) -> bool:
        """Whether a person changed the assistant's text."""
        return self.text != self.made


class DraftPicture(models.Model):
    """A picture that a draft's code drew: PNG as `mlcore.running` wrote it anew."""

    draft = models.ForeignKey(Draft, on_delete=models.CASCADE, related_name="pictures")
    digest = models.CharField(max_length=64, help_text="sha256 of the code that drew it")
    name = models.CharField(max_length=80)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    png = models.BinaryField()
    upload = models.CharField(max_length=100, blank=True, help_text="What posts call it, once it is on the forum")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """One thing that somebody, or the bot by itself, did. Rows are only ever added."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    actor_name = models.CharField(max_length=150, help_text="Stays when the account goes; “bot” for the bot itself")
    action = models.CharField(max_length=30)
    topic = models.ForeignKey(Topic, on_delete=models.SET_NULL, null=True, related_name="audit")
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ["at", "id"]
        verbose_name_plural = "audit trail"

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action}"


class Delivery(models.Model):
    """A webhook that was taken: the same body is not taken again."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    digest = models.CharField(max_length=64, unique=True, help_text="sha256 of the body")
    event = models.CharField(max_length=40)
    received_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.event
