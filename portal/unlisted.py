"""Answers to whoever has a link that is a key: for no index and no cache, and not sent on."""

from __future__ import annotations

from typing import TypeVar

from django.http.response import HttpResponseBase

__all__ = ["unlisted"]

NOT_INDEXED = "noindex, nofollow, noarchive"

R = TypeVar("R", bound=HttpResponseBase)


def unlisted(response: R) -> R:
    """The response, with headers that keep its address from becoming known."""
    response.headers["X-Robots-Tag"] = NOT_INDEXED
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "private, no-store"
    return response
