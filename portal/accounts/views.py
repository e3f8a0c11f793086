"""A person's own account, and the door of the one-time sign-in link."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from portal.accounts import services
from portal.accounts.models import ApiToken, User
from portal.jobs.models import ACTIVE, Job
from portal.jobs.services import disk_used

BACKEND = "django.contrib.auth.backends.ModelBackend"


class TokenForm(forms.Form):
    """What a new API token is called."""

    name = forms.CharField(max_length=80, strip=True)


class ThemeForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """How pages look."""

    class Meta:
        model = User
        fields = ["theme"]


@login_required
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """Who I am, what I use, my tokens, how pages look."""
    return _account_page(request)


@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """Make an API token; the answer shows it, once."""
    if request.method == "GET":
        return redirect("account")
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _account_page(request, token_error=" ".join(str(error) for error in form.errors["name"]), status=400)
    user: Any = request.user
    token = services.create_token(user, form.cleaned_data["name"])
    return _account_page(request, new_token=token, new_token_name=form.cleaned_data["name"])


@login_required
@require_POST
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """Make one of my tokens stop working."""
    token = get_object_or_404(ApiToken, pk=token_id, user=request.user.pk)
    token.delete()
    messages.success(request, f"The token “{token.name}” does not work any more.")
    return redirect("account")


@login_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep how pages look."""
    user: Any = request.user
    form = ThemeForm(request.POST, instance=user)
    if form.is_valid():
        form.save()
        messages.success(request, "Pages look as chosen.")
    else:
        messages.error(request, "Choose one of the three looks.")
    return redirect("account")


@never_cache
@require_GET
def welcome(request: HttpRequest, token: str) -> HttpResponse:
    """The one-time link: signs in and goes home. Where it is used or too old, the page says how to get a new one.

    Answers GET alone: a program that looks at links by HEAD must not use it up.
    """
    user = services.use_sign_in_link(token)
    if user is None:
        if request.user.is_authenticated:
            return redirect(settings.LOGIN_REDIRECT_URL)
        return render(request, "accounts/welcome.html", {"days": services.LINK_LIFETIME.days}, status=410)
    login(request, user, backend=BACKEND)
    return redirect(settings.LOGIN_REDIRECT_URL)


def _account_page(request: HttpRequest, *, status: int = 200, **extra: Any) -> HttpResponse:
    user: Any = request.user
    quota = services.quota(user)
    used = disk_used(user)
    active = Job.objects.filter(owner=user, state__in=ACTIVE, parent=None).count()
    context = {
        "quota": quota,
        "uses": [
            {"title": "Files and artefacts", "used": used, "limit": quota.disk, "share": _share(used, quota.disk), "bytes": True},
            {"title": "Jobs at a time", "used": active, "limit": quota.jobs, "share": _share(active, quota.jobs), "bytes": False},
        ],
        "tokens": ApiToken.objects.filter(user=user),
        "themes": User._meta.get_field("theme").choices,
        "has_password": user.has_usable_password(),
        "public_url": settings.PUBLIC_URL,
    }
    response = render(request, "accounts/account.html", context | extra, status=status)
    if "new_token" in extra:
        response["Cache-Control"] = "no-store"
    return response


def _share(used: int, limit: int) -> int:
    """Used of a limit, in per cent."""
    return min(round(100 * used / limit), 100) if limit else 100
