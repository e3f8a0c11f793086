"""Commands that use a portal: this machine's in the same process, or one elsewhere."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from portal.accounts.models import ApiToken, SignInLink
from portal.accounts.services import user_of_token
from portal.jobs.models import Job

pytestmark = pytest.mark.django_db(transaction=True)  # the API runs in a thread of its own


def test_tokens(ml4ep: Any, said: Any, person: Any) -> None:
    made = ml4ep("token", "create", "--user", "ada", "--name", "laptop")
    token = made.stdout.strip()
    assert user_of_token(token) == person
    assert "shown once" in made.stderr
    (listed,) = said("token", "list", "--user", "ada")
    assert (listed["name"], listed["user"]) == ("laptop", "ada")
    assert token not in ml4ep("token", "list").stdout
    assert token[:10] in ml4ep("token", "list").stdout
    assert "Revoked: laptop of ada." in ml4ep("token", "revoke", listed["hint"] + "…").stdout
    assert user_of_token(token) is None
    assert "no such token" in ml4ep("token", "revoke", token, code=1).stderr


def test_a_token_of_the_administrator(ml4ep: Any) -> None:
    user = user_of_token(ml4ep("token", "create", "--user", "admin").stdout.strip())
    assert user is not None
    assert user.is_staff


def test_a_token_of_nobody(ml4ep: Any, person: Any) -> None:
    result = ml4ep("token", "create", "--user", "bob", code=1)
    assert "There is nobody called 'bob'" in result.stderr
    assert "ada" in result.stderr
    assert result.stdout == ""


def test_a_sign_in_link_signs_in(ml4ep: Any, client: Any) -> None:
    link = ml4ep("sign-in-link").stdout.strip()
    assert SignInLink.objects.count() == 1
    client.get(link[link.index("/welcome/") :])
    client.post(link[link.index("/welcome/") :])  # the page may ask first
    assert client.get("/api/v1/me").json()["username"] == "admin"


def test_jobs_of_this_machine(ml4ep: Any, said: Any, run_now: Any, tmp_path: Path) -> None:
    job = ml4ep("job", "submit", "worker-check", "-p", "seconds=0.1", "--title", "mine").stdout.strip()
    assert "waiting" in ml4ep("job", "list").stdout
    run_now(Job.objects.get(pk=job))
    short = job[:8]
    assert [each["id"] for each in said("job", "list", "--state", "done")] == [job]
    assert said("job", "list", "--state", "failed") == []
    shown = ml4ep("job", "show", short).stdout
    assert "mine: done" in shown
    assert "Ran for" in shown
    assert "report.json" in shown
    assert said("job", "show", short)["result"]["figures"]
    assert "runs for 0.1 s" in ml4ep("job", "log", short).stdout
    path = Path(ml4ep("job", "download", short, "--out", "got").stdout.strip())
    assert json.loads((tmp_path / path).read_text())["memory"] == 0
    again = ml4ep("job", "retry", short).stdout.strip()
    assert "Cancelled." in ml4ep("job", "cancel", again).stdout
    assert "Deleted." in ml4ep("job", "delete", again).stdout
    assert "begins with" in ml4ep("job", "show", again[:12], code=1).stderr
    assert ApiToken.objects.count() == 0, "the token of a command ends with it"


def test_a_failed_job_says_why(ml4ep: Any, run_now: Any) -> None:
    job = ml4ep("job", "submit", "worker-check", "-p", "seconds=0", "-p", "ending=error").stdout.strip()
    run_now(Job.objects.get(pk=job))
    shown = ml4ep("job", "show", job).stdout
    assert "failed" in shown
    assert "Choose another ending." in shown
    assert "no artefacts" in ml4ep("job", "download", job, code=1).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("submit", "no-such"), "No job type is called"),
        (("submit", "worker-check", "-p", "seconds=-1"), "seconds: Input should be greater"),
        (("submit", "worker-check", "-p", "seconds"), "Write NAME=VALUE"),
        (("list", "--state", "lost"), "States: waiting"),
        (("show", "abc"), "List them: ml4ep job list"),
    ],
)
def test_what_jobs_refuse(ml4ep: Any, words: tuple[str, ...], told: str) -> None:
    result = ml4ep("job", *words, code=1)
    assert result.stderr.startswith("ml4ep: ")
    assert told in result.stderr


def test_job_types(ml4ep: Any, said: Any) -> None:
    assert "forest-to-cpp" in ml4ep("job", "types").stdout
    types = {each["slug"]: each for each in said("job", "types")}
    assert "model" in types["forest-to-cpp"]["params"]["properties"]


def test_files_of_this_machine(ml4ep: Any, said: Any, tmp_path: Path) -> None:
    assert "There are no files" in ml4ep("files", "list").stderr
    (tmp_path / "notes.txt").write_bytes(b"a line\n" * 300_000)  # two chunks: the body is streamed here too
    file = ml4ep("files", "upload", "notes.txt").stdout.split()[0]
    assert "notes.txt" in ml4ep("files", "list").stdout
    assert [each["id"] for each in said("files", "list", "--kind", "text")] == [file]
    assert "not inspected" in ml4ep("files", "inspect", file[:8]).stdout
    ml4ep("files", "download", file[:8], "--out", "copy.txt")
    assert (tmp_path / "copy.txt").read_bytes() == (tmp_path / "notes.txt").read_bytes()
    assert "Deleted." in ml4ep("files", "delete", file[:8]).stdout


def test_an_inspection_is_shown(ml4ep: Any, run_now: Any, tmp_path: Path) -> None:
    import h5py

    from portal.library.models import LibraryFile

    with h5py.File(tmp_path / "data.h5", "w") as content:
        content["x"] = [1.0, 2.0]
    file = ml4ep("files", "upload", "data.h5").stdout.split()[0]
    assert "not been inspected yet" in ml4ep("files", "inspect", file).stdout
    run_now(LibraryFile.objects.get().inspection_job)
    assert "x" in ml4ep("files", "inspect", file).stdout


def test_uploads_that_are_refused(ml4ep: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    assert "pickle" in ml4ep("files", "upload", "model.pkl", code=1).stderr
    assert "nothing.root: No such file" in ml4ep("files", "upload", "nothing.root", code=1).stderr


def test_status_fails_where_the_portal_cannot_serve(ml4ep: Any, said: Any) -> None:
    result = ml4ep("status", code=1)
    assert "✓ db" in result.stdout
    assert "✗ workers" in result.stdout
    assert "ml4ep up" in result.stderr
    assert said("status", code=1)["serves"] is False


# --- elsewhere ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(live_server: Any, administrator: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A portal reached over the network, the token in the environment."""
    from portal.accounts.services import create_token

    monkeypatch.setenv("ML4EP_TOKEN", create_token(administrator, "tests"))
    url: str = live_server.url
    return url


