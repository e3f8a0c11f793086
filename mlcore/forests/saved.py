"""The project's own format of forests: one file that is mapped into memory and used where it lies.

Layout, all numbers little-endian::

    0   magic, 8 bytes                     `mlcore.filetypes.FOREST_MAGIC`
    8   version of the layout, u32         `VERSION`
    12  length of the metadata, u32
    16  length of the file, u64
    24  CRC-32 of the metadata, u32
    28  CRC-32 of the 28 bytes before, u32
    32  metadata, a JSON object: all of `TreeModel` but its arrays, and for each section name, offset, length and CRC-32
    ... sections, each at a multiple of 64 bytes: the arrays of the tree IR, and the plan of the kernels

Opening a file checks the header, the metadata and the plan; the tree IR is checked and verified when it is first asked for,
which a prediction with a plan does not. A file must not be changed while it is open; `write` never does, as it puts a
new file in the place of the old one.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.filetypes import FOREST_MAGIC
from mlcore.forests import predictor
from mlcore.forests.forest import Forest
from mlcore.forests.frontends._fields import Fields
from mlcore.forests.ir import FloatName, Link, Source, TreeModel, Trees
from mlcore.forests.verifier import MAX_FEATURES, MAX_OUTPUTS, verify

FORMAT = "ml4ep-forest"
VERSION = 1

ALIGNMENT = 64
MAX_METADATA = 1 << 28

_HEADER = struct.Struct("<8sIIQI")
_CRC = struct.Struct("<I")
_METADATA_AT = _HEADER.size + _CRC.size
_HINT = "The file is truncated or damaged; save the forest again."
_KINDS = {
    "start": "<i8",
    "output": "<i4",
    "feature": "<i4",
    "left": "<i4",
    "right": "<i4",
    "comparison": "|u1",
    "missing": "|u1",
    "default_left": "|u1",
    "set_node": "<i8",
    "set_start": "<i8",
    "set_words": "<u4",
}
_FLOATS = {"float32": "<f4", "float64": "<f8"}
_PLAN = "plan"

Buffer = bytes | memoryview


class SavedForest(Forest):
    """A forest in a file of this format."""

    def __init__(self, contents: _Contents) -> None:
        self._contents = contents
        self._model = contents.model  # its arrays are not yet trusted

    @property
    def header(self) -> TreeModel:
        """The model as far as the metadata tell; its trees are not verified."""
        return self._contents.model

    @cached_property
    def model(self) -> TreeModel:
        """The tree IR, checked and verified at the first call."""
        return self._contents.verified()

    def prepare(self) -> None:
        """Have the kernels check the plan, if there is one."""
        if self._contents.has_plan:
            self._native  # noqa: B018

    @cached_property
    def _native(self) -> predictor.Predictor:
        plan = self._contents.plan
        native = None if plan is None else predictor.from_plan(plan, self._model)
        return native or predictor.build(self.model)


def open_forest(path: Path) -> SavedForest:
    """Map a file and check its header, its metadata and its plan.

    Raises
    ------
    InputError
        It cannot be read, is truncated or damaged; the message gives the place.
    """
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise InputError(f"{path.name} cannot be read: {error}", hint=_HINT, code="forest.saved") from None
    forest = SavedForest(_Contents(memoryview(data)))
    forest.prepare()
    return forest


def read(data: Buffer) -> TreeModel:
    """The whole tree IR of a file's bytes, checked and verified.

    Raises
    ------
    InputError
        The bytes are no such file, or a damaged one; the message gives the place.
    """
    return _Contents(memoryview(data)).verified()


def write(forest: Forest, path: Path) -> Path:
    """Save a forest; a file that is there already is replaced at once or not at all.

    Raises
    ------
    InputError
        There is something other than a file at the path, or it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file", hint="Give the path of a file.", code="forest.saved")
    parts = _parts(forest)
    temporary = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
    try:
        try:
            with temporary.open("xb") as stream:
                for part in parts:
                    stream.write(part)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}", hint="Choose another path.", code="forest.saved"
        ) from None
    return path


