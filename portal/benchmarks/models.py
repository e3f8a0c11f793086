"""Links by which anybody sees a benchmark."""

from __future__ import annotations

from django.db import models

from portal.jobs.models import Job


class Link(models.Model):
    """A link by which anybody sees the matrix of a run; deleting the row ends it."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="benchmark_link")
    token = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"link to {self.job}"
