"""What a file is, told by its content, and which files are refused.

Names lie and uploads are hostile, so nothing here trusts an extension, loads a model or follows what the file says beyond
`BUDGET` bytes read and `INFLATED` bytes unpacked. The standard library is enough.

Public names: `detect`, `refuse`, `refuse_stream`, `FileType`; `FORESTS` and `FOREST_HOLDERS`, the kinds that are or may hold a
forest; `NETWORKS`.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from mlcore.errors import InputError

Kind = Literal[
    "root",
    "onnx",
    "pt2",
    "keras",
    "xgboost-json",
    "xgboost-ubj",
    "lightgbm-text",
    "skops",
    "tmva-xml",
    "catboost-json",
    "treelite-json",
    "ml4ep-forest",
    "hdf5",
    "parquet",
    "text",
    "json",
    "zip",
    "numpy",
    "shower-model",
    "unknown",
]

HEAD = 64 * 1024
BUDGET = 512 * 1024
INFLATED = 64 * 1024
DIRECTORY = 256 * 1024
LZMA_MEMORY = 128 * 1024**2


@dataclass(frozen=True)
class FileType:
    """The type of a file: a stable `kind`, a `title` for people, and the usual `extension` with its dot."""

    kind: Kind
    title: str
    extension: str


ROOT = FileType("root", "ROOT file", ".root")
ONNX = FileType("onnx", "ONNX model", ".onnx")
PT2 = FileType("pt2", "PyTorch exported program", ".pt2")
KERAS = FileType("keras", "Keras model", ".keras")
XGBOOST_JSON = FileType("xgboost-json", "XGBoost model (JSON)", ".json")
XGBOOST_UBJ = FileType("xgboost-ubj", "XGBoost model (UBJSON)", ".ubj")
LIGHTGBM = FileType("lightgbm-text", "LightGBM model (text)", ".txt")
SKOPS = FileType("skops", "scikit-learn model (skops)", ".skops")
TMVA_XML = FileType("tmva-xml", "TMVA weights (XML)", ".xml")
CATBOOST_JSON = FileType("catboost-json", "CatBoost model (JSON)", ".json")
TREELITE_JSON = FileType("treelite-json", "Treelite model (JSON)", ".json")
FOREST = FileType("ml4ep-forest", "Saved forest", ".forest")
HDF5 = FileType("hdf5", "HDF5 file", ".h5")
PARQUET = FileType("parquet", "Parquet file", ".parquet")
TEXT = FileType("text", "Text", ".txt")
JSON = FileType("json", "JSON", ".json")
ZIP = FileType("zip", "Zip archive", ".zip")
NUMPY = FileType("numpy", "NumPy array", ".npy")
NUMPY_ARCHIVE = FileType("numpy", "NumPy archive", ".npz")
SHOWER_MODEL = FileType("shower-model", "Model of showers", ".safetensors")
UNKNOWN = FileType("unknown", "Unknown", "")
EMPTY = FileType("unknown", "Empty file", "")

FORESTS: tuple[Kind, ...] = (
    "xgboost-json", "xgboost-ubj", "lightgbm-text", "skops", "tmva-xml", "catboost-json", "treelite-json", "ml4ep-forest",
)  # fmt: skip
"""Files that are a forest of decision trees and nothing else."""
NETWORKS: tuple[Kind, ...] = ("onnx", "pt2", "keras")
"""Files that `mlcore.networks` reads."""
FOREST_HOLDERS: tuple[Kind, ...] = ("onnx", "root")
"""Files that may hold a forest, or other things."""

FOREST_MAGIC = b"\x89ML4EP\r\n"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")


def detect(path: Path) -> FileType:
    """The type of a file, by its content.

    A file cut short keeps the type that its beginning shows. What `refuse` refuses is of kind ``"unknown"`` here, with a
    title that names it.

    Raises
    ------
    InputError
        There is no such file, or it cannot be read.
    """
    found = _examine(path)
    return found.type if isinstance(found, _Refusal) else found


def refuse(path: Path) -> FileType:
    """Raise for a file whose loading would run code that is inside it; otherwise as `detect`.

    Raises
    ------
    InputError
        The file is a pickle (any protocol), a joblib file (compressed or not), a PyTorch checkpoint or a NumPy array of
        Python objects; the hint says how to save the model instead. Its code is ``"file.pickle"``, ``"file.joblib"``,
        ``"file.torch"`` or ``"file.numpy"``. Also when there is no such file or it cannot be read: ``"file.unreadable"``.
    """
    return _refused(_examine(path))


def refuse_stream(stream: BinaryIO) -> FileType:
    """As `refuse`, of a file that is open already, from its beginning; what is read of it is as little.

    Raises
    ------
    InputError
        As `refuse`.
    """
    return _refused(_classify(_File(stream)))


def _refused(found: FileType | _Refusal) -> FileType:
    if isinstance(found, _Refusal):
        raise InputError(
            f"the file is a {found.type.title}: loading it would run whatever code it contains",
            hint=found.hint,
            code=found.code,
        )
    return found


@dataclass(frozen=True)
class _Refusal:
    type: FileType
    code: str
    hint: str


class _File:
    """A file of which only so much can be read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.size = stream.seek(0, io.SEEK_END)
        self.left = BUDGET
        self.head = self.at(0, HEAD)

    def at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer at the end of the file or of the budget."""
        if offset < 0 or offset >= self.size:
            return b""
        self.stream.seek(offset)
        data = self.stream.read(max(0, min(count, self.left)))
        self.left -= len(data)
        return data


def _examine(path: Path) -> FileType | _Refusal:
    try:
        if not path.is_file():
            raise InputError("there is no such file", hint="Give the path of an existing file.", code="file.unreadable")
        with path.open("rb", buffering=0) as stream:
            return _classify(_File(stream))
    except OSError as error:
        raise InputError(
            f"the file cannot be read: {error.strerror}", hint="Check its permissions.", code="file.unreadable"
        ) from error


def _classify(file: _File) -> FileType | _Refusal:
    head = file.head
    if not head:
        return EMPTY
    if head.startswith(b"root") and len(head) >= 8 and 0 < int.from_bytes(head[4:8], "big") < 10_000_000:
        return ROOT
    if head.startswith(FOREST_MAGIC):
        return FOREST
    if _is_hdf5(file):
        return HDF5
    if head.startswith((b"PAR1", b"PARE")):
        return PARQUET
    if head.startswith(b"\x93NUMPY"):
        return _object_array("NumPy array of Python objects") if _holds_objects(head) else NUMPY
    if head.startswith(ZIP_MAGICS):
        return _classify_zip(file)
    return (
        _classify_pickle(head, complete=len(head) == file.size)
        or _classify_compressed(file)
        or (SHOWER_MODEL if _is_shower_model(head, file.size) else None)
        or _classify_tree_text(head)
        or (ONNX if _is_onnx(file) else None)
        or _classify_text(head)
        or UNKNOWN
    )


def _is_hdf5(file: _File) -> bool:
    """The superblock stands at 0 or, behind a user block, at 512, 1024, 2048 and so on."""
    offset = 0
    while offset < min(file.size, 2**24):
        if file.at(offset, len(HDF5_MAGIC)) == HDF5_MAGIC:
            return True
        offset = 2 * offset or 512
    return False


_OWN_JSON = re.compile(rb'\s*\{\s*"model"\s*:\s*"[a-z0-9-]{1,40}"\s*,')


def _is_shower_model(head: bytes, size: int) -> bool:
    """What `mlcore.showers.models` saves: JSON that begins with the model's name, or safetensors that describe one."""
    if _OWN_JSON.match(head):
        return b'"voxels"' in head
    length = int.from_bytes(head[:8], "little")
    if not (2 <= length <= size - 8) or head[8:9] != b"{":
        return False
    header = head[8 : 8 + length]
    return b'"__metadata__"' in header and b'"model"' in header and b'"config"' in header


