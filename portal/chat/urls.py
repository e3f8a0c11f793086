"""Addresses of the chat, under ``/ask/``."""

from __future__ import annotations

from django.urls import path

from portal.chat import code_views, stream, views

urlpatterns = [
    path("", views.ask, name="ask"),
    path("<uuid:pk>", views.conversation, name="conversation"),
    path("<uuid:pk>/rename", views.rename, name="conversation-rename"),
    path("<uuid:pk>/delete", views.delete, name="conversation-delete"),
    path("turns/<uuid:pk>", views.turn, name="turn"),
    path("turns/<uuid:pk>/events", stream.events, name="turn-events"),
    path("turns/<uuid:pk>/stop", views.stop, name="turn-stop"),
    path("turns/<uuid:pk>/regenerate", views.regenerate, name="turn-regenerate"),
    path("turns/<uuid:pk>/feedback", views.feedback, name="turn-feedback"),
    path("turns/<uuid:pk>/code/<int:number>", code_views.block, name="turn-code"),
    path("tutorials/run", code_views.tutorial, name="tutorial-run"),
    path("passages/<path:document>", views.passage, name="passage"),
]
