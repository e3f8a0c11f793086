"""Files that people uploaded."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class LibraryFile(models.Model):
    """An uploaded file: its name and owner. The bytes are stored once for each content (`path` holds the sha256)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=30, help_text="mlcore.filetypes: found by content, never by name")
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64, db_index=True)
    path = models.CharField(max_length=300, help_text="Name in the file storage")
    created_at = models.DateTimeField(auto_now_add=True)
    inspection_job = models.ForeignKey("jobs.Job", on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["owner", "sha256", "name"], name="one_file_per_owner_and_content")]

    def __str__(self) -> str:
        return self.name