def _parts(forest: Forest) -> list[Buffer]:
    """The file's bytes, part by part."""
    model, trees = forest.model, forest.model.trees
    arrays: dict[str, Buffer] = {
        name: _bytes(array, kind) for name, kind, array in ((n, k, getattr(trees, n)) for n, k in _KINDS.items())
    }
    arrays["threshold"] = _bytes(trees.threshold, _FLOATS[model.threshold_dtype])
    arrays["value"] = _bytes(trees.value, _FLOATS[model.sum_dtype])
    arrays["base"] = _bytes(model.base, _FLOATS[model.sum_dtype])
    plan = forest.plan()
    if plan:
        arrays[_PLAN] = plan
    facts = {
        "source": asdict(model.source),
        "n_features": model.n_features,
        "n_outputs": model.n_outputs,
        "feature_names": model.feature_names,
        "classes": model.classes,
        "threshold_dtype": model.threshold_dtype,
        "sum_dtype": model.sum_dtype,
        "link": model.link,
        "link_scale": model.link_scale,
        "divisor": model.divisor,
        "zero_threshold": model.zero_threshold,
        "best_iteration": model.best_iteration,
        "n_rounds": model.n_rounds,
        "vector_leaves": trees.vector_leaves,
    }
    sizes = {name: len(data) for name, data in arrays.items()}
    sums = {name: zlib.crc32(data) for name, data in arrays.items()}
    # The metadata hold the offsets, which depend on their own length: they are padded to a length that holds any offsets.
    longest = len(_metadata(facts, sizes, sums, first=10**15))
    first = _aligned(_METADATA_AT + longest)
    metadata = _metadata(facts, sizes, sums, first).ljust(longest)
    end = first
    bodies: list[Buffer] = []
    for data in arrays.values():
        padding = _aligned(end) - end
        bodies += [bytes(padding), data]
        end += padding + len(data)
    header = _HEADER.pack(FOREST_MAGIC, VERSION, len(metadata), end, zlib.crc32(metadata))
    header += _CRC.pack(zlib.crc32(header))
    return [header, metadata, bytes(first - _METADATA_AT - longest), *bodies]


def _metadata(facts: Mapping[str, Any], sizes: Mapping[str, int], sums: Mapping[str, int], first: int) -> bytes:
    sections, end = [], first
    for name, size in sizes.items():
        offset = _aligned(end)
        sections.append({"name": name, "offset": offset, "size": size, "crc32": sums[name]})
        end = offset + size
    return json.dumps({**facts, "sections": sections}, separators=(",", ":"), allow_nan=False).encode()


def _bytes(array: npt.NDArray[Any], kind: str) -> memoryview:
    return np.ascontiguousarray(array, kind).data.cast("B") if array.size else memoryview(b"")


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


