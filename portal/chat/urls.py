"""Addresses of the chat, under ``/ask/``."""

from __future__ import annotations

from django.urls import path

from portal.chat import code_views, conversation_views, stream, views

urlpatterns = [
    path("", views.ask, name="ask"),
    path("<uuid:pk>", views.conversation, name="conversation"),
    path("<uuid:pk>/rename", views.rename, name="conversation-rename"),
    path("<uuid:pk>/delete", views.delete, name="conversation-delete"),
    path("<uuid:pk>/share", conversation_views.share, name="conversation-share"),
    path("<uuid:pk>/export.<str:ending>", conversation_views.export, name="conversation-export"),
    path("conversations", conversation_views.conversations, name="conversations"),
    path("shared/<str:token>", conversation_views.shared, name="shared"),
    path("shared/<str:token>/pictures/<uuid:pk>", conversation_views.shared_picture, name="shared-picture"),
    path("use", conversation_views.use, name="assistant-use"),
    path("turns/<uuid:pk>", views.turn, name="turn"),
    path("turns/<uuid:pk>/events", stream.events, name="turn-events"),
    path("turns/<uuid:pk>/stop", views.stop, name="turn-stop"),
    path("turns/<uuid:pk>/regenerate", views.regenerate, name="turn-regenerate"),
    path("turns/<uuid:pk>/steps", views.steps, name="turn-steps"),
    path("turns/<uuid:pk>/steps/<int:number>/start", views.start_step, name="turn-step-start"),
    path("turns/<uuid:pk>/feedback", views.feedback, name="turn-feedback"),
    path("turns/<uuid:pk>/code/<int:number>", code_views.block, name="turn-code"),
    path("tutorials/run", code_views.tutorial, name="tutorial-run"),
    path("passages/<path:document>", views.passage, name="passage"),
]
