"""This project's C++, compiled for any processor of its family."""

from __future__ import annotations

from mlcore.benchmarks.engines._own import OwnEngine

ENGINE = OwnEngine("portable")
