"""The model store, with a hub and packages that are small but real: HTTP on the loopback, wheels found by pip."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from assistant.errors import ModelStoreError
from assistant.models import Manifest, Model, ModelStore, default_manifest, default_model, read_manifest
from assistant.models.sources import HubSource, PackageSource

CONTENT = bytes(range(256)) * 4096  # 1 MiB
PART = 400_000
GIB = 1 << 30


@dataclass
class Hub:
    """A file server: what it holds, how it misbehaves, what it was asked."""

    content: bytes = CONTENT
    cut_after: list[int] = field(default_factory=list)  # bytes of each reply in turn before the connection breaks
    ranges: bool = True
    digest: str = ""
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.asked.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state.ranges else 0
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            if state.digest:
                self.send_header("X-Linked-Etag", f'"{state.digest}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}/model.gguf"
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, with the content cut into three of them."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number in (1, 2, 3):
        write_wheel(folder, number, CONTENT[(number - 1) * PART : number * PART])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, number: int, content: bytes) -> None:
    name = f"ml4ep_test_piece{number}"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')\n")
        wheel.writestr(f"{name}/part{number:02d}.bin", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


PACKAGES = PackageSource("ml4ep-test-piece{n}", "1.0", "ml4ep_test_piece{n}/part{n:02d}.bin", parts=3, part_bytes=PART)
MODEL = Model(
    name="tiny",
    title="Tiny",
    file="tiny.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    licence="Apache-2.0",
    homepage="",
    context=512,
    minimum_memory=1,
    minimum_cores=1,
    sources=(),
)


def store(root: Path, *sources: HubSource | PackageSource) -> ModelStore:
    return ModelStore(root / "models", Manifest((replace(MODEL, sources=sources),)))


def left_behind(models: ModelStore) -> set[str]:
    return {path.name for path in models.root.iterdir()} - {".tiny.gguf.lock"}


def test_pull_from_the_hub(tmp_path: Path, hub: Hub) -> None:
    models = store(tmp_path, HubSource(hub.url))
    assert [state.state for state in models.list()] == ["absent"]
    with pytest.raises(ModelStoreError, match="not there yet") as caught:
        models.path("tiny")
    assert "ml4ep models pull tiny" in caught.value.hint
    reports: list[tuple[float, str]] = []
    path = models.pull("tiny", lambda fraction, text: reports.append((fraction, text)))
    assert path == models.path("tiny") == models.target("tiny") == models.verify("tiny")
    assert path.read_bytes() == CONTENT
    assert left_behind(models) == {"tiny.gguf"}
    assert reports[-1] == (1.0, "Checking tiny.gguf")
    assert all(0 <= fraction <= 1 for fraction, _ in reports)
    models.pull("tiny")
    assert hub.asked == [""], "a model that is there is not fetched again"


def test_a_connection_that_breaks_goes_on_where_it_stopped(tmp_path: Path, hub: Hub) -> None:
    hub.cut_after = [300_000, 200_000]
    assert store(tmp_path, HubSource(hub.url)).pull("tiny").read_bytes() == CONTENT
    assert hub.asked[0] == ""
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in hub.asked[1:]]
    assert starts == [300_000, 500_000]


def test_a_server_without_ranges_starts_over(tmp_path: Path, hub: Hub) -> None:
    hub.cut_after = [300_000]
    hub.ranges = False
    assert store(tmp_path, HubSource(hub.url)).pull("tiny").read_bytes() == CONTENT


def test_the_next_pull_resumes_what_a_broken_one_left(tmp_path: Path, hub: Hub) -> None:
    hub.cut_after = [250_000, 0, 0, 0]
    models = store(tmp_path, HubSource(hub.url))
    with pytest.raises(ModelStoreError, match="could not be fetched"):
        models.pull("tiny")
    (state,) = models.list()
    assert (state.state, state.present) == ("partial", 250_000)
    hub.cut_after.clear()
    models.pull("tiny")
    assert hub.asked[-1] == "bytes=250000-"


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", CONTENT[:-1], CONTENT + b"!"], ids=["changed", "short", "long"])
def test_wrong_bytes_are_refused(tmp_path: Path, hub: Hub, content: bytes) -> None:
    hub.content = content
    models = store(tmp_path, HubSource(hub.url))
    with pytest.raises(ModelStoreError, match=r"wrong bytes|holds \d+ bytes") as caught:
        models.pull("tiny")
    assert caught.value.code == "models.no-source"
    assert not models.target("tiny").exists()
    (state,) = models.list()
    assert state.present == 0, "nothing of a wrong file is kept"


def test_another_file_is_refused_before_it_is_downloaded(tmp_path: Path, hub: Hub) -> None:
    hub.digest = "0" * 64
    models = store(tmp_path, HubSource(hub.url))
    with pytest.raises(ModelStoreError, match="holds another file"):
        models.pull("tiny")
    assert models.list()[0].present == 0


def test_packages_stand_in_for_a_hub_out_of_reach(tmp_path: Path, wheels: Path) -> None:
    # Port 9 of the loopback: refused at once.
    models = store(tmp_path, HubSource("http://127.0.0.1:9/model.gguf"), PACKAGES)
    assert models.pull("tiny").read_bytes() == CONTENT
    assert left_behind(models) == {"tiny.gguf"}, "no wheel stays behind"


def test_packages_go_on_from_what_the_hub_gave(tmp_path: Path, hub: Hub, wheels: Path) -> None:
    hub.cut_after = [PART + 12_345, 0, 0]
    (wheels / "ml4ep_test_piece1-1.0-py3-none-any.whl").unlink()  # not needed: the hub gave these bytes
    assert store(tmp_path, HubSource(hub.url), PACKAGES).pull("tiny").read_bytes() == CONTENT


def test_a_part_that_is_missing_is_named_and_finished_parts_are_kept(tmp_path: Path, wheels: Path) -> None:
    missing = wheels / "ml4ep_test_piece3-1.0-py3-none-any.whl"
    missing.unlink()
    models = store(tmp_path, PACKAGES)
    with pytest.raises(ModelStoreError, match=r"ml4ep-test-piece3==1\.0 could not be downloaded"):
        models.pull("tiny")
    assert models.list()[0].present == 2 * PART
    write_wheel(wheels, 3, CONTENT[2 * PART :])
    assert models.pull("tiny").read_bytes() == CONTENT


def test_a_part_of_the_wrong_length_is_refused(tmp_path: Path, wheels: Path) -> None:
    write_wheel(wheels, 1, CONTENT[: PART + 1])
    with pytest.raises(ModelStoreError, match="part 1 is not 400000 bytes long"):
        store(tmp_path, PACKAGES).pull("tiny")


def test_wrong_bytes_of_one_source_do_not_spoil_the_next(tmp_path: Path, hub: Hub, wheels: Path) -> None:
    hub.content = CONTENT[:-1] + b"?"
    assert store(tmp_path, HubSource(hub.url), PACKAGES).pull("tiny").read_bytes() == CONTENT


def test_a_spoilt_partial_file_is_thrown_away(tmp_path: Path, hub: Hub) -> None:
    models = store(tmp_path, HubSource(hub.url))
    models.root.mkdir()
    (models.root / "tiny.gguf.partial").write_bytes(b"?" * 1000)
    assert models.pull("tiny").read_bytes() == CONTENT
    assert hub.asked == ["bytes=1000-", ""]


def test_cancel_keeps_what_arrived(tmp_path: Path, hub: Hub) -> None:
    models = store(tmp_path, HubSource(hub.url))
    with pytest.raises(ModelStoreError, match="cancelled") as caught:
        models.pull("tiny", cancelled=lambda: True)
    assert caught.value.code == "models.cancelled"
    assert models.list()[0].state == "partial"


def test_an_exception_of_the_progress_callback_ends_the_download(tmp_path: Path, wheels: Path) -> None:
    def stop(fraction: float, text: str) -> None:
        raise KeyboardInterrupt

    models = store(tmp_path, PACKAGES)
    with pytest.raises(KeyboardInterrupt):
        models.pull("tiny", stop)
    assert left_behind(models) == {"tiny.gguf.partial"}


def test_one_process_at_a_time(tmp_path: Path, hub: Hub) -> None:
    models = store(tmp_path, HubSource(hub.url))
    refusals: list[str] = []

    def second(fraction: float, text: str) -> None:
        with contextlib.suppress(ModelStoreError):
            try:
                models.pull("tiny")
            except ModelStoreError as error:
                refusals.append(error.code)
                raise

    models.pull("tiny", second)
    assert set(refusals) == {"models.busy"}


def test_too_little_disk_is_said_before_the_download(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assistant.models.store.shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ModelStoreError, match="of disk are needed") as caught:
        store(tmp_path, HubSource(hub.url)).pull("tiny")
    assert caught.value.code == "models.disk-full"
    assert not hub.asked


def test_verify_removes_a_file_that_changed(tmp_path: Path, hub: Hub) -> None:
    models = store(tmp_path, HubSource(hub.url))
    path = models.pull("tiny")
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(ModelStoreError, match="not the file of the manifest"):
        models.verify("tiny")
    assert not path.exists()


def test_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(ModelStoreError, match="no model called 'huge'") as caught:
        store(tmp_path).pull("huge")
    assert "tiny" in caught.value.hint


def test_the_manifest_names_hub_and_packages_for_each_model() -> None:
    models = default_manifest().models
    assert [model.name for model in models] == ["qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"]
    for model in models:
        assert [type(source) for source in model.sources] == [HubSource, PackageSource]
        assert model.licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("memory", "cores", "name"),
    [
        (24 * GIB, 2, "qwen2.5-coder-1.5b"),
        (6 * GIB, 2, "qwen2.5-coder-1.5b"),
        (24 * GIB, 1, "qwen2.5-coder-0.5b"),
        (4 * GIB, 8, "qwen2.5-coder-0.5b"),
        (GIB // 2, 1, "qwen2.5-coder-0.5b"),
    ],
)
def test_default_model(memory: int, cores: int, name: str) -> None:
    assert default_model(memory, cores) == name


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('sha256 = "1d96', 'sha256 = "xyz', "sha256"),
        ('file = "qwen', 'file = "../qwen', "file"),
        ("parts = 6", "parts = 5", "source"),
        ('kind = "hub"', 'kind = "ftp"', "ftp"),
        ("context = 32768", "colour = 3", "colour"),
        ("[[model]]", "[[model", "cannot be read"),
    ],
)
def test_a_manifest_with_a_mistake_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    import assistant.models.manifest as module

    text = Path(module.__file__).with_name("manifest.toml").read_text(encoding="utf-8")
    broken = tmp_path / "manifest.toml"
    broken.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ModelStoreError, match=says):
        read_manifest(broken)
