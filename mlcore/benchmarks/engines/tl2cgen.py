"""TL2cgen: a forest as C, compiled."""

from __future__ import annotations

from mlcore.benchmarks.engines._forests import ForestPeer

ENGINE = ForestPeer("tl2cgen")
