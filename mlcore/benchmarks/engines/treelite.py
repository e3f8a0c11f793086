"""treelite's interpreter, GTIL."""

from __future__ import annotations

from mlcore.benchmarks.engines._forests import ForestPeer

ENGINE = ForestPeer("treelite")
