"""ParticleNet as weaver-core has it, in its light form: two EdgeConv blocks on the seven nearest particles.

References
----------
H. Qu, L. Gouskos, "Jet tagging via particle clouds", Phys. Rev. D 101 (2020) 056019, arXiv:1902.08570, figure 1 and 2.
"""

from __future__ import annotations

from torch import nn

from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel


def build() -> nn.Module:
    """Seven features of each particle, ten classes, no softmax behind them."""
    from weaver.nn.model.ParticleNet import ParticleNet

    module: nn.Module = ParticleNet(7, 10, trim=False)
    return module


MODEL = ZooModel(
    name="particlenet",
    title="ParticleNet, 64 particles",
    paper="Qu, Gouskos, arXiv:1902.08570; weaver-core",
    build=build,
    inputs=(
        TensorSpec("points", (BATCH, 2, PARTICLES)),
        TensorSpec("features", (BATCH, 7, PARTICLES)),
        TensorSpec("mask", (BATCH, 1, PARTICLES), "mask"),
    ),
    outputs=(TensorSpec("y", (BATCH, 10)),),
    particles=64,
    packages={"weaver.nn.model.ParticleNet": "pip install --no-deps weaver-core==0.5.3"},
)
