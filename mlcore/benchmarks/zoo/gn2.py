"""A jet-flavour tagger like ATLAS's GN2: tracks through a transformer, pooled by attention, with its two auxiliary tasks.

References
----------
ATLAS Collaboration, "Transforming jet flavour tagging at ATLAS", arXiv:2505.19689: track initialiser, transformer encoder,
attention pooling, and heads for the jet's flavour, the tracks' origin and the tracks' common vertices. Widths are smaller
here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlcore.benchmarks.zoo._attention import EncoderBlock
from mlcore.benchmarks.zoo._mlp import mlp
from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel

JET_FEATURES, TRACK_FEATURES, WIDTH, POOLED = 2, 19, 64, 64
HIDDEN = -1e9
"""Added to the logits of padded tracks: finite, so that their own rows stay numbers."""


class Gn2(nn.Module):
    """Every track is joined with the jet's features before its first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.initialiser = mlp(JET_FEATURES + TRACK_FEATURES, 128, WIDTH)
        self.blocks = nn.ModuleList(EncoderBlock(WIDTH, 4, 2 * WIDTH) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, POOLED)
        self.gate = nn.Linear(POOLED, 1)
        self.flavour = mlp(POOLED, 64, 32, 4)
        self.origin = mlp(2 * POOLED, 64, 32, 7)
        self.vertex = mlp(3 * POOLED, 64, 32, 1)

    def forward(self, jet: Tensor, tracks: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Float32: jet (batch, 2), tracks (batch, tracks, 19), mask (batch, tracks).

        Returns
        -------
        tuple
            Probabilities of the flavours (batch, 4); logits of the origins (batch, tracks, 7) and of a common vertex
            (batch, tracks, tracks).
        """
        n = tracks.shape[1]
        x = self.initialiser(torch.cat([jet.unsqueeze(1).expand(-1, n, -1), tracks], dim=-1))
        hidden = (1 - mask) * HIDDEN
        for block in self.blocks:
            x = block(x, hidden.unsqueeze(1).unsqueeze(1))
        x = self.project(self.norm(x))
        weight = torch.softmax(self.gate(x) + hidden.unsqueeze(-1), dim=1)
        pooled = (weight * x).sum(dim=1)
        around = pooled.unsqueeze(1).expand(-1, n, -1)
        origin = self.origin(torch.cat([x, around], dim=-1))
        pairs = [x.unsqueeze(2).expand(-1, -1, n, -1), x.unsqueeze(1).expand(-1, n, -1, -1)]
        vertex = self.vertex(torch.cat([*pairs, around.unsqueeze(2).expand(-1, -1, n, -1)], dim=-1)).squeeze(-1)
        return torch.softmax(self.flavour(pooled), dim=-1), origin, vertex


MODEL = ZooModel(
    name="gn2",
    title="GN2-like, 40 tracks",
    paper="ATLAS, arXiv:2505.19689",
    build=Gn2,
    inputs=(
        TensorSpec("jet", (BATCH, JET_FEATURES)),
        TensorSpec("tracks", (BATCH, PARTICLES, TRACK_FEATURES)),
        TensorSpec("mask", (BATCH, PARTICLES), "mask"),
    ),
    outputs=(
        TensorSpec("flavour", (BATCH, 4)),
        TensorSpec("origin", (BATCH, PARTICLES, 7)),
        TensorSpec("vertex", (BATCH, PARTICLES, PARTICLES)),
    ),
    particles=40,
)
