"""Forests of decision trees: read from the files of their libraries, predicted natively, turned into C++.

Public names: `load` gives a `Forest` with `margin`, `predict`, `leaves`, `info` and `save`; `convert` writes a standalone C++
project and verifies it against the source library, `CppOptions` and `ConversionReport` being its options and result.
"""

from mlcore.forests.conversion import Agreement, ConversionReport, convert
from mlcore.forests.emit.cpp import CppOptions
from mlcore.forests.forest import Forest, ForestInfo, load
from mlcore.forests.saved import SavedForest

__all__ = ["Agreement", "ConversionReport", "CppOptions", "Forest", "ForestInfo", "SavedForest", "convert", "load"]
