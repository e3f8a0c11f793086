"""A tagger that reads the tracks of a jet one after the other; shared by the LSTM and the GRU.

References
----------
E. E. Khoda et al., "Ultra-low latency recurrent neural network inference on FPGAs for physics applications with hls4ml",
Mach. Learn.: Sci. Technol. 4 (2023) 025004, arXiv:2207.00559, section 3: flavour tagging with 15 tracks of 6 features and 120
units.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.benchmarks.zoo._mlp import mlp

TRACKS, FEATURES, UNITS, CLASSES = 15, 6, 120, 3


class Tagger(nn.Module):
    """The last state of a recurrent layer, then dense layers."""

    def __init__(self, layer: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.recurrent = layer(FEATURES, UNITS, batch_first=True)
        self.head = mlp(UNITS, 50, 10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Float32, shape (batch, tracks, 6); returns probabilities (batch, 3)."""
        states, _ = self.recurrent(x)
        probabilities: Tensor = self.head(states[:, -1]).softmax(dim=-1)
        return probabilities
