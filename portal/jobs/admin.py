"""Jobs in the administration: to look and to delete. What changes a job goes through `portal.jobs.services`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from portal.jobs import services
from portal.jobs.models import Artifact, Job, Pulse


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """Rows that only workers write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Every job of everybody."""

    list_display = ("title", "type", "state", "owner", "created_at", "started_at", "finished_at", "attempt", "worker")
    list_filter = ("state", "type")
    list_select_related = ("owner",)
    search_fields = ("title", "owner__username", "id")
    date_hierarchy = "created_at"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.active)

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        """Remove the stored artefacts too."""
        services.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Remove the ended ones; a job that waits or runs stays."""
        for job in queryset:
            if not job.active:
                services.delete(job)


@admin.register(Artifact)
class ArtifactAdmin(ReadOnly):
    """What jobs made. Deleting goes by the job."""

    list_display = ("name", "kind", "job", "size", "created_at")
    list_select_related = ("job",)
    search_fields = ("name", "sha256", "job__title")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Pulse)
class PulseAdmin(ReadOnly):
    """When each worker last said that it lives."""

    list_display = ("name", "at", "details")
