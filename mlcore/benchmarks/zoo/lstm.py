"""A flavour tagger with an LSTM of 120 units over 15 tracks.

References
----------
S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Comput. 9 (1997) 1735, doi:10.1162/neco.1997.9.8.1735. The
tagger's shape: E. E. Khoda et al., arXiv:2207.00559, section 3.
"""

from __future__ import annotations

from torch import nn

from mlcore.benchmarks.zoo._model import BATCH, PARTICLES, TensorSpec, ZooModel
from mlcore.benchmarks.zoo._recurrent import CLASSES, FEATURES, TRACKS, Tagger


def build() -> nn.Module:
    """The tagger around an LSTM."""
    return Tagger(nn.LSTM)


MODEL = ZooModel(
    name="lstm",
    title="LSTM tagger, 15 tracks",
    paper="Hochreiter, Schmidhuber, doi:10.1162/neco.1997.9.8.1735; Khoda et al., arXiv:2207.00559",
    build=build,
    inputs=(TensorSpec("x", (BATCH, PARTICLES, FEATURES)),),
    outputs=(TensorSpec("y", (BATCH, CLASSES)),),
    particles=TRACKS,
)
