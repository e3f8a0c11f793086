"""People and their API tokens."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person. A quota left empty is the deployment's (`portal.env`)."""

    quota_disk = models.PositiveBigIntegerField(null=True, blank=True, help_text="Bytes of files and artefacts kept")
    quota_jobs = models.PositiveIntegerField(null=True, blank=True, help_text="Jobs waiting or running at a time")
    quota_seconds = models.PositiveIntegerField(null=True, blank=True, help_text="Longest run of one job, in seconds")
    quota_memory = models.PositiveBigIntegerField(null=True, blank=True, help_text="Memory of one job, in bytes")
    theme = models.CharField(
        max_length=5, default="auto", choices=[("auto", "As the system"), ("light", "Light"), ("dark", "Dark")]
    )


class ApiToken(models.Model):
    """A Bearer token for the REST API. Only its hash is stored: the token itself is shown once, when it is made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    hint = models.CharField(max_length=12, help_text="First characters, to tell tokens apart")
    digest = models.CharField(max_length=64, unique=True, help_text="sha256 of the token")
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"


class SignInLink(models.Model):
    """A one-time link that signs a person in: how the local administrator gets in on the first visit."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, unique=True, help_text="sha256 of the token in the link")
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"for {self.user}"
