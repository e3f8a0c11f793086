"""The kernels' plan of a forest as C++ data: the sections that a header needs, in an order in which their end can be left out.

The layout of a plan's structures is read from the text of the kernels' own headers, so it is stated in one place.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels import sources
from mlcore.forests.emit.literals import number

ALIGNMENT = 64
_BYTES_PER_LINE = 4096
_DIGITS = range(ord("0"), ord("8"))


class Span(ctypes.Structure):
    """Where a section lies, as in ``plan.hpp``."""

    _fields_ = (("offset", ctypes.c_uint64), ("count", ctypes.c_uint64))


_TYPES = {
    "std::uint8_t": ctypes.c_uint8,
    "std::uint32_t": ctypes.c_uint32,
    "std::uint64_t": ctypes.c_uint64,
    "double": ctypes.c_double,
    "Span": Span,
}
_FIELD = re.compile(r"\s*(?P<type>[\w:]+) (?P<name>\w+)(?:\[(?P<count>\d+)\])?;")
_SLICED = (
    "features",
    "float_cuts",
    "double_cuts",
    "directions",
    "extras",
    "classes",
    "sets",
    "runs",
    "trees",
    "nodes",
    "chains",
    "leaves",
)
_WALKED = ("walk_nodes", "walk_roots", "walk_outputs", "walk_values", "walk_sets", "walk_words")


# What the sections' conditions are for the preprocessor, the macros being those of the header's template.
ON_BYTES = "defined(KERNELS_BYTE_LOOKUP)"
NOT_ON_BYTES = "!defined(KERNELS_BYTE_LOOKUP)"
ON_AVX512 = "defined(KERNELS_AVX512)"

_LANES = 3  # of `SingleKind`
_MANY_CHAINS = 4  # a tree; more of them cost a single row more than the walk does


@dataclass(frozen=True)
class Tail:
    """Sections that only some targets read.

    Attributes
    ----------
    condition
        Of the preprocessor.
    content
        Their bytes.
    """

    condition: str
    content: bytes


@dataclass(frozen=True)
class HeaderPlan:
    """A plan as a header carries it.

    Attributes
    ----------
    header
        The plan's header as a C++ initializer, without its braces.
    common
        Bytes of the sections that every target reads; they follow the header.
    tails
        What follows where its condition holds.
    is_sliced
        The bit-sliced engines run it, else the walk.
    row_walks
        Targets without an engine for single rows let them walk, else they take planes.
    n_bytes_of_planes
        Workspace of a single row on planes.
    single
        The fields of ``SingleForest``; empty where no engine for single rows takes the forest.
    in_lanes
        That engine is the one of AVX-512 alone, else of every target that looks bytes up.
    """

    header: str
    common: bytes
    tails: tuple[Tail, ...]
    is_sliced: bool
    row_walks: bool
    n_bytes_of_planes: int
    single: Mapping[str, int]
    in_lanes: bool


def header_plan(plan: bytes) -> HeaderPlan:
    """Choose and order the sections of a plan that the kernels wrote."""
    layout = structure("kernels/plan.hpp", "PlanHeader")
    fields = layout.from_buffer_copy(plan)
    spans = _spans(fields)
    content = _content(plan, spans)
    single = _single(content)
    is_sliced = bool(fields.is_sliced)
    row_walks = not is_sliced or spans["chains"].count > _MANY_CHAINS * fields.n_trees

    common = ["base", *(_SLICED if is_sliced else _WALKED)]
    in_lanes = single.get("kind") == _LANES
    of_single = [name for name in content if name.startswith("single")] if single else []
    tails: dict[str, list[str]] = {}
    if is_sliced and single and not in_lanes:
        tails[ON_BYTES] = of_single
    if is_sliced and row_walks:
        tails[NOT_ON_BYTES if ON_BYTES in tails else "1"] = list(_WALKED)
    if is_sliced:  # what stands before them on other targets does not matter
        tails[ON_AVX512] = ["leaf_bytes", *(of_single if in_lanes else [])]

    # Each section begins where it lies on the targets that have it.
    start = ctypes.sizeof(layout)
    first = -(-start // ALIGNMENT) * ALIGNMENT
    places = _places(content, common, first)
    end = first + sum(len(content[name]) for name in common)
    for condition, names in tails.items():
        before = 0
        if condition == ON_AVX512:
            before = sum(len(content[name]) for key in (ON_BYTES, "1") for name in tails.get(key, ()))
        places.update(_places(content, names, end + before))
    conditional = {name: condition for condition, names in tails.items() for name in names}
    return HeaderPlan(
        header=_initializer(fields, spans, places, conditional),
        common=b"\0" * (first - start) + b"".join(content[name] for name in common),
        tails=tuple(
            Tail(condition, b"".join(content[name] for name in names))
            for condition, names in tails.items()
            if any(content[name] for name in names)
        ),
        is_sliced=is_sliced,
        row_walks=row_walks,
        n_bytes_of_planes=fields.n_planes + fields.n_scratch,
        single=single,
        in_lanes=in_lanes,
    )


def _content(plan: bytes, spans: Mapping[str, Span]) -> dict[str, bytes]:
    """Each section with the zeros that follow it for whole registers; sections that hold nothing are empty."""
    ends = sorted({len(plan), *(span.offset for span in spans.values())})
    return {
        name: plan[span.offset : next(end for end in ends if end > span.offset)] if span.count else b""
        for name, span in spans.items()
    }


def _places(content: Mapping[str, bytes], names: Iterable[str], first: int) -> dict[str, int]:
    places = {}
    for name in names:
        if content[name]:
            places[name] = first
            first += len(content[name])
    return places


def literal_lines(content: bytes) -> str:
    """Bytes as the lines of one C++ string literal: harmless ASCII as it is, the rest as the shortest octal escapes."""
    if not content:
        return '""'
    codes = np.frombuffer(content, np.uint8).astype(np.intp)
    before_digit = np.append(np.isin(codes[1:], _DIGITS), False)  # where a short escape would swallow a digit
    table = _escapes()
    texts = [table[code] for code in (codes + 256 * before_digit).tolist()]
    lines = ("".join(texts[i : i + _BYTES_PER_LINE]) for i in range(0, len(texts), _BYTES_PER_LINE))
    return "\n".join(f'"{line}"' for line in lines)


@functools.cache
def _escapes() -> tuple[str, ...]:
    harmless = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _.,:;<>=()[]{}+-*/^|&!#~%'")
    short = tuple(chr(code) if code in harmless else f"\\{code:o}" for code in range(256))
    return short + tuple(chr(code) if code in harmless else f"\\{code:03o}" for code in range(256))


@functools.cache
def structure(header: str, name: str) -> type[ctypes.Structure]:
    """A structure of the kernels' headers, laid out as the compiler does."""
    text = sources.header(header)
    found = re.search(rf"^struct {name} \{{\n(.*?)^\}};", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise LookupError(f"{header} has no structure {name}")
    fields: list[tuple[str, Any]] = []
    for line in found[1].splitlines():
        field = _FIELD.match(line)
        if field is not None:
            kind = _TYPES[field["type"]]
            fields.append((field["name"], ctypes.ARRAY(kind, int(field["count"])) if field["count"] else kind))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _spans(fields: ctypes.Structure) -> dict[str, Span]:
    """All sections by name; those of an array by name and number."""
    spans = {}
    for name, *_ in fields._fields_:
        value = getattr(fields, name)
        if isinstance(value, Span):
            spans[name] = value
        elif isinstance(value, ctypes.Array) and isinstance(value[0], Span):
            spans.update({f"{name}{i}": span for i, span in enumerate(value)})
    return spans


def _single(content: Mapping[str, bytes]) -> dict[str, int]:
    if not content.get("single0"):
        return {}
    layout = structure("kernels/single_plan.hpp", "SingleForest")
    fields = layout.from_buffer_copy(content["single0"])
    values = {name: getattr(fields, name) for name, *_ in layout._fields_ if not name.startswith("unused")}
    return values if values["kind"] else {}


def _initializer(
    fields: ctypes.Structure, spans: Mapping[str, Span], places: Mapping[str, int], conditions: Mapping[str, str]
) -> str:
    def span(name: str) -> str:
        if name not in places:
            return f"{{{ALIGNMENT}u, 0u}},  // {name}"
        place = f"{{{places[name]}u, {spans[name].count}u}},  // {name}"
        if name not in conditions:
            return place
        return f"\n#if {conditions[name]}\n    {place}\n#else\n    {{{ALIGNMENT}u, 0u}},\n#endif\n"

    lines = []
    for name, *_ in fields._fields_:
        value = getattr(fields, name)
        if name in spans:
            lines.append(span(name))
        elif f"{name}0" in spans:
            members = "\n    ".join(span(f"{name}{i}") for i in range(len(value)))
            lines.append(f"{{\n    {members}\n    }},")
        elif isinstance(value, ctypes.Array):
            lines.append(f"{{{', '.join(f'{item}u' for item in value)}}},  // {name}")
        else:
            text = number(value, "double") if isinstance(value, float) else f"{value}u"
            lines.append(f"{text},  // {name}")
    return re.sub(r"\n\s*\n", "\n", "    " + "\n    ".join(lines))
