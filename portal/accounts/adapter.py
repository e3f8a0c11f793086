"""What django-allauth asks the deployment."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Lets visitors make an account only where ``ML4EP_SIGNUP`` says so."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.ENV.signup)
