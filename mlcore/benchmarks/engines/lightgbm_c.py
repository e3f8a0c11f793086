"""LightGBM through its C API: a prepared call for single events."""

from __future__ import annotations

from mlcore.benchmarks.engines._libraries import LibraryEngine

ENGINE = LibraryEngine(
    "lightgbm_c",
    "LightGBM, C API",
    "lightgbm",
    "lightgbm",
    adapter="forest_lightgbm",
    library="lib/lib_lightgbm.so",
    suffixes={"lightgbm-text": ".txt"},
    all_rounds=-1,
)
