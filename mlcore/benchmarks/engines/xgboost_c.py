"""XGBoost through its C API: prediction in place."""

from __future__ import annotations

from mlcore.benchmarks.engines._libraries import LibraryEngine

ENGINE = LibraryEngine(
    "xgboost_c",
    "XGBoost, C API",
    "xgboost",
    "xgboost-cpu",
    adapter="forest_xgboost",
    library="lib/libxgboost.so",
    suffixes={"xgboost-ubj": ".ubj", "xgboost-json": ".json"},
    all_rounds=0,
)
