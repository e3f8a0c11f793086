"""Small valid files of every format, to be damaged by the tests of hostile files.

Each format has a function under `samples`' decorator that returns a few files, small ones, so that a random change is likely to
hit something that matters. A frontend without samples fails `test_hostile_files`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.mlcore.forests.conftest import train_lightgbm, train_xgboost

_SAMPLES: dict[str, Callable[[], list[bytes]]] = {}


def sample(format_name: str) -> Callable[[Callable[[], list[bytes]]], Callable[[], list[bytes]]]:
    """Register what makes the samples of a format."""

    def register(make: Callable[[], list[bytes]]) -> Callable[[], list[bytes]]:
        if format_name in _SAMPLES:
            raise RuntimeError(f"{format_name} has samples already")
        _SAMPLES[format_name] = make
        return make

    return register


@cache
def samples(format_name: str) -> tuple[bytes, ...]:
    """Valid files of a format; none where nobody registered any."""
    return tuple(_SAMPLES[format_name]()) if format_name in _SAMPLES else ()


def _stored(folder: str, suffix: str, largest: int = 9000) -> Callable[[], list[bytes]]:
    """The smaller ones of the files in the tests' data."""

    def make() -> list[bytes]:
        files = sorted((Path(__file__).parents[2] / "data" / "forests" / folder).glob(f"*{suffix}"))
        return [data for data in (file.read_bytes() for file in files) if len(data) <= largest]

    return make


sample("catboost-json")(_stored("catboost", ".json"))
sample("onnx")(_stored("onnx", ".onnx"))
sample("skops")(_stored("skops", ".skops", largest=20_000))
sample("treelite-json")(_stored("treelite", ".json"))


@cache
def _xgboost(format_name: str) -> list[bytes]:
    boosters = [
        train_xgboost(rounds=2, max_depth=2, objective="binary:logistic"),
        train_xgboost(rounds=1, max_depth=2, objective="multi:softprob"),
        train_xgboost(rounds=2, max_depth=3, categorical=True, objective="reg:squarederror", max_cat_to_onehot=4),
        train_xgboost(rounds=3, max_depth=1, booster="dart", rate_drop=0.5, objective="count:poisson"),
    ]
    return [bytes(booster.save_raw(format_name)) for booster in boosters]


@sample("xgboost-json")
def _xgboost_json() -> list[bytes]:
    return _xgboost("json")


@sample("xgboost-ubj")
def _xgboost_ubj() -> list[bytes]:
    return _xgboost("ubj")


@sample("lightgbm-text")
def _lightgbm() -> list[bytes]:
    boosters = [
        train_lightgbm(rounds=2, num_leaves=4, objective="binary"),
        train_lightgbm(rounds=1, num_leaves=3, objective="multiclass"),
        train_lightgbm(rounds=2, num_leaves=4, categorical=True, objective="regression"),
        train_lightgbm(rounds=2, num_leaves=3, boosting="rf", bagging_freq=1, bagging_fraction=0.5, objective="regression"),
    ]
    return [str(booster.model_to_string()).encode() for booster in boosters]


@sample("tmva-xml")
def _tmva() -> list[bytes]:
    from dataclasses import replace

    from tests.mlcore.forests.tmva_files import RECIPES, write

    return [write(replace(RECIPES[name], n_trees=2, depth=2)).encode() for name in ("AdaBoost", "multi-class", "regression")]


@sample("root-xgboost")
def _root() -> list[bytes]:
    """Both layouts, packed and not; where there is no ROOT wheel, a file that uproot wrote."""
    if not find_spec("ROOT"):
        return [_root_of_uproot()]
    from tests.mlcore.forests import root_files

    booster = train_xgboost(rounds=2, max_depth=2, objective="binary:logistic")
    flat = root_files.flat(booster, n_outputs=1, logistic=True, base_score=0.0)
    levels = root_files.levels(booster, depth=2, n_outputs=1, n_features=6, objective="logistic")
    files = {f"{compression}.root": {"flat": flat} for compression in (0, 101, 207, 404, 505)}
    files |= {"1000.root": {"old": levels}, "1101.root": {"old": levels}}
    settings = {name: int(name.removesuffix(".root")) % 1000 for name in files}
    with tempfile.TemporaryDirectory() as folder:
        root_files.write(Path(folder), files, compression=settings)
        return [(Path(folder) / name).read_bytes() for name in files]


@sample("ml4ep-forest")
def _saved() -> list[bytes]:
    """Forests of each kind of tree: of floats, of doubles, with categories, of several outputs."""
    from mlcore.forests import load

    found = []
    with tempfile.TemporaryDirectory() as folder:
        model, path = Path(folder) / "model", Path(folder) / "forest"
        for data in (*samples("xgboost-json")[:3], *samples("lightgbm-text")[2:3], *samples("treelite-json")[-1:]):
            model.write_bytes(data)
            load(model).save(path)
            found.append(path.read_bytes())
    return found


def _root_of_uproot() -> bytes:
    import uproot

    with tempfile.TemporaryDirectory() as folder:
        with uproot.recreate(Path(folder) / "file.root") as file:
            file["text"] = "no forest"
        return (Path(folder) / "file.root").read_bytes()
