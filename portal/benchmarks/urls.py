"""Addresses of the pages about benchmarks."""

from __future__ import annotations

from django.urls import path

from portal.benchmarks import views

urlpatterns = [
    path("", views.index, name="benchmarks"),
    path("<uuid:job_id>", views.matrix, name="benchmark-matrix"),
]
