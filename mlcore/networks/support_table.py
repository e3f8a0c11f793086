"""The table of operators in the docs, written from the operators' classes, ONNX's definitions and ONNX's own tests.

``python -m mlcore.networks.support_table KNOWN_FAILURES`` prints it; ``make operators`` puts it into its place.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from mlcore.networks import conformance
from mlcore.networks.frontends._support import Support, _support
from mlcore.networks.ir import DType
from mlcore.networks.ops import registry

INTRODUCTION = """# Operators of networks

Written by `make operators` from the code and from onnx {version}, whose own tests are counted. `make conformance` runs them all,
the suite a tenth of them with every operator among it.

- *Versions*: opsets that defined the operator anew, as far as they are read. A model has the newest that is not above its opset.
- *How*: **class**: code of its own; “from n on” where older definitions are brought to version n first. **definition**: the nodes
  of the body that ONNX's definition has.
- *Tests*: how many of ONNX's that have the operator pass.
- *Types*: of elements, in the tests that pass.

{n_operators} operators; {n_passed} of {n_tests} tests pass. Those that do not stand with their reasons in
`tests/data/networks/known_failures.txt`.
"""


@dataclass
class Tested:
    """What ONNX's tests say of an operator."""

    passed: int = 0
    total: int = 0
    types: set[DType] = field(default_factory=set)


def known_failures(path: Path) -> dict[str, str]:
    """The reason of each test that is known to fail, by name."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def table(failing: Collection[str]) -> str:
    """The page, as Markdown.

    Parameters
    ----------
    failing
        Names of ONNX's tests that do not pass.
    """
    tested: dict[tuple[str, str], Tested] = {}
    n_tests = n_passed = 0
    for case in conformance.cases():
        n_tests += 1
        n_passed += case.name not in failing
        for key, types in _operators(case.model).items():
            mine = tested.setdefault(key, Tested())
            mine.total += 1
            if case.name not in failing:
                mine.passed += 1
                mine.types |= types
    rows = _rows(tested)
    text = INTRODUCTION.format(
        version=metadata.version("onnx"), n_operators=sum(map(len, rows.values())), n_passed=n_passed, n_tests=n_tests
    )
    for domain, lines in rows.items():
        text += f"\n## {domain or 'ai.onnx'}\n\n| Operator | Versions | How | Tests | Types |\n|---|---|---|---:|---|\n"
        text += "".join(f"{line}\n" for line in lines)
    return text


def _rows(tested: Mapping[tuple[str, str], Tested]) -> dict[str, list[str]]:
    """The lines of each domain."""
    from onnx import defs

    versions: dict[tuple[str, str], list[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if not schema.deprecated:
            versions.setdefault((_domain(schema.domain), schema.name), []).append(schema.since_version)
    for key, operator in registry().items():
        versions.setdefault(key, list(operator.since))
    rows: dict[str, list[str]] = {}
    for (domain, name), defined in sorted(versions.items()):
        how = {version: _how(domain, name, version) for version in sorted(defined)}
        read = {version: words for version, words in how.items() if words != "no"}
        if not read:
            continue
        mine = tested.get((domain, name), Tested())
        missing = [version for version in how if version not in read]
        left_out = f"; not {', '.join(map(str, missing))}" if missing else ""
        kinds = " ".join(dict.fromkeys(reversed(read.values())))
        types = ", ".join(str(dtype) for dtype in DType if dtype in mine.types)
        counted = f"{mine.passed} of {mine.total}" if mine.total else "—"
        rows.setdefault(domain, []).append(
            f"| {name} | {', '.join(map(str, read))}{left_out} | {kinds} | {counted} | {types or '—'} |"
        )
    return rows


def _how(domain: str, name: str, version: int) -> str:
    operator = registry().get((domain, name))
    if operator is not None and version in operator.since:
        return "no" if operator.refusal else "class"
    support: Support = _support(domain, name, version, version, 0)
    if support == "yes" and operator is not None:
        return f"from {min(since for since in operator.since if since > version)} on"
    return {"yes": "class", "function": "definition", "no": "no"}[support]


def _operators(model: Any) -> dict[tuple[str, str], set[DType]]:
    """The operators of a model, also in subgraphs and functions, with types of what is the model's input or output."""
    types = {}
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type
        while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
            kind = getattr(kind, kind.WhichOneof("value")).elem_type
        dtype = DType.of_number(kind.tensor_type.elem_type)
        if dtype is not None:
            types[value.name] = dtype
    found: dict[tuple[str, str], set[DType]] = {}
    for graph in (model.graph, *model.functions):
        for node in _nodes(graph):
            mine = found.setdefault((_domain(node.domain), node.op_type), set())
            mine.update(types[name] for name in (*node.input, *node.output) if name in types)
    return found


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


if __name__ == "__main__":
    print(table(known_failures(Path(sys.argv[1]))), end="")
