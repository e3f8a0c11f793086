"""Multi-head self-attention and the pre-norm encoder block around it, shared by the transformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Softmax attention of all tokens to all tokens, written in plain products.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", arXiv:1706.03762, equation (1) and section 3.2.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Float32, shape (batch, tokens, width); `bias`: added to the logits, shape (batch, 1, 1, tokens)."""
        batch, tokens, width = x.shape
        q, k, v = (
            part.reshape(batch, tokens, self.heads, self.head_width).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        logits = q @ k.transpose(-1, -2) * self.head_width**-0.5
        if bias is not None:
            logits = logits + bias
        seen = (torch.softmax(logits, dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
        answer: Tensor = self.out(seen)
        return answer


class EncoderBlock(nn.Module):
    """Attention and two dense layers, each behind a layer normalisation and with a residual."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.dense = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Float32, shape (batch, tokens, width), in and out; `bias` as in `SelfAttention`."""
        x = x + self.attention(self.norm1(x), bias)
        y: Tensor = x + self.dense(self.norm2(x))
        return y
