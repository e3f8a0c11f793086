"""The account page, tokens, sign-in pages and the one-time link."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portal.accounts import services
from portal.accounts.models import ApiToken, SignInLink, User

pytestmark = pytest.mark.django_db


def test_the_account_page_shows_use_and_quota(client: Client, person: Any) -> None:
    client.force_login(person)
    html = client.get(reverse("account")).content.decode()
    assert "0 B of 20 GiB" in html
    assert "0 of 10" in html
    assert "No token yet" in html


def test_a_token_is_shown_once_and_works(client: Client, person: Any) -> None:
    client.force_login(person)
    response = client.post(reverse("account-tokens"), {"name": "my <laptop>"})
    token = response.context["new_token"]
    assert services.user_of_token(token) == person
    assert token in response.content.decode()
    assert "my &lt;laptop&gt;" in response.content.decode()
    assert response["Cache-Control"] == "no-store"
    assert token not in client.get(reverse("account")).content.decode()


def test_a_token_needs_a_name(client: Client, person: Any) -> None:
    client.force_login(person)
    response = client.post(reverse("account-tokens"), {"name": "  "})
    assert response.status_code == 400
    assert 'aria-invalid="true"' in response.content.decode()
    assert not ApiToken.objects.exists()


def test_a_token_is_revoked_by_its_owner_alone(client: Client, person: Any, administrator: Any) -> None:
    token = services.create_token(person, "laptop")
    key = ApiToken.objects.get().pk
    client.force_login(administrator)
    assert client.post(reverse("account-token-revoke", args=[key])).status_code == 404
    client.force_login(person)
    assert client.get(reverse("account-token-revoke", args=[key])).status_code == 405
    assert client.post(reverse("account-token-revoke", args=[key])).status_code == 302
    assert services.user_of_token(token) is None


def test_the_look_is_kept(client: Client, person: Any) -> None:
    client.force_login(person)
    assert "data-theme" not in client.get("/").content.decode()[:200]
    client.post(reverse("account-theme"), {"theme": "dark"})
    assert '<html lang="en" data-theme="dark">' in client.get("/").content.decode()
    client.post(reverse("account-theme"), {"theme": "pink"})
    person.refresh_from_db()
    assert person.theme == "dark"


def test_the_link_signs_in_once(client: Client, administrator: Any) -> None:
    link = services.create_sign_in_link(administrator).split("127.0.0.1:8000")[-1]
    assert client.head(link).status_code == 405, "a look at the link alone uses it up"
    response = client.get(link)
    assert response.status_code == 302
    assert response["Location"] == "/"
    assert client.get("/").status_code == 200
    other = Client()
    response = other.get(link)
    assert response.status_code == 410
    assert "ml4ep sign-in-link" in response.content.decode()
    assert other.get("/").status_code == 302


def test_a_link_that_is_too_old_does_not_sign_in(client: Client, administrator: Any) -> None:
    link = services.create_sign_in_link(administrator).split("127.0.0.1:8000")[-1]
    SignInLink.objects.update(created_at=timezone.now() - services.LINK_LIFETIME - timedelta(minutes=1))
    assert client.get(link).status_code == 410


def test_somebody_signed_in_is_sent_home_by_a_used_link(client: Client, person: Any) -> None:
    client.force_login(person)
    assert client.get("/welcome/used").status_code == 302


def test_signing_in_with_a_password(client: Client, person: Any) -> None:
    page = client.get(reverse("account_login") + "?next=/jobs/").content.decode()
    assert 'name="next" value="/jobs/"' in page.replace('type="hidden" ', "")
    assert reverse("account_signup") not in page
    wrong = client.post(reverse("account_login"), {"login": "ada", "password": "wrong"})
    assert wrong.status_code == 200
    assert 'class="note bad"' in wrong.content.decode()
    assert 'value="ada"' in wrong.content.decode()
    right = client.post(reverse("account_login"), {"login": "ada", "password": "correct horse battery", "next": "/jobs/"})
    assert right["Location"] == "/jobs/"


def test_single_sign_on_is_offered_where_it_is_configured(client: Client, settings: Any) -> None:
    assert "/oidc/" not in client.get(reverse("account_login")).content.decode()
    app = {
        "provider_id": "lab",
        "name": "Lab <sign-on>",
        "client_id": "x",
        "secret": "y",
        "settings": {"server_url": "https://x"},
    }
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
    html = client.get(reverse("account_login")).content.decode()
    assert "Lab &lt;sign-on&gt;" in html
    assert 'method="post" action="/accounts/oidc/lab/login/' in html


def test_signing_out(client: Client, person: Any) -> None:
    client.force_login(person)
    assert "Sign out" in client.get(reverse("account_logout")).content.decode()
    client.post(reverse("account_logout"))
    assert client.get("/").status_code == 302


def test_changing_the_password(client: Client, person: Any) -> None:
    client.force_login(person)
    url = reverse("account_change_password")
    short = client.post(url, {"oldpassword": "correct horse battery", "password1": "short", "password2": "short"})
    assert 'class="msg"' in short.content.decode()
    new = "a much longer phrase"
    client.post(url, {"oldpassword": "correct horse battery", "password1": new, "password2": new})
    assert User.objects.get(pk=person.pk).check_password(new)


@pytest.mark.parametrize(
    "name", ["account_login", "account_logout", "account_change_password", "account_set_password", "account_reset_password"]
)
def test_sign_in_pages_have_the_portals_look(client: Client, administrator: Any, name: str) -> None:
    if name != "account_login":
        client.force_login(administrator)
    response = client.get(reverse(name), follow=True)
    html = response.content.decode()
    assert response.status_code == 200
    assert "portal/portal.css" in html
    assert 'id="main"' in html
    assert "<script>" not in html
    assert "style=" not in html


def test_a_visitor_cannot_make_an_account_unless_that_is_allowed(client: Client) -> None:
    response = client.post(reverse("account_signup"), {"username": "eve", "password1": "x" * 12, "password2": "x" * 12})
    assert response.status_code == 200
    assert not User.objects.filter(username="eve").exists()


@pytest.mark.parametrize(
    "model", ["accounts/user", "accounts/apitoken", "accounts/signinlink", "jobs/job", "jobs/artifact", "jobs/pulse"]
)
def test_the_administration_opens(client: Client, administrator: Any, person: Any, model: str) -> None:
    services.create_token(person, "laptop")
    client.force_login(administrator)
    response = client.get(f"/admin/{model}/")
    assert response.status_code == 200
    assert "style=" not in response.content.decode()
    client.force_login(person)
    assert client.get(f"/admin/{model}/").status_code == 302
