"""What the tests of the API share: clients that speak JSON, with a person's token."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """Nobody guesses the passwords of these tests."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@dataclass
class Door:
    """The API as one person's program uses it."""

    token: str = ""
    client: Client = field(default_factory=Client)

    def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        """One request; ``body`` goes as JSON, ``data`` and ``content_type`` as they are."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= kwargs.pop("headers", {})
        if body is not None:
            kwargs |= {"data": json.dumps(body), "content_type": "application/json"}
        return self.client.generic(method, f"/api/v1/{path}", headers=headers, **kwargs)

    def get(self, path: str, **kwargs: Any) -> Any:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Any:
        return self.call("POST", path, body, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Any:
        return self.call("DELETE", path, **kwargs)

    def upload(self, name: str, data: bytes, **kwargs: Any) -> Any:
        return self.call("PUT", f"files?name={name}", data=data, content_type="application/octet-stream", **kwargs)


def door_of(user: Any) -> Door:
    from portal.accounts.services import create_token

    return Door(create_token(user, "tests"))


@pytest.fixture
def door(person: Any) -> Door:
    """An ordinary person's."""
    return door_of(person)


@pytest.fixture
def staff_door(administrator: Any) -> Door:
    """An administrator's."""
    return door_of(administrator)


@pytest.fixture
def stranger(db: None) -> Door:
    """Another ordinary person's."""
    from portal.accounts.models import User

    return door_of(User.objects.create_user("eve"))
