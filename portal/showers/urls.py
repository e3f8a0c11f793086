"""Addresses of the page about showers."""

from __future__ import annotations

from django.urls import path

from portal.showers import views

urlpatterns = [path("", views.showers, name="showers")]
