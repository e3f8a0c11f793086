"""The real broker and the real worker: messages lost, workers stopped and killed in the middle of an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of the turns of `live_worker`."""
    data = tmp_path_factory.mktemp("live")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ML4EP_")}
    environment |= {
        "ML4EP_DATA_DIR": str(data),
        "ML4EP_ENV_FILE": str(data / "none"),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PYTHONPATH": str(ROOT),
    }
    program = [sys.executable, str(Path(__file__).with_name("live_worker.py"))]
    done = subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    log = data / "log" / "live.log"
    assert done.returncode == 0, done.stderr[-4000:] + (log.read_text()[-4000:] if log.exists() else "")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_question_whose_message_was_lost_is_answered(found: dict[str, Any]) -> None:
    assert found["lost_message"] == {"state": "DONE", "provider": "slow", "citations": [1]}


def test_a_worker_that_is_asked_to_stop_gives_its_turn_to_the_next(found: dict[str, Any]) -> None:
    assert found["released"] == "DONE"
    assert found["released_after"] < 5


def test_a_reader_stops_an_answer_within_two_seconds(found: dict[str, Any]) -> None:
    assert found["stopped_after"] < 2


def test_a_worker_killed_in_the_middle_leaves_a_failed_turn_that_can_be_asked_again(found: dict[str, Any]) -> None:
    assert found["killed"]["state"] == "FAILED"
    assert "Answer again" in found["killed"]["hint"]
    assert found["killed"]["kept"]
    assert found["asked_again"] == "DONE"
