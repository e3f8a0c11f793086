"""Which operators of an ONNX model are supported, found without reading it: every one, not only the first that is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlcore.networks.frontends._legacy import OPSET, is_legacy
from mlcore.networks.frontends.onnx import MOST_DEPTH, MOST_NODES, _domain, _text, _version, _why
from mlcore.networks.ops import find

Support = Literal["yes", "function", "no"]


@dataclass(frozen=True)
class OperatorUse:
    """How often a model uses an operator, and whether it can be translated.

    Attributes
    ----------
    domain
        ``""`` is ONNX's own.
    version
        Of the operator's definition, the newest not above the model's opset; None where the opset has no such operator.
    support
        ``"yes"``; ``"function"``: through the nodes of its body; ``"no"``.
    """

    name: str
    domain: str
    opset: int
    version: int | None
    count: int
    support: Support

    @property
    def full_name(self) -> str:
        return f"{self.domain}::{self.name}" if self.domain else self.name


@dataclass(frozen=True)
class Unsupported:
    """A node that cannot be translated: which, why, and what to do."""

    operator: str
    opset: int
    node: str
    why: str
    hint: str


@dataclass
class _Scan:
    functions: Mapping[tuple[str, str], Any]
    counts: Counter[tuple[str, str, int, int | None, Support]] = field(default_factory=Counter)
    unsupported: list[Unsupported] = field(default_factory=list)
    n_nodes: int = 0
    verdicts: dict[tuple[str, str, int], Support] = field(default_factory=dict)

    def nodes(self, protos: Any, opsets: Mapping[str, int], prefix: str, depth: int) -> None:
        """Look at nodes and at those of the graphs inside them; a function of the model is gone into once."""
        for proto in protos:
            self.n_nodes += 1
            if self.n_nodes > MOST_NODES or depth > MOST_DEPTH:
                return
            self._node(proto, opsets, prefix, depth)
            for attribute in proto.attribute:
                for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                    self.nodes(graph.node, opsets, f"{prefix}{_text(proto.name)}/", depth + 1)

    def _node(self, proto: Any, opsets: Mapping[str, int], prefix: str, depth: int) -> None:
        domain, kind = _domain(proto.domain), _text(proto.op_type)
        opset = opsets.get(domain, 0)
        local = self.functions.get((proto.domain, proto.op_type)) or self.functions.get((domain, proto.op_type))
        if local is not None:
            key = (domain, kind, -1)
            if key not in self.verdicts:
                self.verdicts[key] = "function"
                inner = {_domain(item.domain): item.version for item in local.opset_import}
                self.nodes(local.node, inner, f"{prefix}{_text(proto.name) or kind}/", depth + 1)
            self.counts[kind, domain, opset, None, "function"] += 1
            return
        version = _version(domain, kind, opset)
        key = (domain, kind, opset)
        if key not in self.verdicts:
            self.verdicts[key] = _support(domain, kind, opset, version, depth)
        support = self.verdicts[key]
        self.counts[kind, domain, opset, version, support] += 1
        if support == "no":
            why = _why(find(domain, kind), version, opset)
            name = f"{domain}::{kind}" if domain else kind
            self.unsupported.append(
                Unsupported(name, opset, prefix + _text(proto.name), why, _hint(domain, kind, version, opset))
            )


def scan(model: Any) -> tuple[tuple[OperatorUse, ...], tuple[Unsupported, ...]]:
    """Every operator that a model uses, the most frequent first, and every node that cannot be translated.

    Parameters
    ----------
    model
        An ``onnx.ModelProto``; its graph need not be valid.
    """
    found = _Scan({(item.domain, item.name): item for item in model.functions})
    opsets = {_domain(item.domain): item.version for item in model.opset_import}
    if not opsets and model.ir_version < 3:
        opsets[""] = 1
    found.nodes(model.graph.node, opsets, "", 0)
    uses = tuple(
        OperatorUse(name, domain, opset, version, count, support)
        for (name, domain, opset, version, support), count in sorted(
            found.counts.items(), key=lambda item: (-item[1], item[0][:2])
        )
    )
    return uses, tuple(found.unsupported)


def _support(domain: str, kind: str, opset: int, version: int | None, depth: int) -> Support:
    if domain == "" and kind == "Constant":
        return "yes"
    operator = find(domain, kind)
    if operator is not None and version in operator.since:
        return "no" if operator.refusal else "yes"
    if version is None or depth > MOST_DEPTH:
        return "no"
    if domain == "" and version < OPSET and is_legacy(kind):
        return "yes"
    return "function" if _has_readable_body(domain, kind, opset, depth) else "no"


def _has_readable_body(domain: str, kind: str, opset: int, depth: int) -> bool:
    """Whether ONNX's definition has a body of operators that are supported; one that depends on types is taken to be readable."""
    from onnx import FunctionProto, defs

    schema = defs.get_schema(kind, opset, domain)
    if schema.has_context_dependent_function:
        return True
    if not schema.has_function:
        return False
    function = FunctionProto()
    versions = [version for version in schema.function_opset_versions if version <= opset] or list(schema.function_opset_versions)
    function.ParseFromString(schema.get_function_with_opset_version(max(versions)))
    opsets = {_domain(item.domain): item.version for item in function.opset_import} or {domain: opset}
    return all(
        _support(inner_domain, inner, inner_opset, _version(inner_domain, inner, inner_opset), depth + 1) != "no"
        for inner_domain, inner, inner_opset in _operators(function.node, opsets)
    )


def _operators(protos: Any, opsets: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    for proto in protos:
        domain = _domain(proto.domain)
        yield domain, _text(proto.op_type), opsets.get(domain, opsets.get("", 0))


def _hint(domain: str, kind: str, version: int | None, opset: int) -> str:
    """What a person can do about an operator that is not supported."""
    operator = find(domain, kind)
    if operator is not None and operator.hint:
        return operator.hint
    if domain == "ai.onnx.ml":
        return "A forest alone is converted by forest-to-cpp; scalers and encoders can be written as Sub, Div and Gather."
    if domain.startswith("com.microsoft"):
        return "ONNX Runtime's optimiser made it: export the model without that optimisation."
    if domain.startswith("ai.onnx.preview.training"):
        return "Export the model for inference, after model.eval()."
    if domain:
        return (
            f"Give the model a function {kind!r} of the domain {domain!r} (onnx.helper.make_function), made of ONNX's operators."
        )
    if version is None and opset:
        return f"Opset {opset} has no {kind}: is the name right, does the model import the opset that it needs?"
    if not opset:
        return "Export the model again: it does not say which opset it uses."
    return "Export the model in another opset (onnx.version_converter.convert_version), or without this operator."
