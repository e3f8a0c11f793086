"""Remote files: over HTTP from a server on this machine, from fsspec's memory, from S3; and what is said without a package."""

from __future__ import annotations

import importlib.util
import itertools
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import awkward as ak
import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.sources import DamagedDataError, _planned, open_source
from mlcore.errors import InputError
from tests.mlcore.batches.sources.checks import check_blocks

ROWS = 3000
EDGES = [0, 900, 1000, 2200, ROWS]
X = np.random.default_rng(1).normal(size=ROWS)
COUNTS = np.random.default_rng(2).integers(0, 5, ROWS)
V = Jagged(np.arange(COUNTS.sum(), dtype=np.int32), np.concatenate([[0], np.cumsum(COUNTS)]).astype(np.int64))
EXACT: dict[str, Values] = {"x": X, "v": V}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("remote")
    for kind in ("tree", "ntuple"):
        with uproot.recreate(folder / f"{kind}.root") as file:
            for start, stop in itertools.pairwise(EDGES):
                ragged = ak.unflatten(V.values[V.offsets[start] : V.offsets[stop]], COUNTS[start:stop])
                chunk = {"x": X[start:stop], "unused": X[start:stop], "v": ragged}
                if start:
                    file["Events"].extend(chunk)
                elif kind == "tree":
                    file.mktree("Events", chunk)
                else:
                    file.mkrntuple("Events", chunk)
    ragged_table = pa.LargeListArray.from_arrays(pa.array(V.offsets), pa.array(V.values))
    pq.write_table(pa.table({"x": X, "v": ragged_table}), folder / "t.parquet", row_group_size=1000)
    with h5py.File(folder / "t.h5", "w") as hdf5:
        hdf5["x"] = X
    np.savez(folder / "t.npz", x=X, y=X)
    return folder


class Handler(BaseHTTPRequestHandler):
    """Files of a folder, in ranges."""

    folder = Path()
    asked: list[tuple[int, int]] = []
    state = {"up": True, "version": 1}

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.folder / self.path.strip("/")
        if not path.is_file() or not self.state["up"]:
            self.send_error(404 if self.state["up"] else 503)
            return
        data = path.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(found[1]), min(len(data), int(found[2] or len(data)) + 1)) if found else (0, len(data))
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.asked.append((start, stop))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.state["version"]}"')
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if body:
            self.wfile.write(data[start:stop])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def http(folder: Path) -> Iterator[str]:
    Handler.folder = folder
    Handler.asked.clear()
    Handler.state.update(up=True, version=1)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    system = fsspec.filesystem("memory")
    for path in folder.iterdir():
        system.pipe_file(f"/data/{path.name}", path.read_bytes())
    yield "memory://data"
    system.rm("/data", recursive=True)


@pytest.mark.parametrize("where", ["http", "memory"])
@pytest.mark.parametrize("name", ["tree.root", "ntuple.root:Events", "t.parquet", "t.h5", "t.npz"])
def test_rows(where: str, name: str, request: pytest.FixtureRequest) -> None:
    source = open_source(f"{request.getfixturevalue(where)}/{name}")
    exact = EXACT if ".root" in name or "parquet" in name else {"x": X}
    (part,) = source.parts
    assert part.rows == ROWS
    check_blocks(part, exact, 0, ROWS, 256)
    check_blocks(part, exact, 950, 2300, 8192)
    source.check_unchanged()
    assert source.fingerprint == open_source(f"{request.getfixturevalue(where)}/{name}").fingerprint


@pytest.mark.parametrize("name", ["tree.root", "ntuple.root"])
@pytest.mark.parametrize("window", [1, 1500, 5000, 10**9])
def test_windows(memory: str, name: str, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is fetched at a time, the rows are the same."""
    monkeypatch.setattr(_planned, "WINDOW", window)
    (part,) = open_source(f"{memory}/{name}").parts
    check_blocks(part, EXACT, 0, ROWS, 300)
    check_blocks(part, {"v": V}, 800, 2500, 1000)
    check_blocks(part, {"v": V}, 895, 1005, 1)
    with part.reader(["x"], 10) as reader:
        assert reader.native is None
        for start in (2990, 0, 899, 1500):
            (block,) = reader.blocks(start, start + 10)
            np.testing.assert_array_equal(block["x"], X[start : start + 10])


def test_only_what_is_needed_is_fetched(http: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlcore.batches.sources._places.GAP", 0)
    (part,) = open_source(f"{http}/tree.root").parts
    Handler.asked.clear()
    with part.reader(["x"]) as reader:
        assert sum(len(block["x"]) for block in reader.blocks(1000, 2200)) == 1200
    (page,) = [span for span in part.spans("x").tolist() if span[2] == 1000]  # type: ignore[attr-defined]
    wanted = sum(stop - start for start, stop in Handler.asked)
    # The window ends with the file: its last basket comes as well, those of other columns and earlier rows do not.
    assert page[1] <= wanted <= page[1] + part.spans("x")[-1, 1]  # type: ignore[attr-defined]


def test_globs(memory: str, http: str) -> None:
    assert [part.rows for part in open_source(f"{memory}/t*.root").parts] == [ROWS]
    assert open_source([f"{memory}/tree.root", f"{http}/ntuple.root"]).rows == 2 * ROWS
    with pytest.raises(InputError, match="no file matches"):
        open_source(f"{memory}/none*.root")


def test_servers_that_fail(http: str) -> None:
    with pytest.raises(InputError, match=r"none.root: there is no such file"):
        open_source(f"{http}/none.root")
    source = open_source(f"{http}/tree.root")
    Handler.state["version"] = 2
    with pytest.raises(InputError, match="changed while it was read"):
        source.check_unchanged()
    Handler.state["up"] = False
    with source.parts[0].reader(["x"]) as reader, pytest.raises(InputError, match=r"tree.root cannot be read"):
        next(reader.blocks(0, 10))


def test_damage(memory: str) -> None:
    (part,) = open_source(f"{memory}/tree.root").parts
    at, size, *_ = part.spans("x")[1].tolist()  # type: ignore[attr-defined]
    system = fsspec.filesystem("memory")
    data = bytearray(system.cat_file("/data/tree.root"))
    data[at + 60 : at + size] = bytes(size - 60)
    system.pipe_file("/data/tree.root", bytes(data))
    with part.reader(["x"]) as reader:
        blocks = reader.blocks(0, ROWS)
        np.testing.assert_array_equal(next(blocks)["x"], X[:900])
        with pytest.raises(DamagedDataError, match="column 'x', basket 1, rows 900 to 1000"):
            next(blocks)
        assert sum(len(block["x"]) for block in reader.blocks(1000, ROWS)) == 2000


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/a.root", "s3fs"), ("root://host//a.root", "fsspec-xrootd")])
def test_packages_that_are_missing(url: str, package: str) -> None:
    if importlib.util.find_spec(package.replace("-", "_")) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(InputError, match=f"need the package {package}") as caught:
        open_source(url)
    assert "pip install 'ml4ep-portal[remote]'" in caught.value.hint


def test_schemes_that_are_unknown() -> None:
    with pytest.raises(InputError, match="no file system nosuch://"):
        open_source("nosuch://host/a.root")


def test_s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="files at s3:// need s3fs, which is an extra")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        system = fsspec.filesystem("s3")
        system.mkdir("bucket")
        system.pipe_file("bucket/tree.root", (folder / "tree.root").read_bytes())
        (part,) = open_source("s3://bucket/tree.root").parts
        check_blocks(part, EXACT, 0, ROWS, 700)
    finally:
        server.stop()
