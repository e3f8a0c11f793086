"""Addresses of the API, beneath ``/api/v1/``."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from portal.api import reference
from portal.api.errors import json_only
from portal.api.routes import api

app_name = "api"


def _operations() -> list[URLPattern]:
    """The framework's addresses, without its own entry page."""
    found = (each for each in api.urls[0] if isinstance(each, URLPattern) and str(each.pattern))
    return [URLPattern(each.pattern, json_only(each.callback), each.default_args, each.name) for each in found]


urlpatterns = [
    path("", json_only(reference.page), name="openapi-view"),
    path("openapi.json", json_only(reference.openapi), name="openapi"),
    *_operations(),
    re_path(r".*", reference.unknown, name="unknown"),
]
