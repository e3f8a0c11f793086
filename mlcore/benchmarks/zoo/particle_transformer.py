"""The Particle Transformer as weaver-core has it, in its usual size: eight blocks, two of class attention, pairwise features.

References
----------
H. Qu, C. Li, S. Qian, "Particle Transformer for jet tagging", ICML (2022), arXiv:2202.03772, figure 3 and equations (3), (4).
"""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel


class Tagger(nn.Module):
    """The network with its inputs in a fixed order."""

    def __init__(self) -> None:
        from weaver.nn.model.ParticleTransformer import ParticleTransformer

        super().__init__()
        # `for_inference` is how weaver-core exports: pairs are embedded without sparse tensors, a softmax ends it.
        self.network = ParticleTransformer(17, 10, pair_input_dim=4, trim=False, for_inference=True)

    def forward(self, features: Tensor, momenta: Tensor, mask: Tensor) -> Tensor:
        """Float32: features (batch, 17, particles), (px, py, pz, E) in GeV (batch, 4, particles), mask (batch, 1, particles);
        returns probabilities (batch, 10)."""
        probabilities: Tensor = self.network(features, v=momenta, mask=mask)
        return probabilities


MODEL = ZooModel(
    name="particle_transformer",
    title="Particle Transformer, 64 particles",
    paper="Qu, Li, Qian, arXiv:2202.03772; weaver-core",
    build=Tagger,
    inputs=(
        TensorSpec("features", (BATCH, 17, PARTICLES)),
        TensorSpec("momenta", (BATCH, 4, PARTICLES), "momentum"),
        TensorSpec("mask", (BATCH, 1, PARTICLES), "mask"),
    ),
    outputs=(TensorSpec("y", (BATCH, 10)),),
    particles=64,
    packages={"weaver.nn.model.ParticleTransformer": "pip install --no-deps weaver-core==0.5.3"},
)
