"""Passages embedded in child processes: fast on all cores, and the parent never loads torch."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self

from assistant.embedding import DIMENSION, model_dir
from assistant.errors import AssistantError
from assistant.index.embedding_worker import read_message, write_message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SLAB = 2048  # chunks sorted by length together: the wider, the less padding; the narrower, the better the order is kept
REQUEST = 256
# glibc gives large arrays back to the system at once, and the pages of the next ones are cleared again: a twentieth of the time.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


class BulkEmbedder(Protocol):
    """Anything that embeds many passages."""

    def embed(self, numbers: Sequence[int], texts: Sequence[str]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Unit vectors of ``texts[number]`` for each of `numbers`, in groups: the numbers, and float32, shape (n, dimension)."""
        ...


class EmbeddingPool:
    """Child processes that embed; a context manager that ends them.

    Parameters
    ----------
    processes
        How many, each of one thread.
    """

    def __init__(self, processes: int = 2) -> None:
        model_dir()  # say that the model is missing before any process starts
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the pool
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **_KEEP_MEMORY}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_import_root()), environment.get("PYTHONPATH")]))
        self._workers = [
            subprocess.Popen(
                [sys.executable, "-m", "assistant.index.embedding_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
            )
            for _ in range(max(1, processes))
        ]
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        self._closed.set()
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except OSError:  # what was being written when the process ended
                        continue
        self._log.close()

    def embed(self, numbers: Sequence[int], texts: Sequence[str]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Unit vectors of ``texts[number]`` for each of `numbers`, about in their order.

        Raises
        ------
        AssistantError
            A process died, for example for want of memory.
        """
        requests: list[list[int]] = []
        for start in range(0, len(numbers), SLAB):
            slab = sorted(numbers[start : start + SLAB], key=lambda number: len(texts[number]))
            requests += [slab[i : i + REQUEST] for i in range(0, len(slab), REQUEST)]
        with ThreadPoolExecutor(len(self._workers)) as executor:
            waiting: dict[Future[NDArray[np.float32]], list[int]] = {
                executor.submit(self._ask, [texts[number] for number in request]): request for request in requests
            }
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                for future in waiting:
                    future.cancel()

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        import numpy as np

        worker = self._idle.get()
        if worker.stdin is None or worker.stdout is None:  # never, with the pipes asked for
            raise AssistantError("The embedding process has no pipes", code="embedding.worker")
        try:
            write_message(worker.stdin, json.dumps(texts).encode())  # type: ignore[arg-type]
            answer = read_message(worker.stdout)  # type: ignore[arg-type]
        except (OSError, EOFError, ValueError):
            answer = None
        finally:
            self._idle.put(worker)
        if answer is None or len(answer) != len(texts) * DIMENSION * 4:
            raise AssistantError(
                f"An embedding process ended unexpectedly: {self._last_words()}",
                hint="Check the free memory and build again: what has been embedded is kept.",
                code="embedding.worker",
            )
        return np.frombuffer(answer, dtype=np.float32).reshape(len(texts), DIMENSION)

    def _last_words(self) -> str:
        if self._closed.is_set():
            return "closed"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 2000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "killed"


def _import_root() -> Path:
    """The folder from which `assistant` is imported, for the child processes."""
    return Path(__file__).resolve().parents[2]
