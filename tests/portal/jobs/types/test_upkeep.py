"""The portal's own jobs: model-pull and corpus-ingest, run as the child process runs them."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from assistant.corpus import SourceEntry, add_source, source_kind
from assistant.corpus.document import RemoteSource
from assistant.errors import CorpusError, ModelStoreError
from assistant.index import index_status
from assistant.models import Manifest, Model, store
from assistant.models.sources import HubSource
from portal.jobs import registry, services
from portal.jobs.context import JobContext
from portal.jobs.models import JobState

BYTES = b"GGUF" + bytes(range(256)) * 400


class Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BYTES)))
        self.end_headers()
        self.wfile.write(BYTES)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/small.gguf"
        finally:
            server.shutdown()
            thread.join()


def run(slug: str, params: dict[str, Any], tmp_path: Path) -> tuple[Any, list[dict[str, Any]]]:
    """Run a job type and return its result and its messages."""
    messages: list[dict[str, Any]] = []
    out, places = tmp_path / "out", {"models": tmp_path / "models", "index": tmp_path / "index"}
    out.mkdir()
    job_type = registry.get(slug)
    return job_type.run(JobContext(out, {}, messages.append, places), job_type.parse(params)), messages


def manifest(url: str, digest: str) -> Manifest:
    return Manifest(
        (Model("small", "Small model", "small.gguf", digest, len(BYTES), "Apache-2.0", "", 512, 1, 1, (HubSource(url),)),)
    )


@pytest.mark.parametrize("slug", ["model-pull", "corpus-ingest"])
def test_they_are_not_in_the_menu_and_do_not_stand_in_peoples_way(slug: str) -> None:
    job_type = registry.get(slug)
    assert job_type.staff_only
    assert not job_type.listed
    assert job_type.queue == "system"


def test_a_model_is_fetched_and_checked(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "default_manifest", lambda: manifest(hub, hashlib.sha256(BYTES).hexdigest()))
    result, messages = run("model-pull", {"model": "small"}, tmp_path)
    assert (tmp_path / "models" / "small.gguf").read_bytes() == BYTES
    assert [figure.label for figure in result.figures] == ["Model", "Size", "sha256"]
    assert any("progress" in message for message in messages)


def test_wrong_bytes_are_refused(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "default_manifest", lambda: manifest(hub, "0" * 64))
    with pytest.raises(ModelStoreError, match="wrong bytes"):
        run("model-pull", {"model": "small"}, tmp_path)
    assert not (tmp_path / "models" / "small.gguf").exists()


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelStoreError, match="no model called 'nonsense'"):
        run("model-pull", {"model": "nonsense"}, tmp_path)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """An index folder whose only sources are two folders of Markdown."""
    index = tmp_path / "index"
    index.mkdir()
    (index / "sources.json").write_text('{"sources": []}')
    for name in ("fits", "trees"):
        pages = tmp_path / name
        pages.mkdir()
        (pages / "page.md").write_text(f"# About {name}\n\nEverything about {name} in histograms, with an example of {name}.\n")
        add_source(index, "folder", str(pages), name=name)
    return index


def test_an_index_is_built_and_its_sources_are_listed(sources: Path, tmp_path: Path) -> None:
    result, messages = run("corpus-ingest", {"dense": False}, tmp_path)
    status = index_status(sources)
    assert status.lexical
    assert {source.name for source in status.sources} == {"fits", "trees"}
    assert [row[0] for row in result.tables[0].rows] == ["fits", "trees"]
    assert any(message.get("text") == "The index is up to date" for message in messages)


@pytest.fixture
def served_repository(tmp_path: Path) -> Iterator[str]:
    """The address of a repository with a little of ROOT in it, behind git's own server on this machine."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    folder = tmp_path / "served" / "root"
    (folder / "core/base/inc").mkdir(parents=True)
    (folder / "core/base/inc/TObject.h").write_text("class TObject {};\n")
    (folder / "documentation/manual").mkdir(parents=True)
    page = "# Streamers\n\nThe manual says what a streamer of a class writes to a file, and how its versions differ.\n"
    (folder / "documentation/manual/io.md").write_text(page)
    for arguments in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "one")):
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(folder), *arguments]
        subprocess.run(command, check=True, capture_output=True)
    address = ("--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={folder.parent}")
    server = subprocess.Popen(["git", "daemon", "--reuseaddr", *address, str(folder.parent)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"git://127.0.0.1:{port}/root"
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.django_db(transaction=True)
def test_a_repository_elsewhere_is_fetched_by_the_job(
    administrator: Any, run_now: Any, settings: Any, sources: Path, served_repository: str
) -> None:
    """The job's process has the network for it, in the sandbox as well, and only while such a source is on the list."""
    settings.INDEX_DIR = sources
    job_type, places = registry.get("corpus-ingest"), {"index": sources}
    assert not job_type.network({}, places)
    add_source(sources, "root-sources", served_repository, name="elsewhere")
    assert job_type.network({}, places)
    assert not job_type.network({"sources": ["fits"]}, places)
    job = run_now(services.submit(administrator, "corpus-ingest", {"dense": False}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    (elsewhere,) = (source for source in index_status(sources).sources if source.name == "elsewhere")
    assert (elsewhere.problem, elsewhere.documents > 0) == ("", True)


@pytest.mark.parametrize(
    ("location", "elsewhere"),
    [
        ("https://example.org/root.git#v6", True), ("git@example.org:root.git", True), ("ssh://git@example.org/root", True),
        ("file:///srv/root", False), ("/srv/root", False), ("/srv/@old/root", False),
    ],
)  # fmt: skip
def test_which_sources_are_elsewhere(location: str, elsewhere: bool) -> None:
    kind = source_kind("root-sources")
    assert isinstance(kind, RemoteSource)
    assert kind.elsewhere(SourceEntry("sources", "root-sources", location)) is elsewhere


def test_a_source_that_is_not_there_is_named(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"No source is called nonsense\."):
        run("corpus-ingest", {"sources": ["fits", "nonsense"], "dense": False}, tmp_path)


def test_an_index_is_stale_when_its_sources_have_changed(sources: Path, tmp_path: Path) -> None:
    from portal.supervisor.prepare import index_is_stale

    assert index_is_stale(sources)
    run("corpus-ingest", {"dense": False}, tmp_path)
    assert index_is_stale(sources), "search by meaning is missing"
