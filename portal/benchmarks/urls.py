"""Addresses of the pages about benchmarks."""

from __future__ import annotations

from django.urls import path

from portal.benchmarks import views

urlpatterns = [
    path("", views.index, name="benchmarks"),
    path("<uuid:job_id>", views.matrix, name="benchmark-matrix"),
    path("<uuid:job_id>/link", views.link, name="benchmark-link"),
    path("shared/<str:token>", views.shared, name="benchmark-shared"),
]
