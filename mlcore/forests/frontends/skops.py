"""scikit-learn estimators saved by ``skops.io.dump``.

Such a file is a zip archive: ``schema.json`` describes the object as nested nodes, each with the class it was, and arrays lie
beside it as ``.npy`` members. Only what the tree IR needs is read, straight from there: no class that the file names is
imported, nothing is built from it, and neither skops nor scikit-learn is needed. Nodes of other kinds than plain values,
arrays, lists and objects' attributes are an error where the forest depends on them and are passed over elsewhere.

What is exact about the estimators is said in `_sklearn_trees` and `_sklearn_histograms`.

References
----------
skops' ``skops/io/_general.py``, ``_numpy.py`` and ``_sklearn.py`` for the nodes; NumPy's ``numpy/lib/format.py`` for arrays.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.forests.frontends import Iterations
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.frontends._sklearn import lower
from mlcore.forests.frontends._sklearn_record import MISSING, Record, Unreadable, Value
from mlcore.forests.ir import TreeModel

FORMAT = "skops"

SCHEMA = "schema.json"
MAX_PROTOCOL = 2
MAX_MEMBERS = 1_000_000
MAX_SCHEMA_BYTES = 1 << 28
INFLATION = 50
"""How many times its own size an archive may unpack to, beyond the first `FREE_BYTES`."""
FREE_BYTES = 4 << 20
MAX_HEADER = 1 << 14
MAX_DIMENSIONS = 4

_ENTRY = b"PK\x01\x02"  # begins each entry of a zip archive's directory
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_SCALARS = (bool, int, float, str)


def matches(head: bytes) -> bool:
    """A zip archive; whether it is skops' shows in its directory at the end, which `read` looks at."""
    return head.startswith(b"PK\x03\x04")


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a skops file, not yet verified. It holds the chosen rounds only, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The archive or something in it is damaged, larger than its size allows for, or no skops file.
    UnsupportedFeatureError
        It holds no known estimator of trees, or one that uses something that is not supported.
    """
    try:
        model = record(data)
        version = model.value("_sklearn_version") if model.has("_sklearn_version") else ""
        return lower(model, FORMAT, version[:40] if isinstance(version, str) else "")
    except RecursionError:
        damaged(SCHEMA, "is nested too deeply")


def record(data: bytes) -> Record:
    """The estimator of a file as it is written there, decoded where it is looked at.

    Raises
    ------
    InputError
        The archive or something in it is damaged, larger than its size allows for, or no skops file.
    """
    reader = _Reader(_opened(data))
    model = reader.value(reader.schema, "model")
    if not isinstance(model, Record):
        damaged(SCHEMA, "describes no estimator")
    return model


def _opened(data: bytes) -> zipfile.ZipFile:
    """The archive, when what it unpacks to is in proportion to its size."""
    if data.count(_ENTRY) > MAX_MEMBERS:
        damaged("the archive", f"has more than {MAX_MEMBERS} members")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise InputError(
            f"the zip archive cannot be opened: {str(error)[:200]}",
            hint="The file is damaged or truncated; save the model again.",
            code="forest.zip",
        ) from None
    members = archive.infolist()
    if SCHEMA not in archive.NameToInfo:
        raise InputError(
            f"the zip archive holds no {SCHEMA}, so it is no skops file",
            hint='Save scikit-learn models by skops.io.dump(model, "model.skops").',
            code="forest.unknown",
        )
    total, allowed = sum(member.file_size for member in members), FREE_BYTES + INFLATION * len(data)
    if total > allowed or archive.NameToInfo[SCHEMA].file_size > MAX_SCHEMA_BYTES:
        raise InputError(
            f"the archive of {len(data)} bytes claims to unpack to {total}",
            hint='Save the model again by skops.io.dump(model, "model.skops").',
            code="forest.zip",
        )
    return archive


class _Reader:
    """Decodes the nodes of one archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        # No genuine file uses an array more than a few times, and those of nodes once.
        self.budget = 2 * FREE_BYTES + 2 * sum(info.file_size for info in archive.infolist() if info.filename != SCHEMA)
        self.schema = self._schema()

    def _schema(self) -> Mapping[str, Any]:
        try:
            schema = json.loads(self._member(SCHEMA))
        except ValueError as error:
            damaged(SCHEMA, f"is no JSON: {str(error)[:200]}")
        if not isinstance(schema, dict):
            damaged(SCHEMA, "should be an object")
        protocol = schema.get("protocol")
        if isinstance(protocol, bool) or not isinstance(protocol, int) or not 0 <= protocol <= MAX_PROTOCOL:
            raise InputError(
                f"the protocol of the skops file is {str(protocol)[:20]!r}; those up to {MAX_PROTOCOL} can be read",
                hint="Save the model with a version of skops that writes one of them.",
                code="forest.format",
            )
        return schema

    def value(self, node: object, place: str) -> Value:
        """The value of a node; attributes of objects are decoded when they are asked for."""
        if not isinstance(node, dict):
            damaged(place, "should be described by an object")
        loader = node.get("__loader__")
        match loader:
            case "JsonNode":
                return self._scalar(node, place)
            case "NdArrayNode":
                return self._array(node, place)
            case "ListNode" | "TupleNode":
                return self._items(node.get("content"), place)
            case "ObjectNode" | "TreeNode":
                return self._record(node, place)
        return Unreadable(str(loader))

    def _scalar(self, node: Mapping[str, Any], place: str) -> Value:
        content = node.get("content")
        if not isinstance(content, str):
            damaged(place, "should be a value as JSON")
        try:
            value = json.loads(content)
        except ValueError:
            damaged(place, "is no JSON")
        if value is not None and not isinstance(value, _SCALARS):
            damaged(place, "should be a plain value")
        return value

    def _items(self, content: object, place: str) -> Value:
        if not isinstance(content, list):
            damaged(place, "should be a list")
        return [self.value(item, f"{place}[{i}]") for i, item in enumerate(content)]

    def _record(self, node: Mapping[str, Any], place: str) -> Record:
        kind = f"{node.get('__module__')}.{node.get('__class__')}"
        content = node.get("content")
        attributes = content.get("content") if isinstance(content, dict) and content.get("__loader__") == "DictNode" else {}
        if not isinstance(attributes, dict):
            damaged(place, "has no attributes")

        def get(key: str) -> Value:
            return self.value(attributes[key], f"{place}.{key}") if key in attributes else MISSING

        return Record(kind, place, get)

    def _array(self, node: Mapping[str, Any], place: str) -> Value:
        if node.get("type") == "json":  # Python objects one by one, nested as the array's dimensions are
            return self._items(node.get("content"), place)
        name = node.get("file")
        if node.get("type") != "numpy" or not isinstance(name, str) or name not in self.archive.NameToInfo:
            damaged(place, "is an array that is not in the archive")
        if name not in self.arrays:
            self.arrays[name] = parse_npy(self._member(name), place)
        array = self.arrays[name]
        self.budget -= array.nbytes
        if self.budget < 0:
            damaged(place, "is an array that the file uses again and again")
        value: Value = array.item() if array.ndim == 0 and array.dtype.kind in "biufU" else array
        return value

    def _member(self, name: str) -> bytes:
        """A member's bytes, never more than it announces."""
        info = self.archive.NameToInfo[name]
        if info.compress_type not in _METHODS or info.flag_bits & 0x1:
            damaged(f"{name[:80]!r}", "is encrypted or compressed in an unknown way")
        try:
            return self.archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            damaged(f"{name[:80]!r}", f"cannot be unpacked: {str(error)[:200]}")


