"""The command as a program: quick, quiet, helpful; errors in words."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from portal.cli import console
from portal.cli.errors import CommandError, explain

PROGRAM = [sys.executable, "-c", "from portal.cli import main; main()"]


def program(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=60, env=os.environ | environment
    )


def test_version() -> None:
    done = program("--version")
    assert (done.returncode, done.stdout) == (0, f"ml4ep {metadata.version('ml4ep-portal')}\n")


def test_help_is_quick() -> None:
    """CPU time, so that a busy machine does not matter; what is measured is what is imported."""
    before = os.times()
    done = program("--help")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert spent < 0.5, f"{spent:.2f} s"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from portal.cli.app import app;"
        "heavy = {'django', 'pydantic', 'numpy', 'httpx', 'celery', 'rich', 'assistant', 'mlcore'};"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_commands_without_a_database_load_no_django(tmp_path: Path) -> None:
    code = (
        "import sys; from portal.cli.app import app\n"
        "try:\n    app(['run', 'worker-check', '--seconds', '0', '--out', sys.argv[1]])\n"
        "except SystemExit as ending:\n    assert not ending.code, ending.code\n"
        "print('django' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "out")]
    environment = os.environ | {"ML4EP_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60, env=environment)
    assert done.stdout.strip().endswith("False"), done.stderr


def commands(group: Any, *path: str) -> list[tuple[str, ...]]:
    found = [path]
    for name, each in getattr(group, "commands", {}).items():
        found += commands(each, *path, name)
    return found


def every_command() -> list[tuple[str, ...]]:
    import typer

    from portal.cli.app import app

    return commands(typer.main.get_command(app))


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_has_help(ml4ep: Any, path: tuple[str, ...]) -> None:
    text = ml4ep(*path, "--help").stdout
    assert text.startswith("Usage: ml4ep")
    first = text.split("\n\n")[1].strip()
    assert len(first) > 5, "it says what it does"
    assert first.endswith(".")


def test_no_line_of_the_overview_is_cut(ml4ep: Any) -> None:
    assert "..." not in ml4ep("--help", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).stdout.split("Commands:")[1]


def test_settings_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    done = program("models", "list", ML4EP_DATA_DIR=str(tmp_path), ML4EP_PORTT="1")
    assert done.returncode == 1
    assert "did you mean ML4EP_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_token_and_address_in_the_environment_are_no_settings(tmp_path: Path) -> None:
    done = program("models", "list", ML4EP_DATA_DIR=str(tmp_path), ML4EP_TOKEN="x", ML4EP_REMOTE="http://localhost")
    assert done.returncode == 0, done.stderr


def test_an_empty_database_is_told_in_words(tmp_path: Path) -> None:
    done = program("job", "list", ML4EP_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "Start the portal once" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_defect_has_a_traceback_only_on_request(ml4ep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.cli import models

    def broken() -> Any:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(models, "_store", broken)
    result = ml4ep("models", "list", code=1)
    assert "ZeroDivisionError: nothing to divide by" in result.stderr
    assert "--debug" in result.stderr


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (
            CommandError("It is wrong.", hint="Mend it.", problems={"--a": "odd"}),
            ["ml4ep: It is wrong.", "  --a: odd", "  Mend it."],
        ),
        (FileNotFoundError(2, "No such file or directory", "a.root"), ["ml4ep: a.root: No such file or directory"]),
        (PermissionError(13, "Permission denied", "/x"), ["ml4ep: /x: Permission denied"]),
        (BrokenPipeError(32, "Broken pipe"), None),
    ],
)
def test_errors_in_words(error: Exception, lines: list[str] | None) -> None:
    assert explain(error) == lines


def test_the_bar_redraws_on_a_terminal_and_writes_lines_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    plain, live = io.StringIO(), Terminal()
    for stream in (plain, live):
        with console.Bar(stream) as bar:
            bar(0.0, "Reading")
            bar(0.5, "Reading")
            bar(1.0, "Writing")
    assert plain.getvalue() == "  0 %  Reading\n100 %  Writing\n"
    assert "[########################] 100 %  Writing" in live.getvalue()
    assert live.getvalue().endswith("\r\x1b[K")


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("Name", "Size"), [("a", "1"), ("long name", "1000")], numeric=(1,))
    assert capsys.readouterr().out.splitlines() == [
        "Name       Size",
        "---------  ----",
        "a             1",
        "long name  1000",
    ]


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")])
def test_sizes(count: float, text: str) -> None:
    assert console.size(count) == text


def test_the_end_of_a_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'from portal.cli import main; main()' job types --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr
