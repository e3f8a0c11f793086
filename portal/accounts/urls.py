"""Addresses of a person's own account."""

from __future__ import annotations

from django.urls import path

from portal.accounts import views

urlpatterns = [
    path("", views.account, name="account"),
    path("tokens", views.tokens, name="account-tokens"),
    path("tokens/<int:token_id>/revoke", views.revoke_token, name="account-token-revoke"),
    path("theme", views.theme, name="account-theme"),
]
