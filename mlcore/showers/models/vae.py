"""A variational autoencoder of showers, conditional as in Geant4's example Par04.

The decoder gives the layers' energies and, for each voxel, the chance that it has energy and the distribution of its logarithm.
Layers share the last weights, so that the model stays small. A layer's voxels are scaled to the layer's energy.

References
----------
D. Kingma and M. Welling, arXiv:1312.6114, Eq. 10 (the loss); D. Salamani, A. Zaborowska and W. Pokorski, "MetaHEP: meta learning
for fast shower simulation of high energy physics experiments", Phys. Lett. B 844 (2023) 138079 (conditions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlcore.errors import InputError
from mlcore.showers.models.neural import Batch, NeuralConfig, NeuralModel

EMPTY = 1e-7
"""Share of the particle's energy that stands for none in logarithms."""


@dataclass(frozen=True)
class VAEConfig(NeuralConfig):
    """Sizes of the network.

    Attributes
    ----------
    latent
        Numbers that describe a shower.
    hidden
        Width of the dense layers.
    channels
        Numbers that describe a layer of the calorimeter.
    divergence
        Weight of the Kullback-Leibler divergence.
    """

    latent: int = 24
    hidden: int = 384
    channels: int = 32
    divergence: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.latent, self.hidden, self.channels) < 1 or not self.divergence >= 0:
            raise InputError("a VAE needs sizes of at least 1 and a divergence of 0 or more", hint="Keep the defaults.")


class VAE(NeuralModel):
    """Encoder and decoder."""

    slug = "vae"
    config_type = VAEConfig
    config: VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        layers, angles, rings = config.voxels.shape
        self.cells = angles * rings
        self.per_layer = nn.Sequential(nn.Linear(2 * self.cells + 1, config.channels), nn.SiLU())
        self.encoder = _dense(layers * config.channels + config.conditions, config.hidden, 2 * config.latent)
        self.decoder = _dense(config.latent + config.conditions, config.hidden, layers * config.channels)
        self.to_layers = nn.Linear(layers * config.channels, 2 * layers)
        self.to_cells = nn.Sequential(nn.SiLU(), nn.Linear(config.channels, 3 * self.cells))
        self.bias = nn.Parameter(torch.zeros(layers, 3 * self.cells))

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Which voxels have energy, the logarithm of their share of their layer, and that of the layer's of the particle."""
        voxels = batch.showers.flatten(2)
        sums = voxels.sum(dim=2)
        hit = voxels > 0
        shares = voxels / sums.clamp_min(1e-30)[:, :, None]
        logs = torch.where(hit, shares.clamp_min(1e-12).log(), torch.zeros_like(shares))
        return hit.to(voxels.dtype), logs, (sums / batch.energy[:, None] + EMPTY).log()

    def _decode(self, latent: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        layers = self.config.voxels.shape[0]
        hidden = self.decoder(torch.cat([latent, conditions], dim=1))
        mean, width = self.to_layers(nn.functional.silu(hidden)).chunk(2, dim=1)
        cells = self.to_cells(hidden.unflatten(1, (layers, -1))) + self.bias
        chance, log_mean, log_width = cells.chunk(3, dim=2)
        return mean, _width(width), chance, log_mean - math.log(self.cells), _width(log_width)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The evidence's lower bound, per shower: layers, hits and their energies, and the divergence."""
        hit, logs, layers = self._inputs(batch)
        summary = self.per_layer(torch.cat([hit, (logs + 5) / 5 * hit, (layers[:, :, None] + 5) / 5], dim=2)).flatten(1)
        mean, log_variance = self.encoder(torch.cat([summary, batch.conditions], dim=1)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-12, 8)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        latent = mean + noise * (0.5 * log_variance).exp()
        layer_mean, layer_width, chance, log_mean, log_width = self._decode(latent, batch.conditions)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        return {
            "layers": _gaussian(layers, layer_mean, layer_width).sum(dim=1).mean(),
            "hits": nn.functional.binary_cross_entropy_with_logits(chance, hit, reduction="none").sum(dim=(1, 2)).mean(),
            "energies": (hit * _gaussian(logs, log_mean, log_width)).sum(dim=(1, 2)).mean(),
            "divergence": self.config.divergence * divergence,
        }

    def generate(self, energy: Tensor, conditions: Tensor, generator: torch.Generator) -> Tensor:
        """See `NeuralModel`."""

        def normal(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)

        latent = torch.randn(len(energy), self.config.latent, generator=generator, device=energy.device)
        mean, width, chance, log_mean, log_width = self._decode(latent, conditions)
        layers = ((mean + width * normal(mean)).exp() - EMPTY).clamp_min(0) * energy[:, None]
        hit = torch.rand(chance.shape, generator=generator, device=energy.device) < chance.sigmoid()
        shares = torch.where(hit, (log_mean + log_width * normal(log_mean)).clamp(-30, 5).exp(), torch.zeros_like(chance))
        shares = shares / shares.sum(dim=2, keepdim=True).clamp_min(1e-30)
        return (shares * layers[:, :, None]).reshape(len(energy), *self.config.voxels.shape)


def _dense(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        nn.SiLU(),
        nn.Linear(hidden, hidden),
        nn.SiLU(),
        nn.Linear(hidden, outputs),
    )


def _width(raw: Tensor) -> Tensor:
    return nn.functional.softplus(raw) + 1e-3


def _gaussian(value: Tensor, mean: Tensor, width: Tensor) -> Tensor:
    """Negative log-likelihood."""
    return 0.5 * ((value - mean) / width) ** 2 + width.log() + 0.5 * math.log(2 * math.pi)
