"""Energies as numbers of size 1, and back: what the networks that make showers compute with.

An energy E is ``ln(1 + E / E0)``, where E0 is about the least energy that occurs; none is a number drawn from [-2.5, -0.5), so
that whether there is any becomes a question of sign, and nothing is discrete. What a network leaves between the two is taken for
none. Energies of layers then have the mean, by a
polynomial of the logarithm of the particle's energy, and the standard deviation of the sample taken off. The response, the sum
over the particle's energy, is scaled by its own mean and width at that energy: its width is what a calorimeter is judged by.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEGREE = 3
"""Of polynomials of ln E."""
NONE = (-2.5, -0.5)
"""Between which numbers stand for no energy."""
BORDER = 0.25
"""Voxels' numbers up to it stand for none as well: about one in a hundred voxels with energy has less, which is lost."""
LARGEST = 6.0
"""Standard deviations beyond which the response is cut off."""
_LEAST_WIDTH = 1e-3
_QUANTILE_VALUES = 1 << 20


class Scales(nn.Module):
    """Scales of one grid, fitted to a sample once and kept with the weights.

    Before `fit`, energies are in units of 1 MeV, and means are 0 and widths 1.

    Parameters
    ----------
    layers
        How many the grid has.
    """

    cell: Tensor
    layer: Tensor
    mean: Tensor
    width: Tensor
    response: Tensor
    fitted: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.register_buffer("cell", torch.ones(()))
        self.register_buffer("layer", torch.ones(()))
        self.register_buffer("mean", torch.zeros(DEGREE + 1, layers))
        self.register_buffer("width", torch.ones(layers))
        self.register_buffer("response", torch.zeros(2, DEGREE + 1))
        self.register_buffer("fitted", torch.zeros(()))

    @torch.no_grad()
    def fit(self, showers: Tensor, energy: Tensor, level: Tensor) -> None:
        """Take scales from a sample; nothing happens where they were taken from another before.

        Parameters
        ----------
        showers
            Shape (n_showers, n_layers, n_angles, n_radii), MeV.
        energy, level
            Of the particles, shape (n_showers,): MeV, and the logarithm scaled to [-1, 1].
        """
        if self.fitted:
            return
        deposits = showers.sum(dim=(2, 3))
        for scale, values in ((self.cell, showers), (self.layer, deposits)):
            positive = values[values > 0]
            if len(positive):
                stride = -(-len(positive) // _QUANTILE_VALUES)
                scale.copy_(torch.quantile(positive[::stride], 0.05))
        powers = _powers(level.double())
        logs = self._layer_logs(deposits, torch.full_like(deposits, 0.5)).double()
        means = _least_squares(powers, logs)
        self.mean.copy_(means)
        self.width.copy_((logs - powers @ means).std(dim=0, correction=0).clamp_min(_LEAST_WIDTH))
        response = (deposits.sum(dim=1) / energy).double()[:, None]
        mean = _least_squares(powers, response)
        # Of a normal variable, ln |x| is -0.635 on average.
        spread = (response - powers @ mean).abs().clamp_min(_LEAST_WIDTH / 10).log() + 0.635
        self.response.copy_(torch.cat([mean, _least_squares(powers, spread)], dim=1).T)
        self.fitted.fill_(1)

    def cells(self, showers: Tensor, uniform: Tensor) -> Tensor:
        """Voxels as numbers; `uniform`, in [0, 1), of the same shape, says which number stands for none."""
        return _encoded(showers, self.cell, uniform)

    def cell_energies(self, numbers: Tensor) -> Tensor:
        """The voxels (MeV) of numbers, as `cells` makes them."""
        return _decoded(numbers, self.cell) * (numbers > BORDER)

    def layers(self, deposits: Tensor, energy: Tensor, level: Tensor, uniform: Tensor) -> Tensor:
        """Response and energies of layers as numbers, shape (n_showers, 1 + n_layers).

        Parameters
        ----------
        deposits, uniform
            Shape (n_showers, n_layers), MeV, and in [0, 1).
        """
        mean, width = self._response(level)
        response = (deposits.sum(dim=1) / energy - mean) / width
        numbers = (self._layer_logs(deposits, uniform) - _powers(level) @ self.mean) / self.width
        return torch.cat([response[:, None], numbers], dim=1)

    def layer_energies(self, numbers: Tensor, energy: Tensor, level: Tensor) -> Tensor:
        """Energies of layers, shape (n_showers, n_layers), MeV, whose sum is what the response says."""
        mean, width = self._response(level)
        total = (mean + width * numbers[:, 0].clamp(-LARGEST, LARGEST)).clamp_min(0) * energy
        # No layer has more than ten times the particle's energy, whatever a network says.
        logs = torch.minimum(
            numbers[:, 1:] * self.width + _powers(level) @ self.mean, (1 + 10 * energy / self.layer).log()[:, None]
        )
        deposits = _decoded(logs, self.layer)
        return deposits * (total / deposits.sum(dim=1).clamp_min(1e-20))[:, None]

    def _layer_logs(self, deposits: Tensor, uniform: Tensor) -> Tensor:
        return _encoded(deposits, self.layer, uniform)

    def _response(self, level: Tensor) -> tuple[Tensor, Tensor]:
        values = _powers(level) @ self.response.T
        return values[:, 0], values[:, 1].exp()


def _encoded(energies: Tensor, scale: Tensor, uniform: Tensor) -> Tensor:
    return torch.where(energies > 0, (energies / scale).log1p(), NONE[0] + (NONE[1] - NONE[0]) * uniform)


def _decoded(numbers: Tensor, scale: Tensor) -> Tensor:
    return (numbers.clamp_min(0).exp() - 1) * scale


def _powers(level: Tensor) -> Tensor:
    """Legendre polynomials up to `DEGREE`, shape (n_showers, DEGREE + 1)."""
    return torch.stack([torch.ones_like(level), level, (3 * level**2 - 1) / 2, (5 * level**3 - 3 * level) / 2], dim=1)


def _least_squares(powers: Tensor, values: Tensor) -> Tensor:
    """Coefficients, held back a little where showers are few: (DEGREE + 1, n_values)."""
    ridge = 1e-6 * len(powers) * torch.eye(powers.shape[1], dtype=powers.dtype, device=powers.device)
    found: Tensor = torch.linalg.solve(powers.T @ powers + ridge, powers.T @ values)
    return found
