"""A fitted object as a class name and named attributes: the same view of objects in memory and of those in a file.

What lowers estimators to the tree IR sees nothing else, so it can neither call a method of an object nor build one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends._fields import damaged

Value = object
"""None, a bool, int, float or str, an array of numbers or texts, a list of values, a `Record`, or an `Unreadable`."""

MISSING = object()
"""What a `Record` gets for an attribute that is not there."""


class Unreadable:
    """A value that is none of those above: no error unless something needs it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Record:
    """One object.

    Parameters
    ----------
    kind
        Qualified name of its class, for example ``"sklearn.tree._tree.Tree"``.
    place
        Where it is, for messages.
    get
        The value of an attribute, decoded when it is asked for, or `MISSING`.
    """

    def __init__(self, kind: str, place: str, get: Callable[[str], Value]) -> None:
        self.kind = kind
        self.place = place
        self._get = get

    @property
    def name(self) -> str:
        """Name of the class alone."""
        return self.kind.rpartition(".")[2]

    def has(self, key: str) -> bool:
        """Whether the attribute is there and not None."""
        value = self._get(key)
        return value is not MISSING and value is not None

    def value(self, key: str) -> Value:
        value = self._get(key)
        if value is MISSING:
            damaged(self.place, f"has no {key!r}")
        if isinstance(value, Unreadable):
            raise UnsupportedFeatureError(
                f"{self.place}.{key} is a {value.kind[:80]!r}, which cannot be read",
                hint="Train the model with plain parameters and save it again.",
            )
        return value

    def record(self, key: str) -> Record:
        value = self.value(key)
        if not isinstance(value, Record):
            damaged(f"{self.place}.{key}", "should be an object")
        return value

    def records(self, key: str) -> list[Record]:
        """Objects of a list or array, nested ones in row-major order."""
        found: list[Record] = []
        pending: list[tuple[str, Value]] = [(f"{self.place}.{key}", self.value(key))]
        while pending:
            place, value = pending.pop()
            if isinstance(value, Record):
                value.place = place
                found.append(value)
            elif isinstance(value, list):
                pending.extend((f"{place}[{i}]", value[i]) for i in reversed(range(len(value))))
            else:
                damaged(place, "should be an object")
        return found

    def values(self, key: str) -> Sequence[Value]:
        value = self.value(key)
        if not isinstance(value, list):
            damaged(f"{self.place}.{key}", "should be a list")
        return value

    def text(self, key: str) -> str:
        value = self.value(key)
        if not isinstance(value, str):
            damaged(f"{self.place}.{key}", "should be a text")
        return value

    def integer(self, key: str) -> int:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int):
            damaged(f"{self.place}.{key}", "should be a whole number")
        return value

    def real(self, key: str) -> float:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            damaged(f"{self.place}.{key}", "should be a number")
        try:
            return float(value)
        except OverflowError:
            damaged(f"{self.place}.{key}", "is too large a number")

    def array(self, key: str, kinds: str, n_dimensions: int) -> npt.NDArray[Any]:
        """An array whose dtype is of one of `kinds`, as NumPy abbreviates them."""
        return checked(self.value(key), kinds, n_dimensions, f"{self.place}.{key}")

    def texts(self, key: str) -> tuple[str, ...]:
        """Labels as texts: those of an array of numbers or texts, or of a list of them."""
        value = self.value(key)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufUS" and value.ndim == 1:
            value = value.tolist()
        if not isinstance(value, list) or not all(isinstance(item, str | bytes | bool | int | float) for item in value):
            damaged(f"{self.place}.{key}", "should be a list of labels")
        return tuple(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in value)


def checked(value: Value, kinds: str, n_dimensions: int, place: str) -> npt.NDArray[Any]:
    """The value where it is an array of these kinds and of this many dimensions."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or value.ndim != n_dimensions:
        damaged(place, f"should be an array of {n_dimensions} dimensions")
    return value


def column(nodes: npt.NDArray[Any], name: str, kinds: str, place: str) -> npt.NDArray[Any]:
    """One field of an array of nodes."""
    if nodes.dtype.names is None or name not in nodes.dtype.names:
        damaged(place, f"has nodes without {name!r}")
    return checked(nodes[name], kinds, 1, f"{place}, {name}")
