"""People and tokens in the administration."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from portal.accounts.models import ApiToken, SignInLink, User

admin.site.site_header = admin.site.site_title = "ML4EP Portal administration"


@admin.register(User)
class PersonAdmin(UserAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """People with their quotas; an empty quota is the deployment's."""

    fieldsets = (
        *(UserAdmin.fieldsets or ()),
        ("Quota", {"fields": ("quota_disk", "quota_jobs", "quota_seconds", "quota_memory")}),
        ("Look", {"fields": ("theme",)}),
    )
    list_display = ("username", "email", "is_staff", "is_active", "last_login", "date_joined")


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """Tokens can be revoked here, not read or made."""

    list_display = ("user", "name", "hint", "created_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "name")
    readonly_fields = ("user", "name", "hint", "created_at", "last_used_at")
    exclude = ("digest",)

    def has_add_permission(self, request: object) -> bool:
        return False


@admin.register(SignInLink)
class SignInLinkAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """Which links are out, and which were used."""

    list_display = ("user", "created_at", "used_at")
    readonly_fields = ("user", "created_at", "used_at")
    exclude = ("digest",)

    def has_add_permission(self, request: object) -> bool:
        return False
