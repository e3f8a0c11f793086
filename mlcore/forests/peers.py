"""Other programs that predict with a forest, each opened on the same model file as well as it can be from Python.

A `Peer` either gives a function from rows to predictions, or raises `AbsentError` with the reason and the way to install it.
Every peer gives what `Forest.predict` gives: the source library's own prediction.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import MLCoreError
from mlcore.filetypes import detect
from mlcore.forests.forest import Forest
from mlcore.forests.ir import Link

Rows = npt.NDArray[Any]
Predict = Callable[[Rows], Rows]

TL2CGEN_NODES = 60_000
"""More nodes than this take its C compiler minutes."""


SKOPS_TREES = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")


class AbsentError(Exception):
    """A peer that cannot take part: why, and what would bring it in."""

    def __init__(self, reason: str, install: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.install = install


@dataclass(frozen=True)
class Setting:
    """What a peer is opened for.

    Attributes
    ----------
    path
        The model file.
    forest
        The same model, loaded.
    threads
        How many threads each prediction may use.
    folder
        Where compiled code may lie.
    """

    path: Path
    forest: Forest
    threads: int
    folder: Path

    @property
    def kind(self) -> str:
        """What the file is; a saved forest names the format that it came from elsewhere."""
        return detect(self.path).kind


@dataclass(frozen=True)
class Peer:
    """A program that predicts.

    Attributes
    ----------
    key
        Short name, as in `PEERS`.
    title
        For people.
    module
        The Python module that must be there.
    distribution
        The name by which it is installed.
    open
        Makes its prediction, shape (n_rows, n_predictions) or (n_rows,).
    note
        What is to be known about its figures.
    """

    key: str
    title: str
    module: str
    distribution: str
    open: Callable[[Setting], Predict]
    note: str = ""

    def load(self) -> None:
        """Import the program, or raise `AbsentError`."""
        if util.find_spec(self.module) is None:
            raise AbsentError("not installed", f"pip install {self.distribution}")
        try:
            import_module(self.module)
        except Exception as error:  # what is half installed may fail in any way
            raise AbsentError(f"its installation is broken: {first_line(error)}") from error

    def start(self, setting: Setting) -> Predict:
        """The prediction, or `AbsentError`."""
        try:
            return self.open(setting)
        except (AbsentError, MemoryError):
            raise
        except MLCoreError as error:
            raise AbsentError(str(error)) from error
        except Exception as error:  # a library's own refusal of a model may be any exception
            raise AbsentError(f"it refuses the model: {first_line(error)}") from error

    @property
    def version(self) -> str:
        """The installed version, ``""`` where that is not known."""
        for name in (self.distribution, self.module):
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return ""


def first_line(error: BaseException) -> str:
    """An exception as one short line."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]


def _of(setting: Setting, *formats: str) -> None:
    if setting.kind not in formats:
        raise AbsentError(f"does not read {setting.kind} files")


def _rounds(setting: Setting) -> tuple[int, int]:
    """The boosting rounds that count, as XGBoost takes them; (0, 0) for all."""
    return 0, setting.forest.model.n_rounds or 0


def xgboost_booster(setting: Setting) -> Any:
    """The model in XGBoost."""
    _of(setting, "xgboost-json", "xgboost-ubj")
    xgboost = import_module("xgboost")
    booster = xgboost.Booster({"nthread": setting.threads})
    # The suffix of a file would decide how it is read; bytes say it themselves.
    booster.load_model(bytearray(setting.path.read_bytes()))
    booster.set_param({"nthread": setting.threads})
    return booster


def lightgbm_booster(setting: Setting) -> Any:
    """The model in LightGBM."""
    _of(setting, "lightgbm-text")
    return import_module("lightgbm").Booster(model_str=setting.path.read_text(encoding="utf-8"))


def _xgboost(setting: Setting) -> Predict:
    booster, rounds = xgboost_booster(setting), _rounds(setting)
    return lambda rows: booster.inplace_predict(rows, iteration_range=rounds, validate_features=False)


def _lightgbm(setting: Setting) -> Predict:
    booster, threads = lightgbm_booster(setting), setting.threads
    return lambda rows: booster.predict(rows, num_threads=threads)


def _sklearn(setting: Setting) -> Predict:
    _of(setting, "skops")
    if util.find_spec("skops") is None:
        raise AbsentError("skops, which reads its files, is not installed", "pip install skops")
    # Nothing is built but what skops itself trusts and scikit-learn's own holders of trees, whose nodes the frontend verified.
    model = import_module("skops.io").load(setting.path, trusted=list(SKOPS_TREES))
    if hasattr(model, "n_jobs"):
        model.n_jobs = setting.threads
    if util.find_spec("threadpoolctl") is not None:
        import_module("threadpoolctl").threadpool_limits(setting.threads)
    predict: Predict = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return predict