# Pickles. Protocols 2 to 5 announce themselves; 0 and 1 are told by running the opcodes' effect on the depth of the stack.

_WAYS_OUT = {
    "xgboost": 'XGBoost: save it by model.save_model("model.json") and upload that.',
    "lightgbm": 'LightGBM: save it by booster.save_model("model.txt"), with booster = model.booster_, and upload that.',
    "torch": 'PyTorch: torch.export.save(torch.export.export(model.eval(), (example,)), "model.pt2") writes one without; '
    "upload that, or ONNX.",
    "sklearn": 'scikit-learn: save trees by skops.io.dump(model, "model.skops"), convert others to ONNX, and upload that.',
    "numpy": 'NumPy: save numbers by np.save("array.npy", array, allow_pickle=False) and upload that.',
}
_DEFAULT_WAY_OUT = "Save the model in a format that holds data only: {}".format(
    " ".join(_WAYS_OUT[k] for k in ("xgboost", "lightgbm", "torch"))
)


def _way_out(head: bytes) -> str:
    return next((hint for library, hint in _WAYS_OUT.items() if library.encode() in head), _DEFAULT_WAY_OUT)


def _classify_pickle(head: bytes, *, complete: bool) -> _Refusal | None:
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        if head.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"):  # PyTorch's number, before 1.6
            return _torch()
        return _pickle(head, f"protocol {head[1]}")
    if _unpickles(head, complete=complete):
        return _pickle(head, "protocol 0 or 1")
    return None


