"""The transformer distilled: its flow of many steps learnt as one to four long ones.

The teacher turns noise into a shower along a path that the noise alone decides. The student has the teacher's networks and learns
where that path is after 1, 2, 3 or 4 even parts of the time: it is trained on pairs of the path's ends, so that one evaluation
replaces a part. The layers' energies, whose network is small, keep the teacher's steps.

References
----------
E. Luhman and T. Luhman, "Knowledge distillation in iterative generative models", arXiv:2101.02388, Sec. 3 (noise and the
teacher's result as pairs); X. Liu, C. Gong and Q. Liu, "Flow straight and fast", arXiv:2209.03003, Sec. 2.2 (distillation of a
flow).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from mlcore.errors import InputError
from mlcore.showers.models.neural import Batch, turned, turns
from mlcore.showers.models.transformer import Transformer, TransformerConfig, times

MOST_PARTS = 4
_AT_ONCE = 100


@dataclass(frozen=True)
class DistilledConfig(TransformerConfig):
    """As the teacher's.

    Attributes
    ----------
    parts
        Evaluations of the transformer for a shower, 1 to 4.
    noises
        Paths of the teacher for each shower of the sample that is trained on.
    """

    parts: int = 1
    noises: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.parts <= MOST_PARTS or self.noises < 1:
            raise InputError(
                f"a student takes 1 to {MOST_PARTS} parts and at least one path of the teacher", hint="Keep the defaults."
            )


@dataclass(frozen=True, eq=False)
class Paths(Batch):
    """A batch whose showers are the teacher's.

    Attributes
    ----------
    layers
        Response and layers as numbers, float32, shape (n_showers, 1 + n_layers).
    states
        Voxels as numbers along the path, noise first: float32, shape (n_showers, parts + 1, n_layers, n_angles, n_radii).
    """

    layers: Tensor
    states: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Paths:
        return Paths(self.showers[rows], self.energy[rows], self.conditions[rows], self.layers[rows], self.states[rows])

    def to(self, device: torch.device | str) -> Paths:
        """The same on another device."""
        return Paths(*(value.to(device) for value in (self.showers, self.energy, self.conditions, self.layers, self.states)))


class Distilled(Transformer):
    """A student of few steps.

    `of` makes one of a teacher; `mlcore.showers.training.train` then trains it, on energies and angles of the records that it is
    given: their showers are not looked at.
    """

    slug = "distilled"
    config_type = DistilledConfig
    config: DistilledConfig

    def __init__(self, config: DistilledConfig) -> None:
        super().__init__(config)
        self._teacher: list[Transformer] = []  # in a list, so that its weights are not this model's

    @classmethod
    def of(cls, teacher: Transformer, *, parts: int = 1, noises: int = 1) -> Self:
        """An untrained student with the weights of its teacher, whose steps (`config.steps`) are a multiple of the parts.

        Raises
        ------
        InputError
            They are not.
        """
        if teacher.config.steps % parts:
            raise InputError(
                f"{teacher.config.steps} steps of the teacher cannot be divided into {parts} parts",
                hint="Choose a divisor.",
                code="showers.parts",
            )
        values = {field.name: getattr(teacher.config, field.name) for field in fields(TransformerConfig)}
        student = cls(DistilledConfig(**values | {"learns": "shape"}, parts=parts, noises=noises))
        student.load_state_dict(teacher.state_dict())
        student._teacher.append(teacher)
        return student

    @torch.no_grad()
    def paths(self, batch: Batch, seed: int = 0) -> Paths:
        """The teacher's paths for the particles of a batch.

        Raises
        ------
        InputError
            The student was loaded, and has no teacher.
        """
        if not self._teacher:
            raise InputError("a student without its teacher cannot be trained", hint="Make it with Distilled.of(teacher).")
        teacher, grid = self._teacher[0], self.config.voxels.shape
        device = next(teacher.parameters()).device
        training = teacher.training
        teacher.eval()
        generator = torch.Generator(device).manual_seed(seed)
        energy = batch.energy.repeat(self.config.noises)
        conditions = batch.conditions.repeat(self.config.noises, 1)
        found = []
        for at in range(0, len(energy), _AT_ONCE):
            own = conditions[at : at + _AT_ONCE].to(device)
            noise = torch.randn(len(own), self.noise_size, generator=generator, device=device)
            layers = teacher.layer_numbers(own, noise[:, : grid[0] + 1])
            states = teacher.cell_states(own, layers, noise[:, grid[0] + 1 :].reshape(-1, *grid), self.config.parts)
            showers = teacher.showers(energy[at : at + _AT_ONCE].to(device), own, layers, states[:, -1])
            found.append((showers.cpu(), layers.cpu(), states.cpu()))
        teacher.train(training)
        showers, layers, states = (torch.cat(values) for values in zip(*found, strict=True))
        return Paths(showers, energy, conditions, layers, states)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean square of the error of the ends of parts, over the parts' length, as the velocity's."""
        if not isinstance(batch, Paths):
            batch = self.paths(batch)
        parts = self.config.parts
        number = torch.randint(parts, (len(batch),), generator=generator, device=batch.energy.device)
        rows = torch.arange(len(batch), device=batch.energy.device)
        start, end = batch.states[rows, number], batch.states[rows, number + 1]
        if self.training:
            # The teacher's showers are turned as the sample's were that it learnt from.
            places = turns(batch, generator)
            start, end = turned(start, places), turned(end, places)
        found = self.shape(start, number / parts, batch.conditions, batch.layers)
        return {"shape": ((found - (end - start) * parts) ** 2).mean()}

    def training_batch(self, batch: Batch) -> Batch:
        """See `NeuralModel`: the teacher's paths, the same in each call."""
        return self.paths(batch)

    def cell_numbers(self, conditions: Tensor, layers: Tensor, noise: Tensor) -> Tensor:
        """See `Transformer`."""
        x, parts = noise, self.config.parts
        for number in range(parts):
            x = x + self.shape(x, times(x, number / parts), conditions, layers) / parts
        return x
