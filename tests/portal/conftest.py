"""What the portal's tests share."""

from __future__ import annotations

from typing import Any

import pytest

from portal.home import overview


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    """Hashing a password is slow on purpose; the tests make hundreds of people."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """Each test sees its own state of the services."""
    overview.forget()
