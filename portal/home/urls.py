"""Addresses of the home and status pages."""

from __future__ import annotations

from django.urls import path

from portal.home import views

urlpatterns = [
    path("favicon.ico", views.favicon),
    path("", views.home, name="home"),
    path("status", views.status, name="status"),
    path("status/strip", views.status_strip, name="status-strip"),
]
