"""PyTorch's ``.pt2`` files, what `torch.export.save` writes: looked at before PyTorch sees any of it.

The file is a zip of JSON (the graph, what the weights are) and raw bytes (the weights). It may also hold pickles, and its texts
end in PyTorch's loader as Python: names of nodes in generated code, expressions of sizes in SymPy's parser, guards in `exec`,
operators as attributes of modules. So nothing is left to `torch.export.load`: weights are read here, sample inputs are not read
at all, and every text has to be a name, an expression of sizes, or an operator that is known to be harmless. Even then it belongs
in a child, as `mlcore.networks.frontends.as_onnx` has it.

References
----------
PyTorch's documentation, "PT2 Archive Spec".
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.errors import InputError, UnsupportedOperatorError

if TYPE_CHECKING:
    import torch

MOST_MEMBERS = 100_000
MOST_JSON = 256 * 2**20
MOST_DEPTH = 64
"""Of graphs and trees within each other."""

_AGAIN = "Write it with torch.export.save(torch.export.export(model.eval(), example), 'model.pt2'), by a recent PyTorch."
_NAME = re.compile(r"[A-Za-z_]\w{0,500}", re.ASCII)
_DOTTED = re.compile(r"(\w{1,500}(\.\w{1,500}){0,60})?", re.ASCII)
_SYMBOL = re.compile(r"[a-z]{1,5}\d{1,9}|int_oo|oo", re.ASCII)
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file)\w+\.\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|wrap_with_set_grad_enabled)"
    r"|torch\.(sym_\w+|_sym_sqrt)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|pow|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)",
    re.ASCII,
)
_CALLS = frozenset({
    "Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Equality", "FloatPow", "FloatTrueDiv", "FloorDiv",
    "FloorToInt", "Ge", "GreaterThan", "Gt", "Identity", "IntTrueDiv", "Integer", "LShift", "Le", "LessThan", "Lt", "Max",
    "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "Pow", "PowByNatural", "PythonMod", "RShift", "Rational",
    "RoundToInt", "StrictGreaterThan", "StrictLessThan", "Symbol", "ToFloat", "TruncToFloat", "TruncToInt", "Unequality",
    "Where", "ceiling", "floor",
})  # fmt: skip
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_PARTS = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Load, ast.Constant, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def load(path: Path) -> torch.export.ExportedProgram:
    """The program in a file; no pickle is read and no text of the file is run.

    Raises
    ------
    InputError
        It is no such file, is damaged, or needs what is not read: pickled weights (``network.pickle``), several programs.
    UnsupportedOperatorError
        It calls something else than PyTorch's own operators.
    """
    from torch._export.serde import schema
    from torch._export.serde.serialize import ExportedProgramDeserializer, _dict_to_dataclass

    with _Archive(path) as archive:
        name = archive.program()
        program = _cleaned(archive.json(f"models/{name}.json"))
        weights = _tensors(archive, "weights", name)
        constants = _tensors(archive, "constants", name)
    try:
        parsed = _dict_to_dataclass(schema.ExportedProgram, program)  # type: ignore[no-untyped-call]
        return ExportedProgramDeserializer().deserialize(parsed, weights, constants, None)
    except Exception as error:  # a damaged graph may break the loader in any way
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"the program cannot be read: {type(error).__name__}: {reason}", hint=_AGAIN, code="network.parse"
        ) from error


class _Archive:
    """A zip whose members are stored as they are, beneath one folder."""

    def __init__(self, path: Path) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise _damaged(str(error)) from error
        members = self.zip.infolist()
        if not members or len(members) > MOST_MEMBERS:
            raise _damaged(f"it has {len(members)} members")
        self.root = members[0].filename.partition("/")[0]
        self.names = {member.filename.removeprefix(f"{self.root}/"): member for member in members}

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *args: object) -> None:
        self.zip.close()

    def bytes(self, name: str, most: int) -> bytes:
        member = self.names.get(name)
        if member is None:
            raise _damaged(f"{name} is missing")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size or member.file_size > most:
            raise _damaged(f"{name} is compressed or too large; PyTorch stores members as they are")
        try:
            return self.zip.read(member)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
            raise _damaged(str(error)) from error

    def json(self, name: str) -> dict[str, Any]:
        data = self.bytes(name, MOST_JSON)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _damaged(f"{name} is no JSON") from error
        if not isinstance(value, dict):
            raise _damaged(f"{name} is no object")
        return value

    def program(self) -> str:
        """The name of its only program."""
        if self.bytes("archive_format", 100) != b"pt2":
            raise _damaged("it says to be something else than pt2")
        if "byteorder" in self.names and self.bytes("byteorder", 100) != b"little":
            raise InputError("the file has big-endian numbers", hint="Write it on another machine.", code="network.parse")
        found = [match[1] for name in self.names if (match := re.fullmatch(r"models/(\w+)\.json", name, re.ASCII))]
        if len(found) != 1:
            what = "no exported program" if not found else f"{len(found)} exported programs"
            raise InputError(f"the file holds {what}", hint="Save one with torch.export.save.", code="network.empty")
        return found[0]


def _damaged(why: str) -> InputError:
    return InputError(f"the file is no .pt2 file, or it is damaged: {why}", hint=_AGAIN, code="network.parse")


# Weights.


def _tensors(archive: _Archive, kind: str, program: str) -> dict[str, torch.Tensor]:
    """Weights or constants by name; those that are pickled are refused."""
    import torch
    from torch._export.serde import schema
    from torch._export.serde.serialize import deserialize_scalar_type

    folder = f"data/{kind}/"
    if f"{folder}{program}.pt" in archive.names:
        raise _pickled(kind, "an older PyTorch wrote it")
    config = archive.json(f"{folder}{program}_{kind}_config.json").get("config")
    files: dict[tuple[str, int], torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    try:
        for name, payload in dict(config or {}).items():
            place = str(payload["path_name"])
            if payload.get("use_pickle") or not re.fullmatch(r"(weight|tensor)_\d+", place, re.ASCII):
                raise _pickled(name, "such as those of quantised or sparse tensors, and objects of C++")
            if not _DOTTED.fullmatch(name):
                raise _damaged(f"{name[:50]!r} is no name of a weight")
            meta = payload["tensor_meta"]
            number = int(meta["dtype"])
            dtype = deserialize_scalar_type(schema.ScalarType(number))
            sizes, strides = ([int(size["as_int"]) for size in meta[key]] for key in ("sizes", "strides"))
            if 0 in sizes:
                found[name] = torch.zeros(sizes, dtype=dtype)
                continue
            if (place, number) not in files:
                files[place, number] = torch.frombuffer(bytearray(archive.bytes(folder + place, 2**40)), dtype=dtype)
            tensor = torch.as_strided(files[place, number], sizes, strides, int(meta["storage_offset"]["as_int"]))
            found[name] = torch.nn.Parameter(tensor, requires_grad=False) if payload.get("is_param") else tensor
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(f"what it says of its {kind} is wrong: {' '.join(str(error).split())[:200]}") from error
    return found


def _pickled(what: str, why: str) -> InputError:
    return InputError(
        f"the file holds {what!r} as a pickle ({why}); reading it would run whatever code it contains",
        hint=f"Pickles are not read. {_AGAIN}",
        code="network.pickle",
    )


# Texts.


def _cleaned(program: Mapping[str, Any]) -> dict[str, Any]:
    """A program without what is not needed, in which every text was looked at."""
    module = program.get("graph_module")
    if not isinstance(module, dict) or not isinstance(module.get("module_call_graph"), list):
        raise _damaged("it has no graph")
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    module["module_call_graph"] = [entry for entry in module["module_call_graph"] if not entry["fqn"]][:1]
    _check(module, "", 0)
    ranges = program.get("range_constraints") or {}
    verifiers = program.get("verifiers") or []
    if not all(_SYMBOL.fullmatch(name) for name in ranges) or not set(verifiers) <= {"", "ATEN", "TRAINING"}:
        raise _damaged("its constraints or dialects are unknown")
    return {**program, "guards_code": [], "graph_module": module}


def _check(value: Any, key: str, depth: int) -> None:
    if depth > 8 * MOST_DEPTH:
        raise _damaged("it is nested too deeply")
    if isinstance(value, dict):
        if "target" in value and "inputs" in value:
            value["metadata"] = {}
        for name, item in value.items():
            if not _DOTTED.fullmatch(name):
                raise _damaged(f"{name[:50]!r} is no name")
            _check(item, name, depth + 1)
        if value.get("custom_obj_values"):
            raise _pickled("objects of C++", "they are code")
    elif isinstance(value, list):
        for item in value:
            _check(item, key, depth + 1)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key in ("target", "as_operator"):
        if not _OPERATOR.fullmatch(text):
            raise UnsupportedOperatorError(
                text[:100], 0, "", "only PyTorch's own operators are read from files",
                hint="Export the model to ONNX where the library that the operator comes from is installed.",
            )  # fmt: skip
    elif key == "expr_str":
        _check_expression(text)
    elif key in ("in_spec", "out_spec"):
        _check_tree(text)
    elif key in ("as_string", "as_strings"):
        return  # only ever a value
    elif not (_NAME.fullmatch(text) or not text if key in ("name", "as_name") else _DOTTED.fullmatch(text)):
        raise _damaged(f"{text[:50]!r} is no name")


def _check_expression(text: str) -> None:
    """An expression of sizes: SymPy's parser would run any other as Python."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval"))) if len(text) < 10_000 else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        nodes = []
    good = bool(nodes)
    calls = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        match node:
            case ast.Call():
                good &= isinstance(node.func, ast.Name) and node.func.id in _CALLS
            case ast.keyword():  # of Symbol('s0', positive=True, integer=True)
                good &= isinstance(node.value, ast.Constant)
            case ast.Name():
                good &= id(node) in calls or _SYMBOL.fullmatch(node.id) is not None
            case ast.Constant():
                value = node.value
                good &= isinstance(value, bool | int | float) or (isinstance(value, str) and _SYMBOL.fullmatch(value) is not None)
            case _:
                good &= isinstance(node, _PARTS)
    if not good:
        raise _damaged(f"{text[:50]!r} is no expression of sizes")


def _check_tree(text: str) -> None:
    """How arguments lie in containers: other containers than Python's own would import what the file names."""

    def check(tree: Any, depth: int) -> None:
        kind, context, children = tree["type"], tree["context"], tree["children_spec"]
        if depth > MOST_DEPTH or not (kind is None or kind in _TREES):
            raise _damaged(f"arguments in a container {str(kind)[:50]!r}, which is not read")
        if context is not None:
            keys = json.loads(context) if context else None
            if not (keys is None or (isinstance(keys, list) and all(isinstance(name, str | int) for name in keys))):
                raise _damaged("a container with unknown keys")
        for child in children:
            check(child, depth + 1)

    if not text:
        return
    try:
        protocol, tree = json.loads(text)
        if protocol != 1:
            raise _damaged("containers of another protocol")
        check(tree, 0)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged("it does not say how its arguments lie") from error
