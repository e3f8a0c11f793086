"""A child process that embeds passages: `python -m assistant.index.embedding_worker`.

It reads requests from standard input and writes answers to standard output, each a length (4 bytes, big-endian) and that many
bytes: a JSON list of texts in, float32 vectors out. It ends when its input ends, hence with its parent.

Speed comes from five things: texts sorted by length, batches packed by tokens and not by count, bfloat16 where the processor has
it, products with packed weights that apply GELU or add the residual as they write their result, one thread a process. What was
tried besides is in `docs/decisions/0024-an-index-in-three-minutes.md`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from assistant.embedding import DIMENSION, EPSILON, HEADS, LAYERS, load_tokenizer, map_weights, model_dir

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

TOKENS_PER_BATCH = 2048
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
        Whether to compute in bfloat16; None for what the processor is good at. Vectors of the two differ by a cosine of less
        than 1e-3.
    packed
        Whether to use oneDNN's products with packed weights; None where this torch has them.
    """

    def __init__(self, folder: Path | None = None, *, bfloat16: bool | None = None, packed: bool | None = None) -> None:
        import torch

        folder = folder or model_dir()
        self.torch = torch
        self.dtype = torch.bfloat16 if (has_bfloat16() if bfloat16 is None else bfloat16) else torch.float32
        self.packed = _has_packed(torch) if packed is None else packed
        self.tokenizer = load_tokenizer(folder)
        weights = {name: torch.tensor(array) for name, array in map_weights(folder / "model.safetensors").items()}
        self.word = weights["embeddings.word_embeddings.weight"]
        self.position = weights["embeddings.position_embeddings.weight"]
        self.segment = weights["embeddings.token_type_embeddings.weight"][0]

        def norm(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            return weights[f"{name}.weight"].to(self.dtype), weights[f"{name}.bias"].to(self.dtype)

        def dense(*names: str) -> tuple[torch.Tensor, torch.Tensor]:
            weight = torch.cat([weights[f"{name}.weight"] for name in names]).to(self.dtype)
            bias = torch.cat([weights[f"{name}.bias"] for name in names]).to(self.dtype)
            return (torch.ops.mkldnn._reorder_linear_weight(weight, TOKENS_PER_BATCH) if self.packed else weight), bias

        first = "embeddings.LayerNorm"
        self.first_norm = weights[f"{first}.weight"], weights[f"{first}.bias"]
        self.layers: list[dict[str, tuple[torch.Tensor, torch.Tensor]]] = []
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}"
            self.layers.append(
                {
                    "qkv": dense(*(f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))),
                    "attention": dense(f"{layer}.attention.output.dense"),
                    "attention_norm": norm(f"{layer}.attention.output.LayerNorm"),
                    "up": dense(f"{layer}.intermediate.dense"),
                    "down": dense(f"{layer}.output.dense"),
                    "norm": norm(f"{layer}.output.LayerNorm"),
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
        functional = self.torch.nn.functional
        normalise = functional.layer_norm
        batch, length = tokens.shape
        x = self.word[tokens].add_(self.position[:length]).add_(self.segment)
        x = normalise(x, (DIMENSION,), *self.first_norm, EPSILON).to(self.dtype).view(batch * length, DIMENSION)
        bias = None
        if not bool(mask.all()):
            bias = self.torch.zeros(batch, 1, 1, length).masked_fill_(~mask[:, None, None, :], -1e4).to(self.dtype)
        for layer in self.layers:
            heads = self._linear(x, layer["qkv"]).view(batch, length, 3, HEADS, DIMENSION // HEADS)
            q, k, v = heads.permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            attended = attended.transpose(1, 2).reshape(batch * length, DIMENSION)
            x = normalise(self._linear(attended, layer["attention"], add=x), (DIMENSION,), *layer["attention_norm"], EPSILON)
            hidden = self._linear(x, layer["up"], gelu=True)
            x = normalise(self._linear(hidden, layer["down"], add=x), (DIMENSION,), *layer["norm"], EPSILON)
        weight = mask[..., None].float()
        pooled = (x.view(batch, length, DIMENSION).float() * weight).sum(1) / weight.sum(1)
        vectors: torch.Tensor = functional.normalize(pooled, dim=1)
        return vectors

    def _linear(
        self,
        x: torch.Tensor,
        dense: tuple[torch.Tensor, torch.Tensor],
        *,
        gelu: bool = False,
        add: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """A dense layer, its GELU, or its sum with `add`, shape (tokens, width)."""
        weight, bias = dense
        result: torch.Tensor
        if not self.packed:
            result = self.torch.nn.functional.linear(x, weight, bias)
            if gelu:
                result = self.torch.nn.functional.gelu(result)
            return result if add is None else result.add_(add)
        product = self.torch.ops.mkldnn._linear_pointwise
        if add is not None:
            result = product.binary(x, add, weight, bias, "add")
        else:
            result = product(x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else "")
        return result


def _has_packed(torch: Any) -> bool:
    """Whether this torch has what its own compiler uses for dense layers; it is not part of the public interface."""
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16), 16)
        x, bias = torch.zeros(16, 16), torch.zeros(16)
        torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
        torch.ops.mkldnn._linear_pointwise.binary(x, x, weight, bias, "add")
    except (AttributeError, RuntimeError):
        return False
    return True


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
