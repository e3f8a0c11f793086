"""This project's C++, compiled for AVX2."""

from __future__ import annotations

from mlcore.benchmarks.engines._own import OwnEngine

ENGINE = OwnEngine("avx2")
