"""Files that people uploaded, and the contents behind them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Content(models.Model):
    """Bytes in the file storage, kept once however many files have them. Its row is the lock for storing and removing them."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.PositiveBigIntegerField()
    path = models.CharField(max_length=300, help_text="Name in the file storage")

    def __str__(self) -> str:
        return self.sha256


class LibraryFile(models.Model):
    """An uploaded file: its name, its owner and its content."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=30, help_text="mlcore.filetypes: found by content, never by name")
    content = models.ForeignKey(Content, on_delete=models.PROTECT, related_name="files")
    size = models.PositiveBigIntegerField(help_text="As in its content; here too, so that quotas are one sum")
    created_at = models.DateTimeField(auto_now_add=True)
    inspection_job = models.ForeignKey("jobs.Job", on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["owner", "content", "name"], name="one_file_per_owner_and_content")]

    def __str__(self) -> str:
        return self.name

    @property
    def sha256(self) -> str:
        """The content's hash."""
        return self.content_id

    @property
    def path(self) -> str:
        """The content's name in the file storage."""
        return self.content.path
