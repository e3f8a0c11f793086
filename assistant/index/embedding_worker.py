"""A child process that embeds passages: `python -m assistant.index.embedding_worker`.

It reads requests from standard input and writes answers to standard output, each a length (4 bytes, big-endian) and that many
bytes: a JSON list of texts in, float32 vectors out. It ends when its input ends, hence with its parent.

Speed comes from four things: texts sorted by length, batches packed by tokens and not by count, matrix products in bfloat16 where
the processor has them (layer norms stay float32), one thread a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from assistant.embedding import DIMENSION, EPSILON, HEADS, LAYERS, load_tokenizer, map_weights, model_dir

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

TOKENS_PER_BATCH = 4096
MAX_MESSAGE = 256 * 1024 * 1024
HEADER_BYTES = 4


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; without that float32 is faster."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(line.split())
    return False


class BatchEncoder:
    """MiniLM for many passages at once.

    Parameters
    ----------
    bfloat16
        Precision of the matrix products; None for what the processor is good at. Vectors of the two differ by a cosine of less
        than 1e-3.
    """

    def __init__(self, folder: Path | None = None, *, bfloat16: bool | None = None) -> None:
        import torch

        folder = folder or model_dir()
        self.torch = torch
        self.dtype = torch.bfloat16 if (has_bfloat16() if bfloat16 is None else bfloat16) else torch.float32
        self.tokenizer = load_tokenizer(folder)
        weights = {name: torch.tensor(array) for name, array in map_weights(folder / "model.safetensors").items()}
        self.word = weights["embeddings.word_embeddings.weight"]
        self.position = weights["embeddings.position_embeddings.weight"]
        self.segment = weights["embeddings.token_type_embeddings.weight"][0]

        def pair(name: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
            return weights[f"{name}.weight"].to(dtype), weights[f"{name}.bias"].to(dtype)

        self.first_norm = pair("embeddings.LayerNorm", torch.float32)
        self.layers: list[dict[str, tuple[torch.Tensor, torch.Tensor]]] = []
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}"
            parts = [pair(f"{layer}.attention.self.{part}", self.dtype) for part in ("query", "key", "value")]
            self.layers.append(
                {
                    "qkv": (torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])),
                    "attention": pair(f"{layer}.attention.output.dense", self.dtype),
                    "attention_norm": pair(f"{layer}.attention.output.LayerNorm", torch.float32),
                    "up": pair(f"{layer}.intermediate.dense", self.dtype),
                    "down": pair(f"{layer}.output.dense", self.dtype),
                    "norm": pair(f"{layer}.output.LayerNorm", torch.float32),
                }
            )

    def encode(self, texts: Sequence[str], tokens_per_batch: int = TOKENS_PER_BATCH) -> NDArray[np.float32]:
        """Unit vectors in the order of `texts`: float32, shape (n_texts, 384)."""
        import numpy as np

        torch = self.torch
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        out = np.zeros((len(ids), DIMENSION), dtype=np.float32)
        with torch.inference_mode():
            for rows in _batches([len(sequence) for sequence in ids], tokens_per_batch):
                length = len(ids[rows[-1]])
                tokens = torch.zeros(len(rows), length, dtype=torch.long)
                mask = torch.zeros(len(rows), length, dtype=torch.bool)
                for row, text in enumerate(rows):
                    tokens[row, : len(ids[text])] = torch.tensor(ids[text])
                    mask[row, : len(ids[text])] = True
                out[rows] = self._forward(tokens, mask).numpy()
        return out

    def _forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors, shape (batch, 384), of token numbers and their mask, shape (batch, length)."""
        linear, normalise = self.torch.nn.functional.linear, self.torch.nn.functional.layer_norm
        batch, length = tokens.shape
        x = self.word[tokens] + self.position[:length] + self.segment
        x = normalise(x, (DIMENSION,), *self.first_norm, EPSILON)
        bias = None
        if not bool(mask.all()):
            bias = self.torch.zeros(batch, 1, 1, length).masked_fill_(~mask[:, None, None, :], -1e4).to(self.dtype)
        for layer in self.layers:
            heads = linear(x.to(self.dtype), *layer["qkv"]).view(batch, length, 3, HEADS, DIMENSION // HEADS)
            q, k, v = heads.permute(2, 0, 3, 1, 4)
            attended = self.torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            attended = attended.transpose(1, 2).reshape(batch, length, DIMENSION)
            x = normalise(x + linear(attended, *layer["attention"]).float(), (DIMENSION,), *layer["attention_norm"], EPSILON)
            hidden = self.torch.nn.functional.gelu(linear(x.to(self.dtype), *layer["up"]))
            x = normalise(x + linear(hidden, *layer["down"]).float(), (DIMENSION,), *layer["norm"], EPSILON)
        weight = mask[..., None].float()
        pooled = (x * weight).sum(1) / weight.sum(1)
        return self.torch.nn.functional.normalize(pooled, dim=1)


def _batches(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Positions sorted by length, in groups whose padded size stays within `tokens_per_batch`."""
    rows: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if rows and (len(rows) + 1) * lengths[position] > tokens_per_batch:
            yield rows
            rows = []
        rows.append(position)
    if rows:
        yield rows


def read_message(stream: BinaryIO) -> bytes | None:
    """One message, None at the end of the stream.

    Raises
    ------
    EOFError
        The stream ends in the middle.
    ValueError
        The length is beyond all reason.
    """
    header = stream.read(HEADER_BYTES)
    if not header:
        return None
    size = int.from_bytes(header, "big")
    if size > MAX_MESSAGE:
        raise ValueError(f"A message of {size} bytes is too long")
    payload = stream.read(size)
    if len(header) < HEADER_BYTES or len(payload) < size:
        raise EOFError("The stream ended in the middle of a message")
    return payload


def write_message(stream: BinaryIO, payload: bytes) -> None:
    """Write one message and flush."""
    stream.write(len(payload).to_bytes(HEADER_BYTES, "big"))
    stream.write(payload)
    stream.flush()


def main() -> None:
    """Answer requests until the input ends."""
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(OSError):
        os.nice(5)  # pages and answers come before embedding
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints does no harm
    encoder = BatchEncoder()
    while (request := read_message(sys.stdin.buffer)) is not None:
        write_message(answers, encoder.encode(json.loads(request)).tobytes())


if __name__ == "__main__":
    main()
