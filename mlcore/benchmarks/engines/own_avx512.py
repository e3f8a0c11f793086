"""This project's C++, compiled for AVX-512."""

from __future__ import annotations

from mlcore.benchmarks.engines._own import OwnEngine

ENGINE = OwnEngine("avx512")