def _catboost(setting: Setting) -> Predict:
    _of(setting, "catboost-json")
    model = import_module("catboost").CatBoost()
    model.load_model(str(setting.path), format="json")
    kind = "RawFormulaVal" if setting.forest.model.link is Link.IDENTITY else "Probability"
    if setting.forest.model.link is Link.EXP:
        kind = "Exponent"
    return lambda rows: np.asarray(model.predict(rows, prediction_type=kind, thread_count=setting.threads))


def _onnxruntime(setting: Setting) -> Predict:
    from mlcore.forests.onnx_export import to_onnx

    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = setting.threads
    options.inter_op_num_threads = 1
    session = runtime.InferenceSession(to_onnx(setting.forest.model), options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"rows": rows})[0]


def _onedal(setting: Setting) -> Predict:
    builders, daal = import_module("daal4py.mb"), import_module("daal4py")
    if setting.kind == "lightgbm-text":
        model = builders.convert_model(lightgbm_booster(setting))
    else:
        model = builders.convert_model(xgboost_booster(setting))
    daal.daalinit(setting.threads)
    link = setting.forest.model.link
    if link is Link.SIGMOID:
        return lambda rows: model.predict_proba(rows)[:, 1]
    predict: Predict = model.predict_proba if link is Link.SOFTMAX else model.predict
    return predict


def treelite_model(setting: Setting) -> Any:
    """The model in treelite."""
    _of(setting, "xgboost-json", "xgboost-ubj", "lightgbm-text")
    if setting.forest.model.n_rounds is not None:
        raise AbsentError("it takes all rounds of the file, not those up to the best one")
    treelite = import_module("treelite")
    match setting.kind:
        case "lightgbm-text":
            return treelite.frontend.load_lightgbm_model(setting.path)
        case "xgboost-ubj":
            return treelite.frontend.load_xgboost_model(setting.path, format_choice="ubjson")
        case _:
            return treelite.frontend.load_xgboost_model(setting.path, format_choice="json")


def _treelite(setting: Setting) -> Predict:
    model, predict = treelite_model(setting), import_module("treelite").gtil.predict
    return lambda rows: predict(model, rows, nthread=setting.threads)


def _tl2cgen(setting: Setting) -> Predict:
    nodes = setting.forest.info.n_nodes
    if nodes > TL2CGEN_NODES:
        raise AbsentError(f"its C compiler would run for minutes on {nodes} nodes; up to {TL2CGEN_NODES} are compiled here")
    if util.find_spec("treelite") is None:
        raise AbsentError("treelite, which reads its models, is not installed", "pip install treelite")
    tl2cgen = import_module("tl2cgen")
    library = setting.folder / "tl2cgen.so"
    parameters = {"parallel_comp": min(64, len(setting.forest.model.trees))}
    tl2cgen.export_lib(treelite_model(setting), "gcc", library, parameters, nthread=os.cpu_count() or 1)
    predictor = tl2cgen.Predictor(library, nthread=setting.threads)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows))


def _lleaves(setting: Setting) -> Predict:
    _of(setting, "lightgbm-text")
    model = import_module("lleaves").Model(model_file=str(setting.path))
    model.compile()
    return lambda rows: model.predict(rows, n_jobs=setting.threads)


PEERS: dict[str, Peer] = {
    peer.key: peer
    for peer in (
        Peer("xgboost", "XGBoost", "xgboost", "xgboost-cpu", _xgboost),
        Peer("lightgbm", "LightGBM", "lightgbm", "lightgbm", _lightgbm),
        Peer("sklearn", "scikit-learn", "sklearn", "scikit-learn", _sklearn),
        Peer("catboost", "CatBoost", "catboost", "catboost", _catboost),
        Peer("onnxruntime", "ONNX Runtime", "onnxruntime", "onnxruntime", _onnxruntime, "the model as an ONNX tree ensemble"),
        Peer("onedal", "oneDAL", "daal4py", "scikit-learn-intelex", _onedal, "through daal4py"),
        Peer("tl2cgen", "TL2cgen", "tl2cgen", "tl2cgen", _tl2cgen, "compiled by gcc before it is timed"),
        Peer("treelite", "treelite", "treelite", "treelite", _treelite, "its general interpreter, GTIL"),
        Peer("lleaves", "lleaves", "lleaves", "lleaves", _lleaves, "compiled by LLVM before it is timed"),
    )
}
"""All peers, by key."""

SOURCES = {"xgboost": "xgboost", "lightgbm": "lightgbm", "scikit-learn": "sklearn", "sklearn": "sklearn", "catboost": "catboost"}
"""The peer that trained the models of a library, by `Source.library`."""
