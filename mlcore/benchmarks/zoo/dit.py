"""One step of a diffusion transformer for showers: 108 patches, width 128, four blocks, four heads.

References
----------
W. Peebles, S. Xie, "Scalable diffusion models with transformers", ICCV (2023), arXiv:2212.09748, figure 3: the block with
adaLN-Zero. Showers in patches of voxels: P. Raikwar et al., "A generalisable generative model for multi-detector calorimeter
simulation", arXiv:2509.07700.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlcore.benchmarks.zoo._attention import SelfAttention
from mlcore.benchmarks.zoo._model import BATCH, TensorSpec, ZooModel

TOKENS, PATCH, WIDTH, HEADS, DEPTH = 108, 16, 128, 4, 4


def _norm() -> nn.LayerNorm:
    return nn.LayerNorm(WIDTH, eps=1e-6, elementwise_affine=False)


class Block(nn.Module):
    """Attention and dense layers, shifted, scaled and gated by the condition."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(), _norm()
        self.attention = SelfAttention(WIDTH, HEADS)
        self.dense1, self.dense2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.modulation = nn.Linear(WIDTH, 6 * WIDTH)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Float32: tokens (batch, 108, 128), condition (batch, 128)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).unsqueeze(1).chunk(6, dim=-1)
        x = x + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        hidden = functional.gelu(self.dense1(self.norm2(x) * (1 + scale2) + shift2), approximate="tanh")
        y: Tensor = x + gate2 * self.dense2(hidden)
        return y


class DiffusionTransformer(nn.Module):
    """From noisy patches and the embedded condition (time, energy, angles) to the patches' update."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(PATCH, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(1, TOKENS, WIDTH))
        self.condition = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU())
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = _norm()
        self.modulation = nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(WIDTH, PATCH)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Float32: patches (batch, 108, 16), condition (batch, 128); returns (batch, 108, 16)."""
        condition = self.condition(condition)
        x = self.embedding(x) + self.position
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.modulation(condition).unsqueeze(1).chunk(2, dim=-1)
        y: Tensor = self.out(self.norm(x) * (1 + scale) + shift)
        return y


MODEL = ZooModel(
    name="dit",
    title="Diffusion step, 108 tokens",
    paper="Peebles, Xie, arXiv:2212.09748",
    build=DiffusionTransformer,
    inputs=(TensorSpec("x", (BATCH, TOKENS, PATCH)), TensorSpec("condition", (BATCH, WIDTH))),
    outputs=(TensorSpec("y", (BATCH, TOKENS, PATCH)),),
    batches=(1, 8),
    opset=20,  # the first with Gelu
)