class _Contents:
    """A file's bytes; nothing in them is believed before it is checked."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        facts = self._facts()
        self._sections = self._found_sections(facts)
        self.model = self._model(facts)

    @property
    def has_plan(self) -> bool:
        return _PLAN in self._sections

    @property
    def plan(self) -> memoryview | None:
        """The kernels' plan, checked by its sum; None where there is none."""
        return self._checked(_PLAN) if self.has_plan else None

    def verified(self) -> TreeModel:
        """The model, every section of it checked."""
        for name in self._sections:
            self._checked(name)
        flags = self.model.trees.default_left.view(np.uint8)
        if len(flags) and flags.max() > 1:
            _damaged("section default_left", f"holds {flags.max()}, which is neither 0 nor 1")
        return verify(self.model)

    def _facts(self) -> Fields:
        data = self._data
        if len(data) < _METADATA_AT:
            _damaged(f"byte {len(data)}", "the header is cut short")
        magic, version, length, size, crc = _HEADER.unpack_from(data)
        if magic != FOREST_MAGIC:
            _damaged("byte 0", "this is no saved forest")
        if _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
            _damaged("byte 0", "the header does not have its sum")
        if version != VERSION:
            message = f"the forest is saved in version {version} of the format; this is version {VERSION}"
            raise InputError(message, hint="Save it again with this version, from the model's own file.", code="forest.version")
        if size != len(data):
            _damaged(f"byte {len(data)}", f"the file ends here, {size} bytes were written")
        if length > min(MAX_METADATA, size - _METADATA_AT):
            _damaged("byte 12", f"{length} bytes of metadata are not possible")
        raw = bytes(data[_METADATA_AT : _METADATA_AT + length])
        if zlib.crc32(raw) != crc:
            _damaged(f"byte {_METADATA_AT}", "the metadata do not have their sum")
        try:
            return Fields(json.loads(raw), "metadata")
        except (ValueError, RecursionError) as error:
            _damaged(f"byte {_METADATA_AT}", f"the metadata are no JSON: {error}")

    def _found_sections(self, facts: Fields) -> dict[str, tuple[int, int, int]]:
        """Offset, size and sum of each section: in order, apart from each other, and within the file."""
        found: dict[str, tuple[int, int, int]] = {}
        end = _METADATA_AT
        for section in facts.objects("sections"):
            name, offset, size = section.text("name"), section.integer("offset"), section.integer("size")
            if name in found:
                _damaged(section.place, f"has {name[:40]!r} twice")
            if offset < end or offset % ALIGNMENT or not 0 <= size <= len(self._data) - offset:
                _damaged(section.place, f"has {size} bytes at {offset}, which is not possible")
            found[name] = (offset, size, section.integer("crc32"))
            end = offset + size
        wanted = {*_KINDS, "threshold", "value", "base"}
        if set(found) - {_PLAN} != wanted:
            _damaged("metadata.sections", f"should be {', '.join(sorted(wanted))}")
        return found

    def _model(self, facts: Fields) -> TreeModel:
        source = facts.object("source")
        n_features, n_outputs = facts.integer("n_features"), facts.integer("n_outputs")
        if not 1 <= n_features <= MAX_FEATURES or not 1 <= n_outputs <= MAX_OUTPUTS:
            _damaged("metadata", f"{n_features} features and {n_outputs} outputs are not possible")
        threshold, total = (_one_of(facts, key, _FLOATS) for key in ("threshold_dtype", "sum_dtype"))
        names, classes = _texts(facts, "feature_names"), _texts(facts, "classes")
        if names and len(names) != n_features:
            _damaged("metadata.feature_names", f"holds {len(names)} names for {n_features} features")
        arrays = {name: self._array(name, kind) for name, kind in _KINDS.items()}
        value = self._array("value", _FLOATS[total])
        if facts.value.get("vector_leaves") is True:
            if len(value) != n_outputs * len(arrays["feature"]):
                _damaged("section value", f"should hold {n_outputs} numbers a node")
            value = value.reshape(-1, n_outputs)
        arrays["default_left"] = arrays["default_left"].view(np.bool_)
        base = self._array("base", _FLOATS[total])
        if len(base) != n_outputs:
            _damaged("section base", f"holds {len(base)} numbers for {n_outputs} outputs")
        return TreeModel(
            source=Source(*(source.text(key) for key in ("format", "library", "version", "objective", "booster"))),
            n_features=n_features,
            n_outputs=n_outputs,
            feature_names=names,
            trees=Trees(threshold=self._array("threshold", _FLOATS[threshold]), value=value, **arrays),
            base=base,
            threshold_dtype=cast("FloatName", threshold),
            sum_dtype=cast("FloatName", total),
            link=Link(_one_of(facts, "link", {link.value: "" for link in Link})),
            link_scale=_number(facts, "link_scale"),
            divisor=_number(facts, "divisor"),
            zero_threshold=_number(facts, "zero_threshold"),
            best_iteration=_optional(facts, "best_iteration"),
            n_rounds=_optional(facts, "n_rounds"),
            classes=classes,
        )

    def _array(self, name: str, kind: str) -> npt.NDArray[Any]:
        offset, size, _ = self._sections[name]
        dtype = np.dtype(kind)
        if size % dtype.itemsize:
            _damaged(f"section {name}", f"has {size} bytes, no multiple of {dtype.itemsize}")
        array = np.frombuffer(self._data, dtype, size // dtype.itemsize, offset)
        return array.astype(dtype.newbyteorder("="), copy=False)

    def _checked(self, name: str) -> memoryview:
        offset, size, crc = self._sections[name]
        section = self._data[offset : offset + size]
        if zlib.crc32(section) != crc:
            _damaged(f"section {name}, bytes {offset} to {offset + size}", "it does not have its sum")
        return section


def _texts(facts: Fields, key: str) -> tuple[str, ...]:
    texts = facts.list(key)
    if not all(isinstance(text, str) for text in texts):
        _damaged(f"metadata.{key}", "should be texts")
    return tuple(texts)


def _one_of(facts: Fields, key: str, known: Mapping[str, str]) -> str:
    text = facts.text(key)
    if text not in known:
        _damaged(f"metadata.{key}", f"is {text[:40]!r}, none of {', '.join(known)}")
    return text


def _number(facts: Fields, key: str) -> float:
    value = facts.value.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not math.isfinite(value):
        _damaged(f"metadata.{key}", "should be a finite number")
    return float(value)


def _optional(facts: Fields, key: str) -> int | None:
    return None if facts.value.get(key) is None else facts.integer(key)


def _damaged(place: str, what: str) -> NoReturn:
    raise InputError(f"{place}: {what}", hint=_HINT, code="forest.saved")
