"""Writers of accounts: tokens, sign-in links, the local administrator, quotas."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from portal.accounts.models import ApiToken, SignInLink, User

TOKEN_PREFIX = "ml4ep_"  # noqa: S105  (lets secret scanners recognise a leaked token)
LINK_LIFETIME = timedelta(days=7)
ADMINISTRATOR = "admin"


@dataclass(frozen=True)
class Quota:
    """What one person may use: bytes kept, jobs at a time, seconds and bytes of memory of one job."""

    disk: int
    jobs: int
    seconds: int
    memory: int


def quota(user: User) -> Quota:
    """The person's quota, the deployment's where none of their own is set."""
    default = settings.ENV
    return Quota(
        disk=user.quota_disk or default.quota_disk,
        jobs=user.quota_jobs or default.quota_jobs,
        seconds=user.quota_seconds or default.quota_seconds,
        memory=user.quota_memory or default.quota_memory,
    )


def digest(token: str) -> str:
    """What is stored of a token: tokens are long and random, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def create_token(user: User, name: str) -> str:
    """Make an API token and return it; it cannot be read again."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(user=user, name=name[:80] or "token", hint=token[: len(TOKEN_PREFIX) + 4], digest=digest(token))
    return token


def user_of_token(token: str) -> User | None:
    """The active person a token belongs to."""
    found = ApiToken.objects.select_related("user").filter(digest=digest(token), user__is_active=True).first()
    if found is None:
        return None
    now = timezone.now()
    if found.last_used_at is None or now - found.last_used_at > timedelta(minutes=1):
        ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
    return found.user


def local_administrator() -> User:
    """The administrator of this machine's own portal, made on the first call (no password: they come by a sign-in link)."""
    user, made = User.objects.get_or_create(username=ADMINISTRATOR, defaults={"is_staff": True, "is_superuser": True})
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user


def create_sign_in_link(user: User) -> str:
    """A fresh one-time address that signs ``user`` in; links that were made before and not used stop working."""
    token = secrets.token_urlsafe(24)
    with transaction.atomic():
        SignInLink.objects.filter(user=user).delete()
        SignInLink.objects.create(user=user, digest=digest(token))
    return f"{settings.PUBLIC_URL}/welcome/{token}"


def use_sign_in_link(token: str) -> User | None:
    """The person a link signs in, once; None where it is unknown, used or too old."""
    now = timezone.now()
    fresh = SignInLink.objects.filter(digest=digest(token), used_at=None, created_at__gt=now - LINK_LIFETIME)
    # The conditional UPDATE decides between two visitors with the same link.
    if not fresh.update(used_at=now):
        return None
    return SignInLink.objects.select_related("user").get(digest=digest(token)).user
