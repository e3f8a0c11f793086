"""A perceptron of five hidden layers of 200: the classifier of events with high-level features.

References
----------
P. Baldi, P. Sadowski, D. Whiteson, "Searching for exotic particles in high-energy physics with deep learning",
Nature Commun. 5 (2014) 4308, arXiv:1402.4735: five hidden layers of equal width.
"""

from __future__ import annotations

from torch import nn

from mlcore.benchmarks.zoo._mlp import mlp
from mlcore.benchmarks.zoo._model import BATCH, TensorSpec, ZooModel


def build() -> nn.Module:
    """32 features, five hidden layers of 200, one output."""
    return mlp(32, *[200] * 5, 1)


MODEL = ZooModel(
    name="mlp_5x200",
    title="MLP 5×200",
    paper="Baldi, Sadowski, Whiteson, arXiv:1402.4735",
    build=build,
    inputs=(TensorSpec("x", (BATCH, 32)),),
    outputs=(TensorSpec("y", (BATCH, 1)),),
)
