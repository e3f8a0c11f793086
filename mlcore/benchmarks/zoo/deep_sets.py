"""Deep Sets on the particles of a jet: one network for each particle, their sum, one network for the jet.

References
----------
M. Zaheer et al., "Deep sets", arXiv:1703.06114, theorem 2. With the widths of a particle-flow network: P. T. Komiske, E. M.
Metodiev, J. Thaler, "Energy flow networks: deep sets for particle jets", JHEP 01 (2019) 121, arXiv:1810.05165, section 2.4
and 4.2.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.benchmarks.zoo._mlp import mlp
from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel


class DeepSets(nn.Module):
    """``F(sum_i mask_i Φ(x_i))``."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(mlp(7, 100, 100, 128), nn.ReLU())
        self.f = mlp(128, 100, 100, 100, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Float32: particles (batch, particles, 7), mask (batch, particles); returns (batch, 2)."""
        jet = (self.phi(x) * mask.unsqueeze(-1)).sum(dim=1)
        y: Tensor = self.f(jet)
        return y


MODEL = ZooModel(
    name="deep_sets",
    title="Deep Sets",
    paper="Zaheer et al., arXiv:1703.06114; Komiske, Metodiev, Thaler, arXiv:1810.05165",
    build=DeepSets,
    inputs=(TensorSpec("x", (BATCH, PARTICLES, 7)), TensorSpec("mask", (BATCH, PARTICLES), "mask")),
    outputs=(TensorSpec("y", (BATCH, 2)),),
    particles=64,
)
