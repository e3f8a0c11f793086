"""The bot's rules, and what it and the reviewers did. Drafts are decided in the queue alone."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError

from portal.forum import services
from portal.forum.models import AuditEntry, Forum, Topic, Tracker

NUMBERS = ("categories", "whisper_categories", "auto_categories")
WORDS = ("tags", "excluded_tags", "bots")


class ForumForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """Checks that the lists are lists of what they should hold."""

    class Meta:
        model = Forum
        fields = (
            "enabled", "categories", "tags", "excluded_tags", "bots", "wait_minutes", "max_age_days", "whisper",
            "whisper_categories", "auto_post", "auto_confidence", "auto_categories", "auto_daily", "mirror",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for name, kind, example in [(each, int, "[1, 7]") for each in NUMBERS] + [(each, str, '["rdf"]') for each in WORDS]:
            value = given.get(name)
            if name in given and not (isinstance(value, list) and all(type(item) is kind for item in value)):
                self.add_error(name, ValidationError(f"Write a list, for example {example}."))
        return given


@admin.register(Forum)
class ForumAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """One row, changed here; each change is in the audit trail."""

    form = ForumForm
    fieldsets = (
        (None, {"fields": ("enabled", "categories", "tags", "excluded_tags", "bots", "wait_minutes", "max_age_days")}),
        ("Whispers", {"fields": ("whisper", "whisper_categories")}),
        ("Topics as a source of answers", {"fields": ("mirror",)}),
        ("Posting without review", {"fields": ("auto_post", "auto_confidence", "auto_categories", "auto_daily")}),
    )

    def has_add_permission(self, _request: object) -> bool:
        return not Forum.objects.exists()

    def has_delete_permission(self, _request: object, _obj: object = None) -> bool:
        return False

    def save_model(self, request: Any, obj: Forum, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        services.record("rules changed", None, request.user, **{name: form.cleaned_data[name] for name in form.changed_data})


class TrackerForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """Checks that the lists are lists of labels."""

    class Meta:
        model = Tracker
        fields = ("enabled", "labels", "excluded_labels")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for name in ("labels", "excluded_labels"):
            value = given.get(name)
            if name in given and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
                self.add_error(name, ValidationError('Write a list, for example ["question"].'))
        return given


@admin.register(Tracker)
class TrackerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """One row, changed here; each change is in the audit trail."""

    form = TrackerForm

    def has_add_permission(self, _request: object) -> bool:
        return not Tracker.objects.exists()

    def has_delete_permission(self, _request: object, _obj: object = None) -> bool:
        return False

    def save_model(self, request: Any, obj: Tracker, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        given = {name: form.cleaned_data[name] for name in form.changed_data}
        services.record("rules for issues changed", None, request.user, **given)


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """To look at."""

    def has_add_permission(self, _request: object) -> bool:
        return False

    def has_change_permission(self, _request: object, _obj: object = None) -> bool:
        return False

    def has_delete_permission(self, _request: object, _obj: object = None) -> bool:
        return False


@admin.register(Topic)
class TopicAdmin(ReadOnly):
    """Which topics were seen, and what became of each."""

    list_display = ("source", "number", "title", "state", "reason", "attempts", "seen_at")
    list_filter = ("source", "state")
    search_fields = ("title", "number")


@admin.register(AuditEntry)
class AuditAdmin(ReadOnly):
    """Who did what."""

    list_display = ("at", "actor_name", "action", "topic")
    list_filter = ("action",)
    list_select_related = ("topic",)
