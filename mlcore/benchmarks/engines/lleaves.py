"""lleaves: a forest of LightGBM, compiled by LLVM."""

from __future__ import annotations

from mlcore.benchmarks.engines._forests import ForestPeer

ENGINE = ForestPeer("lleaves")
