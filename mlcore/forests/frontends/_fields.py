"""Access to the fields of an untrusted document: each wrong type or missing key is an InputError that names its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError

_NUMBERS = frozenset({bool, int, float})
_HINT = "The file is damaged or was not written by the library; save the model again."


class Fields:
    """An object of a document together with its place in it."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, Mapping):
            damaged(place, "should be an object")
        self.value: Mapping[str, Any] = value
        self.place = place

    def has(self, key: str) -> bool:
        return key in self.value

    def object(self, key: str) -> Fields:
        return Fields(self._get(key), f"{self.place}.{key}")

    def objects(self, key: str) -> list[Fields]:
        return [Fields(item, f"{self.place}.{key}[{i}]") for i, item in enumerate(self.list(key))]

    def list(self, key: str) -> Sequence[Any]:
        value = self._get(key)
        if isinstance(value, np.ndarray):
            return list(value.tolist())
        if not isinstance(value, list):
            damaged(f"{self.place}.{key}", "should be a list")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            damaged(f"{self.place}.{key}", "should be a text")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number, written as one or as a text."""
        value = self._get(key, default)
        written = isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value) is not None
        if not written and not isinstance(value, int):
            damaged(f"{self.place}.{key}", "should be a whole number")
        return int(value)

    def integers(self, key: str, dtype: type[np.integer[Any]]) -> npt.NDArray[Any]:
        """Whole numbers within the range of `dtype`."""
        place = f"{self.place}.{key}"
        array = _array(self._get(key), place)
        if array.size == 0:
            return np.empty(0, dtype)
        if array.ndim != 1 or array.dtype.kind not in "biu":
            damaged(place, "should be a list of whole numbers")
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            damaged(place, f"holds a number beyond {dtype.__name__}")
        return array.astype(dtype)

    def reals(self, key: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Numbers, rounded to `dtype`."""
        place = f"{self.place}.{key}"
        array = _array(self._get(key), place)
        if array.size == 0:
            return np.empty(0, dtype)
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            damaged(place, "should be a list of numbers")
        with np.errstate(over="ignore"):  # too large a number becomes infinite, which the verifier names
            return array.astype(dtype)

    def _get(self, key: str, default: Any = None) -> Any:
        value = self.value.get(key, default)
        if value is None:
            damaged(self.place, f"has no {key!r}")
        return value


def damaged(place: str, what: str) -> NoReturn:
    """Refuse a document, naming the place."""
    raise InputError(f"{place} {what}", hint=_HINT, code="forest.format")


def _array(value: object, place: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, list):
        damaged(place, "should be a list of numbers")
    # Looked at first: among texts NumPy would give every entry the room of the longest.
    if not _NUMBERS.issuperset(map(type, value)):
        damaged(place, "should be a list of numbers")
    try:
        return np.array(value)
    except OverflowError:
        damaged(place, "should be a list of numbers")
