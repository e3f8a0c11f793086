"""The interaction network on the particles of a jet: a network for each pair, one for each particle, one for the jet.

References
----------
P. Battaglia et al., "Interaction networks for learning about objects, relations and physics", arXiv:1612.00222. As a tagger:
E. A. Moreno et al., "JEDI-net: a jet identification algorithm based on interaction networks", Eur. Phys. J. C 80 (2020) 58,
arXiv:1908.05318, figure 3 and equation (1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlcore.benchmarks.zoo._mlp import mlp
from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel

FEATURES, EFFECTS, OBJECTS = 16, 8, 16


class InteractionNetwork(nn.Module):
    """Effects of all ordered pairs of different particles, summed at the receiver."""

    def __init__(self) -> None:
        super().__init__()
        self.relations = nn.Sequential(mlp(2 * FEATURES, 30, 15, EFFECTS), nn.ReLU())
        self.objects = nn.Sequential(mlp(FEATURES + EFFECTS, 45, 22, OBJECTS), nn.ReLU())
        self.classifier = mlp(OBJECTS, 50, 25, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Float32: particles (batch, particles, 16); returns (batch, 5)."""
        n = x.shape[1]
        receivers = x.unsqueeze(2).expand(-1, -1, n, -1)
        senders = x.unsqueeze(1).expand(-1, n, -1, -1)
        effects = self.relations(torch.cat([receivers, senders], dim=-1))
        index = torch.arange(n)
        others = (index.unsqueeze(1) != index.unsqueeze(0)).to(x.dtype).unsqueeze(-1)
        received = (effects * others).sum(dim=2)
        y: Tensor = self.classifier(self.objects(torch.cat([x, received], dim=-1)).sum(dim=1))
        return y


MODEL = ZooModel(
    name="interaction_network",
    title="Interaction network",
    paper="Battaglia et al., arXiv:1612.00222; Moreno et al., arXiv:1908.05318",
    build=InteractionNetwork,
    inputs=(TensorSpec("x", (BATCH, PARTICLES, FEATURES)),),
    outputs=(TensorSpec("y", (BATCH, 5)),),
    particles=30,
)
