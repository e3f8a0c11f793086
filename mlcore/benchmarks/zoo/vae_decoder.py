"""The decoder of a variational autoencoder that simulates showers on a cylindrical mesh: 65 MB of weights.

References
----------
D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", arXiv:1312.6114. The mesh of 18×50×45 voxels and the conditions
are those of Geant4's example Par04: D. Salamani, A. Zaborowska, W. Pokorski, "MetaHEP: meta learning for fast shower
simulation", Phys. Lett. B 844 (2023) 138079. The widths of the layers are chosen here, so that the last layer has the usual
weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlcore.benchmarks.zoo._model import BATCH, TensorSpec, ZooModel

LATENT, CONDITIONS, VOXELS = 10, 4, 18 * 50 * 45


class Decoder(nn.Module):
    """Dense layers with batch normalisation; the output is the share of each voxel, between 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = LATENT + CONDITIONS
        for width in (100, 200, 400):
            layers += [nn.Linear(before, width), nn.ReLU(), nn.BatchNorm1d(width)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, VOXELS), nn.Sigmoid())

    def forward(self, latent: Tensor, conditions: Tensor) -> Tensor:
        """Float32: latent (batch, 10); energy, angle, one-hot geometry (batch, 4); returns (batch, 40500)."""
        showers: Tensor = self.layers(torch.cat([latent, conditions], dim=1))
        return showers


MODEL = ZooModel(
    name="vae_decoder",
    title="VAE decoder, 65 MB",
    paper="Kingma, Welling, arXiv:1312.6114; Geant4's example Par04",
    build=Decoder,
    inputs=(TensorSpec("latent", (BATCH, LATENT)), TensorSpec("conditions", (BATCH, CONDITIONS))),
    outputs=(TensorSpec("showers", (BATCH, VOXELS)),),
)
