"""A transformer that makes showers by flow matching, in the manner of CaloDiT and CaloDREAM.

Two networks turn normal noise into a shower, each along the flow whose velocity it was trained on: a small one into the response
and the layers' energies, and a transformer into the voxels, given these. It sees the grid as patches of layers, angles and rings;
blocks are modulated by energy, angles, kind of particle, calorimeter, layers' energies and time. Each voxel's velocity is its own
value times what the network says, with a step whose place and height the network says as well: whether a voxel has energy is a
question with two answers, which few steps can then decide. In the end a layer's voxels are scaled to its energy.

References
----------
Y. Lipman et al., "Flow matching for generative modeling", arXiv:2210.02747, Eq. 9 (the loss, straight paths: Eq. 20 to 23);
P. Esser et al., arXiv:2403.03206, Eq. 19 (times of a logit-normal distribution); W. Peebles and S. Xie, "Scalable diffusion
models with transformers", arXiv:2212.09748, Sec. 3.2 (adaptive layer norms that begin with zero); J. Chen et al.,
arXiv:2310.00426, Sec. 2.3 (one modulation for all blocks); L. Favaro et al., "CaloDREAM", arXiv:2405.09629 (layers first, then
their voxels); P. Raikwar et al., "CaloDiT-2", arXiv:2509.07700 (patches of the grid, conditions with a spare calorimeter).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mlcore.errors import InputError
from mlcore.showers.models.neural import Batch, NeuralConfig, NeuralModel, above, turned, turns
from mlcore.showers.models.scales import Scales

FREQUENCIES = 16
_TERMS = 6
"""Numbers that a network gives for each velocity; see `_velocity`."""


@dataclass(frozen=True)
class TransformerConfig(NeuralConfig):
    """Sizes of the networks.

    Attributes
    ----------
    patch
        Layers, angles and rings of a patch; the grid's are multiples of them.
    width, depth, heads
        Of the transformer.
    layer_width, layer_depth
        Of the network of the layers' energies.
    steps, layer_steps
        Heun steps of the voxels' and of the layers' flow, two evaluations each.
    learns
        What a training changes: "both" networks, or that of the "layers" or of the "shape" alone.
    """

    patch: tuple[int, int, int] = (3, 4, 9)
    width: int = 128
    depth: int = 4
    heads: int = 4
    layer_width: int = 192
    layer_depth: int = 3
    steps: int = 16
    layer_steps: int = 8
    learns: str = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.depth, self.heads, self.layer_width, self.layer_depth, self.steps, self.layer_steps) < 1:
            raise InputError("a transformer needs sizes and steps of at least 1", hint="Keep the defaults.")
        if self.learns not in ("both", "layers", "shape"):
            raise InputError(f"a transformer cannot learn {self.learns!r}", hint="Choose both, layers or shape.")
        if self.width % self.heads:
            raise InputError(f"a width of {self.width} cannot be divided among {self.heads} heads", hint="Choose a multiple.")
        if len(self.patch) != 3 or min(self.patch) < 1 or any(n % m for n, m in zip(self.voxels.shape, self.patch, strict=True)):
            raise InputError(
                f"patches of {' x '.join(map(str, self.patch))} do not tile {' x '.join(map(str, self.voxels.shape))} voxels",
                hint=f"Choose divisors, such as {' x '.join(map(str, fitting_patch(self.voxels.shape)))}.",
                code="showers.patch",
            )

    @property
    def patches(self) -> tuple[int, int, int]:
        """How many along each axis."""
        layers, angles, rings = (n // m for n, m in zip(self.voxels.shape, self.patch, strict=True))
        return layers, angles, rings


def fitting_patch(shape: tuple[int, int, int], wanted: tuple[int, int, int] = (3, 4, 9)) -> tuple[int, int, int]:
    """Divisors of a grid's numbers, the largest that are at most those that are wanted.

    Examples
    --------
    >>> fitting_patch((45, 16, 9)), fitting_patch((8, 6, 4)), fitting_patch((47, 8, 5))
    ((3, 4, 9), (2, 3, 4), (1, 4, 5))
    """
    layers, angles, rings = (max(m for m in range(1, w + 1) if n % m == 0) for n, w in zip(shape, wanted, strict=True))
    return layers, angles, rings


class Transformer(NeuralModel):
    """Networks of the layers' energies and of the voxels."""

    slug = "transformer"
    config_type = TransformerConfig
    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        layers = config.voxels.shape[0]
        self.scales = Scales(layers)
        self.layers = _LayerFlow(layers + 1, config)
        self.shape = _ShapeFlow(config)
        for name, network in (("layers", self.layers), ("shape", self.shape)):
            network.requires_grad_(config.learns in ("both", name))

    def prepare(self, batch: Batch) -> None:
        """See `NeuralModel`."""
        self.scales.fit(batch.showers, batch.energy, batch.conditions[:, 0])

    def numbers(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Showers as numbers of size 1: response and layers, (n_showers, 1 + n_layers), and voxels, as the grid has them."""
        count, layers = batch.showers.shape[:2]
        uniform = torch.rand(count, layers, generator=generator, device=batch.energy.device)
        deposits = self.scales.layers(batch.showers.sum(dim=(2, 3)), batch.energy, batch.conditions[:, 0], uniform)
        uniform = torch.rand(batch.showers.shape, generator=generator, device=batch.energy.device)
        return deposits, self.scales.cells(batch.showers, uniform)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squares of velocities' errors, of the layers and of the voxels."""
        if self.training:
            batch = replace(batch, showers=turned(batch.showers, turns(batch, generator)))
        deposits, cells = self.numbers(batch, generator)

        def error(data: Tensor, velocity: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            noise = torch.randn(data.shape, generator=generator, device=data.device)
            time = torch.randn(len(data), generator=generator, device=data.device).sigmoid()
            share = time.reshape(-1, *[1] * (data.ndim - 1))
            return ((velocity((1 - share) * noise + share * data, time) - (data - noise)) ** 2).mean()

        parts = {}
        if self.config.learns != "shape":
            parts["layers"] = error(deposits, lambda x, t: self.layers(x, t, batch.conditions))
        if self.config.learns != "layers":
            parts["shape"] = error(cells, lambda x, t: self.shape(x, t, batch.conditions, deposits))
        return parts

    @property
    def noise_size(self) -> int:
        """One for the response, and one for each layer and voxel."""
        return 1 + self.config.voxels.shape[0] + self.config.voxels.count

    def layer_numbers(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Response and layers as numbers, (n_showers, 1 + n_layers), of noise of the same shape."""
        return heun(lambda x, t: self.layers(x, t, conditions), noise, self.config.layer_steps)

    def cell_numbers(self, conditions: Tensor, layers: Tensor, noise: Tensor) -> Tensor:
        """Voxels as numbers, of noise of the same shape."""
        return self.cell_states(conditions, layers, noise, 1)[:, -1]

    def cell_states(self, conditions: Tensor, layers: Tensor, noise: Tensor, parts: int) -> Tensor:
        """Voxels as numbers where the flow begins and after each of even parts: (n_showers, parts + 1, ...)."""

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            found: Tensor = self.shape(x, time, conditions, layers)
            return found

        states = [noise]
        for number in range(parts):
            span = (number / parts, (number + 1) / parts)
            states.append(heun(velocity, states[-1], self.config.steps // parts, span))
        return torch.stack(states, dim=1)

    def from_noise(self, energy: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        """See `NeuralModel`."""
        grid = self.config.voxels.shape
        layers = self.layer_numbers(conditions, noise[:, : grid[0] + 1])
        cells = self.cell_numbers(conditions, layers, noise[:, grid[0] + 1 :].reshape(-1, *grid))
        return self.showers(energy, conditions, layers, cells)

    def showers(self, energy: Tensor, conditions: Tensor, layers: Tensor, cells: Tensor) -> Tensor:
        """Voxels, MeV, scaled to the energies of their layers."""
        deposits = self.scales.layer_energies(layers, energy, conditions[:, 0])
        flat = cells.flatten(2)
        # A layer that has energy has it in some voxel: at least where it comes nearest.
        best = flat.amax(dim=2, keepdim=True)
        lift = (0.5 - best).clamp_min(0) * (flat >= best)
        voxels = self.scales.cell_energies(torch.minimum(flat + lift, (1 + energy / self.scales.cell).log()[:, None, None]))
        voxels = voxels * (deposits / voxels.sum(dim=2).clamp_min(1e-20))[:, :, None]
        return above(voxels.reshape(cells.shape), self.config.threshold)


def heun(
    velocity: Callable[[Tensor, Tensor], Tensor], start: Tensor, steps: int, span: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Along a flow from one time to another by Heun's method: T. Karras et al., arXiv:2206.00364, Algorithm 1, in even steps."""
    x, length = start, (span[1] - span[0]) / steps
    for number in range(steps):
        time = span[0] + number * length
        first = velocity(x, times(x, time))
        second = velocity(x + length * first, times(x, time + length))
        x = x + length / 2 * (first + second)
    return x


def times(x: Tensor, time: float) -> Tensor:
    """One time for all of a batch, shape (n_showers,); how many there are stays open where the model is exported."""
    return torch.full_like(x.flatten(1)[:, 0], time)


def _velocity(x: Tensor, terms: Tensor) -> Tensor:
    """``a + b x + s(k (x - m)) (c + d x)`` of the last axis' a, b, c, d, k and m; s is the logistic function."""
    a, b, c, d, k, m = terms.float().unbind(-1)
    return a + b * x + torch.sigmoid((1 + nn.functional.softplus(k)) * (x - m)) * (c + d * x)


def _waves(time: Tensor) -> Tensor:
    angle = time[:, None] * torch.exp(torch.linspace(0, math.log(100.0), FREQUENCIES, device=time.device))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class _LayerFlow(nn.Module):
    """A dense network with shortcuts."""

    def __init__(self, size: int, config: TransformerConfig) -> None:
        super().__init__()
        width = config.layer_width
        self.enter = nn.Linear(size + config.conditions + 2 * FREQUENCIES, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(config.layer_depth)
        )
        self.leave = nn.Linear(width, _TERMS * size)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        hidden = self.enter(torch.cat([x, conditions, _waves(time)], dim=1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return _velocity(x, self.leave(hidden).unflatten(1, (-1, _TERMS)))


class _ShapeFlow(nn.Module):
    """The transformer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.patch, self.patches = config.patch, config.patches
        layers = config.voxels.shape[0]
        width, tokens, cells = config.width, math.prod(config.patches), math.prod(config.patch)
        self.enter = nn.Linear(cells + config.patch[0], width)
        self.places = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.describe = nn.Sequential(
            nn.Linear(config.conditions + 2 * FREQUENCIES + layers + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        self.blocks = nn.ModuleList(_Block(width, config.heads) for _ in range(config.depth))
        self.last = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, _TERMS * cells)
        for layer in (self.last, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, time: Tensor, conditions: Tensor, layers: Tensor) -> Tensor:
        count = x.shape[0]
        (depth, turn, out), (many, around, rings) = self.patch, self.patches
        # (n, many, depth, around, turn, rings, out) -> (n, tokens, cells of a patch)
        order, back = (0, 1, 3, 5, 2, 4, 6), (0, 1, 4, 2, 5, 3, 6)
        patches = x.reshape(count, many, depth, around, turn, rings, out).permute(order)
        patches = patches.reshape(count, many * around * rings, depth * turn * out)
        own = layers[:, 1:].reshape(count, many, 1, depth).expand(count, many, around * rings, depth)
        own = own.reshape(count, many * around * rings, depth)
        hidden = self.enter(torch.cat([patches, own], dim=2)) + self.places
        description = self.describe(torch.cat([conditions, _waves(time), layers], dim=1))
        modulation = self.modulate(description)[:, None, :]
        for block in self.blocks:
            hidden = block(hidden, modulation)
        shift, scale = self.last(description)[:, None, :].chunk(2, dim=2)
        terms = self.leave(self.norm(hidden) * (1 + scale) + shift)
        velocity = _velocity(patches, terms.unflatten(2, (-1, _TERMS)))
        velocity = velocity.reshape(count, many, around, rings, depth, turn, out).permute(back)
        return velocity.reshape(x.shape)


class _Block(nn.Module):
    """Attention and a dense layer, each between adaptive norms and gates that begin with zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.own = nn.Parameter(torch.zeros(6 * width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale, gate, dense_shift, dense_scale, dense_gate = (modulation + self.own).chunk(6, dim=2)
        x = x + gate * self._attention(self.norm(x) * (1 + scale) + shift)
        result: Tensor = x + dense_gate * self.dense(self.norm(x) * (1 + dense_scale) + dense_shift)
        return result

    def _attention(self, x: Tensor) -> Tensor:
        count, tokens, width = x.shape
        mixed = self.mix(x).reshape(count, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(mixed[0], mixed[1], mixed[2])
        result: Tensor = self.out(found.permute(0, 2, 1, 3).reshape(count, tokens, width))
        return result
