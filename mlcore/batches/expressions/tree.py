"""An expression as a tree of frozen nodes, and its canonical spelling.

Operators of one level stand side by side in one `Chain` however many there are, so that a long sum is no deep tree.
Two trees are equal where they mean the same text; where that text stood does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from mlcore.batches.expressions.faults import Span

KEYWORDS = frozenset({"and", "or", "not", "in", "if", "else", "true", "false", "True", "False"})

_WORD = r"[^\W\d]\w*"
BARE_NAME = re.compile(rf"{_WORD}(?:\.{_WORD})*")
"""A name that needs no backquotes, unless it is a keyword."""

LEVELS = {"||": 1, "|": 1, "&&": 2, "&": 2}
LEVELS |= dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 4)
LEVELS |= {"+": 5, "-": 5} | dict.fromkeys(("*", "/", "//", "%"), 6)
"""How tight the operators of a `Chain` bind."""

OR, AND, COMPARE, SUM, PRODUCT, UNARY, POWER, POSTFIX = 1, 2, 4, 5, 6, 7, 8, 9
_NOWHERE: Span = (0, 0)


@dataclass(frozen=True)
class Literal:
    """A number or a truth value, never negative: a sign is an operator."""

    value: bool | int | float
    span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Name:
    """A column."""

    name: str
    span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Unary:
    """``-``, ``!`` (of anything) or ``~`` (of truth values) before an operand."""

    operator: str
    operand: Node
    span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Chain:
    """Operands of one level from left to right; comparisons hold where each of them does, as in Python."""

    first: Node
    rest: tuple[tuple[str, Node], ...]
    span: Span = field(default=_NOWHERE, compare=False, repr=False)

    @property
    def level(self) -> int:
        """Of its operators."""
        return LEVELS[self.rest[0][0]]


@dataclass(frozen=True)
class Power:
    """``base ** exponent``."""

    base: Node
    exponent: Node
    span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Contained:
    """``operand in (items)``, or ``not in``."""

    operand: Node
    items: tuple[Node, ...]
    negated: bool = False
    span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Index:
    """``operand[index]``: one value of each row, or those where a mask holds; ``default`` for rows that are too short."""

    operand: Node
    index: Node
    default: Node | None = None
    span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Call:
    """A function of the table by its name there."""

    function: str
    arguments: tuple[Node, ...]
    span: Span = field(default=_NOWHERE, compare=False, repr=False)


Node: TypeAlias = Literal | Name | Unary | Chain | Power | Contained | Index | Call


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below one, from left to right."""
    match node:
        case Unary():
            return (node.operand,)
        case Chain():
            return (node.first, *(operand for _, operand in node.rest))
        case Power():
            return (node.base, node.exponent)
        case Contained():
            return (node.operand, *node.items)
        case Index():
            return (node.operand, node.index) if node.default is None else (node.operand, node.index, node.default)
        case Call():
            return node.arguments
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, from left to right."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(children(node))


def names(node: Node) -> tuple[str, ...]:
    """The columns read, in the order of their first use."""
    return tuple(dict.fromkeys(part.name for part in walk(node) if isinstance(part, Name)))


def spelled(name: str) -> str:
    """A column's name as an expression has it: in backquotes where it would be read as something else."""
    return name if BARE_NAME.fullmatch(name) and name not in KEYWORDS else f"`{name}`"


def spell(node: Node) -> str:
    """The canonical spelling, which is read as the same tree."""
    match node:
        case Literal():
            return str(node.value).lower() if isinstance(node.value, bool) else repr(node.value)
        case Name():
            return spelled(node.name)
        case Unary():
            return node.operator + _inside(node.operand, UNARY)
        case Chain():
            tighter = node.level + 1
            rest = (f" {operator} {_inside(operand, tighter)}" for operator, operand in node.rest)
            return _inside(node.first, tighter) + "".join(rest)
        case Power():
            return f"{_inside(node.base, POSTFIX)} ** {_inside(node.exponent, UNARY)}"
        case Contained():
            items = ", ".join(map(spell, node.items))
            return f"{_inside(node.operand, SUM)} {'not in' if node.negated else 'in'} ({items})"
        case Index():
            taken = f"{_inside(node.operand, POSTFIX)}[{spell(node.index)}]"
            return taken if node.default is None else f"Alt({taken}, {spell(node.default)})"
        case Call():
            return f"{node.function}({', '.join(map(spell, node.arguments))})"


def _inside(node: Node, least: int) -> str:
    """The spelling of an operand, in parentheses where it binds less tight than ``least``."""
    text = spell(node)
    return text if _level(node) >= least else f"({text})"


def _level(node: Node) -> int:
    match node:
        case Chain():
            return node.level
        case Contained():
            return COMPARE
        case Unary():
            return UNARY
        case Power():
            return POWER
        case _:
            return POSTFIX
