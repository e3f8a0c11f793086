"""LightGBM, through Python."""

from __future__ import annotations

from mlcore.benchmarks.engines._forests import ForestPeer

ENGINE = ForestPeer("lightgbm")