def _pickle(head: bytes, detail: str) -> _Refusal:
    if b"joblib" in head:
        return _joblib(head, "")
    return _Refusal(FileType("unknown", f"Python pickle ({detail})", ".pkl"), "file.pickle", _way_out(head))


def _joblib(head: bytes, compression: str) -> _Refusal:
    title = f"joblib file ({compression})" if compression else "joblib file"
    return _Refusal(FileType("unknown", title, ".joblib"), "file.joblib", _way_out(head))


def _torch() -> _Refusal:
    return _Refusal(FileType("unknown", "PyTorch checkpoint (pickle)", ".pt"), "file.torch", _WAYS_OUT["torch"])


def _object_array(title: str) -> _Refusal:
    return _Refusal(FileType("unknown", title, ".npy"), "file.numpy", _WAYS_OUT["numpy"])


def _unpickles(head: bytes, *, complete: bool) -> bool:
    """Whether the bytes are opcodes that leave a stack as a pickle does, up to its end or that of the head."""
    stack: list[str] = []
    names = set()
    try:
        for opcode, argument, _ in pickletools.genops(head):
            names.add(opcode.name)
            before = [kind.name for kind in opcode.stack_before]
            if "mark" in before:
                while stack and stack[-1] != "mark":
                    stack.pop()
                if not stack:
                    return False
                stack.pop()
                before = before[: before.index("mark")]
            if opcode.name in {"STOP", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"} and not stack:
                return False
            if opcode.name == "GLOBAL" and not re.fullmatch(r"[\w.]+ [\w.<>]+", str(argument)):
                return False
            if len(stack) < len(before):
                return False
            del stack[len(stack) - len(before) :]
            stack.extend(kind.name for kind in opcode.stack_after)
    except (ValueError, UnicodeError, struct.error, OverflowError):
        # Cut within an opcode. Text does not get far in this; what did, and built something, counts as a pickle.
        return not complete and len(names) >= 4 and bool(names & {"PUT", "BINPUT", "LONG_BINPUT", "GLOBAL"})
    # A lone constant, such as the letter N and a full stop, loads nothing and is more likely a text.
    return len(names) > 1 and not (names <= {"NONE", "STOP"})


# Compressed files: joblib writes these, so a little is unpacked to see.


def _classify_compressed(file: _File) -> FileType | _Refusal | None:
    head = file.head
    formats: list[tuple[str, bool, Callable[[], bytes]]] = [
        ("gzip", head.startswith(b"\x1f\x8b"), lambda: zlib.decompressobj(31).decompress(head, INFLATED)),
        ("zlib", head.startswith((b"x\x01", b"x^", b"x\x9c", b"x\xda")), lambda: zlib.decompressobj().decompress(head, INFLATED)),
        ("bzip2", head[:3] == b"BZh" and head[4:10] == b"1AY&SY", lambda: _unbzip(file)),
        ("xz", head.startswith(b"\xfd7zXZ\0"), lambda: _unlzma(head, lzma.FORMAT_XZ)),
        ("lzma", head.startswith(b"\x5d\0\0"), lambda: _unlzma(head, lzma.FORMAT_ALONE)),
    ]
    for name, is_it, inflate in formats:
        if not is_it:
            continue
        try:
            inner = inflate()
        except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError):
            inner = b""
        if inner and _classify_pickle(inner, complete=False):
            return _joblib(inner, f"compressed with {name}")
        if inner or name not in {"zlib", "lzma"}:  # the beginnings of these two are too common to count alone
            return FileType("unknown", f"Compressed file ({name})", "")
    if head.startswith(b"\x04\x22\x4d\x18"):
        return FileType("unknown", "Compressed file (LZ4)", "")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return FileType("unknown", "Compressed file (Zstandard)", "")
    if re.match(rb"ZF0x[0-9a-f]+", head):
        return _joblib(head, "of an old version")
    return None


