"""JSON text of an untrusted file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.forests.frontends._fields import Fields, damaged

_ALLOWED = {"iuf": frozenset({int, float}), "iu": frozenset({int}), "b": frozenset({bool})}
"""Types of the entries, by the kinds of the array that they become."""

_HINT = "The file is truncated or damaged; save the model again."


def parsed(data: bytes) -> Fields:
    """The object that a JSON text is.

    Raises
    ------
    InputError
        It is no JSON, or no object.
    """
    try:
        document = json.loads(data)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"the JSON breaks at {place}: {error.msg}", hint=_HINT, code="forest.json") from None
    except ValueError as error:  # no UTF-8, or a number of too many digits
        raise InputError(f"the file is no JSON text: {error}", hint=_HINT, code="forest.json") from None
    except RecursionError:
        raise InputError("the JSON is nested too deeply", hint=_HINT, code="forest.json") from None
    return Fields(document, "model")


def reals(values: Sequence[Any], dtype: npt.DTypeLike, place: str) -> npt.NDArray[Any]:
    """Numbers of a document, rounded to `dtype`; too large ones become infinite, which the verifier names."""
    array = _numbers(values, "iuf", "numbers", place)
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def integers(values: Sequence[Any], place: str) -> npt.NDArray[np.int64]:
    """Whole numbers of a document."""
    return _numbers(values, "iu", "whole numbers", place).astype(np.int64)


def booleans(values: Sequence[Any], place: str) -> npt.NDArray[np.bool_]:
    """Truth values of a document."""
    return _numbers(values, "b", "truth values", place).astype(np.bool_)


def _numbers(values: Sequence[Any], kinds: str, what: str, place: str) -> npt.NDArray[Any]:
    if not len(values):
        return np.empty(0, np.int64)
    # Looked at first: among texts NumPy would give every entry the room of the longest.
    if not _ALLOWED[kinds].issuperset(map(type, values)):
        damaged(place, f"should be {what}")
    try:
        array = np.array(values)
    except OverflowError:
        damaged(place, f"should be {what}")
    if array.dtype.kind not in kinds or (array.dtype == np.uint64 and "f" not in kinds):
        damaged(place, f"should be {what}")
    return array
