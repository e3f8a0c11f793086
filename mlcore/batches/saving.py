"""What makes a loader, as JSON: a text that holds no code, read by a strict schema."""

from __future__ import annotations

import inspect
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from mlcore.batches.balancing import Balance
from mlcore.batches.padding import Pad
from mlcore.batches.samples import Sample
from mlcore.batches.splitting import RowChoice
from mlcore.batches.transforms import Pipeline
from mlcore.errors import InputError

if TYPE_CHECKING:
    from mlcore.batches.selection import Selection

FORMAT = "ml4ep-loader"
VERSION = 1
_PLACE = ("threads", "memory", "cache", "spill_directory", "shard", "progress")
"""Options of where a loader runs."""


class Savable(ABC):
    """A loader that can be saved as JSON, and made again of it."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _selection: Selection
    batch_size: int
    drop_remainder: bool
    seed: int

    @property
    @abstractmethod
    def transforms(self) -> Pipeline | None:
        """Of x, fitted."""

    @abstractmethod
    def _restricted(self, choice: RowChoice) -> Self:
        """The same of some of the rows."""

    def save(self, path: Path | str) -> None:
        """Write what makes this loader as JSON: paths, columns, filter, order, part of a split, and transforms as fitted.

        Raises
        ------
        InputError
            Friends or samples are no files.
        """
        Path(path).write_text(_described(self), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str, source: Any = None, **options: Any) -> Self:
        """The loader that `save` wrote.

        Parameters
        ----------
        source
            Read instead of what was saved; has to be given where that was no file.
        **options
            Of where it runs, which are not saved: `threads`, `memory`, `cache`, `spill_directory`, `shard`, `progress`.

        Raises
        ------
        InputError
            It is something else, of a newer version, or damaged.
        InputError, DataError
            As of `BatchLoader`.
        """
        found, choices = _restored(Path(path), source, options)
        loader = cls(**found)
        for choice in choices:
            loader = loader._restricted(choice)
        return loader


def _described(loader: Savable) -> str:
    """A loader as JSON.

    Raises
    ------
    InputError
        Friends or samples are no files.
    """
    positional, named = loader._arguments
    bound = inspect.signature(type(loader).__init__).bind(loader, *positional, **named)
    bound.apply_defaults()
    given = bound.arguments
    selection = loader._selection
    options = {name: given[name] for name in _OPTIONS if name in given}
    options |= {
        "columns": list(selection.features),
        "target": _names(given["target"]),
        "weight": _names(given["weight"]),
        "define": dict(given["define"] or {}),
        "pad": {name: {**asdict(pad), "value": _number(pad.value), "size": int(pad.size)} for name, pad in selection.pad.items()},
        "batch_size": int(loader.batch_size),
        "drop_remainder": loader.drop_remainder,
        "seed": int(loader.seed),
        "balance": None if given["balance"] is None else asdict(given["balance"]),
        "friends": [_paths(friend, "a friend") for friend in given["friends"]],
    }
    text = {
        "format": FORMAT,
        "version": VERSION,
        "source": _source(given["source"]),
        "options": options,
        "choices": [{**asdict(choice), "by": list(choice.by)} for choice in selection.choices],
        "transforms": None if loader.transforms is None else json.loads(loader.transforms.to_json()),
    }
    return json.dumps(text, indent=1, allow_nan=False) + "\n"


def _restored(path: Path, source: Any, place: Mapping[str, Any]) -> tuple[dict[str, Any], list[RowChoice]]:
    """The arguments of a loader that was saved, and the rows that it has of them.

    Raises
    ------
    InputError
        The file cannot be read, is something else, of a newer version, or damaged; or an option is none of where a loader runs.
    """
    for name in place:
        if name not in _PLACE:
            raise InputError(
                f"{name} cannot be given to a loader that was saved",
                hint=f"These can: {', '.join(_PLACE)}.",
                code="batches.saved",
            )
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", hint="Give what save() wrote.") from None
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"it is no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _wrong(path, f'it does not say "format": "{FORMAT}"')
    if found.get("version") != VERSION:
        raise InputError(
            f"{path} is of version {found.get('version')!r}, and {VERSION} is read here",
            hint="Take a newer version of the software.",
            code="batches.saved",
        )
    _keys(path, "the file", found, {"format", "version", "source", "options", "choices", "transforms"})
    options = found["options"]
    _keys(path, "options", options, set(_OPTIONS))
    for name, holds in _OPTIONS.items():
        if not holds(options[name]):
            raise _wrong(path, f"its option {name} is {repr(options[name])[:60]}")
    if source is None and found["source"] is None:
        raise InputError(f"{path} is of a source that was no file", hint="Give it as source=...", code="batches.saved")
    if not _is_source(found["source"]):
        raise _wrong(path, "its source is neither paths nor samples")
    pads = {name: Pad(**{**pad, "value": float(pad["value"])}) for name, pad in options["pad"].items()}
    arguments = {
        **options,
        "source": _opened(found["source"]) if source is None else source,
        "pad": pads,
        "balance": None if options["balance"] is None else Balance(**options["balance"]),
        "transforms": None if found["transforms"] is None else Pipeline.from_json(json.dumps(found["transforms"])),
        **place,
    }
    return arguments, _choices(path, found["choices"])


def _choices(path: Path, found: Any) -> list[RowChoice]:
    if not isinstance(found, list):
        raise _wrong(path, "its choices are no list")
    choices = []
    for each in found:
        _keys(path, "a choice", each, {field.name for field in fields(RowChoice)})
        whole = all(_whole(each[name]) for name in ("low", "high", "seed", "level"))
        if not whole or each["low"] > each["high"] or each["high"] > 1 << 64:
            raise _wrong(path, "a choice has no range of hashes")
        if not _texts(each["by"]) or not isinstance(each["outside"], bool):
            raise _wrong(path, "a choice has no columns")
        choices.append(RowChoice(**{**each, "by": tuple(each["by"])}))
    return choices


def _wrong(path: Path, why: str) -> InputError:
    return InputError(f"{path} holds no loader: {why}", hint="Give a file that save() wrote.", code="batches.saved")


def _keys(path: Path, what: str, found: Any, wanted: set[str]) -> None:
    if not isinstance(found, dict):
        raise _wrong(path, f"{what} is no object")
    for name in sorted(set(found) ^ wanted):
        raise _wrong(path, f"{what} {'has an unknown' if name in found else 'lacks the'} field {name!r}")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else repr(float(value))


def _names(names: str | Sequence[str]) -> str | list[str]:
    return names if isinstance(names, str) else list(names)


def _source(source: Any) -> Any:
    """Paths and samples; None for what is no file."""
    entries = source if isinstance(source, list | tuple) else [source]
    if any(isinstance(entry, Sample) for entry in entries):
        found = []
        for entry in entries:
            sample = {field.name: getattr(entry, field.name) for field in fields(Sample)}
            sample |= {"source": _paths(entry.source, "a sample"), "friends": [_paths(one, "a friend") for one in entry.friends]}
            for name in ("label", "weight"):
                value = sample[name]
                sample[name] = value if value is None or type(value) in (int, float) else value.item()
            found.append(sample)
        return found
    try:
        return _paths(source, "the source")
    except InputError:
        return None


def _paths(source: Any, what: str) -> str | list[Any]:
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, set | frozenset):
        source = sorted(source)
    if isinstance(source, list | tuple):
        return [_paths(each, what) for each in source]
    raise InputError(
        f"{what} is a {type(source).__name__}, which cannot be saved", hint="Save it as a file first.", code="batches.saved"
    )


def _opened(source: Any) -> Any:
    if isinstance(source, list) and source and isinstance(source[0], dict):
        return [Sample(**sample) for sample in source]
    return source


def _is_source(found: Any) -> bool:
    if found is None or _is_paths(found):
        return True
    return isinstance(found, list) and all(map(_is_sample, found))


def _is_paths(found: Any) -> bool:
    return isinstance(found, str) or (isinstance(found, list) and bool(found) and all(map(_is_paths, found)))


def _is_sample(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and set(found) == {field.name for field in fields(Sample)}
        and _is_paths(found["source"])
        and all(found[name] is None or _is_number(found[name]) for name in ("label", "weight"))
        and all(found[name] is None or isinstance(found[name], str) for name in ("filter", "tree"))
        and isinstance(found["name"], str)
        and _is_friends(found["friends"])
    )


def _is_friends(found: Any) -> bool:
    return isinstance(found, list) and all(map(_is_paths, found))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_pads(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(pad, dict)
        and set(pad) == {field.name for field in fields(Pad)}
        and _whole(pad["size"])
        and (_is_number(pad["value"]) or pad["value"] in ("nan", "inf", "-inf"))
        and isinstance(pad["mask"], bool | str)
        for pad in value.values()
    )


def _is_balance(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and set(value) == {field.name for field in fields(Balance)}
        and isinstance(value["how"], str)
        and _is_number(value["ratio"])
        and isinstance(value["replacement"], bool)
        and (value["by"] is None or isinstance(value["by"], str))
    )


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(each) and value == each for each in values)


_OPTIONS: dict[str, Callable[[Any], bool]] = {
    "columns": _texts,
    "target": lambda value: isinstance(value, str) or _texts(value),
    "weight": lambda value: isinstance(value, str) or _texts(value),
    "filter": lambda value: value is None or isinstance(value, str),
    "define": lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
    "pad": _is_pads,
    "dtype": _one_of("float32", "float64"),
    "layout": _one_of("matrix", "dict"),
    "jagged": _one_of("pad", "offsets"),
    "batch_size": _whole,
    "shuffle": _one_of(True, False, "buffer"),
    "seed": _whole,
    "drop_remainder": _one_of(True, False),
    "memory": lambda value: isinstance(value, str) or _whole(value),
    "tree": lambda value: value is None or isinstance(value, str),
    "friends": _is_friends,
    "on_error": _one_of("raise", "skip"),
    "balance": _is_balance,
    "copy": _one_of(True, False),
}
"""What a saved loader's options hold."""
