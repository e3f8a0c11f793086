"""Addresses of the library."""

from __future__ import annotations

from django.urls import path

from portal.library import views

urlpatterns = [
    path("", views.library, name="library"),
    path("upload", views.upload, name="library-upload"),
    path("<uuid:file_id>", views.file_page, name="library-file"),
    path("<uuid:file_id>/histogram", views.histogram, name="library-histogram"),
    path("<uuid:file_id>/download", views.download, name="library-download"),
    path("<uuid:file_id>/inspect", views.inspect, name="library-inspect"),
    path("<uuid:file_id>/delete", views.delete, name="library-delete"),
]
