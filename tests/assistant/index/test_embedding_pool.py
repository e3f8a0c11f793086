"""Child processes that embed."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from assistant.embedding import DIMENSION, Embedder
from assistant.errors import AssistantError
from assistant.index import embedding_pool
from assistant.index.embedding_pool import EmbeddingPool
from assistant.index.embedding_worker import _batches, read_message, write_message


def test_batches_hold_every_text_once_within_the_token_limit() -> None:
    lengths = [5, 200, 7, 256, 31, 31, 2, 256]
    batches = list(_batches(lengths, 300))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * max(lengths[row] for row in batch) <= 300


def test_messages_go_there_and_back_and_a_cut_one_is_noticed() -> None:
    stream = io.BytesIO()
    write_message(stream, b"hello")
    write_message(stream, b"")
    stream.seek(0)
    assert read_message(stream) == b"hello"
    assert read_message(stream) == b""
    assert read_message(stream) is None
    with pytest.raises(EOFError):
        read_message(io.BytesIO(b"\x00\x00\x00\x09abc"))
    with pytest.raises(ValueError, match="too long"):
        read_message(io.BytesIO(b"\xff\xff\xff\xff"))


@pytest.mark.slow
def test_the_pool_gives_the_vectors_of_the_query_embedder() -> None:
    texts = [f"passage number {n} about histograms " + "and trees " * (n % 7) for n in range(300)]
    with EmbeddingPool(2) as pool:
        vectors = {n: row for numbers, rows in pool.embed(range(300), texts) for n, row in zip(numbers, rows, strict=True)}
    assert sorted(vectors) == list(range(300))
    some = [0, 6, 150, 299]
    cosines = (Embedder().embed([texts[n] for n in some]) * np.stack([vectors[n] for n in some])).sum(axis=1)
    assert cosines.min() > 0.999  # bfloat16 keeps eight bits of the mantissa; seen: 0.99997


def test_a_process_that_dies_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dying = tmp_path / "dying"
    dying.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no memory left')\n")
    dying.chmod(0o755)
    monkeypatch.setattr(embedding_pool.sys, "executable", str(dying))
    with EmbeddingPool(1) as pool, pytest.raises(AssistantError, match=r"no memory left|killed"):
        list(pool.embed([0], ["text"]))


def test_closing_ends_the_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    waiting.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    waiting.chmod(0o755)
    monkeypatch.setattr(embedding_pool.sys, "executable", str(waiting))
    with EmbeddingPool(2) as pool:
        workers = pool._workers
        assert all(worker.poll() is None for worker in workers)
    assert all(worker.returncode is not None for worker in workers)
    assert DIMENSION == 384
