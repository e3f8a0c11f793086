"""A large upload passes through the web processes without settling in their memory."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    Portal = Any

pytestmark = [pytest.mark.live, pytest.mark.slow]

MB = 10**6
BLOCK = 1 << 20
SIZE = 300 * MB
BOUND = 60 * MB  # a fifth of the file: what holds it in memory, even once, is far above


def blocks(size: int, digest: Any) -> Iterator[bytes]:
    """Bytes that repeat nowhere; their sha256 grows along in ``digest``."""
    base = bytearray(hashlib.shake_256(b"upload").digest(BLOCK))
    for number in range(-(-size // BLOCK)):
        base[:8] = number.to_bytes(8, "little")
        block = bytes(base[: min(BLOCK, size - number * BLOCK)])
        digest.update(block)
        yield block


@pytest.fixture(scope="module")
def headers(portal: Portal) -> dict[str, str]:
    """Headers of the administrator's requests."""
    link = next(line.removeprefix("First visit: ") for line in portal.lines if line.startswith("First visit: "))
    connection = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=60)
    connection.request("GET", "/" + link.split("/", 3)[3])
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status == http.client.FOUND
    cookies = [value.partition(";")[0] for value in response.headers.get_all("Set-Cookie", [])]
    csrf = next(cookie.partition("=")[2] for cookie in cookies if "csrf" in cookie)
    return {"Cookie": "; ".join(cookies), "X-CSRFToken": csrf, "Content-Type": "application/octet-stream"}


def upload(portal: Portal, headers: dict[str, str], size: int, *, announced: bool) -> tuple[int, dict[str, Any], str]:
    """Upload ``size`` bytes as the library's script does; returns the status, the answer and the sha256 of what was sent."""
    digest = hashlib.sha256()
    connection = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=300)
    length = {"Content-Length": str(size)} if announced else {}
    connection.request(
        "POST",
        "/library/upload?name=large.bin",
        body=blocks(size, digest),
        headers=headers | length,
        encode_chunked=not announced,
    )
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer, digest.hexdigest()


def web_processes(portal: Portal) -> list[psutil.Process]:
    tops = [psutil.Process(pid) for name, pid in portal.children().items() if name.startswith("web")]
    return [process for top in tops for process in (top, *top.children(recursive=True))]


def memory(processes: list[psutil.Process]) -> int:
    return sum(process.memory_full_info().uss for process in processes)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_large_upload_takes_little_memory(portal: Portal, headers: dict[str, str], announced: bool) -> None:
    upload(portal, headers, 8 * BLOCK + announced, announced=announced)  # what any first upload loads
    processes = web_processes(portal)
    assert len(processes) >= 2
    before = peak = memory(processes)
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.02):
            peak = max(peak, memory(processes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        status, answer, sent = upload(portal, headers, SIZE + announced, announced=announced)
    finally:
        ended.set()
        watcher.join()
    assert status == http.client.CREATED, answer
    stored = portal.folder / "var" / "files" / "library" / sent[:2] / sent
    with stored.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sent
    assert peak - before < BOUND, f"the web processes grew by {(peak - before) / MB:.0f} MB"
    left = [path for path in (portal.folder / "var" / "work").rglob("*") if path.is_file() and path.stat().st_size > MB]
    assert not left
