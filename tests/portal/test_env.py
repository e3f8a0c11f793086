"""Settings: each is documented, and whatever cannot be understood stops the start with its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portal import env
from portal.env import Environment, EnvironmentProblem

EXAMPLE = env.ROOT / ".env.example"

# One value of each setting that must be refused. Texts that may be anything have none.
MALFORMED = {
    "geant4_data": "/nowhere/at/all",
    "benchmark_engines": "/nowhere/at/all",
    "database_url": "mysql://host/name",
    "broker_url": "localhost:6379",
    "storage_url": "gs://bucket",
    "port": "70000",
    "public_url": "ml4ep.example.org",
    "debug": "perhaps",
    "web_processes": "0",
    "run_code": "always",
    "log_level": "LOUD",
    "signup": "often",
    "oidc_url": "ldap://host",
    "worker_slots": "two",
    "quota_disk": "-1",
    "quota_jobs": "0",
    "quota_seconds": "1h",
    "quota_memory": "1000",
    "upload_limit": "4GB",
    "retention_days": "never",
    "model_url": "localhost:11434",
    "model_price_prompt": "-1",
    "model_price_completion": "cheap",
    "model_currency": "pounds sterling",
    "corpus_on_start": "later",
    "forum_url": "forum.example.org",
    "github_repository": "root",
    "github_url": "api.github.com",
}
ANY_TEXT = {
    "data_dir", "host", "allowed_hosts", "secret_key", "oidc_name", "oidc_client_id", "oidc_client_secret", "model", "model_name",
    "model_api_key", "forum_user", "forum_key", "forum_webhook_secret", "github_token",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*env.os.environ]:
        if name.startswith(env.PREFIX):
            monkeypatch.delenv(name)


def examples() -> dict[str, str]:
    """The settings shown in .env.example, in their order."""
    return dict(re.findall(r"^#(ML4EP_[A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_every_setting_is_documented_in_order() -> None:
    assert list(examples()) == [env.PREFIX + name.upper() for name in Environment.model_fields]


def test_every_setting_stands_below_a_comment() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#ML4EP_"):
            assert lines[number - 1].startswith("#"), f"{line} has no explanation"


def test_the_values_shown_are_the_defaults(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    lines = [f"{name}={env.ROOT / value if name.endswith('DATA_DIR') else value}" for name, value in examples().items()]
    dotenv.write_text("\n".join(lines))
    assert env.read(dotenv) == env.read(None)


def test_every_setting_has_a_malformed_value_or_takes_any_text() -> None:
    assert MALFORMED.keys() | ANY_TEXT == set(Environment.model_fields)
    assert not MALFORMED.keys() & ANY_TEXT


@pytest.mark.parametrize(("field", "value"), MALFORMED.items())
def test_a_malformed_value_stops_the_start(field: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = env.PREFIX + field.upper()
    monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentProblem, match=f"{name}: "):
        env.read(None)


@pytest.mark.parametrize("where", ["process", "file"])
def test_an_unknown_name_stops_the_start(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("# nothing\n" if where == "process" else "export ML4EP_WORKER_SLOT=3\n")
    if where == "process":
        monkeypatch.setenv("ML4EP_WORKER_SLOT", "3")
    with pytest.raises(EnvironmentProblem, match=r"ML4EP_WORKER_SLOT is not a setting; did you mean ML4EP_WORKER_SLOTS\?"):
        env.read(dotenv)


def test_all_problems_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ML4EP_PORT": "x", "ML4EP_DEBUG": "x", "ML4EP_NONSENSE_HERE": "x"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentProblem) as problem:
        env.read(None)
    assert all(name in str(problem.value) for name in ("ML4EP_PORT", "ML4EP_DEBUG", "ML4EP_NONSENSE_HERE"))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"model_url": "http://127.0.0.1:11434/v1"}, "ML4EP_MODEL_NAME"),
        ({"oidc_url": "https://sso.example.org"}, "ML4EP_OIDC_CLIENT_ID"),
        ({"forum_url": "https://forum.example.org"}, "ML4EP_FORUM_USER"),
    ],
)
def test_settings_that_need_each_other(given: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field, value in given.items():
        monkeypatch.setenv(env.PREFIX + field.upper(), value)
    with pytest.raises(EnvironmentProblem, match=wanted):
        env.read(None)


def test_the_process_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("ML4EP_PORT=8100\nML4EP_ALLOWED_HOSTS=a.example.org, b.example.org\n")
    monkeypatch.setenv("ML4EP_PORT", "8101")
    found = env.read(dotenv)
    assert (found.port, found.allowed_hosts) == (8101, ["a.example.org", "b.example.org"])
