"""Check a network: what of a model is supported, what would be fused, what it costs, before anything is compiled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import field_validator

from mlcore.filetypes import NETWORKS
from mlcore.shapes import parse_shapes
from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Note, Plot, Result, Table
from portal.jobs.types.network_to_cpp import SHAPES_FIELD, checked_shapes, count, node_label, size, sizes_text

if TYPE_CHECKING:
    from mlcore.networks import CheckReport

MOST_ROWS = 500


class NetworkCheckParams(Params):
    """Which model, with which sizes."""

    model: str = file_field(
        title="Model", description="A neural network as an ONNX file, PyTorch's .pt2 or Keras' .keras", kinds=NETWORKS
    )
    shapes: str = SHAPES_FIELD

    _shapes = field_validator("shapes")(checked_shapes)


class NetworkCheck(JobType[NetworkCheckParams]):
    slug = "network-check"
    title = "Check a network"
    summary = (
        "Which operators of a network (ONNX, PyTorch, Keras) are supported, what would be fused and what it costs, "
        "before it is compiled"
    )
    duration = "a few seconds"
    gives = (("graph.txt", "the graph as text, before and after all passes"), ("check.json", "everything on the page"))
    phrases = (
        "check network", "check onnx", "network supported", "onnx supported", "operators supported", "operator supported",
        "network flops", "onnx flops", "network cost", "onnx cost",
    )  # fmt: skip
    versions = ("onnx",)
    limits = Limits(memory_bytes=6 * GIB, cpu_seconds=600, wall_seconds=600)
    Params = NetworkCheckParams

    def name_run(self, params: NetworkCheckParams, files: Mapping[str, str]) -> str:
        return f"Check of {next(iter(files.values()), 'a network')}"

    def run(self, context: JobContext, params: NetworkCheckParams) -> Result:
        from mlcore import networks

        context.progress(0.1, "Reading the model")
        found = networks.check(context.file(params.model), shapes=parse_shapes(params.shapes))
        report = context.folder / "check.json"
        report.write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
        context.artifact(report, kind="report", title="Everything on this page")
        if found.text:
            text = context.folder / "graph.txt"
            text.write_text(found.text, encoding="utf-8", errors="replace")
            context.artifact(text, kind="text", title="The graph as text, before and after all passes")
        return summary(found)


def summary(found: CheckReport) -> Result:
    """What the job shows, and the command line."""
    return Result(notes=_notes(found), figures=_figures(found), plots=_plots(found), tables=_tables(found))


def _notes(found: CheckReport) -> tuple[Note, ...]:
    if found.supported:
        return (Note("ok", "This network can be compiled.", "“Network to C++” does it, and compares the result."),)
    if found.unsupported:
        number = len(found.unsupported)
        what = "One node is not supported." if number == 1 else f"{count(number)} nodes are not supported."
        return (Note("bad", what, "The first table says which, why, and what to do."),)
    problem = found.problem
    assert problem is not None  # noqa: S101 - one of the two is the reason
    return (Note("bad", f"This network cannot be compiled: {problem.message}.".replace("..", "."), problem.hint),)


def _figures(found: CheckReport) -> tuple[Figure, ...]:
    nodes = sum(use.count for use in found.operators)
    bad = sum(use.count for use in found.operators if use.support == "no")
    figures = [Figure("Nodes supported", f"{count(nodes - bad)} of {count(nodes)}", f"{len(found.operators)} kinds of operator")]
    if found.total is not None:
        figures += [
            Figure("Nodes to run", count(found.nodes_after), f"after all passes; {count(found.nodes_before)} before"),
            Figure("Parameters", count(found.n_parameters), size(found.parameter_bytes)),
            Figure("Operations", number_text(found.total.flops), "of a call, floating point, estimate"),
        ]
    if found.memory is not None:
        figures.append(Figure("Memory of a call", size(found.memory.bytes), sizes_text(found.memory.sizes) or "of each thread"))
    return tuple(figures)


def _plots(found: CheckReport) -> tuple[Plot, ...]:
    plots = []
    if found.drawing:
        plots.append(Plot("Graph after all passes", found.drawing))
    if found.memory is not None and (svg := found.memory.svg()):
        plots.append(Plot("Memory of a call", svg, found.memory.caption))
    return tuple(plots)


def _tables(found: CheckReport) -> tuple[Table, ...]:
    tables = []
    if found.unsupported:
        tables.append(
            _table(
                "Not supported",
                ("Operator", "Node", "Opset", "Why", "What to do"),
                [(item.operator, item.node or "—", str(item.opset or "none"), item.why, item.hint) for item in found.unsupported],
            )
        )
    support = {"yes": "yes", "function": "by the operators of its definition", "no": "no"}
    tables.append(
        _table(
            "Operators",
            ("Operator", "Nodes", "Opset", "Version", "Supported"),
            [
                (use.full_name, count(use.count), str(use.opset or "none"), str(use.version or "—"), support[use.support])
                for use in found.operators
            ],
            numeric=(1, 2, 3),
        )
    )
    if found.total is not None:
        note = "An estimate before anything is fused; bytes as if nothing stayed in a cache, loops as one round."
        tables.append(
            _table(
                "Cost by operator",
                ("Operator", "Nodes", "Multiply-adds", "Operations", "Bytes"),
                [
                    (cost.operator, count(cost.count), number_text(cost.macs), number_text(cost.flops), number_text(cost.bytes))
                    for cost in (*found.costs, found.total)
                ],
                numeric=(1, 2, 3, 4),
                note=note,
            )
        )
    if found.passes:
        rows = [(one.name.replace("_", " "), count(one.nodes_before), count(one.nodes_after)) for one in found.passes]
        tables.append(_table("What the passes do", ("Pass", "Nodes before", "Nodes after"), rows, numeric=(1, 2)))
    if found.fused:
        rows_of = [(node.name or "—", node_label(node.operator, "", node.made_of)) for node in found.fused]
        tables.append(_table("Fused", ("Node", "What runs in one loop"), rows_of))
    ports = [("input", *port) for port in found.inputs] + [("output", *port) for port in found.outputs]
    if ports:
        note = f"Sizes that are arguments of each call: {', '.join(found.symbols)}." if found.symbols else ""
        tables.append(_table("Inputs and outputs", ("", "Name", "Type"), ports, note=note))
    return tuple(tables)


def _table(
    title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], numeric: tuple[int, ...] = (), note: str = ""
) -> Table:
    if len(rows) > MOST_ROWS:
        note = f"The first {count(MOST_ROWS)} of {count(len(rows))}. {note}".strip()
    return Table(title, columns, tuple(rows[:MOST_ROWS]), numeric=numeric, note=note)


def number_text(text: str) -> str:
    """A number with thin spaces between thousands; an expression as it is, spelt with a dot for products."""
    return count(int(text)) if text.lstrip("-").isdigit() else text.replace("*", "·")