def test_jobs_elsewhere(ml4ep: Any, said: Any, run_now: Any, elsewhere: str, tmp_path: Path) -> None:
    job = ml4ep("job", "submit", "worker-check", "-p", "seconds=0", "--remote", elsewhere).stdout.strip()
    run_now(Job.objects.get(pk=job))
    assert said("job", "show", job, "--remote", elsewhere)["state"] == "SUCCEEDED"
    ml4ep("job", "download", job, "-o", "got", "--remote", elsewhere)
    assert (tmp_path / "got" / "report.json").is_file()
    assert "worker-check" in ml4ep("job", "types", "--remote", elsewhere).stdout


def test_the_address_may_come_from_the_environment(said: Any, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML4EP_REMOTE", elsewhere)
    assert said("job", "list") == []


def test_run_elsewhere(ml4ep: Any, elsewhere: str, run_now: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would run here runs there; the artefacts come back the same."""
    from portal.client.jobs import Jobs

    real = Jobs.submit

    def submit(self: Jobs, *args: Any, **kwargs: Any) -> Any:
        job = real(self, *args, **kwargs)
        run_now(Job.objects.get(pk=job.id))
        return job

    monkeypatch.setattr(Jobs, "submit", submit)
    result = ml4ep("run", "worker-check", "--seconds", "0", "--title", "far away", "--out", "far", "--remote", elsewhere)
    assert "Ran for" in result.stdout
    assert Job.objects.get().title == "far away"
    assert (tmp_path / "far" / "report.json").is_file()
    assert f"{elsewhere}/jobs/{Job.objects.get().pk}" in result.stdout.replace("\n", "")


def test_files_elsewhere(ml4ep: Any, elsewhere: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a text\n")
    file = ml4ep("files", "upload", "notes.txt", "--remote", elsewhere).stdout.split()[0]
    assert "notes.txt" in ml4ep("files", "inspect", file, "--remote", elsewhere).stdout
    ml4ep("files", "delete", file, "--remote", elsewhere)


def test_a_wrong_token_and_none(ml4ep: Any, live_server: Any) -> None:
    assert "wants a token" in ml4ep("job", "list", "--remote", live_server.url, code=1).stderr
    wrong = ml4ep("job", "list", "--remote", live_server.url, "--token", "x", code=1)
    assert "valid token" in wrong.stderr


def test_nobody_there(ml4ep: Any) -> None:
    assert "cannot be reached" in ml4ep("job", "list", "--remote", "http://127.0.0.1:9", "--token", "x", code=1).stderr


def test_ask_and_retrieve_elsewhere(ml4ep: Any, said: Any, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.chat import services
    from portal.chat.models import Turn

    real = services.ask

    def answered(*args: Any, **kwargs: Any) -> Turn:
        turn = real(*args, **kwargs)
        found = [{"n": 1, "title": "TH1", "source": "TH1", "url": "https://example.org", "score": 0.5, "text": "Fits."}]
        Turn.objects.filter(pk=turn.pk).update(state="DONE", passages=found, text="Because [1].", answer={"citations": [1]})
        return turn

    monkeypatch.setattr(services, "ask", answered)
    result = ml4ep("ask", "Why?", "--remote", elsewhere)
    assert "Because [1]." in result.stdout
    assert "*[1] TH1" in result.stdout
    assert said("ask", "Why?", "--remote", elsewhere)["citations"] == [1]
    (passage,) = said("retrieve", "fit", "-k", "3", "--remote", elsewhere)
    assert (passage["title"], passage["url"]) == ("TH1", "https://example.org")