def _unbzip(file: _File) -> bytes:
    """The beginning of a bzip2 file, which comes in blocks that must be complete to be unpacked."""
    return bz2.BZ2Decompressor().decompress(file.head + file.at(HEAD, BUDGET // 2), INFLATED)


def _unlzma(head: bytes, form: int) -> bytes:
    return lzma.LZMADecompressor(form, memlimit=LZMA_MEMORY).decompress(head, INFLATED)


# Zip archives: PyTorch's checkpoints and NumPy's archives are ones.


@dataclass(frozen=True)
class _Member:
    name: str
    method: int
    offset: int


def _classify_zip(file: _File) -> FileType | _Refusal:
    members = list(_zip_members(file))
    names = [member.name for member in members]
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return _torch()
    if any(name.lower().endswith((".pkl", ".pickle", ".joblib")) for name in names):
        return _Refusal(FileType("unknown", "Zip archive with a pickle inside", ".zip"), "file.pickle", _DEFAULT_WAY_OUT)
    mark = next((member for member in members if member.name.endswith("/archive_format")), None)
    if mark is not None and _member_head(file, mark).startswith(b"pt2"):
        return PT2
    if {"config.json", "metadata.json"} <= set(names) and any(name.startswith("model.weights.") for name in names):
        return KERAS
    # Before the arrays, which may be so many that looking at them uses up the budget.
    schema = next((member for member in members if member.name == "schema.json"), None)
    marks = (b'"__class__"', b'"__module__"', b'"__loader__"')
    if schema is not None and all(mark in _member_head(file, schema) for mark in marks):
        return SKOPS
    arrays = [member for member in members if member.name.endswith(".npy")]
    if any(_holds_objects(_member_head(file, member)) for member in arrays):
        return _object_array("NumPy archive of Python objects")
    description = next((member for member in members if member.name == "description.npy"), None)
    if description is not None and all(mark in _member_head(file, description) for mark in (b'"model": ', b'"voxels": ')):
        return SHOWER_MODEL
    return NUMPY_ARCHIVE if arrays and len(arrays) == len(members) else ZIP


def _zip_members(file: _File) -> Iterator[_Member]:
    """The members that the central directory lists, as far as the budget goes; of a cut archive the first one."""
    tail_at = max(0, file.size - 65_557)
    tail = file.at(tail_at, 65_557)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        yield from _first_member(file)
        return
    size, offset = struct.unpack_from("<II", tail, end + 12)
    locator = tail.rfind(b"PK\x06\x07", 0, end)
    if offset == 0xFFFFFFFF and locator >= 0 and len(tail) >= locator + 20:
        (record,) = struct.unpack_from("<Q", tail, locator + 8)
        data = file.at(record, 56)
        if len(data) == 56 and data.startswith(b"PK\x06\x06"):
            size, offset = struct.unpack_from("<QQ", data, 40)
    if size > DIRECTORY:  # too many members for all of them; what was written last often says what the archive is
        yield from _entries(tail, max(0, tail.rfind(b"PK\x01\x02", 0, end)))
    yield from _entries(file.at(offset, min(size, DIRECTORY)), 0)


def _entries(directory: bytes, position: int) -> Iterator[_Member]:
    """The members of a central directory from a position on."""
    while directory.startswith(b"PK\x01\x02", position) and len(directory) >= position + 46:
        (method,) = struct.unpack_from("<H", directory, position + 10)
        name, extra, comment = struct.unpack_from("<HHH", directory, position + 28)
        (start,) = struct.unpack_from("<I", directory, position + 42)
        yield _Member(directory[position + 46 : position + 46 + name].decode("utf-8", "replace"), method, start)
        position += 46 + name + extra + comment


def _first_member(file: _File) -> Iterator[_Member]:
    if file.head.startswith(b"PK\x03\x04") and len(file.head) >= 30:
        method, length = struct.unpack_from("<H", file.head, 8)[0], struct.unpack_from("<H", file.head, 26)[0]
        yield _Member(file.head[30 : 30 + length].decode("utf-8", "replace"), method, 0)


def _member_head(file: _File, member: _Member) -> bytes:
    """The first bytes of a stored or deflated member."""
    local = file.at(member.offset, 30)
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        return b""
    name, extra = struct.unpack_from("<HH", local, 26)
    data = file.at(member.offset + 30 + name + extra, 1024)
    if member.method == 8:
        try:
            return zlib.decompressobj(-15).decompress(data, 4096)
        except zlib.error:
            return b""
    return data


def _holds_objects(head: bytes) -> bool:
    """Whether the header of a NumPy array names Python objects among its types; these lie in the file as a pickle."""
    if not head.startswith(b"\x93NUMPY") or len(head) < 12:
        return False
    wide = head[6] >= 2
    length = struct.unpack_from("<I" if wide else "<H", head, 8)[0]
    header = head[12 if wide else 10 :][: min(length, 16 * 1024)]
    return re.search(rb"""['"][<>|=]?O\d*['"]""", header) is not None


# Texts: models of forests, JSON, anything else readable.


def _classify_tree_text(head: bytes) -> FileType | None:
    if re.match(rb"tree\r?\nversion=v\d", head):
        return LIGHTGBM
    if head[:1] == b"{" and head[1:2] in (b"i", b"U", b"I", b"l", b"L", b"$", b"#"):
        return XGBOOST_UBJ if b"learner" in head[:256] or b"gradient_booster" in head else None
    return None


def _classify_text(head: bytes) -> FileType | None:
    body = head.removeprefix(b"\xef\xbb\xbf")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        # A character may be cut at the end of the head, and only there.
        if error.start < len(body) - 3 or error.reason != "unexpected end of data":
            return None
        text = body[: error.start].decode()
    if re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text):
        return None
    if re.match(r'\s*(\{\s*("|\}|$)|\[\s*(["\[\]{tfn\d-]|$))', text):
        return _classify_json(text) if re.match(r"\s*\{", text) else JSON
    if re.match(r"\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*<MethodSetup\b", text[:4096], re.DOTALL):
        return TMVA_XML
    return TEXT


def _classify_json(text: str) -> FileType:
    """The dialect of a JSON object, by keys that stand in its beginning; each needs one that names it and one more."""
    dialects = {
        XGBOOST_JSON: ('"learner"', ('"gradient_booster"', '"learner_model_param"', '"feature_names"', '"attributes"')),
        CATBOOST_JSON: ('"features_info"', ('"float_features"', '"model_info"', '"oblivious_trees"', '"categorical_features"')),
        TREELITE_JSON: ('"task_type"', ('"num_feature"', '"average_tree_output"')),
    }
    for kind, (name, others) in dialects.items():
        if name in text and any(other in text for other in others):
            return kind
    return JSON


# ONNX: a protobuf message without a magic number, told by its fields.

_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
_IR_VERSION, _GRAPH, _OPSETS = 1, 7, 8


def _is_onnx(file: _File) -> bool:
    seen = set()
    offset = 0
    for _ in range(256):
        data = file.at(offset, 32)
        if not data:
            break
        tag, used = _varint(data, 0)
        field, wire = tag >> 3, tag & 7
        value, used = _varint(data, used)
        if used < 0 or _MODEL_FIELDS.get(field) != wire:
            return False
        if field == _IR_VERSION and not 1 <= value <= 10_000:
            return False
        if field == _GRAPH and value and data[used : used + 1] and (data[used] >> 3 not in _GRAPH_FIELDS or data[used] & 7 != 2):
            # Fields above 15 take two bytes for their tag; none of these comes first in a graph that a library wrote.
            return False
        seen.add(field)
        offset += used + (value if wire == 2 else 0)
        if offset > file.size:
            break  # cut short: what was seen so far decides
    return _IR_VERSION in seen and bool(seen & {_GRAPH, _OPSETS})


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """The number at an offset and the offset behind it, which is -1 when it does not end."""
    value = shift = 0
    while 0 <= offset < len(data) and shift < 64:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, offset
        shift += 7
    return 0, -1
