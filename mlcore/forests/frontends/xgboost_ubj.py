"""XGBoost models saved as UBJSON, the default of recent versions."""

from __future__ import annotations

from mmap import mmap
from typing import Any

from mlcore.forests.frontends import Iterations, _ubjson, _xgboost, _xgboost_trees, made_by
from mlcore.forests.ir import TreeModel

FORMAT = "xgboost-ubj"
MAPPED = True


def matches(head: bytes) -> bool:
    """A UBJSON object whose first key has a length as XGBoost writes it."""
    return head[:1] == b"{" and head[1:2] in (b"L", b"l", b"I", b"i", b"U", b"#", b"$")


def read(data: bytes | mmap, *, iterations: Iterations) -> TreeModel:
    """The model of a UBJSON document, not yet verified.

    Raises
    ------
    InputError
        The bytes are no UBJSON, or no XGBoost model.
    """
    return _xgboost.lower(_ubjson.loads(data, {"trees": _xgboost_trees.WANTED}), FORMAT, iterations)


def accepts(model: object) -> bool:
    """A booster, or a scikit-learn style model."""
    return made_by(model, "xgboost") and (hasattr(model, "save_raw") or hasattr(model, "get_booster"))


def convert(model: Any, *, iterations: Iterations) -> TreeModel:
    """The model as XGBoost writes it; the scikit-learn style classes predict with the best rounds."""
    if not hasattr(model, "get_booster"):
        return read(bytes(model.save_raw("ubj")), iterations=iterations)
    return read(bytes(model.get_booster().save_raw("ubj")), iterations="best" if iterations == "auto" else iterations)
