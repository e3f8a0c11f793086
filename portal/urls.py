"""Every address of the portal, one line for each app."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from portal.accounts.views import welcome

urlpatterns = [
    path("", include("portal.home.urls")),
    path("ask/", include("portal.chat.urls")),
    path("forum/", include("portal.forum.urls")),
    path("jobs/", include("portal.jobs.urls")),
    path("showers/", include("portal.showers.urls")),
    path("benchmarks/", include("portal.benchmarks.urls")),
    path("library/", include("portal.library.urls")),
    path("account/", include("portal.accounts.urls")),
    path("accounts/", include("allauth.urls")),
    path("welcome/<str:token>", welcome, name="welcome"),
    path("api/v1/", include("portal.api.urls")),
    path("v1/", include("portal.api.openai_urls")),
    path("admin/", admin.site.urls),
]

handler400 = "portal.home.views.bad_request"
handler403 = "portal.home.views.forbidden"
handler404 = "portal.home.views.not_found"
handler500 = "portal.home.views.server_error"
