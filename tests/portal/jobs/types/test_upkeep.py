"""The portal's own jobs: model-pull and corpus-ingest, run as the child process runs them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from assistant.corpus import add_source
from assistant.errors import CorpusError, ModelStoreError
from assistant.index import index_status
from assistant.models import Manifest, Model, store
from assistant.models.sources import HubSource
from portal.jobs import registry
from portal.jobs.context import JobContext

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


def test_a_source_that_is_not_there_is_named(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"No source is called nonsense\."):
        run("corpus-ingest", {"sources": ["fits", "nonsense"], "dense": False}, tmp_path)


def test_an_index_is_stale_when_its_sources_have_changed(sources: Path, tmp_path: Path) -> None:
    from portal.supervisor.prepare import index_is_stale

    assert index_is_stale(sources)
    run("corpus-ingest", {"dense": False}, tmp_path)
    assert index_is_stale(sources), "search by meaning is missing"
