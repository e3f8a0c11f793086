"""A large upload through the real web server: memory of the web processes, rate, and whether what is stored is what was sent."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from benchmarks.measure import Comparison, Measured, Settings
from benchmarks.portal import Portal, scratch

TITLE = "Uploads"

GB = 10**9
BLOCK = 1 << 20
GOAL_BYTES = 200e6
GOAL = "an upload of 2 GB uses less than 200 MB of memory"


def run(settings: Settings) -> list[Comparison]:
    """One upload by the REST API and one as the library's page does it, each of bytes of its own."""
    size = GB // 10 if settings.quick else 2 * GB
    comparisons = []
    with scratch(settings.cache / "upload") as folder, Portal(folder, ML4EP_QUOTA_DISK=str(10 * GB)) as portal:
        token, cookies = portal.token(), portal.sign_in()
        warm_up = 8 * BLOCK
        doors: dict[str, Callable[[bytes, int], str]] = {
            "REST API": lambda seed, length: _by_api(portal, token, seed, length),
            "page": lambda seed, length: _by_page(portal, cookies, seed, length),
        }
        for number, (door, upload) in enumerate(doors.items()):
            upload(f"warm-up {number}".encode(), warm_up)
            seed = f"upload {number}".encode()
            with Watch(portal) as watch:
                began = time.perf_counter()
                digest = upload(seed, size)
                seconds = time.perf_counter() - began
            wanted = _sha256(_blocks(seed, size))
            stored = folder / "files" / "library" / digest[:2] / digest
            assert digest == wanted, f"the {door} names another sha256 than that of the bytes sent"
            assert _sha256(_file_blocks(stored)) == wanted, f"the {door} stored other bytes than were sent"
            left = [path.name for path in (folder / "work").rglob("*") if path.is_file() and path.stat().st_size >= warm_up]
            assert not left, f"left behind: {left}"
            comparisons.append(
                Comparison(
                    task=f"{size / GB:g} GB by the {door}",
                    goal=GOAL,
                    unit="MB",
                    ours="growth while it ran",
                    measured={
                        "growth while it ran": _exactly(watch.growth / 1e6),
                        "web processes in all": _exactly(watch.peak / 1e6),
                    },
                    bound=GOAL_BYTES / 1e6,
                    peers=(),
                    facts={
                        "memory": "highest sum over the web processes; a page that n processes share counts as 1/n of it (PSS)",
                        "rate": f"{size / seconds / 1e6:.0f} MB/s, the sender on the same cores",
                        "sha256": "of the stored bytes equals that of the bytes sent",
                    },
                )
            )
    return comparisons


class Watch:
    """Looks at the memory of the web processes twenty times a second."""

    def __init__(self, portal: Portal) -> None:
        self._processes = portal.processes("web")
        self._processes += [child for top in self._processes for child in top.children(recursive=True)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before = self._memory()
        self.peak = self._before

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Bytes at the peak above those before."""
        return self.peak - self._before

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, self._memory())

    def _memory(self) -> int:
        return sum(process.memory_full_info().pss for process in self._processes)


def _blocks(seed: bytes, size: int) -> Iterator[bytes]:
    """Bytes that do not compress and repeat nowhere, the same for the same seed."""
    base = bytearray(hashlib.shake_256(seed).digest(BLOCK))
    for number in range(-(-size // BLOCK)):
        base[:8] = number.to_bytes(8, "little")
        yield bytes(base[: min(BLOCK, size - number * BLOCK)])


def _file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _sha256(blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _by_api(portal: Portal, token: str, seed: bytes, size: int) -> str:
    """``PUT /api/v1/files``, as curl and the command line do; returns the sha256 in the answer."""
    answer = _send(portal, "PUT", "/api/v1/files?name=large.bin", {"Authorization": f"Bearer {token}"}, seed, size)
    return str(answer["sha256"])


def _by_page(portal: Portal, cookies: Mapping[str, str], seed: bytes, size: int) -> str:
    """What the library's script sends; the sha256 is that of the download."""
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    csrf = next(value for name, value in cookies.items() if "csrf" in name)
    answer = _send(portal, "POST", "/library/upload?name=large.bin", {"Cookie": cookie, "X-CSRFToken": csrf}, seed, size)
    connection = portal.connect()
    connection.request("GET", f"{answer['url']}/download", headers={"Cookie": cookie, "Range": "bytes=0-0"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.headers["X-Content-SHA256"]


def _send(portal: Portal, method: str, path: str, headers: Mapping[str, str], seed: bytes, size: int) -> dict[str, object]:
    connection = portal.connect()
    fields = {"Content-Type": "application/octet-stream", "Content-Length": str(size), **headers}
    connection.request(method, path, body=_blocks(seed, size), headers=fields)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    assert response.status == http.client.CREATED, f"{path} was answered with status {response.status}: {text[:300]!r}"
    return dict(json.loads(text))


def _exactly(value: float) -> Measured:
    return Measured(value, value, value)
