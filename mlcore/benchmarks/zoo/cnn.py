"""A small convolutional network on a calorimeter image.

References
----------
L. de Oliveira, M. Kagan, L. Mackey, B. Nachman, A. Schwartzman, "Jet-images - deep learning edition", JHEP 07 (2016) 069,
arXiv:1511.05190: convolutions and max-pooling on an image of the energy, then dense layers.
"""

from __future__ import annotations

from torch import nn

from mlcore.benchmarks.zoo._model import BATCH, TensorSpec, ZooModel


def build() -> nn.Module:
    """Three 3×3 convolutions with 8, 16 and 32 channels, two poolings, two dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


MODEL = ZooModel(
    name="cnn",
    title="CNN 32×32",
    paper="de Oliveira et al., arXiv:1511.05190",
    build=build,
    inputs=(TensorSpec("x", (BATCH, 1, 32, 32)),),
    outputs=(TensorSpec("y", (BATCH, 10)),),
)
