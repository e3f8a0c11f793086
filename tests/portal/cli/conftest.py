"""Commands in this process, on the tests' own database and folders."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

Command = Callable[..., Any]


@pytest.fixture
def ml4ep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs ``ml4ep`` with the given words in an empty folder; fails where the exit code is not the expected one."""
    from portal.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # as in a process of its own

    def run(*words: str, code: int = 0, **kwargs: Any) -> Any:
        result = CliRunner().invoke(app, list(words), prog_name="ml4ep", **kwargs)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def said(ml4ep: Command) -> Command:
    """Runs a command with ``--json`` and returns what it printed."""

    def run(*words: str, **kwargs: Any) -> Any:
        return json.loads(ml4ep(*words, "--json", **kwargs).stdout)

    return run
