"""A variational autoencoder of showers, conditional as in Geant4's example Par04.

The decoder gives the response and the layers' energies, and for each voxel, given its layer's energy, the chance that it has
any and the distribution of its logarithm. Layers share the last weights, so that the model stays small. A layer's voxels are
scaled to the layer's energy.

References
----------
D. Kingma and M. Welling, arXiv:1312.6114, Eq. 10 (the loss); D. Salamani, A. Zaborowska and W. Pokorski, "MetaHEP: meta learning
for fast shower simulation of high energy physics experiments", Phys. Lett. B 844 (2023) 138079 (conditions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mlcore.errors import InputError
from mlcore.showers.models.neural import Batch, NeuralConfig, NeuralModel, above, turned, turns
from mlcore.showers.models.scales import Scales


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
        self.scales = Scales(layers)
        self.per_layer = nn.Sequential(nn.Linear(2 * self.cells + 1, config.channels), nn.SiLU())
        self.encoder = _dense(layers * config.channels + 1 + config.conditions, config.hidden, 2 * config.latent)
        self.decoder = _dense(config.latent + config.conditions, config.hidden, layers * config.channels)
        self.to_layers = nn.Linear(layers * config.channels, 2 * (layers + 1))
        self.to_cells = nn.Sequential(nn.SiLU(), nn.Linear(config.channels + 1, 3 * self.cells))
        self.bias = nn.Parameter(torch.zeros(layers, 3 * self.cells))

    def prepare(self, batch: Batch) -> None:
        """See `NeuralModel`."""
        self.scales.fit(batch.showers, batch.energy, batch.conditions[:, 0])

    def _inputs(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Which voxels have energy, the logarithm of their share of their layer, and response and layers as numbers."""
        voxels = batch.showers.flatten(2)
        sums = voxels.sum(dim=2)
        hit = voxels > 0
        shares = voxels / sums.clamp_min(1e-30)[:, :, None]
        logs = torch.where(hit, shares.clamp_min(1e-12).log(), torch.zeros_like(shares))
        uniform = torch.rand(sums.shape, generator=generator, device=sums.device)
        return hit.to(voxels.dtype), logs, self.scales.layers(sums, batch.energy, batch.conditions[:, 0], uniform)

    def _layers(self, latent: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each layer what describes its voxels; mean and width of response and layers."""
        hidden = self.decoder(torch.cat([latent, conditions], dim=1))
        mean, width = self.to_layers(nn.functional.silu(hidden)).chunk(2, dim=1)
        return hidden.unflatten(1, (self.config.voxels.shape[0], -1)), mean, _width(width)

    def _cells(self, hidden: Tensor, layers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each voxel the chance (as a logit) that it has energy; mean and width of the logarithm of its share."""
        cells = self.to_cells(torch.cat([hidden, layers[:, 1:, None]], dim=2)) + self.bias
        chance, mean, width = cells.chunk(3, dim=2)
        return chance, mean - math.log(self.cells), _width(width)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The evidence's lower bound, per shower: layers, hits and their energies, and the divergence."""
        if self.training:
            batch = replace(batch, showers=turned(batch.showers, turns(batch, generator)))
        hit, logs, layers = self._inputs(batch, generator)
        summary = self.per_layer(torch.cat([hit, (logs + 5) / 5 * hit, layers[:, 1:, None]], dim=2)).flatten(1)
        mean, log_variance = self.encoder(torch.cat([summary, layers[:, :1], batch.conditions], dim=1)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-12, 8)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        latent = mean + noise * (0.5 * log_variance).exp()
        hidden, layer_mean, layer_width = self._layers(latent, batch.conditions)
        chance, log_mean, log_width = self._cells(hidden, layers)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        return {
            "layers": _gaussian(layers, layer_mean, layer_width).sum(dim=1).mean(),
            "hits": nn.functional.binary_cross_entropy_with_logits(chance, hit, reduction="none").sum(dim=(1, 2)).mean(),
            "energies": (hit * _gaussian(logs, log_mean, log_width)).sum(dim=(1, 2)).mean(),
            "divergence": self.config.divergence * divergence,
        }

    @property
    def noise_size(self) -> int:
        """The latent numbers, response and layers, and two for each voxel: whether it has energy, and how much."""
        return self.config.latent + 1 + self.config.voxels.shape[0] + 2 * self.config.voxels.count

    def from_noise(self, energy: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        """See `NeuralModel`."""
        layers = self.config.voxels.shape[0]
        cells = layers * self.cells
        latent, for_layers, for_hits, for_energies = torch.split(noise, [self.config.latent, layers + 1, cells, cells], dim=1)
        hidden, mean, width = self._layers(latent, conditions)
        numbers = mean + width * for_layers
        deposits = self.scales.layer_energies(numbers, energy, conditions[:, 0])
        chance, log_mean, log_width = self._cells(hidden, numbers)
        uniform = 0.5 * (1 + torch.erf(for_hits * math.sqrt(0.5))).reshape(chance.shape)
        hit = uniform < chance.sigmoid()
        normal = for_energies.reshape(chance.shape)
        shares = torch.where(hit, (log_mean + log_width * normal).clamp(-30, 5).exp(), torch.zeros_like(chance))
        shares = shares / shares.sum(dim=2, keepdim=True).clamp_min(1e-30)
        showers = (shares * deposits[:, :, None]).reshape(-1, *self.config.voxels.shape)
        return above(showers, self.config.threshold)


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
