"""The production deployment, as far as it can be checked without a container engine: its parts, order and settings."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest
import yaml

from portal import env
from portal.home.health import QUEUES

OURS = ("setup", "web", "worker", "assistant", "system", "beat", "model")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = yaml.safe_load((env.ROOT / "compose.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_the_parts_are_all_there(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {*OURS, "database", "broker"}
    assert set(compose) - {"name", "services", "volumes"} == {"x-portal", "x-worker"}


def test_every_queue_has_a_worker_and_beat_is_one(compose: dict[str, Any]) -> None:
    commands = [" ".join(service.get("command", [])) for service in compose["services"].values()]
    assert sorted(queue for command in commands for queue in re.findall(r"--queues=(\w+)", command)) == sorted(QUEUES)
    assert sum(" beat " in command for command in commands) == 1


def test_references_lead_somewhere(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for other, when in service.get("depends_on", {}).items():
            target = compose["services"][other]
            if when["condition"] == "service_healthy":
                assert "healthcheck" in target, f"{name} waits for {other}, which has no health check"
            else:
                assert target["restart"] == "no", f"{name} waits for {other} to end, which never does"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]


def test_settings_are_known_and_complete(compose: dict[str, Any]) -> None:
    for name in OURS:
        given = compose["services"][name]["environment"]
        fields = [key.removeprefix(env.PREFIX).lower() for key in given if key.startswith(env.PREFIX)]
        assert set(fields) <= set(env.Environment.model_fields), name
        assert {"data_dir", "database_url", "broker_url"} <= set(fields), name


def test_each_value_is_accepted(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in env.os.environ if name.startswith(env.PREFIX)]:
        monkeypatch.delenv(variable)
    for name in ("web", "model"):
        for key, value in compose["services"][name]["environment"].items():
            filled = re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", value).replace("set POSTGRES_PASSWORD", "secret")
            monkeypatch.setenv(key, filled)
        found = env.read(None)
        assert found.database_url == "postgresql://ml4ep:secret@database:5432/ml4ep"
        assert found.public_url == "http://localhost:8000"
        assert bool(found.model_url) == (name == "web")


def test_commands_name_modules_that_exist(compose: dict[str, Any]) -> None:
    for name in OURS:
        command = compose["services"][name]["command"]
        modules = [command[command.index("-m") + 1]] if "-m" in command else []
        modules += [command[command.index("-A") + 1]] if "-A" in command else []
        modules += [word.partition(":")[0] for word in command if word.startswith("portal.") and ":" in word]
        assert modules, f"{name} runs {command}"
        for module in modules:
            assert importlib.util.find_spec(module), f"{name}: no module {module}"


def test_the_image_has_what_it_copies() -> None:
    ignored = (env.ROOT / ".dockerignore").read_text()
    for kept in re.findall(r"^!(\S+)", ignored, re.MULTILINE):
        assert (env.ROOT / kept.rstrip("/")).exists(), f"{kept} is kept for the image and not there"
    dockerfile = (env.ROOT / "Dockerfile").read_text()
    assert "python portal/bootstrap.py" in dockerfile
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE), "the image runs as root"
