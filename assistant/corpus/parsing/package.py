"""The public interface of an installed Python package, read from its files without importing it.

A class is documented under the shortest public path by which a user reaches it: ``numpy._core.fromnumeric.mean`` is
``numpy.mean``, because ``numpy/__init__.py`` imports it under that name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from assistant.corpus.document import Log
from assistant.corpus.parsing import python
from assistant.corpus.parsing.text import read_text

_TESTS = frozenset(
    {"tests", "test", "testing", "conftest", "_vendor", "_vendored", "vendored", "externals", "extern", "_libs", "benchmarks"}
)
_DOC_CALLS = frozenset({"add_newdoc", "add_docstr", "add_docstr_all", "_add_docstr"})
_MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class PublicName:
    """Something documented, with the path by which users reach it.

    Attributes
    ----------
    path
        ``"numpy.mean"``.
    defined
        Where it is written: ``"numpy._core.fromnumeric.mean"``.
    methods
        Of a class, those that have a docstring.
    """

    path: str
    defined: str
    file: Path
    docstring: python.Docstring
    methods: tuple[python.Docstring, ...] = ()


class Package:
    """A package's modules as syntax trees.

    Parameters
    ----------
    folder
        The folder with its ``__init__.py``.
    wanted
        Which modules to read, by dotted name; packages on the way are always read.
    """

    def __init__(self, folder: Path, wanted: Callable[[str], bool], log: Log) -> None:
        self.name = folder.name
        self.files: dict[str, Path] = {}
        self.trees: dict[str, ast.Module] = {}
        self.packages: set[str] = set()
        for path in sorted(folder.rglob("*.py")):
            parts = (self.name, *path.relative_to(folder).with_suffix("").parts)
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            if not _TESTS.isdisjoint(parts) or not wanted(name):
                continue
            tree = python.parse(read_text(path, log))
            if tree is not None:
                self.files[name], self.trees[name] = path, tree
                if is_package:
                    self.packages.add(name)
        self._bindings: dict[str, Mapping[str, tuple[str, str]]] = {}

    def public_names(self) -> Iterator[PublicName]:
        """Everything documented that users can reach, by its shortest path."""
        paths = self._shortest_paths()
        for module, tree in self.trees.items():
            found = list(python.docstrings(tree))
            if found and found[0].kind == "module" and _is_public(module):
                yield PublicName(module, module, self.files[module], found[0])
            for docstring in found:
                if docstring.kind not in {"class", "function"} or "." in docstring.name:
                    continue
                path = paths.get((module, docstring.name))
                methods = tuple(d for d in found if d.kind == "method" and d.name.startswith(docstring.name + "."))
                if path and (docstring.text or methods):
                    yield PublicName(path, f"{module}.{docstring.name}", self.files[module], docstring, methods)
            yield from self._added_docstrings(module, tree)

    def _shortest_paths(self) -> dict[tuple[str, str], str]:
        paths: dict[tuple[str, str], str] = {}
        for module in sorted(self.trees, key=lambda name: (name.count("."), name)):
            if not _is_public(module):
                continue
            exported = self._all(module)
            for name, target in self.bindings(module).items():
                # What a plain module imports it uses; what a package imports it offers.
                offered = module in self.packages or target[0] == module or name in exported
                if offered and not name.startswith("_"):
                    paths.setdefault(target, f"{module}.{name}")
        return paths

    def bindings(self, module: str, depth: int = 0) -> Mapping[str, tuple[str, str]]:
        """For each name that `module` defines or imports from this package: the defining module and the name there."""
        known = self._bindings.get(module)
        if known is not None:
            return known
        if module not in self.trees or depth > _MAX_DEPTH:
            return {}
        result: dict[str, tuple[str, str]] = {}
        self._bindings[module] = result  # what a cycle of imports sees is what there is so far
        for node in _statements(self.trees[module].body):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                result[node.name] = (module, node.name)
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(module, node)
                if source is None:
                    continue
                there = self.bindings(source, depth + 1)
                for alias in node.names:
                    if alias.name == "*":
                        exported = self._all(source)
                        result.update({n: t for n, t in there.items() if (n in exported if exported else not n.startswith("_"))})
                    elif alias.name in there:
                        result[alias.asname or alias.name] = there[alias.name]
        return result

    def _absolute(self, module: str, node: ast.ImportFrom) -> str | None:
        if node.level == 0:
            name = node.module or ""
        else:
            base = module.split(".")
            drop = node.level - (module in self.packages)
            base = base[: len(base) - drop] if drop else base
            name = ".".join([*base, *([node.module] if node.module else [])])
        return name if name == self.name or name.startswith(self.name + ".") else None

    def _all(self, module: str) -> frozenset[str]:
        for node in self.trees[module].body if module in self.trees else ():
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
                return frozenset(
                    str(item.value)
                    for item in ast.walk(node.value)
                    if isinstance(item, ast.Constant) and isinstance(item.value, str)
                )
        return frozenset()

    def _added_docstrings(self, module: str, tree: ast.Module) -> Iterator[PublicName]:
        """Docstrings of compiled functions, which packages attach with a call such as ``add_newdoc("numpy", "dot", ...)``."""
        for node in tree.body:
            call = node.value if isinstance(node, ast.Expr) else None
            if not isinstance(call, ast.Call) or _called(call) not in _DOC_CALLS or len(call.args) < 2:
                continue
            text = _string(call.args[-1])
            target = _target(call.args[:-1])
            if not text or not target:
                continue
            parts = [part for part in target.split(".") if not part.startswith("_") and part not in {"multiarray", "umath"}]
            path = ".".join(parts)
            if len(parts) >= 2:
                docstring = python.Docstring(parts[-1], "function", "", text.strip(), node.lineno)
                yield PublicName(path, target, self.files[module], docstring)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _string(node: ast.expr) -> str:
    """The text of a string, of a formatted one as it is written, and of the second of a pair."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"format", "replace"}:
        return _string(node.func.value)
    if isinstance(node, ast.BinOp):
        return _string(node.left) + _string(node.right)
    if isinstance(node, ast.Tuple) and node.elts:
        return _string(node.elts[-1])
    return ""


def _target(arguments: list[ast.expr]) -> str:
    """``"numpy", "dot"`` or ``torch.abs`` as a dotted name."""
    parts = [_string(argument) or ast.unparse(argument) for argument in arguments]
    name = ".".join(parts)
    return name if all(part.isidentifier() for part in name.split(".")) else ""


def _is_public(module: str) -> bool:
    return not any(part.startswith("_") for part in module.split("."))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements, those inside ``if`` and ``try`` included."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body)
            yield from _statements(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _statements(node.body)
        else:
            yield node
