"""What the supervisor is told to run, and how starts are refused; the running portal is tested in tests/live."""

from __future__ import annotations

import json
import shlex
import socket
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from portal import env
from portal.home.health import QUEUES
from portal.supervisor import folder, model, prepare, programs
from portal.supervisor.control import Control, read_health
from portal.supervisor.model import EmbeddedModel


@pytest.fixture(autouse=True)
def _folders(settings: Any, tmp_path: Path) -> None:
    for name in ("RUN_DIR", "LOG_DIR", "MODELS_DIR", "DATA_DIR"):
        path = tmp_path / name.lower()
        path.mkdir()
        setattr(settings, name, path)
    settings.BROKER_SOCKET = settings.RUN_DIR / "broker.sock"
    settings.ENV = env.Environment(port=8123, web_processes=3, worker_slots=5)


def configuration(listed: list[programs.Program]) -> RawConfigParser:
    parser = RawConfigParser()
    parser.read(programs.write_configuration(listed))
    return parser


def test_every_queue_has_a_worker() -> None:
    command = next(program.command for program in programs.programs(None) if program.name == "workers")
    given = dict(word.split("=") for word in command[3:])
    assert list(given) == list(QUEUES)
    assert given["cpu"] == "5"


def test_parts_that_are_elsewhere_are_not_started(settings: Any) -> None:
    both = EmbeddedModel("small", "/models/small.gguf", 9999)
    assert {program.name for program in programs.programs(both)} == {"broker", "web", "workers", "model"}
    settings.ENV = env.Environment(broker_url="redis://elsewhere")
    assert {program.name for program in programs.programs(None)} == {"web", "workers"}


def test_web_processes_share_one_listening_socket() -> None:
    parser = configuration(programs.programs(None))
    section = parser["fcgi-program:web"]
    assert section["socket"] == "tcp://127.0.0.1:8123"
    assert section["numprocs"] == "3"
    assert section["stdout_logfile"].endswith("web-%(process_num)d.log")


def test_every_program_ends_with_the_supervisor_and_comes_back() -> None:
    parser = configuration(programs.programs(None))
    sections = [parser[name] for name in parser.sections() if "program:" in name]
    assert len(sections) == 3
    for section in sections:
        command = shlex.split(section["command"])
        assert command[3].endswith("tether.py")
        assert command[4] == "9"
        assert section["autorestart"] == "true"


def test_strange_folders_survive_the_configuration(settings: Any, tmp_path: Path) -> None:
    settings.LOG_DIR = tmp_path / "100% 'my' logs"
    section = configuration(programs.programs(None))["program:workers"]
    assert section["stdout_logfile"] % {} == str(settings.LOG_DIR / "workers.log")
    settings.LOG_DIR = tmp_path / "a ;b"
    with pytest.raises(ValueError, match="choose another folder"):
        programs.write_configuration(programs.programs(None))


def test_the_configuration_is_its_owners_alone() -> None:
    assert programs.write_configuration(programs.programs(None)).stat().st_mode & 0o077 == 0


def test_the_broker_listens_on_a_private_socket_alone() -> None:
    command = programs.programs(None)[0].command
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--unixsocketperm"] == "700"
    assert options["--appendonly"] == "yes"


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    path = tmp_path / "var" / "run" / "lock"
    path.parent.mkdir(parents=True)
    with (
        folder.lock(path, "http://127.0.0.1:8123"),
        pytest.raises(folder.StartError, match=r"runs on this folder already, at http://127\.0\.0\.1:8123"),
    ):
        folder.lock(path, "http://127.0.0.1:9")
    with folder.lock(path, "http://127.0.0.1:9"):
        assert json.loads(path.read_text())["address"] == "http://127.0.0.1:9"


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(folder.StartError, match=f"port {port} on 127.0.0.1 is taken"):
            folder.check_port("127.0.0.1", port)
    folder.check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(folder.StartError, match="cannot be used"):
        folder.check_port("192.0.2.1", 8000)


@pytest.mark.parametrize(("wanted", "chosen"), [("none", ""), ("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b")])
def test_the_configured_model_is_chosen(wanted: str, chosen: str, settings: Any) -> None:
    from assistant.models import default_manifest

    names = [each.name for each in default_manifest().models]
    wanted = next((name for name in names if name.startswith(wanted)), wanted)
    chosen = wanted if chosen else ""
    settings.ENV = env.Environment(model=wanted)
    assert model.chosen_name() == chosen
    assigned = model.assign()
    assert model.embedded_model() == assigned
    assert (assigned.name if assigned else "") == chosen


def test_auto_chooses_a_model_of_the_manifest() -> None:
    from assistant.models import default_manifest

    assert model.chosen_name() in {each.name for each in default_manifest().models}


def test_a_model_server_elsewhere_leaves_no_embedded_one(settings: Any) -> None:
    assert model.assign() is not None
    settings.ENV = env.Environment(model_url="http://elsewhere/v1", model_name="llama")
    assert model.assign() is None
    assert model.embedded_model() is None


def test_an_unknown_model_is_refused(settings: Any) -> None:
    from assistant.errors import ModelStoreError

    settings.ENV = env.Environment(model="nonsense")
    with pytest.raises(ModelStoreError, match="no model called 'nonsense'"):
        model.chosen_name()


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    assert Control(tmp_path / "none.ctl").processes() == []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert read_health("127.0.0.1", closed.getsockname()[1]) is None


@pytest.mark.django_db
def test_missing_parts_are_queued_once(settings: Any, tmp_path: Path) -> None:
    from portal.jobs.models import Job

    settings.INDEX_DIR = tmp_path / "index"
    assert model.assign() is not None
    titles = prepare.submit_missing()
    assert sorted(Job.objects.values_list("type", flat=True)) == ["corpus-ingest", "model-pull"]
    assert len(titles) == 2
    assert prepare.submit_missing() == []
    Job.objects.all().delete()
    settings.ENV = env.Environment(corpus_on_start=False, model="none")
    assert model.assign() is None
    assert prepare.submit_missing() == []


@pytest.mark.django_db
def test_static_files_are_collected_when_they_changed(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    assert prepare.collect_static()
    assert any(settings.STATIC_ROOT.rglob("*.css"))
    assert not prepare.collect_static()
    (settings.STATIC_ROOT / ".stamp").unlink()  # as an interrupted run leaves it
    assert prepare.collect_static()


@pytest.mark.django_db
def test_a_database_that_is_up_to_date_is_left_alone() -> None:
    assert not prepare.migrate()
