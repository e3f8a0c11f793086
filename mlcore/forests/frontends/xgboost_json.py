"""XGBoost models saved as JSON."""

from __future__ import annotations

import json
from typing import Any

from mlcore.errors import InputError
from mlcore.forests.frontends import Iterations, _xgboost
from mlcore.forests.ir import TreeModel

FORMAT = "xgboost-json"


def matches(head: bytes) -> bool:
    """JSON text with a learner, not UBJSON, whose objects begin with a length; or the list of a text dump, to refuse it."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text[:1] == b"[" or (text[:1] == b"{" and text[1:].lstrip()[:1] == b'"' and b'"learner' in text)


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a JSON document, not yet verified.

    Raises
    ------
    InputError
        The text is no JSON, or no XGBoost model.
    """
    try:
        document = json.loads(data, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"the JSON breaks at {place}: {error.msg}", hint=_HINT, code="forest.json") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"the file is no JSON text: {error}", hint=_HINT, code="forest.json") from None
    except RecursionError:
        raise InputError("the JSON is nested too deeply", hint=_HINT, code="forest.json") from None
    return _xgboost.lower(document, FORMAT, iterations)


_HINT = "The file is truncated or damaged; save the model again."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found
