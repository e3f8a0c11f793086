"""A network as Keras's functional interface makes them: two inputs, a concatenation, residuals, several activations, two outputs.

References
----------
K. He et al., "Identity mappings in deep residual networks", arXiv:1603.05027, figure 1(b), for the residual blocks; the shape
with two inputs and two outputs is that of an event classifier with a regression beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlcore.benchmarks.zoo._model import BATCH, TensorSpec, ZooModel


class Functional(nn.Module):
    """Two branches, joined; two residual blocks; a class and an energy."""

    def __init__(self) -> None:
        super().__init__()
        self.event, self.jet = nn.Linear(16, 32), nn.Linear(24, 32)
        self.norms = nn.ModuleList(nn.BatchNorm1d(64) for _ in range(2))
        self.dense = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
        self.classes, self.energy = nn.Linear(64, 5), nn.Linear(64 + 24, 1)

    def forward(self, event: Tensor, jet: Tensor) -> tuple[Tensor, Tensor]:
        """Float32: event (batch, 16), jet (batch, 24); returns probabilities (batch, 5) and an energy above zero (batch, 1)."""
        x = torch.cat([self.event(event).tanh(), functional.leaky_relu(self.jet(jet), 0.2)], dim=1)
        for i, norm in enumerate(self.norms):
            hidden = functional.elu(self.dense[2 * i](norm(x).relu()))
            x = x + self.dense[2 * i + 1](hidden)
        energy: Tensor = functional.softplus(self.energy(torch.cat([x * x.sigmoid(), jet], dim=1)))
        probabilities: Tensor = self.classes(x).softmax(dim=-1)
        return probabilities, energy


MODEL = ZooModel(
    name="functional",
    title="Functional model, 2 inputs",
    paper="He et al., arXiv:1603.05027",
    build=Functional,
    inputs=(TensorSpec("event", (BATCH, 16)), TensorSpec("jet", (BATCH, 24))),
    outputs=(TensorSpec("classes", (BATCH, 5)), TensorSpec("energy", (BATCH, 1))),
)
