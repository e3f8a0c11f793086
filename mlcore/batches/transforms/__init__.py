"""Transforms of features: fitted in one pass over blocks, saved exactly, and exported as the first layer of a network.

Public names: `Pipeline`, and its steps `Standardize`, `MinMax`, `Log`, `Clip`, `Impute`, `Quantile` and `OneHot`.
"""

from __future__ import annotations

from mlcore.batches.transforms.pipeline import Pipeline
from mlcore.batches.transforms.steps import Clip, Impute, Log, MinMax, OneHot, Quantile, Standardize, Step

__all__ = ["Clip", "Impute", "Log", "MinMax", "OneHot", "Pipeline", "Quantile", "Standardize", "Step"]
