"""Damage to a model that is still protobuf: numbers, names and lists changed wherever they stand."""

from __future__ import annotations

import random
from typing import Any

NUMBERS = (0, 1, -1, 2, 3, 7, 8, 9, 16, 255, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, -(2**63), 2**63 - 1)
FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))


def damaged(model: Any, seed: int, n_edits: int) -> Any:
    """A copy of an ``onnx.ModelProto`` with some edits, the same for equal seeds."""
    draw = random.Random(seed)
    changed = type(model)()
    changed.CopyFrom(model)
    for _ in range(n_edits):
        places = list(_places(changed))
        names = sorted({str(owner.name) for owner, _ in places if hasattr(owner, "name")} | {""})
        _edit(*draw.choice(places), names, draw)
    return changed


def _places(message: Any) -> Any:
    """Every field that is set, with the message that it belongs to."""
    for field, value in message.ListFields():
        yield message, field
        if field.type == field.TYPE_MESSAGE:
            for each in value if field.is_repeated else [value]:
                yield from _places(each)


def _edit(owner: Any, field: Any, names: list[str], draw: random.Random) -> None:
    if field.is_repeated:
        items = getattr(owner, field.name)
        at = draw.randrange(len(items))
        what = draw.randrange(4)
        if what == 0:
            del items[at]
        elif what == 1 and field.type == field.TYPE_MESSAGE:
            items.add().CopyFrom(items[at])
        elif what == 1:
            items.append(items[at])
        elif field.type != field.TYPE_MESSAGE:
            items[at] = _other(items[at], names, draw)
        elif len(items) > 1:
            items[at].CopyFrom(items[draw.randrange(len(items))])
    elif field.type == field.TYPE_MESSAGE or draw.random() < 0.2:
        owner.ClearField(field.name)
    elif field.type == field.TYPE_ENUM:
        setattr(owner, field.name, draw.choice([value.number for value in field.enum_type.values]))
    else:
        value = _other(getattr(owner, field.name), names, draw)
        if field.type == field.TYPE_INT32 and isinstance(value, int):
            value = max(-(2**31), min(value, 2**31 - 1))
        setattr(owner, field.name, value)


def _other(value: Any, names: list[str], draw: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, str):
        return draw.choice(names)
    if isinstance(value, bytes):
        at = draw.randrange(len(value) + 1)
        return draw.choice((value[:at], value + value, bytes([draw.randrange(256)]) * min(len(value), 4096), b"\xff\xfe"))
    if isinstance(value, float):
        return draw.choice(FLOATS)
    return (
        draw.choice((value + 1, value - 1, *NUMBERS)) if isinstance(value, int) and abs(value) < 2**62 else draw.choice(NUMBERS)
    )
