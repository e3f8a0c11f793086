"""Addresses of the forum bot, under ``/forum/``."""

from __future__ import annotations

from django.urls import path

from portal.forum import views
from portal.forum.webhook import webhook

urlpatterns = [
    path("", views.queue, name="forum"),
    path("webhook", webhook, name="forum-webhook"),
    path("evaluation.jsonl", views.evaluation, name="forum-evaluation"),
    path("topics/<int:pk>/retry", views.retry, name="forum-topic-retry"),
    path("drafts/<int:pk>", views.draft, name="forum-draft"),
    path("drafts/<int:pk>/pictures/<int:number>", views.picture, name="forum-picture"),
    path("drafts/<int:pk>/preview", views.preview, name="forum-preview"),
]
