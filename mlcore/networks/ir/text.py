"""Graphs as text, for people: one line a node, subgraphs indented.

The text names every value once: names of the model are kept where they are plain and different, others get a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlcore.networks.ir.graph import Graph, Names, Node, Value

MOST_NUMBERS = 8
"""Of a constant that is written out."""
MOST_TEXT = 60
MOST_LINES = 20_000


def dump(graph: Graph, *, most: int = MOST_LINES) -> str:
    """A graph as text.

    Parameters
    ----------
    most
        Lines; what is left out is counted in the last.

    Examples
    --------
    >>> print(dump(Graph("empty")))
    graph "empty" () -> ()
    """
    lines: list[str] = []
    left_out = 0
    for line in _graph(graph, _Namer(), 0):
        if len(lines) < most:
            lines.append(line)
        else:
            left_out += 1
    if left_out:
        lines.append(f"... and {left_out} lines more")
    return "\n".join(lines)


class _Namer:
    def __init__(self) -> None:
        self._names = Names()
        self._given: dict[Value, str] = {}

    def __call__(self, value: Value | None) -> str:
        if value is None:
            return "-"
        if value.constant is not None and value.constant.size <= MOST_NUMBERS and value.constant.dtype != np.object_:
            return _array(value.constant)
        if value not in self._given:
            kept = "".join(c if c.isascii() and (c.isalnum() or c in "_./:") else "_" for c in value.name)[:MOST_TEXT]
            self._given[value] = self._names.fresh(f"%{kept}")
        return self._given[value] + (f" (constant {value.type})" if value.constant is not None else "")


def _graph(graph: Graph, name: _Namer, depth: int) -> Iterator[str]:
    indent = "  " * depth
    inputs = ", ".join(f"{name(value)}: {value.type}" for value in graph.inputs)
    outputs = ", ".join(f"{name(value)}: {value.type}" for value in graph.outputs)
    yield f"{indent}graph {quoted(graph.name)} ({inputs}) -> ({outputs})"
    for node in graph.nodes:
        results = ", ".join(f"{name(value)}: {value.type}" for value in node.outputs if value.name)
        inner = {key: item for key, item in node.attributes.items() if isinstance(item, Graph)}
        plain = ", ".join(
            f"{quoted(key)[1:-1]}={_attribute(item, name)}" for key, item in node.attributes.items() if key not in inner
        )
        label = f" {quoted(node.name)}" if node.name else ""
        arguments = ", ".join(map(name, node.inputs))
        yield f"{indent}  {results} = {node.kind}{label} ({arguments}){f' {{{plain}}}' if plain else ''}"
        for key, item in inner.items():
            yield f"{indent}    {quoted(key)[1:-1]}:"
            yield from _graph(item, name, depth + 3)
    for constraint in graph.constraints if not depth else ():
        yield f"{indent}  require {constraint.left!r} == {constraint.right!r}"


def _attribute(item: Any, name: _Namer) -> str:
    if isinstance(item, np.ndarray):
        return _array(item)
    if isinstance(item, Value):
        return name(item)
    if isinstance(item, list) and item and all(isinstance(one, Node) for one in item):
        return " > ".join(one.kind for one in item[:MOST_NUMBERS]) + (" > ..." if len(item) > MOST_NUMBERS else "")
    if isinstance(item, list):
        shown = ", ".join(_attribute(one, name) for one in item[:MOST_NUMBERS])
        return f"[{shown}{', ...' if len(item) > MOST_NUMBERS else ''}]"
    return quoted(item) if isinstance(item, str) else _short(str(item))


def _array(array: np.ndarray[Any, Any]) -> str:
    if array.size > MOST_NUMBERS or array.dtype == np.object_:
        return f"{array.dtype}{list(array.shape)}"
    return _short(" ".join(str(array.tolist()).split()))


def _short(text: str) -> str:
    kept = "".join(c if c.isprintable() else "?" for c in text[: MOST_TEXT + 1])
    return kept if len(kept) <= MOST_TEXT else f"{kept[: MOST_TEXT - 3]}..."


def quoted(text: str) -> str:
    """Foreign text between quotation marks, on one line: quotes and backslashes escaped, what cannot be printed replaced."""
    return '"' + _short(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