def parse_npy(data: bytes, place: str) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file, read-only, in the memory of `data`.

    NumPy's own reader makes room for what the header announces before it looks for it, and repairs odd headers at length.

    Raises
    ------
    InputError
        It holds Python objects, or not as many bytes as its header says, or its header is damaged.
    """
    wide = data[6:7] != b"\x01"
    start = 12 if wide else 10
    if not data.startswith(b"\x93NUMPY") or len(data) < start:
        damaged(place, "is no NumPy array")
    end = start + int.from_bytes(data[8:start], "little")
    text = data[start:end].decode("latin-1")
    if end > len(data) or len(text) > MAX_HEADER or "\\" in text:
        damaged(place, "is no NumPy array")
    try:
        header = ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # the last two by long chains of operators
        damaged(place, "is no NumPy array")
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        damaged(place, "is no NumPy array")
    shape = header["shape"]
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        damaged(place, "has a damaged shape")
    dtype = _dtype(header["descr"], place)
    count = math.prod(shape)
    if count * dtype.itemsize != len(data) - end:
        damaged(place, f"announces {count} values and holds {len(data) - end} bytes")
    try:
        flat = np.frombuffer(data, dtype, count, end) if count else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if header["fortran_order"] is True else "C")
    except (ValueError, OverflowError):  # no values along one dimension and too many along another
        damaged(place, "has a damaged shape")


def _dtype(description: object, place: str) -> np.dtype[Any]:
    """The dtype of plain numbers and texts, or of records of them."""
    parts = [("", description)] if isinstance(description, str) else description
    if not isinstance(parts, list) or not all(
        isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str) and _is_plain(part[1]) for part in parts
    ):
        damaged(place, "is no array of numbers or texts")
    try:
        dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(cast("Any", description))
    except (ValueError, TypeError, MemoryError, OverflowError):
        damaged(place, "is no array of numbers or texts")
    if dtype.itemsize == 0:
        damaged(place, "is no array of numbers or texts")
    return dtype


def _is_plain(part: object) -> bool:
    return isinstance(part, str) and re.fullmatch(r"[<>|][biufSUV][0-9]{1,9}", part) is not None
