"""A flavour tagger with a GRU of 120 units over 15 tracks.

References
----------
K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
arXiv:1406.1078, equations (5) to (8). The tagger's shape: E. E. Khoda et al., arXiv:2207.00559, section 3.
"""

from __future__ import annotations

from torch import nn

from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel
from mlcore.benchmarks.zoo._recurrent import CLASSES, FEATURES, TRACKS, Tagger


def build() -> nn.Module:
    """The tagger around a GRU."""
    return Tagger(nn.GRU)


MODEL = ZooModel(
    name="gru",
    title="GRU tagger, 15 tracks",
    paper="Cho et al., arXiv:1406.1078; Khoda et al., arXiv:2207.00559",
    build=build,
    inputs=(TensorSpec("x", (BATCH, PARTICLES, FEATURES)),),
    outputs=(TensorSpec("y", (BATCH, CLASSES)),),
    particles=TRACKS,
)
