"""Addresses of jobs."""

from __future__ import annotations

from django.urls import path

from portal.jobs import views

urlpatterns = [
    path("", views.job_list, name="job-list"),
    path("new", views.job_new, name="job-new"),
    path("new/<slug:slug>", views.job_form, name="job-form"),
    path("new/<slug:slug>/preview", views.job_preview, name="job-preview"),
    path("<uuid:job_id>", views.job_page, name="job"),
    path("<uuid:job_id>/status", views.job_status, name="job-status"),
    path("<uuid:job_id>/log", views.job_log, name="job-log"),
    path("<uuid:job_id>/cancel", views.job_cancel, name="job-cancel"),
    path("<uuid:job_id>/retry", views.job_retry, name="job-retry"),
    path("<uuid:job_id>/delete", views.job_delete, name="job-delete"),
    path("<uuid:job_id>/artifacts/<uuid:artifact_id>", views.artifact, name="artifact"),
    path("<uuid:job_id>/artifacts/<uuid:artifact_id>/use", views.artifact_use, name="artifact-use"),
    path("<uuid:job_id>/kept/<uuid:kept_id>", views.kept, name="kept"),
    path("<uuid:job_id>/artifacts.zip", views.job_zip, name="job-zip"),
    path("<uuid:job_id>/manifest", views.job_manifest, name="job-manifest"),
]
