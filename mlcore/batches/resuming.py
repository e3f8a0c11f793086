"""Where a loader is in its epochs, as JSON, so that another run goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlcore.errors import InputError

VERSION = 1
_HINT = "Make the loader with the same source and options as the one that wrote the state."


@dataclass
class Position:
    """How far an epoch was delivered.

    Attributes
    ----------
    epoch
        Its number.
    rows
        That were delivered.
    """

    epoch: int
    rows: int = 0


def order_fingerprint(facts: Mapping[str, Any]) -> str:
    """Differs where the rows of an epoch, or their order for a seed, would."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode(errors="surrogateescape")).hexdigest()


def numbers(state: Mapping[str, Any], order: str, *names: str) -> list[int]:
    """The whole numbers of a state that was written by a loader of the same order.

    Raises
    ------
    InputError
        It is no state, or that of another order.
    """
    if not isinstance(state, Mapping) or state.get("version") != VERSION:
        raise InputError("this is no state of a loader", hint="Give what state_dict() returned.", code="batches.state")
    if state.get("order") != order:
        raise InputError(
            "the state is of another source, selection or order: going on with it would repeat some rows and leave out others",
            hint=_HINT,
            code="batches.state",
        )
    found = [state.get(name) for name in names]
    for name, value in zip(names, found, strict=True):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise InputError(f"{name} of the state is {value!r}", hint="Give what state_dict() returned.", code="batches.state")
    return [int(value) for value in found if value is not None]
