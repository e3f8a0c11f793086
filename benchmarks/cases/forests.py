"""Forests: the native scalar predictor and the generated C++ against the library that trained the model."""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Comparison, Settings, interleaved
from mlcore import forests
from mlcore.forests.emit import cpp
from mlcore.toolchain.compiler import find_compiler

TITLE = "Forests of decision trees: margins, one thread"

FLAGS = ("-std=c++17", "-O2")
GENERATED, NATIVE = "generated C++", "native scalar predictor"
GOAL = "the generated C++ at least as fast as the source library"
N_FEATURES = 28

Array = np.ndarray[Any, Any]


def run(settings: Settings) -> list[Comparison]:
    """Both models, in batches and event by event."""
    n_trees = 50 if settings.quick else 500
    comparisons = []
    for title, path, peer in (_xgboost(settings.cache, n_trees), _lightgbm(settings.cache, n_trees)):
        forest = forests.load(path)
        library = _compiled(forest, settings.cache)
        for n_rows in (20_000, 1):
            rows = _events(n_rows, seed=2)[0]
            out = np.empty(n_rows, forest.model.sum_dtype)
            generated = _call(library, rows, out)
            generated()
            expected = peer(rows)()
            assert np.array_equal(out, expected), f"{title}: the generated C++ disagrees with the library"
            assert np.array_equal(forest.margin(rows), expected), f"{title}: the native predictor disagrees with the library"
            name = forest.info.library
            contenders = {GENERATED: generated, NATIVE: lambda f=forest, x=rows: f.margin(x), name: peer(rows)}
            measured = interleaved(contenders, settings, items=n_rows, clock=time.process_time)
            comparisons.append(
                Comparison(
                    task=f"{title}, {'one event' if n_rows == 1 else f'a batch of {n_rows} events'}",
                    goal=GOAL,
                    unit="µs/event",
                    ours=GENERATED,
                    measured=measured,
                    least_ratio=1.0,
                    peers=(name,),
                    facts={
                        "flags of the C++": " ".join(FLAGS),
                        "threads": "1",
                        "nodes": str(forest.info.n_nodes),
                        "calls": "all through Python, the C++ by ctypes",
                        "time": "CPU time of the process",
                    },
                )
            )
    return comparisons


def _events(n_rows: int, seed: int) -> tuple[Array, Array]:
    """Physics-like features, float32, shape (n_rows, 28), and labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, N_FEATURES)).astype(np.float32)
    x[:, :8] = np.exp(0.6 * x[:, :8])
    x[:, 8:14] = 2 * np.arctan(x[:, 8:14])
    score = (
        np.log(x[:, 0]) * np.log(x[:, 1])
        + np.sin(2 * x[:, 8]) * x[:, 14]
        + 0.7 * x[:, 15] * x[:, 16]
        + 0.4 * (x[:, 18] ** 2 - 1)
        + 0.15 * x[:, 25:].sum(axis=1)
    )
    return x, (score + 0.7 * rng.logistic(size=n_rows) > 0).astype(np.float32)


Peer = Callable[[Array], Callable[[], Array]]


def _xgboost(cache: Path, n_trees: int) -> tuple[str, Path, Peer]:
    import xgboost

    path = cache / f"xgboost_{n_trees}x6.ubj"
    if not path.exists():
        x, y = _events(100_000, seed=1)
        parameters = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.05, "tree_method": "hist", "nthread": 1}
        xgboost.train(parameters, xgboost.DMatrix(x, y), n_trees).save_model(path)
    booster = xgboost.Booster({"nthread": 1}, model_file=path)
    return f"XGBoost, {n_trees} trees of depth 6", path, lambda rows: lambda: booster.inplace_predict(rows, predict_type="margin")


def _lightgbm(cache: Path, n_trees: int) -> tuple[str, Path, Peer]:
    import lightgbm

    path = cache / f"lightgbm_{n_trees}x63.txt"
    if not path.exists():
        x, y = _events(100_000, seed=1)
        parameters = {"objective": "binary", "num_leaves": 63, "learning_rate": 0.05, "verbosity": -1, "num_threads": 1}
        lightgbm.train(parameters, lightgbm.Dataset(x, y), n_trees).save_model(path)
    booster = lightgbm.Booster(model_file=path)
    title = f"LightGBM, {n_trees} trees of 63 leaves"
    return title, path, lambda rows: lambda: booster.predict(rows, raw_score=True, num_threads=1)


def _compiled(forest: forests.Forest, cache: Path) -> ctypes.CDLL:
    """The generated header behind a C function, compiled once for each header and machine."""
    options = forests.CppOptions("model")
    header = cpp.header(forest.model, options)
    source = (
        '#include "model.hpp"\n'
        'extern "C" void margins(const float* rows, std::size_t n, model::real* out) { model::margin_batch(rows, n, out); }\n'
        'extern "C" void one(const float* row, std::size_t, model::real* out) { model::margin(row, out); }\n'
    )
    key = hashlib.sha256("\n".join([header, source, *FLAGS, find_compiler().version]).encode()).hexdigest()[:16]
    folder = cache / key
    library = folder / "model.so"
    if not library.exists():
        folder.mkdir(exist_ok=True)
        (folder / "model.hpp").write_text(header, encoding="utf-8")
        (folder / "model.cpp").write_text(source, encoding="utf-8")
        find_compiler().build([folder / "model.cpp"], library, flags=(*FLAGS, "-shared", "-fPIC"))
    return ctypes.CDLL(str(library))


def _call(library: ctypes.CDLL, rows: Array, out: Array) -> Callable[[], object]:
    function = library.one if len(rows) == 1 else library.margins
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    function.restype = None
    given, length, result = rows.ctypes.data, len(rows), out.ctypes.data
    return lambda: function(given, length, result)
