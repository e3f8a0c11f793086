"""A transformer encoder on 40 tokens: two layers, width 64, four heads, the mean of the tokens, two classes.

References
----------
A. Vaswani et al., "Attention is all you need", arXiv:1706.03762, figure 1 (left), with the normalisation before each part: R.
Xiong et al., "On layer normalization in the transformer architecture", arXiv:2002.04745, figure 1(b).
"""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.benchmarks.zoo._attention import EncoderBlock
from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel


class Encoder(nn.Module):
    """Embedding, blocks, mean, classes; no positions, since particles have no order."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(16, 64)
        self.blocks = nn.Sequential(*(EncoderBlock(64, 4, 128) for _ in range(2)))
        self.classes = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Float32, shape (batch, tokens, 16); returns (batch, 2)."""
        y: Tensor = self.classes(self.blocks(self.embedding(x)).mean(dim=1))
        return y


MODEL = ZooModel(
    name="transformer",
    title="Transformer, 2 layers, 40 tokens",
    paper="Vaswani et al., arXiv:1706.03762",
    build=Encoder,
    inputs=(TensorSpec("x", (BATCH, PARTICLES, 16)),),
    outputs=(TensorSpec("y", (BATCH, 2)),),
    particles=40,
)
