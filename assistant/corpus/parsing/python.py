"""What a Python module documents, read from its source without importing it."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Docstring:
    """A documented module, class, function or method.

    Attributes
    ----------
    name
        Dotted within the module, empty for the module itself: ``"RooAbsPdf.plotOn"``.
    kind
        ``"module"``, ``"class"``, ``"function"`` or ``"method"``.
    signature
        The parameters as written, ``"(x, axis=None)"``; empty for a module.
    """

    name: str
    kind: str
    signature: str
    text: str
    line: int


def parse(text: str) -> ast.Module | None:
    """The syntax tree of a module, None where it is not valid Python for this interpreter."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def docstrings(tree: ast.Module) -> Iterator[Docstring]:
    """All documented names of a module, outermost first; private ones are left out."""
    text = ast.get_docstring(tree)
    if text:
        yield Docstring("", "module", "", text, 1)
    yield from _walk(tree.body, "", "function")


def _walk(body: list[ast.stmt], prefix: str, function_kind: str) -> Iterator[Docstring]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):  # definitions for one version or another
            yield from _walk(node.body, prefix, function_kind)
            continue
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        text = inspect.cleandoc(ast.get_docstring(node) or "")
        if isinstance(node, ast.ClassDef):
            yield Docstring(prefix + node.name, "class", _constructor(node), text, node.lineno)
            yield from _walk(node.body, f"{prefix}{node.name}.", "method")
        elif text:
            yield Docstring(prefix + node.name, function_kind, signature(node), text, node.lineno)


def _constructor(node: ast.ClassDef) -> str:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return signature(child)
    return ""


_RULE = re.compile(r"\n[=~-]{3,}\s*$", re.MULTILINE)
_FIELDS = re.compile(r"(?:Args|Arguments|Parameters|Returns?|Raises|Notes?|See Also|Examples?)\s*:?\s*(?:\n|$)|[=\-~]{4,}|\.\. ")


def summary(text: str, length: int = 160) -> str:
    """The first sentence of a docstring, on one line; some begin with their parameters and say what they are afterwards."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if not paragraph[:1].isspace() and not _FIELDS.match(paragraph):
            sentence = re.split(r"(?<=[.:])\s", " ".join(_RULE.sub("", paragraph).split()), maxsplit=1)[0].rstrip(".:")
            return sentence if len(sentence) <= length else sentence[:length].rsplit(" ", 1)[0] + " ..."
    return ""


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The parameters of a function without annotations and ``self``."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parts = [_parameter(a.arg, d) for a, d in zip(positional, defaults, strict=True)]
    if positional and positional[0].arg in {"self", "cls"}:
        parts = parts[1:]
    if arguments.vararg:
        parts.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [_parameter(a.arg, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        parts.append(f"**{arguments.kwarg.arg}")
    return f"({', '.join(parts)})"


def _parameter(name: str, default: ast.expr | None) -> str:
    if default is None:
        return name
    text = ast.unparse(default)
    return f"{name}={text if len(text) <= 40 else '...'}"
