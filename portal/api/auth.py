"""Who asks: a Bearer token, or the session of a page with its CSRF token."""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from portal.accounts.models import User
from portal.accounts.services import user_of_token
from portal.api.errors import ApiError


class Token(HttpBearer):
    """An API token in the Authorization header."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        user = user_of_token(token)
        if user is not None:
            request.user = user
        return user


class Session(APIKeyCookie):
    """The session of a signed-in page. A request that gives an Authorization header is judged by that alone."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> User | None:
        if "Authorization" in request.headers or not request.user.is_authenticated:
            return None
        if check_csrf(request):
            hint = "Send the CSRF cookie's value as X-CSRFToken, or use a token."
            raise ApiError(403, "The request does not come from a page of this portal.", hint=hint, code="csrf")
        return self.authenticate(request, None)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        return person(request)


def person(request: HttpRequest) -> User:
    """The person a request comes from, once it is authenticated."""
    return cast("User", request.user)
