"""Addresses of OpenAI's API, beneath ``/v1/``."""

from __future__ import annotations

from django.urls import path, re_path

from portal.api import completions

app_name = "openai"

urlpatterns = [
    path("models", completions.models, name="models"),
    path("chat/completions", completions.completions, name="completions"),
    re_path(r".*", completions.unknown, name="unknown"),
]
