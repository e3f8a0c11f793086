"""Settings that are dangerous together are said, or refused, before the portal starts."""

from __future__ import annotations

from typing import Any

import pytest

from portal import checks, env


def ids(settings: Any, public_url: str, **values: Any) -> list[str]:
    settings.ENV = env.Environment(**values)
    settings.PUBLIC_URL = public_url
    return [str(message.id) for message in checks.exposure()]


def test_a_portal_of_this_machine_alone_is_fine(settings: Any) -> None:
    assert ids(settings, "http://127.0.0.1:8000", debug=True) == []
    assert ids(settings, "http://localhost:8000") == []


EVERYWHERE = "0.0.0.0"  # noqa: S104  (nothing listens in these tests)


@pytest.mark.parametrize(
    ("public_url", "host", "debug", "expected"),
    [
        ("https://ml4ep.example.org", "127.0.0.1", False, []),
        ("http://ml4ep.example.org", "127.0.0.1", False, ["portal.W001"]),
        ("http://127.0.0.1:8000", EVERYWHERE, False, ["portal.W001"]),
        ("https://ml4ep.example.org", EVERYWHERE, True, ["portal.E001"]),
    ],
)
def test_exposure(public_url: str, host: str, debug: bool, expected: list[str], settings: Any) -> None:
    assert ids(settings, public_url, host=host, debug=debug) == expected


def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.compiler() == []
    monkeypatch.setattr(checks.shutil, "which", lambda _name: None)
    assert [message.id for message in checks.compiler()] == ["portal.W002"]


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("[::1]", True), ("localhost", True), ("10.0.0.1", False), ("", False)]
)
def test_local(host: str, local: bool) -> None:
    assert checks.is_local(host) is local
