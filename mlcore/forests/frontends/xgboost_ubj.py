"""XGBoost models saved as UBJSON, the default of recent versions."""

from __future__ import annotations

from mlcore.forests.frontends import Iterations, _ubjson, _xgboost
from mlcore.forests.ir import TreeModel

FORMAT = "xgboost-ubj"


def matches(head: bytes) -> bool:
    """A UBJSON object whose first key has a length as XGBoost writes it."""
    return head[:1] == b"{" and head[1:2] in (b"L", b"l", b"I", b"i", b"U", b"#", b"$")


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a UBJSON document, not yet verified.

    Raises
    ------
    InputError
        The bytes are no UBJSON, or no XGBoost model.
    """
    return _xgboost.lower(_ubjson.loads(data), FORMAT, iterations)
