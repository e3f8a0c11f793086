"""``%ml4ep`` and ``%%ml4ep`` in a shell of IPython, against a portal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.client import JobFailedError, Portal
from portal.client.handles import JobHandle
from portal.jobs.models import Job
from tests.portal.client.test_client import portal

__all__ = ["portal"]  # the fixture

IPython = pytest.importorskip("IPython", reason="IPython is not installed")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    made = InteractiveShell()
    made.history_manager.enabled = False
    made.extension_manager.load_extension("portal.client")
    yield made
    made.magics_manager.registry["PortalMagics"].leave()
    made.history_manager.end_session()
    InteractiveShell.clear_instance()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, run_now: Any) -> None:
    """A job that is waited for runs here, first."""
    real = JobHandle.wait

    def wait(self: JobHandle, **options: Any) -> JobHandle:
        run_now(Job.objects.get(pk=self.id))
        return real(self, **options)

    monkeypatch.setattr(JobHandle, "wait", wait)


def cell(shell: Any, line: str, body: str) -> Any:
    return shell.run_cell_magic("ml4ep", line, body)


def test_connect(shell: Any, portal: Portal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    token = portal._connection.wire.http.headers["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    monkeypatch.setenv("ML4EP_TOKEN", token)
    shell.run_line_magic("ml4ep", f"connect {portal.url} --output there")
    assert shell.user_ns["there"].me()["username"] == "admin"
    assert capsys.readouterr().out == f"Connected to {portal.url} as admin.\n"
    shell.run_line_magic("ml4ep", "types")
    assert "forest-to-cpp" in capsys.readouterr().out
    assert "Rows to compare" in shell.run_line_magic("ml4ep", "type forest-to-cpp")._repr_html_()
    assert token not in capsys.readouterr().out


def test_the_environment_names_the_portal(shell: Any, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    token = portal._connection.wire.http.headers["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    monkeypatch.setenv("ML4EP_REMOTE", portal.url)
    monkeypatch.setenv("ML4EP_TOKEN", token)
    job = cell(shell, "submit worker-check --no-wait", "seconds = 0")
    assert job.base == portal.url


@pytest.mark.usefixtures("ended")
def test_submit(shell: Any, portal: Portal, tmp_path: Path) -> None:
    shell.user_ns |= {"portal": portal, "how_long": 0}
    job = cell(
        shell, "submit worker-check --title 'my own' -o mine --out got", "# a comment\nseconds = $how_long\n\nending = well\n"
    )
    assert (job.state, job.title, job.params["seconds"]) == ("SUCCEEDED", "my own", 0)
    assert shell.user_ns["mine"] is job
    assert (tmp_path / "got" / "report.json").is_file()
    assert "Ran for" in job._repr_html_()
    assert shell.run_line_magic("ml4ep", f"job {job.id}").id == job.id


@pytest.mark.usefixtures("ended")
def test_a_job_that_fails_stops_the_notebook(shell: Any, portal: Portal) -> None:
    shell.user_ns["portal"] = portal
    with pytest.raises(JobFailedError, match="asked to fail"):
        cell(shell, "submit worker-check -o mine", "seconds = 0\nending = error")
    assert shell.user_ns["mine"].state == "FAILED"


def test_values(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    magics = shell.magics_manager.registry["PortalMagics"]
    shell.user_ns["rows"] = [1, 2]
    text = 'a = 1.5\nb = true\nsome-text = x = y\nlines =\n  one\n  two\nmodel = @model.json\nrows = $rows\njson = [1, "a"]\n'
    assert magics._parameters(text, {}) == {
        "a": 1.5, "b": True, "some_text": "x = y", "lines": "one\ntwo", "model": Path("model.json"),
        "rows": [1, 2], "json": [1, "a"],
    }  # fmt: skip


def test_values_of_a_known_type(shell: Any, tmp_path: Path) -> None:
    for name in ("a.root", "b.root"):
        (tmp_path / name).write_text("")
    magics = shell.magics_manager.registry["PortalMagics"]
    shell.user_ns |= {"file": "id", "files": ["one", "two"]}
    text = (
        'name = 12\nfew = @a.root\nmany = @a.root, @b.root\none = $file\nall = $files\ncolumns = pt, eta\njson = ["x, y"]\nn = 3'
    )
    schema = {name: {"type": "array"} for name in ("few", "many", "one", "all", "columns", "json")}
    assert magics._parameters(text, schema | {"name": {"type": "string"}, "n": {"type": "integer"}}) == {
        "name": "12", "few": [Path("a.root")], "many": [Path("a.root"), Path("b.root")], "one": ["id"], "all": ["one", "two"],
        "columns": ["pt", "eta"], "json": ["x, y"], "n": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "body", "message"),
    [
        ("submit", "", "required: type"),
        ("nonsense", "", "invalid choice"),
        ("ask 'half", "", "No closing quotation"),
        ("ask", "  ", "Write the question"),
        ("submit worker-check", "seconds", "is no parameter"),
        ("submit worker-check", "model = @nothing", "no file 'nothing'"),
        ("submit worker-check", "model = $nothing", "no variable 'nothing'"),
        ("type nothing", "", "There are: "),
    ],
)
def test_mistakes(shell: Any, portal: Portal, line: str, body: str, message: str) -> None:
    shell.user_ns["portal"] = portal
    with pytest.raises(IPython.core.error.UsageError, match=message):
        cell(shell, line, body or "\n")


def test_no_portal(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ML4EP_REMOTE", raising=False)
    with pytest.raises(IPython.core.error.UsageError, match="Which portal"):
        cell(shell, "ask", "Why?")


def test_alone_it_says_how(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_line_magic("ml4ep", "")
    assert "%%ml4ep submit TYPE" in capsys.readouterr().out


def test_ask(shell: Any, portal: Portal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from portal.chat import services
    from portal.chat.models import Turn

    real, conversations = services.ask, []

    def answered(*args: Any, **kwargs: Any) -> Turn:
        turn = real(*args, **kwargs)
        conversations.append(turn.conversation_id)
        Turn.objects.filter(pk=turn.pk).update(state="DONE", passages=[], text="Because.", answer={})
        return turn

    monkeypatch.setattr(services, "ask", answered)
    shell.user_ns["portal"] = portal
    cell(shell, "ask -o said", "Why?\n")
    assert capsys.readouterr().out == "Because.\n"
    assert shell.user_ns["said"].text == "Because."
    cell(shell, "ask --follow --no-model -k 3", "And?\n")
    cell(shell, "ask", "New?\n")
    assert conversations[0] == conversations[1] != conversations[2]
